"""The README's batch of notebooks under papermill and xargs, run exactly as it stands there, with a small notebook."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from rdlib.experiments.profiles import PROFILES
from rdlib.files import ROOT

NOTEBOOK = "notebooks/02_table3_accuracy.ipynb"


def blocks() -> tuple[str, list[str]]:
    """The README's commands for a batch, and the lines that it says they print."""
    _, found, text = (ROOT / "notebooks/README.md").read_text().partition("**A batch, in parallel.**")
    assert found, "the README does not say how to run a batch"
    commands, printed = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)[:2]
    return textwrap.dedent(commands), textwrap.dedent(printed).splitlines()


def small_notebook(path: Path) -> None:
    """The real notebook's parameters, and of what it does with them only the first thing: to ask for the profile."""
    real = nbformat.read(ROOT / NOTEBOOK, 4)
    parameters = next(c for c in real.cells if "parameters" in c.metadata.get("tags", []))
    ask = "from rdlib.experiments.profiles import profile as profile_of\n\nprint(profile_of(profile).name, store)"
    cells = [parameters, nbformat.v4.new_code_cell(ask)]
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=real.metadata), path)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder where the README's commands have run, and what they printed."""
    folder = tmp_path_factory.mktemp("batch")
    small_notebook(folder / NOTEBOOK)
    (folder / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        ["sh", "-c", blocks()[0]], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stderr == ""
    return folder / "batch", done.stdout.splitlines()


def test_the_readme_shows_what_a_batch_really_prints(batch: tuple[Path, list[str]]) -> None:
    assert sorted(batch[1]) == sorted(blocks()[1])
    assert batch[1][-1] == "exit code 123"


def test_the_failing_set_shows_its_error_and_the_others_finish_with_their_own_parameters(
    batch: tuple[Path, list[str]],
) -> None:
    sets = [line.split() for line in (batch[0] / "sets").read_text().splitlines()]
    failing = 0
    for name, *options in sets:
        given = {option: value for _, option, value in zip(*[iter(options)] * 3, strict=True)}
        outputs = nbformat.read(batch[0] / f"{name}.ipynb", 4).cells[-1].outputs
        if given["profile"] in PROFILES:
            assert [o.text.strip() for o in outputs] == [f"{given['profile']} {given.get('store')}"]
        else:
            failing += 1
            assert [o.output_type for o in outputs] == ["error"]
            assert f"{name}: FAILED, ConfigError: {outputs[0].evalue}" in batch[1]
    assert 0 < failing < len(sets)


def test_the_real_notebook_has_the_parameters_of_the_batch(batch: tuple[Path, list[str]]) -> None:
    real = nbformat.read(ROOT / NOTEBOOK, 4)
    source = next(c.source for c in real.cells if "parameters" in c.metadata.get("tags", []))
    known = {target.id for node in ast.parse(source).body for target in node.targets}
    assert set(re.findall(r"-p (\w+)", (batch[0] / "sets").read_text())) <= known


def test_the_readme_names_exactly_the_notebooks_that_can_recompute() -> None:
    text = (ROOT / "notebooks/README.md").read_text()
    sentence = re.search(r"`-p recompute True`:(.*?\.)\n? ?`00_start_here`", text, re.DOTALL)
    assert sentence is not None, "the README does not say which notebooks have `recompute`"
    notebooks = {path.stem: nbformat.read(path, 4).cells for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    able = {
        name
        for name, cells in notebooks.items()
        if any("recompute =" in c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    }
    assert set(re.findall(r"`(\d\d_\w+)`", sentence[1])) == able

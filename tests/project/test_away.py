"""Three notebooks say what to install where rdlib is not, and then run there, alone, on what a clone holds."""

import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from scripts import script

from rdlib.files import ROOT

ADDRESS = "https://example.org/owner/name"


away = script("away")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Of an environment that has every package but rdlib: a folder's own .pth files are not followed from another's."""
    venv.create(tmp_path / "empty", symlinks=True)
    (site_of(tmp_path / "empty") / "others.pth").write_text(sysconfig.get_path("purelib"))
    return tmp_path / "empty" / "bin" / "python"


def site_of(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def run(python: Path, notebook: Path) -> tuple[subprocess.CompletedProcess[str], list[nbformat.NotebookNode]]:
    """What papermill says of a notebook alone in its folder, and the cells as they ended."""
    command = [python, "-m", "papermill", "--no-progress-bar", "--kernel", "python3", notebook.name, "out.ipynb"]
    done = subprocess.run(command, cwd=notebook.parent, capture_output=True, text=True)
    return done, nbformat.read(notebook.with_name("out.ipynb"), 4).cells


@pytest.mark.parametrize("name", away.TAKEN)
def test_the_committed_cell_names_the_address_of_pyproject(name: str) -> None:
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert first.source.startswith(away.opening(away.published_at())), "run `.venv/bin/python .ci/away.py`"


def test_alone_it_says_what_to_install_and_from_where_and_then_runs(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    alone = tmp_path / "alone" / "12_explorer.ipynb"
    alone.parent.mkdir()
    shutil.copy(ROOT / "notebooks" / alone.name, alone)
    away.put(alone, None)
    away.put(alone, ADDRESS)
    assert alone.read_text().count("find_spec(") == 1

    refused, cells = run(python, alone)
    assert refused.returncode
    [output] = next(cell for cell in cells if cell.cell_type == "code").outputs
    [said] = output.traceback
    assert f'\n    %pip install -e "git+{ADDRESS}#egg=rdlib"\n' in said
    assert len(said.splitlines()) == 3, "no trace"

    clone = tmp_path / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for file in filter(Path.is_file, (ROOT / name for name in listed.split("\0") if name)):
        (clone / file.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, clone / file.relative_to(ROOT))
    (site_of(python.parent.parent) / "editable.pth").write_text(str(clone))  # what pip does, without its downloads
    done, _ = run(python, alone)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in alone.parent.iterdir()) == ["12_explorer.ipynb", "out.ipynb"]

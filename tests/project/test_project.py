"""What the repository promises about itself: notebooks, environment, README, records."""

import ast
import io
import json
import re
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from scripts import script

from rdlib.commands.notebooks import RULES, check_parameters, execute, execute_if_changed, refuse_unknown
from rdlib.commands.publish import PAGES, filled
from rdlib.errors import ConfigError, NotebookError
from rdlib.experiments.profiles import PROFILES
from rdlib.explorer.explorer import Explorer
from rdlib.files import ROOT
from rdlib.runs.provenance import code_digest
from rdlib.runs.store import Store, store_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_committed_notebook_is_fully_executed_without_an_error(path: Path) -> None:
    """nbval never compares a cell without an execution count, so a missing one would pass whatever happens."""
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_prints_versions_first_and_then_has_its_parameters(path: Path) -> None:
    first, second = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"][:2]
    assert "__version__" in first.source
    assert second.metadata.tags == ["parameters"]
    wanted = {"11_take_your_own_resnet": {"folder", "weights", "here"}}  # reads no records
    wanted |= {
        name: {"store"}
        for name in ("08_table1_memory", "09_table2_latency", "10_table4_imagenet", "12_explorer", "13_questions")
    }
    check_parameters(path, dict.fromkeys(wanted.get(path.stem, {"profile", "store"})))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_only_live_results_are_hidden_from_nbval(path: Path) -> None:
    """Outside live training, at most the versions cell may go without comparison. 11 trains, times, compiles."""
    hidden = [c for c in nbformat.read(path, 4).cells if "nbval-ignore-output" in c.metadata.get("tags", [])]
    live = {"00_start_here": 3, "01_joint_training_by_hand": 2, "11_take_your_own_resnet": 10}
    assert len(hidden) == live.get(path.stem, 1)


def test_committed_text_carries_no_machine_path_and_no_host_name() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = [f for f in listed.split("\0") if f.endswith((".json", ".csv", ".ipynb", ".md"))]
    path = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|work|Users|opt)/[\w.]")
    for name in ours:
        text = (ROOT / name).read_text()
        assert not path.search(text), name
        assert not (len(socket.gethostname()) > 3 and socket.gethostname() in text), name


def test_no_store_commits_its_weights_checkpoints_or_locks() -> None:
    listed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed
    assert [f for f in listed.splitlines() if "/weights/" in f or f.endswith((".checkpoint", ".lock", ".tmp"))] == []


def test_environment_yml_is_what_the_lock_says() -> None:
    assert (ROOT / "environment.yml").read_text() == script("environment").render()


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_a_readme_are_what_the_records_say(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text.count("<!-- end -->") >= {"notebooks/README.md": 1}.get(page, 3)
    assert filled(text, Store(), PAGES[page]) == text, "run `make tables`"


def test_the_front_page_is_one_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 160
    assert len(text.encode()) <= 12_288


def digests_of_commits(tmp: Path) -> Iterator[str]:
    """The code digest of every commit that changed rdlib, the newest first."""
    log = ["git", "log", "--format=%H", "--", "rdlib"]
    for commit in subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split():
        packed = subprocess.run(["git", "archive", commit, "rdlib"], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as tree:
            tree.extractall(tmp / commit, filter="data")
        yield code_digest(tmp / commit / "rdlib")


def test_every_published_record_can_be_read_and_was_made_from_committed_code(tmp_path: Path) -> None:
    """A GPU machine gets a copy of the work tree, perhaps before its commit: then the digest has to be a commit's."""
    records = Store().records()
    assert records
    unsure = {r.provenance["code_sha256"] for r in records if r.provenance["dirty"] or not r.provenance["commit"]}
    commits = digests_of_commits(tmp_path)
    while unsure:
        unsure.discard(next(commits))
    measured = sorted((ROOT / "results" / "measured").glob("*.json"))
    assert measured
    origins = {path.name: json.loads(path.read_text())["provenance"] for path in measured}
    assert not [name for name, origin in origins.items() if origin["dirty"] or not origin["commit"]]


def notebook(path: Path, source: str) -> Path:
    parameters = nbformat.v4.new_code_cell("profile = 'quick'")
    parameters.metadata.tags = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)], metadata=kernel), path
    )
    return path


def test_an_unknown_notebook_parameter_is_refused_and_a_failing_cell_is_named(tmp_path: Path) -> None:
    source = notebook(tmp_path / "a.ipynb", "from rdlib.experiments.profiles import profile as p; p(profile)")
    output = tmp_path / "out" / "a.ipynb"
    with pytest.raises(ConfigError, match="no parameter 'nosuch'"):
        execute(source, output, {"nosuch": 1})
    with pytest.raises(NotebookError, match=r"cell \d+ with ConfigError: unknown profile 'nosuch'") as caught:
        execute(source, output, {"profile": "nosuch"})
    assert "\n" not in str(caught.value)
    shown = nbformat.read(output, 4).cells[-1].outputs[-1].traceback
    assert shown == [f"ConfigError: unknown profile 'nosuch': choose one of {', '.join(PROFILES)}"]


def test_a_mistyped_parameter_of_papermill_is_refused_in_the_notebook() -> None:
    cells = ["profile = 'quick'", "# Parameters\nprofil = 'quick'\nstore = None\n"]
    with pytest.raises(ConfigError, match="no parameter 'profil'"):
        refuse_unknown({"In": cells}, "profile", "store")
    refuse_unknown({"In": cells}, "profil", "store")
    refuse_unknown({"In": cells[:1], "chosen": 3}, "profile")


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("recompute", ["yes", 1, None, 0.0], "the parameter recompute is True or False, not "),
        ("seed", ["abc", -1, 1.0, True, None, 2**60], "the parameter seed is a whole number from 0, not |unknown seed"),
        ("seed", [3, 10], "unknown seed .*: choose one of 0, 1, 2"),
        ("profile", ["typo", "../quick"], "unknown profile "),
        ("profile", [1, None, ["quick"]], "the parameter profile is the name of a profile, not "),
        ("store", ["/nowhere", "x" * 5000], "there is no folder of records "),
        ("store", [5, 0.5], "the parameter store is a folder, or None, not "),
        ("architecture", ["deeplabv3_resnet50", "fasterrcnn_resnet50_fpn", "vgg16", 18], "unknown architecture "),
        ("here", ["/etc/hostname", "/etc/hostname/more", 7], "the parameter here is a folder that can be written to"),
        ("image_size", [0, -32, 0.5, "big", float("nan")], "the parameter image_size is a whole number from 1 to 4096"),
        ("epochs", [0, -1, 1.5, "four", None, 10**9], "the parameter epochs is a whole number from 1 to 10000, not "),
        (
            "learning_rate",
            [0, -0.1, float("nan"), float("inf"), "fast", None],
            "the parameter learning_rate is above 0",
        ),
        *((name, ["", " "], f"the parameter {name} is empty") for name in RULES),
        ("added_later", [""], "the parameter added_later is empty"),
    ],
)
def test_a_value_of_the_wrong_kind_or_range_ends_in_one_sentence(name: str, values: list[Any], sentence: str) -> None:
    for value in values:
        usual = {"profile": "quick"} if name == "seed" else {}
        with pytest.raises(ConfigError, match=rf"^({sentence})") as caught:
            refuse_unknown(usual | {name: value}, *usual, name)
        assert "\n" not in str(caught.value)


def test_the_words_true_and_false_are_read_as_the_values() -> None:
    for word, value in (("false", False), ("True", True), ("FALSE", False)):
        namespace: dict[str, Any] = {"recompute": word, "seed": 1, "profile": "quick", "store": None}
        refuse_unknown(namespace, *namespace)
        assert namespace["recompute"] is value


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_checks_all_its_parameters_and_its_defaults_pass(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    (defaults,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    namespace: dict[str, Any] = {}
    exec(defaults, namespace)
    names = [name for name in namespace if name != "__builtins__"]
    (checked,) = re.findall(r"refuse_unknown\(globals\(\), ([^)]*)\)", "\n".join(cell.source for cell in cells))
    assert sorted(ast.literal_eval(f"[{checked}]")) == sorted(names)
    refuse_unknown(namespace, *names)


def test_a_store_that_is_not_there_is_refused_and_one_that_is_there_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for refused in (store_of, Explorer):
        with pytest.raises(ConfigError, match=r"^there is no folder of records mine: .*sweep PROFILE --store mine$"):
            refused("mine")
        with pytest.raises(ConfigError, match=r"the name is empty"):
            refused("")
    assert store_of("mine", new=True).root == ROOT / "mine", "as a command from the repository's root"
    assert store_of("results/runs").root == ROOT / "results" / "runs", "as from the repository's root"
    (tmp_path / "mine").mkdir()
    assert store_of("mine").root.resolve() == tmp_path / "mine"
    assert store_of(tmp_path / "mine").root == tmp_path / "mine"
    assert store_of(None).root == Store().root


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_that_reads_a_store_refuses_one_that_is_not_there(path: Path) -> None:
    code = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    reads = "store = None" in code and path.stem != "01_joint_training_by_hand"  # there it is unused
    assert ("store_of(store" in code or "Explorer(store)" in code) == reads
    assert "Store(" not in code


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_interrupting_the_first_training_keeps_the_networks_that_finished(
    finished: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cells of 00 themselves, with a `fit` that trains nothing and is interrupted."""
    tasks = iter(range(3))

    def fit(*_: object, **__: object) -> list[object]:
        if next(tasks) == finished:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr("rdlib.train.fit", fit)
    monkeypatch.setattr("rdlib.figures.curves.LiveCurves", lambda epochs: None)
    cells = [c for c in nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4).cells if c.cell_type == "code"]
    space: dict[str, Any] = {}
    for cell in cells:
        if "solution" not in cell.metadata.tags:
            exec(cell.source, space)
    plt.close("all")
    names = ["ResNet", "plain", "plain, JointRD"]
    lines = capsys.readouterr().out.splitlines()
    results = space["results"].set_index("network")
    assert [bool(results.loc[name, "test top-1 (%)"]) for name in names] == [True] * finished + [False] * (3 - finished)
    assert all(results["published"])
    ours = [line for line in lines if line.startswith("not trained to the end: ")]
    assert [line.split(": ")[1].partition(".")[0] for line in ours] == ["; ".join(names[finished:])] * (finished < 3)


def test_a_notebook_runs_again_only_when_something_it_reads_changed(tmp_path: Path) -> None:
    source, output = notebook(tmp_path / "a.ipynb", "print(profile)"), tmp_path / "out" / "a.ipynb"
    assert execute_if_changed(source, output, {}, "records")
    assert not execute_if_changed(source, output, {}, "records")
    assert execute_if_changed(source, output, {}, "other records")

"""A room of rdlib imports only from the rooms above it, and training needs neither Jupyter nor plots."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rdlib

FOLDER = Path(rdlib.__file__).parent
ROOMS = ("images", "rivals", "runs", "experiments", "deploy", "measure", "paper", "figures", "explorer", "commands")
CORE = (
    "errors",
    "files",
    "recipe",
    "distributed",
    "convolutions",
    "models",
    "losses",
    "methods",
    "step",
    "train",
)


def place(module: str) -> int:
    """How far down the house a module of rdlib lies: the files of the core in reading order, then the rooms."""
    first = module.split(".")[1]
    return CORE.index(first) if first in CORE else len(CORE) + ROOMS.index(first)


def imported(source: str) -> set[str]:
    """The modules of rdlib that a source imports, wherever in it: also within functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("rdlib.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this test"
            if node.module == "rdlib":
                found |= {f"rdlib.{alias.name}" for alias in node.names} - {"rdlib.__version__"}
            elif node.module is not None and node.module.startswith("rdlib."):
                found.add(node.module)
    return found


FILES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_room_imports_only_from_itself_and_the_rooms_above(path):
    module = ".".join(("rdlib", *path.relative_to(FOLDER).with_suffix("").parts))
    if module in ("rdlib.__main__", "rdlib.__init__"):
        return
    mine, theirs = place(module), {name: place(name) for name in imported(path.read_text())}
    assert {name for name, at in theirs.items() if at > mine} == set()


def test_the_house_is_as_small_as_promised():
    assert len(list(FOLDER.glob("*.py"))) <= 12
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)
    assert {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 300} == {}


def test_lazy_imports_are_seen():
    assert imported("def f():\n    from rdlib import train\n    import rdlib.runs.sweep") == {
        "rdlib.train",
        "rdlib.runs.sweep",
    }
    assert imported("if 1:\n    from rdlib.figures.accuracy import style") == {"rdlib.figures.accuracy"}


WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {absent!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
try:
    import sklearn
except ModuleNotFoundError:
    print("really absent")
import rdlib.images.dataset, rdlib.runs.run, rdlib.runs.sweep, rdlib.experiments.tables, rdlib.train
from rdlib.__main__ import main
sys.argv = ["rdlib", "sweep", "quick", "--list", "--seeds", "1", "--store", {store!r}]
main()
"""
ABSENT = (
    *("jupyterlab", "papermill", "nbformat", "nbval", "joblib", "sklearn", "scipy", "matplotlib", "seaborn"),
    *("ipywidgets", "IPython", "ipykernel", "onnx", "onnxruntime", "onnxscript", "openvino", "executorch"),
    *("torch_pruning", "huggingface_hub", "hypothesis"),
)


def test_a_network_needs_no_tables_and_no_plots():
    code = "import sys, rdlib.models; print({'pandas', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True).stdout
        == "set()\n"
    )


def test_sweeps_need_no_jupyter_no_plots_and_no_scikit_learn(tmp_path):
    """As on a cluster node that has torch, pandas and typer only."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(absent=ABSENT, store=str(tmp_path))],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("really absent\n")
    assert "JointRD digits depth 34 shortcuts none rate 0.1 seed 0: missing" in done.stdout

"""A file of rdlib imports only from files above it, and training needs neither Jupyter nor plots nor scikit-learn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rdlib

FOLDER = Path(rdlib.__file__).parent
ORDER = (
    *("errors", "recipe", "parallel", "reparametrised", "rivals/dirac", "rivals/repvgg", "models", "losses", "sources"),
    *("parts", "scenes", "data", "photographs", "teaching", "methods", "ablations", "rivals/pruning", "rivals/hints"),
    *("rivals/attention", "rivals/inherited", "rivals/similarity", "rivals/tailor", "rivals/finetuned", "transfer"),
    *("ways", "checkpoint", "step", "train", "runs"),
    *("provenance", "layout", "experiment", "adopt", "flops", "cost", "status", "workers", "sweep"),
    *("fold", "graph", "deploy", "verify", "quantize", "planner", "sketch", "delivery", "rivals/rmnet"),
    *("candidates", "arena", "measured", "engines", "latency_record", "latency", "speedup", "memory", "hub"),
    *("profiles", "rows", "transfer_rows", "comparisons", "tables", "int8", "differences", "contrasts", "linked"),
    *("evidence", "evidence_record", "observation", "observation_record", "rival_costs", "rival_table"),
    *("readings", "claims", "questions", "transfer_table", "scorecard", "facts", "checklist", "catalogue", "live"),
    *("figures", "contrast_figures", "evidence_figures", "rival_figures", "transfer_figures", "curve_figures"),
    *("path_figures", "drawing", "publish", "notebooks", "reproduce", "classify", "data_command", "measure_command"),
    *("panels/panel", "panels/network", "panels/training", "panels/paths", "panels/numbers", "panels/results"),
    *("explorer", "__main__"),
)


def imported(source: str) -> set[str]:
    """The files of rdlib that a source imports, wherever in it: also within functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("rdlib.").replace(".", "/")
                for alias in node.names
                if alias.name.split(".")[0] == "rdlib"
            }
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this test"
            if node.module == "rdlib":
                found |= {alias.name for alias in node.names}
            elif node.module is not None and node.module.startswith("rdlib."):
                found.add(node.module.removeprefix("rdlib.").replace(".", "/"))
    return found - {"__version__"}


def test_every_file_has_its_place():
    files = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py")}
    assert {name for name in files if not name.endswith("__init__")} == set(ORDER)


@pytest.mark.parametrize("name", [*ORDER, "__init__", "rivals/__init__", "panels/__init__"])
def test_a_file_imports_only_from_files_above_it(name):
    above = ORDER[: ORDER.index(name)] if name in ORDER else ()
    assert imported((FOLDER / f"{name}.py").read_text()) <= set(above)


def test_lazy_imports_are_seen():
    assert imported(
        "def f():\n    from rdlib import sweep, data\n    import rdlib.experiments.tables\n    from rdlib.runs.run import Run"
    )
    assert imported("if 1:\n    from rdlib.figures.accuracy import style") == {"figures"}


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
    assert "JointRD digits depth 34 shortcuts none rate 0.9 seed 0: missing" in done.stdout

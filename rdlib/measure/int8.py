"""What int8 costs in accuracy: every trained ResNet, plain network and JointRD network of a profile, before and after,
by ONNX Runtime's tool and by the tools that lead to an NPU.

Plain networks that were re-parameterised are known to suffer (RepVGG); whether these do is measured, not assumed.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdlib.deploy import tosa
from rdlib.deploy.delivery import CALIBRATION, COMPARED, deliver
from rdlib.deploy.microcontroller import quantised_for
from rdlib.deploy.quantize import saturates
from rdlib.errors import DeployError, RecordError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import rows_of
from rdlib.measure.record import ProfileRecord, Tell, origin, require_writable, write
from rdlib.runs.execute import images_of, require_same_images
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import evaluate

RECORD = ProfileRecord("int8")
TOOLS = {"ONNX Runtime": "int8_top1", "NPU": "npu_top1"}  # older records lack the second
TAUGHT = (CROSS_ENTROPY, JOINTRD)
PACKAGES = (*tosa.PACKAGES, "onnx", "onnxruntime")


def rows(profile: Profile) -> list[Row]:
    """The cells that are compared: those whose accuracy is that of the test split."""
    return [row for table in ("3", "4") for row in rows_of(profile, table) if row.teaching in TAUGHT]


def measure(profile: Profile, store: Store, path: Path, tell: Tell = lambda line: None) -> None:
    """Deliver every run whose weights are here in float32 and int8, and write both accuracies to a record.

    Runs without weights are told and left out; train them again with `python -m rdlib train --again ID`. Raises
    RecordError, before anything is measured, where the record cannot be written or would lose a run that it has.
    """
    require_writable(path)
    try:
        tosa.require_packages()
        with_npu = True
    except DeployError as error:
        tell(f"ONNX Runtime's int8 alone: {error}")
        with_npu = False
    named = [(f"{row.name}, seed {run.seed}", run) for row in rows(profile) for run in row.runs]
    if lost := RECORD.runs(profile, store, path).keys() - {run.id for _, run in named if store.has_weights(run)}:
        raise RecordError(
            f"{path.name} has {len(lost)} runs that would be lost (no weights here, or in no table now): train them "
            "again, or write to another file"
        )
    found: dict[str, Any] = {}
    for name, run in named:
        if not store.has_weights(run):
            tell(f"{name}: no weights here, left out")
            continue
        found[run.id] = one = accuracies(run, store, with_npu)
        after = ", ".join(f"{one[key]:.2f} % ({tool})" for tool, key in TOOLS.items() if key in one)
        tell(f"{name}: {one['float32_top1']:.2f} -> {after}")
    settings = {"calibration_images": CALIBRATION, "compared_images": COMPARED, "weight_bits": 7 if saturates() else 8}
    write(path, {"settings": settings, "provenance": origin(*PACKAGES), "runs": found})


def accuracies(run: Run, store: Store, with_npu: bool = True) -> dict[str, Any]:
    """Top-1 in percent of a trained run in eager float32 and of its int8 file; with_npu: also of the int8 network that
    an NPU would run, in PyTorch, which is compared with the reference model. Raises RecordError for other images."""
    images = images_of(run, store)
    require_same_images(run, store, images)
    with tempfile.TemporaryDirectory() as folder:
        found = deliver(store.network(run), images, Path(folder) / "net.onnx", int8=True)
    assert found.int8 is not None
    assert found.int8.runtime_graph is not None
    known = {
        "float32_top1": found.network_top1,
        "int8_top1": found.file_top1,
        "compared": found.int8.images,
        "equal_top1": found.int8.equal_top1,
        "runtime_operators": found.int8.runtime_graph.operators,
    }
    if not with_npu:
        return known
    quantised, _, compared = quantised_for(store.network(run), images)
    top1 = evaluate(quantised, images, images.test).top1
    return known | {"npu_top1": top1, "npu_equal_top1": compared.equal_top1, "npu_steps": compared.steps}


def table(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """Top-1 on the test split, mean and deviation over the seeds that were measured, and the paired changes, by each
    tool that any of them has.

    Without a record all cells are empty and name the command that fills them.
    """
    runs, lines = RECORD.runs(profile, store, path), []
    tools = {tool: key for tool, key in TOOLS.items() if not runs or any(key in one for one in runs.values())}
    for row in rows(profile):
        found = [runs[run.id] for run in row.runs if run.id in runs and set(tools.values()) <= runs[run.id].keys()]
        before = values(found, "float32_top1")
        line = {"network": row.name, "float32 top-1 (%)": spread(before)}
        for tool, key in tools.items():
            after = values(found, key)
            line |= {f"int8, {tool}": spread(after), f"change, {tool}": spread(after - before, "+.2f")}
        lines.append((line, len(found), len(row.runs)))
    return RECORD.table(profile, store, lines)


def values(found: list[dict[str, Any]], key: str) -> "np.ndarray[Any, Any]":
    return np.array([one[key] for one in found])


def spread(values: "np.ndarray[Any, Any]", form: str = ".2f") -> str:
    """Mean and sample deviation; empty without a value."""
    if not len(values):
        return ""
    mean = f"{round(values.mean(), 2) + 0.0:{form}}"  # minus nothing is nothing
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.2f}"

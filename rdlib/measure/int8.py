"""What int8 costs in accuracy: every trained ResNet, plain network and JointRD network of a profile, before and after.

Plain networks that were re-parameterised are known to suffer (RepVGG); whether these do is measured, not assumed.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdlib.deploy.delivery import CALIBRATION, COMPARED, deliver
from rdlib.errors import RecordError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import in_store, rows_of
from rdlib.images import load
from rdlib.measure import record as measured
from rdlib.runs.execute import require_same_images
from rdlib.runs.store import Store

TAUGHT = ("cross-entropy", "JointRD")
PACKAGES = ("torch", "onnx", "onnxruntime")


def command(profile: Profile, store: Store) -> str:
    return in_store(f"python -m rdlib measure int8 {profile.name}", store)


def path_of(profile: Profile, store: Store) -> Path:
    return measured.folder(store) / f"int8-{profile.name}.json"


def rows(profile: Profile) -> list[Row]:
    """The cells that are compared: those whose accuracy is that of the test split."""
    tables = ("3", "3-low-rate", "4")
    return [row for table in tables for row in rows_of(profile, table) if row.method in TAUGHT]


def measure(profile: Profile, store: Store, path: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Deliver every run whose weights are here in float32 and int8, and write both accuracies to a record.

    Runs without weights are told and left out; train them again with `python -m rdlib train --again ID`. Raises
    RecordError, before anything is measured, where the record cannot be written or would lose a run that it has.
    """
    measured.require_writable(path)
    known = measured.read(path, command(profile, store))["runs"] if path.exists() else {}
    here = {run.id for row in rows(profile) for run in row.runs if store.has_weights(run)}
    if lost := set(known) - here:
        raise RecordError(
            f"{path.name} has {len(lost)} runs whose weights are not here: train them again, or write to another file"
        )
    runs: dict[str, Any] = {}
    for row in rows(profile):
        for run in row.runs:
            if not store.has_weights(run):
                tell(f"{row.name}, seed {run.seed}: no weights here, left out")
                continue
            images = load(run.dataset, image_size=run.recipe.image_size)
            require_same_images(run, store, images)
            with tempfile.TemporaryDirectory() as folder:
                found = deliver(store.network(run), images, Path(folder) / "net.onnx", int8=True)
            assert found.int8 is not None
            assert found.int8.runtime_graph is not None
            runs[run.id] = {
                "float32_top1": found.network_top1,
                "int8_top1": found.file_top1,
                "compared": found.int8.images,
                "equal_top1": found.int8.equal_top1,
                "runtime_operators": found.int8.runtime_graph.operators,
            }
            tell(f"{row.name}, seed {run.seed}: {found.network_top1:.2f} -> {found.file_top1:.2f} %")
    settings = {"calibration_images": CALIBRATION, "compared_images": COMPARED}
    measured.write(path, {"settings": settings, "provenance": measured.origin(*PACKAGES), "runs": runs})


def table(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """Top-1 on the test split, mean and deviation over the seeds that were measured, and the paired change.

    Without a record all cells are empty and name the command that fills them.
    """
    path = path or path_of(profile, store)
    runs = measured.read(path, command(profile, store))["runs"] if path.exists() else {}
    lines = []
    for row in rows(profile):
        found = [runs[run.id] for run in row.runs if run.id in runs]
        before, after = (np.array([one[key] for one in found]) for key in ("float32_top1", "int8_top1"))
        lines.append(
            {
                "network": row.name,
                "float32 top-1 (%)": spread(before),
                "int8 top-1 (%)": spread(after),
                "change": spread(after - before, "+.2f"),
                "n": f"{len(found)}/{len(row.runs)}",
                "to fill": "" if len(found) == len(row.runs) else command(profile, store),
            }
        )
    result = pd.DataFrame(lines)
    return result if result["to fill"].any() else result.drop(columns="to fill")


def spread(values: "np.ndarray[Any, Any]", form: str = ".2f") -> str:
    """Mean and sample deviation; empty without a value."""
    if not len(values):
        return ""
    mean = f"{values.mean():{form}}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.2f}"

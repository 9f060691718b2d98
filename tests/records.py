"""Records made by hand, of which only the accuracy matters."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rdlib.experiments import rows
from rdlib.experiments.rows import Row, Teaching
from rdlib.runs.run import Divergence, Record, Run
from rdlib.runs.store import Store

RESNET, PLAIN, JOINTRD = (rows.CROSS_ENTROPY, "all"), (rows.CROSS_ENTROPY, "none"), (rows.JOINTRD, "none")
ORIGIN = {"seconds": 1.0, "protocol": "reduced"}


def put(store: Store, run: Run, top1: float, origin: Mapping[str, Any] = MappingProxyType({})) -> None:
    metrics = {"test_top1": None, "test_top5": None, "tune_top1": None, "train_loss": 0.1}
    metrics[f"{run.recipe.holdout}_top1"] = top1
    path = store.record_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Record(run, metrics, [], ORIGIN | origin).to_json())


def put_diverged(store: Store, run: Run, epoch: int = 2, origin: Mapping[str, Any] = MappingProxyType({})) -> None:
    path = store.record_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Record(run, {}, [], ORIGIN | origin, Divergence(epoch, 1, "cross_entropy")).to_json())


def put_row(store: Store, row: Row, *values: float) -> None:
    """One value a seed, from the first seed on."""
    for run, value in zip(row.runs, values, strict=False):
        put(store, run, value)


def fill(store: Store, rows: Iterable[Row], values: Mapping[tuple[Teaching, str], Sequence[float]]) -> None:
    """Records for the rows of a teaching and kind of shortcuts."""
    for row in rows:
        put_row(store, row, *values.get((row.teaching, row.shortcuts), ()))

"""Records without a training, and coarse pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few dots are drawn faster."""
    monkeypatch.setattr("rdlib.explorer.panel.DPI", 40)


@pytest.fixture
def put(store: Store) -> Callable[..., Path]:
    """`put(run, top1, history, **provenance)` writes a record of a run into the store."""

    def write(run: Run, top1: float | None, history: Sequence[object] = (), **provenance: object) -> Path:
        path = store.record_path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics = {f"{run.recipe.holdout}_top1": top1, "train_loss": 0.1}
        origin = {"protocol": "reduced", "seconds": 1.0} | provenance
        path.write_text(Record(run, metrics, list(history), origin).to_json())
        return path

    return write

"""A run that diverges is a result: a record without a number, done, and nothing that could be taught by it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import rdlib.train
from rdlib.errors import ConfigError, RecordError
from rdlib.recipe import Recipe
from rdlib.runs import execute
from rdlib.runs.execute import train, with_weights
from rdlib.runs.progress import describe
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import missing, sweep
from rdlib.train import Epoch

MakeRun = Callable[..., Run]
ABSURD = Recipe(3, 256, 10.0, crop_padding=2, flip=False, weight_decay=100.0)
RESNET = Run("digits", "Supervised", 18, 4, "all", 0, ABSURD)
STUDENT = Run("digits", "JointRD", 18, 4, "none", 0, replace(ABSURD, learning_rate=0.05), {}, RESNET.id)
FINE = Run("digits", "Supervised", 18, 4, "none", 0, Recipe(1, 256, 0.05, crop_padding=2, flip=False))


def files_of(store: Store) -> set[str]:
    return {path.name for path in store.root.rglob("*") if path.is_file()}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trainings diverge in the epoch after those that this list names, which a test may change."""
    after, healthy = [1], execute.fit

    def fit(method: Any, *arguments: Any, **named: Any) -> Iterator[Epoch]:
        for epoch in healthy(method, *arguments, **named):
            yield epoch
            if epoch.epoch in after:
                next(method.student.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(execute, "fit", fit)
    return after


def test_a_sweep_records_what_diverges_and_its_students_fail(store):
    runs = [STUDENT, FINE, RESNET]
    outcome = sweep(runs, store, jobs=1, device="cpu")
    assert [record.run for record in outcome.trained] == [FINE, RESNET]
    record = store.record(RESNET)
    assert record == outcome.trained[1]
    assert (record.diverged.epoch, record.diverged.term, len(record.history)) == (2, "cross_entropy", 1)
    assert outcome.failures.keys() == {STUDENT}
    assert outcome.failures[STUDENT].startswith(f"run {RESNET.id} diverged in epoch 2, so it has no weights to teach")
    assert files_of(store) == {f"{RESNET.id}.json", f"{FINE.id}.json", f"{FINE.id}.safetensors"}
    before = store.record_path(RESNET).read_bytes()

    assert missing(runs, store) == [STUDENT]
    again = sweep(runs, store, jobs=1, device="cpu")
    assert (again.trained, again.failures) == ([], outcome.failures)
    assert store.record_path(RESNET).read_bytes() == before


def test_the_record_of_a_run_that_diverged_has_no_number_and_says_where(tiny_runs, store, poisoned):
    run = tiny_runs()
    record = train(run, store, "cpu", progress=False)
    body = json.loads(store.record_path(run).read_text())
    assert (body["schema"], body["metrics"]) == (2, {})
    assert body["diverged"] == {"epoch": 2, "step": 1, "term": "cross_entropy"}
    assert [epoch["epoch"] for epoch in body["history"]] == [1]
    assert "weights_sha256" not in body["provenance"]
    assert body["provenance"]["protocol"] == "reduced"
    assert body["provenance"]["images_per_second"] > 0
    assert store.record(run) == record
    assert re.fullmatch(r"diverged in epoch 2, \d+ s", describe(record))
    with pytest.raises(RecordError, match=rf"run {run.id} diverged in epoch 2, so it has no accuracy"):
        _ = record.top1


@pytest.mark.parametrize("change", ["epoch", "schema", "gone", "finished"])
def test_a_changed_record_of_a_run_that_diverged_is_refused(change, tiny_runs, store, poisoned):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    path = store.record_path(run)
    body = json.loads(path.read_text())
    if change == "epoch":
        body["diverged"]["epoch"] = 1
    elif change == "schema":
        body["schema"] = 3
    elif change == "gone":
        del body["diverged"]
    else:
        del body["diverged"]
        body |= {"schema": 1, "metrics": {"test_top1": 99.0}}
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match=rf"record {path.name} ") as caught:
        sweep([run], store, jobs=1, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_run_that_diverges_in_its_first_epoch_has_no_speed(store):
    run = replace(RESNET, recipe=replace(ABSURD, learning_rate=1e20))
    record = train(run, store, "cpu", progress=False)
    assert (record.history, record.provenance["images_per_second"]) == ([], None)
    assert store.record(run) == record


def test_a_killed_run_that_diverges_after_all_has_its_whole_history_and_no_checkpoint(tiny_runs, store, poisoned):
    run = tiny_runs(recipe=Recipe(4, 16, 0.05, crop_padding=1))
    poisoned[:] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rdlib.train.run_epoch", stopped_in(3))
        with pytest.raises(KeyboardInterrupt):
            train(run, store, "cpu", progress=False)
    assert store.checkpoint_path(run).exists()
    poisoned[:] = [2]
    record = train(run, store, "cpu", progress=False)
    assert (record.diverged.epoch, [epoch["epoch"] for epoch in record.history]) == (3, [1, 2])
    assert files_of(store) == {f"{run.id}.json"}


def stopped_in(number: int) -> Callable[..., Epoch]:
    def run_epoch(step: Any, batches: Any, index: int, *others: Any) -> Epoch:
        if index + 1 == number:
            raise KeyboardInterrupt
        return healthy(step, batches, index, *others)

    healthy = rdlib.train.run_epoch
    return run_epoch


def test_a_diverged_run_is_neither_exported_nor_trained_again_for_its_weights(tiny_runs, store, poisoned):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    with pytest.raises(ConfigError, match="diverged in epoch 2, so it has no weights to teach with or to export"):
        with_weights(run, store, pytest.fail)


def test_a_repeated_run_that_diverges_too_changes_nothing(tiny_runs, store, poisoned):
    run = tiny_runs()
    record = train(run, store, "cpu", progress=False)
    before = store.record_path(run).read_bytes()
    assert train(run, store, "cpu", progress=False) == record
    assert store.record_path(run).read_bytes() == before


def test_a_repeated_run_that_diverges_here_alone_leaves_record_and_weights(tiny_runs, store, poisoned):
    run = tiny_runs()
    poisoned[:] = []
    train(run, store, "cpu", progress=False)
    poisoned[:] = [1]
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    with pytest.raises(RecordError, match=r"diverged in epoch 2 here, and by its record, which stands, it finished"):
        train(run, store, "cpu", progress=False)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_a_repeated_run_that_finishes_here_alone_leaves_the_record(tiny_runs, store, poisoned):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    poisoned[:] = []
    with pytest.raises(RecordError, match=r"finished here with test top-1 .* it diverged in epoch 2: no weights were"):
        train(run, store, "cpu", progress=False)
    assert files_of(store) == {f"{run.id}.json"}
    assert store.diverged(run)

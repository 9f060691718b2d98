"""A run is a value, its id a hash of it, and its record proves itself."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rdlib.errors import CheckpointError, ConfigError, RecordError
from rdlib.files import RESULTS, ROOT, digest, sha256_of
from rdlib.methods import JointRD
from rdlib.recipe import IMAGENET_RECIPE, Recipe
from rdlib.rivals.register import METHODS
from rdlib.runs import execute as experiment
from rdlib.runs.execute import train
from rdlib.runs.provenance import code_digest
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import evaluate

MakeRun = Callable[..., Run]
BASE = Run("cifar10", "JointRD", 34, 64, "none", 0, Recipe(), {}, "0123456789ab")

OTHER: dict[str, Any] = {
    "dataset": "cifar100",
    "method": "LogitDistillation",
    "depth": 50,
    "width": 32,
    "shortcuts": "downsample",
    "seed": 1,
    "recipe": Recipe(epochs=100),
    "options": {"quarter": True},
    "teacher": "ba9876543210",
    "conv": "dirac",
    "other_stem": "imagenet",
}
OTHER_RECIPE: dict[str, Any] = {
    "epochs": 199,
    "batch_size": 64,
    "learning_rate": 0.2,
    "schedule": "cosine",
    "milestones": (0.5, 0.8),
    "momentum": 0.8,
    "weight_decay": 1e-4,
    "crop_padding": 2,
    "flip": False,
    "holdout": "tune",
    "cutout": 8,
    "shots": 5,
    "optimizer": "muon",
}
OTHER_OPTIONS: dict[str, Any] = {
    "distance_weight": 1e-4,
    "m_start": 0.9,
    "m_min": 0.005,
    "m_end": 0.5,
    "quarter": True,
    "init": "teacher",
}


def test_id_of_a_literal_run_is_pinned():
    """Published records carry such ids: a change here orphans all of them."""
    assert BASE.id == "47871d21e7e8"
    quick = Recipe(30, learning_rate=0.9, schedule="one-cycle", crop_padding=2, flip=False)
    assert Run("digits", "Supervised", 34, 8, "all", 0, quick).id == "13f7f499d8d5"


def output_of(code: str) -> str:
    """What a program prints in a process of its own, whose strings hash otherwise."""
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    return subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True)


def test_id_does_not_depend_on_the_process():
    code = (
        "from rdlib.runs.run import Run; from rdlib.recipe import Recipe;"
        "print(Run('cifar10', 'JointRD', 34, 64, 'none', 0, Recipe(), {}, '0123456789ab').id)"
    )
    assert output_of(code).strip() == BASE.id


def test_any_changed_field_gives_another_id():
    assert OTHER.keys() == {f.name for f in fields(Run)}
    assert OTHER_RECIPE.keys() == {f.name for f in fields(Recipe)} - {"image_size"}
    assert {*OTHER_OPTIONS, "regime"} == set(BASE.options)
    changed = [replace(BASE, **{name: value} | drop_options(name)) for name, value in OTHER.items()]
    changed += [replace(BASE, recipe=replace(BASE.recipe, **{name: value})) for name, value in OTHER_RECIPE.items()]
    changed += [replace(BASE, options={name: value}) for name, value in OTHER_OPTIONS.items()]
    changed += [replace(BASE, options={"regime": "beside"}, teacher=None)]
    changed += [replace(BASE, recipe=replace(BASE.recipe, crop_padding=0, image_size=side)) for side in (None, 224)]
    ids = [run.id for run in [BASE, *changed]]
    # options={"quarter": True} stands in two lists
    assert len(set(ids)) == len(ids) - 1
    assert all(re.fullmatch("[0-9a-f]{12}", run_id) for run_id in ids)


def drop_options(name: str) -> dict[str, Any]:
    """Another method has other options."""
    return {"options": {}} if name == "method" else {}


def test_omitted_options_are_the_methods_defaults():
    explicit = {"regime": "frozen", "distance_weight": 1e-3, "m_start": 1.0, "m_min": 0.5, "m_end": 0.3}
    explicit |= {"quarter": False, "init": "scratch"}
    assert BASE.options == explicit
    assert replace(BASE, options=explicit) == replace(BASE, options={"m_end": 0.3}) == BASE
    assert replace(BASE, options=explicit).id == BASE.id


def test_equal_numbers_are_one_run():
    a, b = (replace(BASE, options={"m_start": one, "m_min": zero}) for one, zero in ((1, 0), (1.0, 0.0)))
    assert (a.id, a) == (b.id, b)
    a, b = (
        Run("digits", "LogitDistillation", 18, 4, "none", 0, Recipe(), {"temperature": t}, "0" * 12) for t in (4, 4.0)
    )
    assert a.id == b.id
    for name in ("learning_rate", "momentum", "weight_decay"):
        a, b = (replace(BASE, recipe=Recipe(**{name: one})) for one in (1, 1.0))
        assert (a.id, a) == (b.id, b)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (replace(BASE, width=64), lambda: replace(BASE, width=64.0)),
        (replace(BASE, seed=1), lambda: replace(BASE, seed=True)),
        (BASE, lambda: replace(BASE, recipe=Recipe(epochs=200.0))),
        (replace(BASE, recipe=Recipe(milestones=(1.0,))), lambda: replace(BASE, recipe=Recipe(milestones=(1,)))),
    ],
)
def test_equal_whole_numbers_are_one_run_or_refused(one, same):
    try:
        other = same()
    except ConfigError:
        return
    assert other == one
    assert other.id == one.id


def test_a_run_survives_json():
    for run in (BASE, replace(BASE, recipe=Recipe(milestones=(0.1, 0.2))), replace(BASE, options={"m_min": 0.0})):
        again = Run.from_value(json.loads(json.dumps(run.value)))
        assert again == run
        assert (again.id, hash(again)) == (run.id, hash(run))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "Magic"}, f"unknown method 'Magic': choose one of {', '.join(METHODS)}$"),
        ({"depth": 20}, "18, 34, 50"),
        ({"shortcuts": "few"}, "all, downsample, none"),
        ({"options": {"lambda": 1.0}}, "'lambda'.*distance_weight"),
        ({"options": {"m_min": "0.5"}}, "m_min of JointRD is a float like 0.5, not '0.5'"),
        ({"options": {"quarter": 1}}, "quarter of JointRD is a bool"),
        ({"options": {"m_min": True}}, "m_min"),
        ({"options": {"init": 3}}, "init"),
        ({"teacher": None}, "JointRD needs a trained teacher"),
        ({"method": "LogitDistillation", "options": {}, "teacher": None}, "needs a trained teacher"),
        ({"options": {"regime": "beside"}}, "takes no trained teacher"),
        ({"method": "Supervised", "options": {}}, "takes no trained teacher"),
        ({"method": "Supervised", "options": {"alpha": 1.0}, "teacher": None}, "it has none"),
        ({"options": {"m_min": float("nan")}}, "m_min of JointRD is a number from 0, not nan"),
        ({"options": {"m_end": -1.0}}, "m_end of JointRD is a number from 0"),
        ({"options": {"regime": "x"}, "teacher": None}, "unknown regime 'x'"),
        ({"options": {"regime": "joint"}, "teacher": None}, "regime 'joint' is no more: choose beside"),
        ({"width": -3}, "width >= 1 and a seed from 0, not -3 and 0"),
        ({"seed": -1}, "width >= 1 and a seed from 0, not 64 and -1"),
        ({"dataset": "../x"}, "a data set name is letters"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(changes, named):
    with pytest.raises(ConfigError, match=named) as caught:
        replace(BASE, **{"options": {}} | changes)
    assert "\n" not in str(caught.value)


KEYS = {
    "run": {"dataset", "method", "depth", "width", "shortcuts", "seed", "recipe", "options", "teacher"},
    "metrics": {"test_top1", "test_top5", "tune_top1", "train_loss"},
    "provenance": {
        *("commit", "dirty", "code_sha256", "created", "seconds", "images_per_second", "device", "threads"),
        *("processes", "processor", "peak_memory_bytes", "precision"),
        *("versions", "data_sha256", "protocol", "weights_sha256"),
    },
}


def test_record_has_exactly_the_documented_keys(tiny_runs, store):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    body = json.loads(store.record_path(run).read_text())
    assert body.keys() == {"id", "schema", "digest", *KEYS, "history"}
    assert {name: set(body[name]) for name in KEYS} == KEYS
    assert [epoch["epoch"] for epoch in body["history"]] == [1, 2]
    assert all(
        epoch.keys() == {"epoch", "seconds", "train_top1", "losses", "learning_rate"} for epoch in body["history"]
    )
    assert (body["id"], body["schema"]) == (run.id, 1)


def test_record_on_disk_is_the_record_and_the_network_has_its_accuracy(tiny_runs, store, dataset):
    run = tiny_runs()
    record = train(run, store, "cpu", progress=False)
    assert store.record(run) == record
    assert store.records() == [record]
    assert store.run("tiny", run.id) == run
    network = store.network(run)
    assert not network.training
    again = evaluate(network, dataset, dataset.test)
    assert (again.top1, again.top5) == (record.metrics["test_top1"], record.metrics["test_top5"])
    assert record.top1 == record.metrics["test_top1"]
    assert record.metrics["tune_top1"] is None
    assert record.metrics["train_loss"] == pytest.approx(record.history[-1]["losses"]["cross_entropy"], rel=1e-5)
    assert record.provenance["data_sha256"] == dataset.sha256
    assert {path.name for path in store.root.rglob("*") if path.is_file()} == {
        f"{run.id}.json",
        f"{run.id}.safetensors",
    }


def test_tune_run_has_no_test_accuracy(tiny_runs, store, monkeypatch, dataset):
    """Nor can it have: the test split is replaced by one that cannot be used."""
    monkeypatch.setattr(
        "rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": replace(dataset, test=None)
    )
    run = tiny_runs(recipe=Recipe(2, 16, 0.05, holdout="tune"))
    record = train(run, store, "cpu", progress=False)
    assert (record.metrics["test_top1"], record.metrics["test_top5"]) == (None, None)
    assert record.top1 == record.metrics["tune_top1"] == record.history[-1]["tune_top1"]
    assert isinstance(record.top1, float)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_lack_of_memory_says_what_to_lower_and_keeps_the_checkpoint(error, tiny_runs, store, monkeypatch):
    run, steps = tiny_runs(), []

    def losses(self, images, labels, progress):
        steps.append(progress)
        if progress > 0:
            raise error
        return {"cross_entropy": self.student(images).square().mean()}

    monkeypatch.setattr("rdlib.methods.Supervised.losses", losses)
    monkeypatch.setattr("rdlib.methods.Supervised.student_logits", torch.zeros(16, 10), raising=False)
    with pytest.raises(ConfigError, match=r"out of memory with batch_size 16.*lower --jobs.*--batch-size") as caught:
        train(run, store, "cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert store.checkpoint_path(run).exists()
    monkeypatch.setattr("rdlib.methods.Supervised.losses", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train(run, store, "cpu", progress=False)


def test_a_label_names_the_options_that_are_not_the_usual_ones(tiny_runs):
    assert tiny_runs().label == "Supervised tiny depth 18 shortcuts none rate 0.05 seed 0"
    beside = tiny_runs("JointRD", options={"regime": "beside", "m_min": 0.5})
    assert beside.label == "JointRD(regime=beside) tiny depth 18 shortcuts none rate 0.05 seed 0"


def test_record_names_no_path_and_no_host(tiny_runs, store):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    text = store.record_path(run).read_text()
    assert not re.search(r'"[^"]*(/home|/root|/work|/tmp|/Users)', text)
    assert str(store.root) not in text
    assert socket.gethostname() not in text


def place_of(body: dict[str, Any], path: str) -> tuple[Any, Any]:
    """What holds a field of a record, and its key or index there."""
    place: Any = body
    *parents, last = (int(name) if name.isdecimal() else name for name in path.split("."))
    for name in parents:
        place = place[name]
    return place, last


@pytest.fixture
def recorded(tiny_runs: MakeRun, store: Store) -> tuple[Run, Path]:
    """A record by hand, without training."""
    run = tiny_runs()
    history = [
        {"epoch": e, "seconds": 0.1, "train_top1": 9.0, "losses": {"a": 1.0}, "learning_rate": 0.1} for e in (1, 2)
    ]
    metrics = {"test_top1": 10.0, "test_top5": 50.0, "tune_top1": None, "train_loss": 1.0}
    path = store.record_path(run)
    path.parent.mkdir(parents=True)
    path.write_text(Record(run, metrics, history, {"commit": "abc", "weights_sha256": "0"}).to_json())
    assert store.record(run) is not None
    return run, path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run.depth", 34),
        ("run.seed", 1),
        ("run.teacher", "0123456789ab"),
        ("run.recipe.epochs", 200),
        ("metrics.test_top1", 99.0),
        ("metrics.tune_top1", 99.0),
        ("history.1.train_top1", 99.0),
        ("history.0.losses.a", 0.5),
        ("provenance.commit", "abd"),
        ("provenance.weights_sha256", "1"),
        ("id", "0123456789ab"),
        ("schema", 2),
        ("digest", "0"),
    ],
)
def test_any_changed_field_of_a_record_is_refused(recorded, store, field, value):
    run, path = recorded
    body = json.loads(path.read_text())
    place, last = place_of(body, field)
    assert place[last] != value
    place[last] = value
    path.write_text(json.dumps(body))
    for read in (lambda: store.record(run), store.records):
        with pytest.raises(RecordError, match=path.name) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["metrics.test_top1", "history.0", "provenance.commit", "run.teacher", "schema"])
def test_a_field_that_was_removed_is_missed(recorded, store, field):
    run, path = recorded
    body = json.loads(path.read_text())
    place, last = place_of(body, field)
    del place[last]
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match=path.name):
        store.record(run)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("run.seed", 5, "a field of the run was changed"),  # the id is a second lock
        ("schema", 3, "has schema 3, this rdlib reads 1 and 2: update rdlib"),
    ],
)
def test_a_new_digest_does_not_help_a_changed_record(recorded, store, field, value, named):
    run, path = recorded
    body = json.loads(path.read_text())
    place, last = place_of(body, field)
    place[last] = value
    del body["digest"]
    path.write_text(json.dumps(body | {"digest": digest(body)}))
    with pytest.raises(RecordError, match=named):
        store.record(run)


def test_a_renamed_record_is_refused(recorded, store):
    _, path = recorded
    path.rename(path.with_name("0123456789ab.json"))
    with pytest.raises(RecordError, match=r"0123456789ab\.json"):
        store.records()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"digest": 1}', "\x00"])
def test_a_file_that_is_no_record_is_refused(recorded, store, text):
    run, path = recorded
    for content in (text, path.read_text()[: len(path.read_text()) // 2]):
        path.write_text(content)
        with pytest.raises(RecordError, match=path.name) as caught:
            store.record(run)
        assert "\n" not in str(caught.value)


def test_reformatting_a_record_is_no_change(recorded, store):
    run, path = recorded
    before = store.record(run)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert store.record(run) == before


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [flip_byte, truncate, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_refused(tiny_runs, store, damage):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    damage(store.weights_path(run))
    with pytest.raises(CheckpointError, match=f"{run.id}.safetensors") as caught:
        store.network(run)
    assert "\n" not in str(caught.value)


def test_absent_weights_and_runs_say_how_to_get_them(tiny_runs, store):
    run = tiny_runs()
    with pytest.raises(ConfigError, match=f"train --again {run.id}"):
        store.network(run)
    assert store.record(run) is None
    with pytest.raises(ConfigError, match="0123456789ab"):
        store.run("tiny", "0123456789ab")


def without_seconds(record: Record) -> tuple[object, object]:
    return record.metrics, [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record.history]


@pytest.mark.parametrize("method", ["Supervised", "JointRD"])
def test_an_interrupted_training_goes_on_to_the_same_record(method, tiny_runs, store, tmp_path, monkeypatch):
    run = tiny_runs(method, options={"regime": "beside"} if method == "JointRD" else {})
    expected = train(run, Store(tmp_path / "uninterrupted"), "cpu", progress=False)
    real, calls = experiment.METHODS[method].losses, []

    def losses(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == 5:  # epoch 2 of 2, step 2 of 3
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(experiment.METHODS[method], "losses", losses)
    with pytest.raises(KeyboardInterrupt):
        train(run, store, "cpu", progress=False)
    assert store.record(run) is None
    assert not store.has_weights(run)
    assert store.checkpoint_path(run).exists()
    record = train(run, store, "cpu", progress=False)
    assert len(calls) == 5 + 3  # only the second epoch again
    assert without_seconds(record) == without_seconds(expected)
    assert record.provenance["weights_sha256"] == expected.provenance["weights_sha256"]
    assert not store.checkpoint_path(run).exists()


def test_a_record_names_the_code_of_epochs_that_other_code_trained(tiny_runs, store, monkeypatch):
    run, real, calls = tiny_runs(), experiment.METHODS["Supervised"].losses, []

    def losses(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == 5:  # epoch 2 of 2
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.METHODS["Supervised"], "losses", losses)
        patch.setattr(experiment, "code_digest", lambda: "0" * 64)
        with pytest.raises(KeyboardInterrupt):
            train(run, store, "cpu", progress=False)
    old, new = train(run, store, "cpu", progress=False).history
    assert old["trained_by"].startswith(f"code {'0' * 12}, torch ")
    assert "trained_by" not in new


def test_training_again_gives_the_same_weights(tiny_runs, store, tmp_path):
    a, b = (train(tiny_runs(), s, "cpu", progress=False) for s in (store, Store(tmp_path / "other")))
    assert a.provenance["weights_sha256"] == b.provenance["weights_sha256"]
    assert without_seconds(a) == without_seconds(b)
    other = train(tiny_runs(seed=1), store, "cpu", progress=False)
    assert other.provenance["weights_sha256"] != a.provenance["weights_sha256"]


def test_repeating_a_run_for_its_weights_leaves_its_record_as_it_is(tiny_runs, store):
    run = tiny_runs()
    train(run, store, "cpu", progress=False)
    before = store.record_path(run).read_bytes()
    store.weights_path(run).unlink()
    record = train(run, store, "cpu", progress=False)
    assert store.record_path(run).read_bytes() == before
    assert store.record(run) == record
    assert store.network(run) is not None


def test_a_record_stands_when_its_lost_weights_are_made_again_elsewhere(tiny_runs, store):
    """As on another GPU, which rounds otherwise: no published record is lost, and a new student names its teacher."""
    teacher = tiny_runs(shortcuts="all")
    first = train(teacher, store, "cpu", progress=False)
    student = tiny_runs("LogitDistillation", teacher=teacher.id)
    taught = train(student, store, "cpu", progress=False)
    assert taught.provenance["teacher_weights_sha256"] == first.provenance["weights_sha256"]
    elsewhere = replace(first, provenance=first.provenance | {"weights_sha256": "0" * 64})
    store.record_path(teacher).write_text(elsewhere.to_json())
    store.weights_path(teacher).unlink()
    assert train(teacher, store, "cpu", progress=False) == elsewhere
    assert store.record_path(teacher).read_text() == elsewhere.to_json()
    assert store.record(student) == taught
    assert len(store.records()) == 2
    assert Record.read(store.repeated_path(teacher)).provenance["weights_sha256"] == first.provenance["weights_sha256"]
    assert store.network(teacher) is not None  # its weights are described by the repetition
    new = train(tiny_runs("JointRD", teacher=teacher.id), store, "cpu", progress=False)
    assert new.provenance["teacher_weights_sha256"] == sha256_of(store.weights_path(teacher))
    store.repeated_path(teacher).unlink()
    with pytest.raises(CheckpointError, match="not those of their record"):
        store.network(teacher)


def test_one_run_is_not_trained_twice_at_once(tiny_runs, store):
    run = tiny_runs()
    with experiment.locked(store.checkpoint_path(run)):
        with pytest.raises(RecordError, match="another process trains this run now"):
            train(run, store, "cpu", progress=False)
        assert train(tiny_runs(seed=1), store, "cpu", progress=False)
    assert train(run, store, "cpu", progress=False)
    assert not list(store.root.rglob("*.lock"))


def test_protocol_is_full_for_the_papers_width_recipe_and_options_alone():
    photographs = {"dataset": "imagenet", "recipe": IMAGENET_RECIPE}
    papers = {"distance_weight": 1e-4, "m_min": 0.005, "m_end": 0.5}
    full = [
        BASE,
        replace(BASE, options={"regime": "beside"}, teacher=None),
        replace(BASE, **photographs, options=papers),
    ]
    reduced = [
        replace(BASE, dataset="digits"),
        replace(BASE, width=16),
        replace(BASE, recipe=replace(BASE.recipe, epochs=100)),
        replace(BASE, options={"m_min": 0.0}),
        replace(BASE, **photographs),
    ]
    assert [experiment.is_the_papers(run) for run in [*full, *reduced]] == [True] * 3 + [False] * 5


def test_a_student_learns_from_the_stored_network_of_its_teacher(tiny_runs, store):
    teacher = tiny_runs(shortcuts="all")
    train(teacher, store, "cpu", progress=False)
    run = tiny_runs("JointRD", teacher=teacher.id, options={"init": "teacher"})
    method = experiment.build(run, store, 10)
    assert isinstance(method, JointRD)
    stored = store.network(teacher).state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in method.teacher.state_dict().items())
    assert torch.equal(method.student.conv1.weight, stored["conv1.weight"])


def test_every_method_starts_a_seeds_student_from_the_same_weights(tiny_runs, store):
    teacher = tiny_runs(shortcuts="all")
    train(teacher, store, "cpu", progress=False)

    def start(method: str, seed: int = 0, **fields: Any) -> torch.Tensor:
        torch.manual_seed(torch.seed())  # the global generator must not matter
        return experiment.build(tiny_runs(method, seed=seed, **fields), store, 10).student.layer4[1].conv2.weight

    alone = start("Supervised")
    assert torch.equal(start("LogitDistillation", teacher=teacher.id), alone)
    assert torch.equal(start("JointRD", teacher=teacher.id), alone)
    assert torch.equal(start("JointRD", options={"regime": "beside"}), alone)
    assert not torch.equal(start("Supervised", seed=1), alone)


@pytest.mark.parametrize("folder", ["runs", "weights"])
def test_a_store_that_cannot_be_written_is_refused_before_training(folder, tiny_runs, store, monkeypatch):
    store.root.mkdir()
    (store.root / folder).write_text("a file where a folder belongs")
    monkeypatch.setattr(experiment, "fit", None)
    with pytest.raises(RecordError, match=f"{folder}/.*--store") as caught:
        train(tiny_runs(), store, "cpu", progress=False)
    assert "\n" not in str(caught.value)


def test_every_published_record_is_what_it_would_be_written_as():
    """Its id, format and digest recomputed: all are still those it was published with."""
    paths = sorted(RESULTS.glob("runs/*/*.json"))
    assert len(paths) > 100
    assert [p.name for p in paths if json.loads(Record.read(p).to_json()) != json.loads(p.read_text())] == []


def test_reading_a_record_imports_no_trained_rival(tmp_path):
    path = tmp_path / f"{BASE.id}.json"
    path.write_text(Record(BASE, {}, [], {}).to_json())
    code = (
        "import sys; from pathlib import Path; import rdlib.runs.sweep; from rdlib.runs.run import Record;"
        f"Record.read(Path({str(path)!r})); print(*(name for name in sys.modules if 'rdlib.rivals.' in name))"
    )
    assert output_of(code).split() == ["rdlib.rivals.register"]


def test_every_changed_character_of_any_file_of_rdlib_is_another_code(tmp_path):
    folder = tmp_path / "rdlib"
    shutil.copytree(ROOT / "rdlib", folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = list(folder.rglob("*.py"))
    before, seen = code_digest(), set()
    assert code_digest(folder) == before
    for path in files:
        text = path.read_text()
        path.write_text(("x" if text[0] != "x" else "y") + text[1:])
        seen.add(code_digest(folder))
        path.write_text(text)
    files[0].rename(files[0].with_stem("renamed"))
    seen.add(code_digest(folder))
    assert len(seen | {before}) == len(files) + 2

"""Sweeps: only what is missing, teachers first, and one failure stops nothing else."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rdlib import experiment
from rdlib import sweep as sweep_module
from rdlib.errors import ConfigError, DataError, RecordError
from rdlib.runs import Record, Run, Store
from rdlib.sweep import missing, sweep
from rdlib.train import Recipe

MakeRun = Callable[..., Run]
ON_DIGITS: dict[str, Any] = {"dataset": "digits", "recipe": Recipe(1, 256, 0.05, crop_padding=2, flip=False)}


@pytest.fixture
def family(tiny_runs: MakeRun) -> list[Run]:
    """Students before their teachers: the order of the list must not matter."""
    teachers = [tiny_runs(shortcuts="all", seed=seed) for seed in (0, 1)]
    students = [tiny_runs("JointRD", seed=seed, teacher=teachers[seed].id) for seed in (0, 1)]
    return [*students, *teachers]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Watches the sweep: the runs it trains, in its order."""
    trained: list[Run] = []

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        trained.append(run)
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(sweep_module, "train", train)
    return trained


def without_seconds(record: Record) -> tuple[object, ...]:
    history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record.history]
    return record.run, record.metrics, history, record.provenance["weights_sha256"]


def test_a_sweep_trains_everything_teachers_first_and_a_second_one_nothing(family, store, order):
    assert missing(family, store) == family
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert not outcome.failures
    assert {record.run for record in outcome.trained} == set(family)
    assert set(order[:2]) == set(family[2:])
    assert all(store.record(run) is not None and store.has_weights(run) for run in family)
    assert missing(family, store) == []
    assert sweep(family, store, jobs=1, device="cpu").trained == []
    assert len(order) == 4


def test_only_what_is_missing_is_trained(family, store, order):
    sweep(family, store, jobs=1, device="cpu")
    store.record_path(family[0]).unlink()
    before = store.record_path(family[1]).read_bytes()
    order.clear()
    sweep(family, store, jobs=1, device="cpu")
    assert order == [family[0]]
    assert store.record_path(family[1]).read_bytes() == before


def test_a_teacher_without_weights_is_retrained_for_a_missing_student_only(family, store, order):
    """As in a fresh clone: records are committed, weights are not."""
    student, _, teacher, _ = family
    sweep(family, store, jobs=1, device="cpu")
    for run in family:
        store.weights_path(run).unlink()
    assert missing(family, store) == []
    store.record_path(student).unlink()
    assert missing(family, store) == [student, teacher]
    order.clear()
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert order == [teacher, student]
    assert not outcome.failures


@pytest.mark.parametrize("error", [DataError("no disk of mine"), ValueError("no disk of mine")])
def test_a_failing_run_is_listed_with_its_students_and_the_others_go_on(error, family, store, monkeypatch):
    student, other_student, teacher, other_teacher = family

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        if run == teacher:
            raise error
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(sweep_module, "train", train)
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert {record.run for record in outcome.trained} == {other_teacher, other_student}
    assert outcome.failures.keys() == {teacher, student}
    assert "no disk of mine" in outcome.failures[teacher]
    assert outcome.failures[student] == f"its teacher {teacher.id} failed"
    assert all("\n" not in sentence for sentence in outcome.failures.values())


def test_a_failure_is_one_sentence_even_where_the_exception_is_a_page(family, store, monkeypatch):
    def train(*arguments: Any, **named: Any) -> Record:
        raise RuntimeError("Error(s) in loading\n\tmissing keys\n\tand a page more")

    monkeypatch.setattr(sweep_module, "train", train)
    outcome = sweep(family[2:], store, jobs=1, device="cpu")
    assert all("\n" not in sentence for sentence in outcome.failures.values())


def test_a_student_whose_teacher_nobody_has_fails_alone(tiny_runs, store):
    orphan, other = tiny_runs("JointRD", teacher="0123456789ab"), tiny_runs()
    outcome = sweep([orphan, other], store, jobs=1, device="cpu")
    assert [record.run for record in outcome.trained] == [other]
    assert "0123456789ab" in outcome.failures[orphan]


def test_an_interrupt_stops_the_sweep_and_what_is_done_stays(family, store, monkeypatch):
    done: list[Run] = []

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        if done:
            raise KeyboardInterrupt
        done.append(run)
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(sweep_module, "train", train)
    with pytest.raises(KeyboardInterrupt):
        sweep(family, store, jobs=1, device="cpu")
    assert [record.run for record in store.records()] == done


def test_a_damaged_record_stops_the_sweep_before_anything_is_trained(family, store, order):
    sweep(family[2:], store, jobs=1, device="cpu")
    store.record_path(family[2]).write_text("{}")
    order.clear()
    with pytest.raises(RecordError, match=family[2].id):
        sweep(family, store, jobs=1, device="cpu")
    assert order == []


def test_a_store_that_cannot_be_written_and_no_jobs_are_refused(family, store, order):
    with pytest.raises(ConfigError, match="--jobs needs at least 1, not 0"):
        sweep(family, store, jobs=0)
    (store.root / "runs").rmdir()
    (store.root / "runs").write_text("")
    with pytest.raises(RecordError, match="--store"):
        sweep(family, store, jobs=1, device="cpu")
    assert order == []


def test_several_jobs_without_joblib_are_refused(family, store, order, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ConfigError, match=r"joblib.*--jobs 1"):
        sweep(family, store, jobs=2, device="cpu")
    assert order == []


class Deadly(Run):
    """Dies like a worker that the kernel kills for lack of memory, but never in the process named by its seed."""

    @property
    def label(self) -> str:
        if os.getpid() != self.seed:
            os.kill(os.getpid(), signal.SIGKILL)
        return "deadly"


def digits_runs() -> list[Run]:
    teacher = Run(method="Supervised", depth=18, width=4, shortcuts="all", seed=0, **ON_DIGITS)
    plain = replace(teacher, shortcuts="none")
    student = replace(plain, method="JointRD", teacher=teacher.id)
    return [teacher, plain, student]


def test_two_processes_leave_the_records_of_one(store, tmp_path):
    torch.set_num_threads(2)  # a notebook's main process has several; a record must not depend on it
    try:
        parallel = sweep(digits_runs(), store, jobs=2, device="cpu")
        alone = sweep(digits_runs(), Store(tmp_path / "alone"), jobs=1, device="cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert not parallel.failures
    assert not alone.failures
    for run in digits_runs():
        a, b = store.record(run), Store(tmp_path / "alone").record(run)
        assert (a.provenance["threads"], b.provenance["threads"]) == (1, 1)
        assert without_seconds(a) == without_seconds(b)


def test_a_killed_worker_ends_in_a_sentence_and_the_others_are_finished(store):
    (teacher, plain, student) = digits_runs()
    deadly = Deadly(
        **{name: getattr(plain, name) for name in ("method", "depth", "width", "shortcuts")},
        **ON_DIGITS,
        seed=os.getpid(),
    )
    outcome = sweep([deadly, teacher, plain, student], store, jobs=2, device="cpu")
    assert {run.id for run in outcome.failures} == {deadly.id}
    assert "its worker process died" in outcome.failures[deadly]
    assert {record.run.id for record in outcome.trained} == {teacher.id, plain.id, student.id}

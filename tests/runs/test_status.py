"""What a sweep shows, and the arithmetic its estimate of the time rests on."""

import json
from dataclasses import replace

import pytest

from rdlib.errors import RecordError
from rdlib.measure.hours import hours, measured
from rdlib.recipe import Recipe
from rdlib.runs import progress as status_module
from rdlib.runs.flops import run_flops, step_flops
from rdlib.runs.progress import Status, costs, duration
from rdlib.runs.run import Record, Run

PLAIN = Run("digits", "Supervised", 18, 8, "none", 0, Recipe(10, 128))
RESNET = replace(PLAIN, shortcuts="all")


def forward(width: int, side: int) -> int:
    """Multiply-adds of a strictly plain 18-layer network, counted by hand: stem, four stages, classifier."""
    total = 3 * width * 9 * side**2
    for stage in range(4):
        c, area = width * 2**stage, (side // 2**stage) ** 2
        first = c if stage == 0 else c // 2
        total += (first * c + 3 * c * c) * 9 * area
    return total + 8 * width * 10


def test_supervised_step_is_three_forward_passes_without_the_images_gradient():
    stem = 3 * 8 * 9 * 16**2
    assert step_flops(PLAIN, 16, 10) == 128 * 2 * (3 * forward(8, 16) - stem)


def test_arithmetic_grows_as_the_method_says():
    def cost(method: str, **fields: object) -> int:
        return step_flops(replace(PLAIN, method=method, **fields), 16, 10)

    student, teacher = cost("Supervised"), step_flops(RESNET, 16, 10)
    assert student < cost("LogitDistillation", teacher="0" * 12) < student + teacher / 2
    frozen, beside = cost("JointRD", teacher="0" * 12), cost("JointRD", options={"regime": "beside"})
    assert 2 < frozen / student < 3  # own path 3, teacher 1, mixed paths forward and input gradient 3, of 3
    stem, classifier = 3 * 8 * 9 * 16**2, 64 * 10
    target = (teacher + 128 * 2 * stem) / 3 - 128 * 2 * classifier  # f_T, which a learning teacher's own pass gives too
    assert beside - frozen == teacher - target
    assert cost("JointRD", teacher="0" * 12, options={"m_start": 0.0, "m_min": 0.0}) < frozen / 1.5


def test_a_runs_arithmetic_counts_its_epochs_and_whole_batches():
    assert run_flops(PLAIN, 1297, 16, 10) == 10 * 10 * step_flops(PLAIN, 16, 10)
    assert run_flops(replace(PLAIN, seed=7), 1297, 16, 10) == run_flops(PLAIN, 1297, 16, 10)


def record(run: Run, seconds: float) -> Record:
    """Of a training whose epochs took so long each."""
    return Record(run, {}, [{"seconds": seconds}] * run.recipe.epochs, {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(status_module.time, "monotonic", lambda: now[0])
    return now


def test_the_estimate_holds_seconds_against_arithmetic(clock, capsys, store):
    todo = [PLAIN, replace(PLAIN, seed=1), replace(PLAIN, seed=2, recipe=Recipe(20, 128))]
    with Status(todo, 2, store) as status:
        assert status.left() == ""  # nothing has ended, so nothing is known
        status.started(todo[0])
        status.started(todo[1])
        clock[0] = 60.0
        status.ended(todo[0], "done", record(todo[0], 6.0))
        # One of 60 s is due now, one of 120 s waits: no number of places makes that shorter.
        assert status.left() == "about 2 min left"
        status.started(todo[2])
        assert status.screen().plain.splitlines()[0] == "1 of 3 runs done, 2 running, about 2 min left"
        assert status.screen().plain.splitlines()[2] == f"  0 s of about 2 min  {todo[2].label}"
        clock[0] = 120.0
        assert status.left() == "about 60 s left"
        status.ended(todo[1], "FAILED: a disk")
        assert status.screen().plain.startswith("2 of 3 runs done (1 failed), 1 running")
        status.ended(todo[2], "done", record(todo[2], 3.0))
        assert status.left() == ""
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert lines[0].endswith("done; about 2 min left")
    assert "FAILED: a disk" in lines[1]


def test_what_waits_is_shared_among_the_places(clock, store):
    todo = [replace(PLAIN, seed=seed) for seed in range(5)]
    with Status(todo, 2, store) as status:
        status.started(todo[0])
        clock[0] = 60.0
        status.ended(todo[0], "done", record(todo[0], 6.0))
        assert status.needed() == 120.0


def test_epochs_of_a_checkpoint_count_as_done(clock, store, monkeypatch):
    kept = {store.checkpoint_path(PLAIN): 5}
    monkeypatch.setattr(status_module, "kept_epochs", lambda path: kept.get(path, 0))
    other = replace(PLAIN, seed=1)
    with Status([PLAIN, other], 1, store) as status:
        status.started(PLAIN)
        clock[0] = 60.0
        status.ended(PLAIN, "done", record(PLAIN, 12.0))  # half of it took a minute
        assert status.expected(other) == 120.0
        kept[store.checkpoint_path(other)] = 9
        status.started(other)
        assert status.expected(other) == pytest.approx(12.0)


def test_the_start_of_a_process_counts_once_a_run_whatever_it_trains(clock, store, monkeypatch):
    monkeypatch.setattr(status_module, "kept_epochs", lambda path: 9 * (path == store.checkpoint_path(PLAIN)))
    other = replace(PLAIN, seed=1)
    with Status([PLAIN, other], 1, store) as status:
        status.started(PLAIN)
        clock[0] = 25.0  # 10 s of which go to the start
        status.ended(PLAIN, "done", record(PLAIN, 15.0))
        assert status.expected(other) == pytest.approx(160.0)


def test_what_another_sweep_trained_says_nothing_of_this_ones_speed(clock, store):
    with Status([PLAIN], 1, store) as status:
        status.started(PLAIN)
        clock[0] = 2.0
        status.ended(PLAIN, "done", record(PLAIN, 15.0))
        assert status.expected(PLAIN) is None


def test_a_run_that_is_tried_again_prints_nothing(clock, capsys, store):
    with Status([PLAIN], 1, store) as status:
        status.started(PLAIN)
        status.tried_again(PLAIN)
    assert capsys.readouterr().out == ""


def test_without_the_images_all_runs_count_alike():
    assert set(costs([replace(PLAIN, dataset="nowhere"), replace(RESNET, dataset="nowhere")]).values()) == {1.0}


def test_hours_are_operations_over_the_rate_measured_for_that_kind_of_step(tmp_path):
    def entry(method: str, rate: float) -> dict[str, object]:
        return {"setting": {"method": method}, "provenance": {"device": "cpu x", "threads": 1}, "rate": rate}

    (tmp_path / "imagenet-cpu.json").write_text(
        json.dumps({"entries": [entry("Supervised", 1e12), entry("JointRD", 2e12)]})
    )
    table = hours({"ResNet-50": 36 * 10**15, "plain-50, JointRD": 72 * 10**15}, measured(tmp_path))
    assert list(table["hours (cpu x, 1 thread)"]) == ["10", "10"]
    assert list(hours({"ResNet-50": 1}, []).columns) == ["cell"]
    (tmp_path / "imagenet-cpu.json").write_text("{")
    with pytest.raises(RecordError, match=r"imagenet-cpu\.json cannot be read"):
        measured(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_read_as_one_says_them(seconds, text):
    assert duration(seconds) == text

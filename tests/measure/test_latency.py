"""Latency: turns that are fair, ratios that mean what they say, and records that keep everything."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from rdlib.commands import measure as measure_command
from rdlib.convolutions import fold
from rdlib.errors import ConfigError, DeployError, RecordError
from rdlib.files import ROOT
from rdlib.measure import latency, speedup
from rdlib.measure.candidates import Candidate
from rdlib.measure.engines import AS_WRITTEN, Engine, choose
from rdlib.measure.latency import interleave, measure
from rdlib.measure.latency_record import Cell, LatencyRecord, Settings, next_path, records
from rdlib.models import resnet

samples = st.lists(st.floats(0.1, 1e4), min_size=1, max_size=40)
QUICK = Settings(repetitions=2, warmup=1)


@dataclass(frozen=True)
class Small(Candidate):
    """A candidate of width 4."""

    def network(self) -> nn.Module:
        return fold(resnet(self.depth, 10, self.shortcuts, 4).eval())


SMALL = [Small(18, "all", 32), Small(18, "none", 32), Small(34, "all", 32), Small(34, "none", 32)]


class Clock:
    """Stands still but where a pass moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def passing(self, seconds: float, ran: list[str], name: str) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            ran.append(name)

        return run


def test_every_pass_runs_once_in_every_round_in_an_order_of_its_own() -> None:
    clock, ran = Clock(), []
    passes = {name: clock.passing(seconds, ran, name) for name, seconds in (("a", 1.0), ("b", 0.25), ("c", 2.0))}
    seen: list[tuple[int, float]] = []
    times = interleave(
        passes, Settings(repetitions=40, warmup=2), clock=clock, after_round=lambda *done: seen.append(done)
    )
    assert times == {"a": [1000.0] * 40, "b": [250.0] * 40, "c": [2000.0] * 40}
    rounds = [tuple(ran[i : i + 3]) for i in range(0, len(ran), 3)]
    assert len(rounds) == 42
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) == 6  # every order occurs
    assert seen == [(i + 1, 3.25) for i in range(42)]


def test_networks_of_one_engine_follow_each_other() -> None:
    clock, ran = Clock(), []
    names = ["a1", "b1", "a2", "b2", "a3", "b3"]
    passes = {name: clock.passing(1.0, ran, name) for name in names}
    interleave(passes, Settings(repetitions=40, warmup=1), lambda name: name[0], clock)
    rounds = [ran[i : i + 6] for i in range(0, len(ran), 6)]
    assert all(sorted(one) == sorted(names) for one in rounds)
    assert {"".join(name[0] for name in one) for one in rounds} == {"aaabbb", "bbbaaa"}
    assert len({tuple(name for name in one if name[0] == "a") for one in rounds}) == 6


def test_the_order_is_that_of_the_seed_alone() -> None:
    def order(seed: int) -> list[str]:
        clock, ran = Clock(), []
        interleave({n: clock.passing(1.0, ran, n) for n in "abcde"}, Settings(seed=seed), clock=clock)
        return ran

    assert order(0) == order(0) != order(1)


def test_warm_up_rounds_are_not_kept() -> None:
    clock = Clock()
    slow_at_first = iter([9.0, 9.0, 1.0, 1.0, 1.0])

    def run() -> None:
        clock.now += next(slow_at_first)

    assert interleave({"a": run}, Settings(repetitions=3, warmup=2), clock=clock) == {"a": [1000.0] * 3}


@settings(deadline=None)  # the first imports scipy
@given(samples, st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_half_the_time_is_twice_as_fast_whatever_the_noise(times: list[float], factor: float) -> None:
    assert speedup.speedup([factor * time for time in times], times) == (factor, factor, factor)


@given(st.integers(0, 100))
@settings(max_examples=20)
def test_unpaired_noise_gives_an_interval_around_the_ratio_and_swapping_inverts_it(seed: int) -> None:
    noise = np.random.default_rng(seed)
    one, other = 100 + 10 * noise.random(30), 80 + 8 * noise.random(30)
    ratio, low, high = speedup.speedup(list(one), list(other))
    assert low < ratio < high
    np.testing.assert_allclose(speedup.speedup(list(other), list(one)), [1 / ratio, 1 / high, 1 / low], rtol=1e-2)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    """Skewed noise, and a machine that becomes slower for both networks alike while they are timed."""
    noise, hits = np.random.default_rng(0), 0
    for _ in range(100):
        drift = np.linspace(1, 1.3, 30)
        one, other = (scale * drift * (1 + noise.gamma(1, 0.05, 30)) for scale in (130, 100))
        _, low, high = speedup.speedup(list(one), list(other))
        hits += low <= 1.3 <= high
    assert 88 <= hits <= 100


@pytest.mark.parametrize(("one", "other"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_times_that_are_no_pairs_are_refused(one: list[float], other: list[float]) -> None:
    with pytest.raises(RecordError, match="equally many positive times"):
        speedup.speedup(one, other)


def cell(shortcuts: str = "all", engine: str = "ONNX Runtime", precision: str = "float32", variant: str = "") -> Cell:
    name = {"all": "ResNet-50", "none": "plain-50, strictly plain"}[shortcuts]
    return Cell(224, 1, 50, engine, precision, f"{name}, {variant}" if variant else name, shortcuts, variant)


def made(ratios: dict[str, float], noise: float = 0.01, threads: int = 1, day: int = 1) -> LatencyRecord:
    """A record in which the strictly plain network is so much faster in each engine."""
    generator, times = np.random.default_rng(day), {}
    for engine, ratio in ratios.items():
        for shortcuts, typical in (("all", 100.0), ("none", 100.0 / ratio)):
            times[cell(shortcuts, engine)] = list(typical * (1 + noise * generator.random(30)))
    how = {"cpu": "a CPU", "gpu": None, "created": f"2026-01-0{day}T00:00:00+00:00"}
    return LatencyRecord(Settings(threads=threads), times, how)


RECORD = made({"PyTorch eager": 1.5, AS_WRITTEN: 1.2, "ONNX Runtime": 1.05, "OpenVINO": 0.8})


def test_a_speedup_is_against_the_resnet_with_all_else_equal_in_whatever_order() -> None:
    found = speedup.speedups(RECORD)
    assert speedup.speedups(replace(RECORD, times=dict(reversed(RECORD.times.items())))) == found
    assert found[cell("none", "PyTorch eager")].ratio == pytest.approx(1.5, rel=0.02)
    assert found[cell("none", "OpenVINO")].ratio == pytest.approx(0.8, rel=0.02)
    assert found[cell()].ratio == 1
    alone = replace(RECORD, times={cell("none"): RECORD.times[cell("none")]})
    assert speedup.speedups(alone) == {}


def test_records_are_numbered_and_read_in_the_order_they_were_made(tmp_path: Path) -> None:
    assert next_path(tmp_path).name == "latency-1.json"
    for n in (2, 10):
        RECORD.write(tmp_path / f"latency-{n}.json")
    assert next_path(tmp_path).name == "latency-11.json"
    assert list(records(tmp_path)) == ["latency-2", "latency-10"]


def test_changes_between_records_are_relative_and_leave_out_resnets() -> None:
    faster = replace(RECORD, times=RECORD.times | {cell("none"): [t / 1.25 for t in RECORD.times[cell("none")]]})
    moved = speedup.changes(RECORD, faster)
    assert set(moved) == {one for one in RECORD.times if one.shortcuts == "none"}
    assert moved[cell("none")] == pytest.approx(0.25)
    assert sum(map(abs, moved.values())) == pytest.approx(0.25)


def test_repeats_name_the_largest_change_and_count_those_over_ten_percent() -> None:
    again = made({"PyTorch eager": 1.8, "ONNX Runtime": 1.05}, day=2)
    (line,) = speedup.repeats({"latency-1": RECORD, "latency-2": again}).to_dict("records")
    assert line["record"] == "latency-2 against latency-1"
    assert line["made"] == "2026-01-02 00:00; 2026-01-01 00:00"
    assert (line["cells"], line["over 10%"]) == (2, 1)
    assert line["largest change"].startswith("+2")
    assert line["outside"] == 1, "of PyTorch eager; ONNX Runtime stayed where it was"
    assert "PyTorch eager" in line["where"]
    assert speedup.repeats({"latency-1": RECORD}).empty


def test_a_cell_of_several_sessions_has_their_median_and_an_interval_that_holds_all_of_theirs() -> None:
    sessions = [RECORD, made({"ONNX Runtime": 3.0, "torch.compile": 2.0}, day=2), made({"ONNX Runtime": 1.4}, day=3)]
    found = speedup.over_sessions(sessions)
    alone = [speedup.speedups(one)[cell("none", "ONNX Runtime")] for one in sessions]
    together = found[cell("none", "ONNX Runtime")]
    assert together.ratio == sorted(one.ratio for one in alone)[1]
    assert (together.low, together.high) == (min(one.low for one in alone), max(one.high for one in alone))
    assert (together.sessions, found[cell("none", "torch.compile")].sessions) == (3, 1)
    assert found[cell("none", "torch.compile")].ratio == pytest.approx(2.0, rel=0.02)
    times = [time for one in sessions for time in one.times[cell("none", "ONNX Runtime")]]
    assert together.median == pytest.approx(float(np.median(times)))


def test_records_of_other_machines_and_threads_stay_apart() -> None:
    two = made({"OpenVINO": 1.0}, threads=2)
    assert list(speedup.by_machine({"a": RECORD, "b": two})) == ["a CPU, 1 thread", "a CPU, 2 threads"]


def test_a_table_has_a_line_an_engine_and_keeps_variants_apart() -> None:
    times = RECORD.times | {cell(variant="pruned to MACs"): [50.0] * 30}
    found = speedup.speedups(replace(RECORD, times=times))
    plain, pruned = (speedup.table(found, 224, 1, 50, matched) for matched in (False, True))
    assert list(plain["engine"]) == sorted(["PyTorch eager", AS_WRITTEN, "ONNX Runtime", "OpenVINO"])
    assert list(plain.columns) == ["engine", "precision", "ResNet-50 (ms)", "plain-50, strictly plain", "sessions"]
    assert plain.set_index("engine")["plain-50, strictly plain"]["OpenVINO"].startswith("0.80 [0.")
    assert "pruned to MACs" in pruned.columns
    assert "plain-50, strictly plain" not in pruned.columns
    assert pruned.set_index("engine")["pruned to MACs"]["ONNX Runtime"].startswith("2.0")
    assert speedup.table(found, 32, 1, 50).empty


def test_the_verdict_follows_from_the_intervals() -> None:
    asked = (50, 224, 1)
    line = speedup.verdict(speedup.speedups(RECORD), 1.4, *asked)
    assert line == {
        "images": "1 of 224x224",
        "faster in": "3 of 4",
        "1.4x reached in": "1 of 4",
        "open in": "0 of 4",
        "least": "0.80 OpenVINO, float32",
        "most": "1.50 PyTorch eager, float32",
    }
    assert speedup.verdict(speedup.speedups(RECORD), 9, *asked)["9x reached in"] == "0 of 4"
    unclear = speedup.speedups(made({"ONNX Runtime": 1.0, AS_WRITTEN: 1.0}, noise=0.5))
    line = speedup.verdict(unclear, 1.0, *asked)
    assert (line["faster in"], line["1x reached in"], line["open in"]) == ("0 of 2", "0 of 2", "2 of 2")
    assert speedup.verdict({}, 1.4, *asked) == {}


def test_a_small_measurement_ends_in_a_record_with_every_time(tmp_path: Path) -> None:
    path, said = tmp_path / "latency-1.json", []
    chosen = choose(["PyTorch eager", "ONNX Runtime"], ["float32"])
    record = measure(SMALL[:2], (1, 2), chosen, QUICK, path, said.append)
    assert LatencyRecord.read(path) == record
    assert len(record.times) == 2 * 2 * 2
    assert {len(times) for times in record.times.values()} == {2}
    assert all(time > 0 for times in record.times.values() for time in times)
    assert len(speedup.speedups(record)) == len(record.times)
    assert [line for line in said if "min left" in line]
    text = path.read_text()
    host = socket.gethostname()
    assert not any(place in text for place in (str(ROOT), str(tmp_path), *([host] if len(host) > 3 else [])))
    assert torch.__version__.startswith(record.provenance["versions"]["torch"])


def test_an_interrupted_measurement_keeps_its_finished_groups(tmp_path: Path) -> None:
    path = tmp_path / "latency-1.json"

    def interrupting(subject, images, threads):
        if "34" in subject.name:
            raise KeyboardInterrupt
        return lambda: subject.network(images)

    with pytest.raises(KeyboardInterrupt):
        measure(SMALL, (1,), [Engine("eager", "float32", interrupting)], QUICK, path)
    assert {one.depth for one in LatencyRecord.read(path).times} == {18}


def test_a_wrong_engine_ends_the_measurement_before_anything_is_timed(tmp_path: Path) -> None:
    zeros = Engine("wrong", "float32", lambda subject, images, threads: lambda: torch.zeros(len(images), 10))
    with pytest.raises(DeployError, match="wrong, float32 with ResNet-18 differs"):
        measure(SMALL[:1], (1,), [zeros], QUICK, tmp_path / "latency-1.json")
    assert not list(tmp_path.iterdir())


def test_an_estimate_counts_the_work_that_is_left() -> None:
    said: list[str] = []
    after_round = latency.report(Settings(repetitions=10, warmup=2), "a group", groups_left=3, say=said.append)
    for done in range(1, 13):
        after_round(done, 60.0)
    assert ["2/12" in said[0], "10.0 min left in this group, about 34 min in all" in said[0]] == [True, True]
    assert "0.0 min left in this group, about 24 min in all" in said[-1]


def test_work_grows_with_depth_and_side() -> None:
    assert latency.work(224, 50) > latency.work(224, 34) > latency.work(224, 18) > latency.work(32, 18) > 1e9


def test_an_existing_record_is_never_overwritten(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "latency-1.json")
    with pytest.raises(ConfigError, match="there already"):
        measure(SMALL[:1], (1,), choose(["PyTorch eager"]), QUICK, tmp_path / "latency-1.json")


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (["--engine", "TensorRT"], DeployError, "unknown engine 'TensorRT'"),
        (["--precision", "int4"], DeployError, "unknown precision 'int4'"),
        (["--depth", "19"], ConfigError, "unknown depth 19"),
        (["--side", "64"], ConfigError, "unknown side 64"),
        (["--batch", "0"], ConfigError, "at least one image"),
        (["--repetitions", "0"], ConfigError, "at least 1"),
        (["--threads", "0"], ConfigError, "at least 1"),
    ],
)
def test_bad_arguments_end_in_a_sentence(arguments: list[str], error: type[Exception], named: str, tmp_path: Path):
    to = tmp_path / "latency-1.json"
    done = CliRunner().invoke(measure_command.measure_app, ["latency", "--to", str(to), *arguments])
    assert isinstance(done.exception, error)
    assert named in str(done.exception)
    assert not to.exists()


def test_an_interrupted_command_says_what_it_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = tmp_path / "latency-1.json"

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(latency, "measure", interrupted)
    done = CliRunner().invoke(measure_command.measure_app, ["latency", "--to", str(to)])
    assert done.exit_code == 130
    assert "no group finished" in done.output

"""The record of the NPU's compiler: completed, never begun anew; true to the compiler; sound as it is published."""

import sys
import time

import pytest

from rdlib.__main__ import main
from rdlib.deploy.tosa import Lowered
from rdlib.deploy.vela import ACCESSES, MEMORIES, Estimate, Target
from rdlib.errors import ConfigError, DeployError, RecordError
from rdlib.measure import npu
from rdlib.measure import record as measured
from rdlib.measure.npu import SYSTEMS, Subject, measure, targets

ethosu = pytest.importorskip("ethosu", reason="the NPU compiler is not installed")

ON = [Target("ethos-u55-32"), Target("ethos-u55-32", optimise="Size")]
SUBJECTS = [Subject(f"of {shortcuts}", 18, shortcuts, 8) for shortcuts in ("none", "all")]


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    """In the place of the tools, which take seconds: what was compiled, and an estimate of its own for each."""
    asked = []

    def compiled(tosa, target):
        asked.append((tosa.decode(), target))
        cycles = 100 * len(tosa) + len(target.name)
        moved = {memory: dict.fromkeys(ACCESSES, cycles) for memory in MEMORIES}
        used = dict.fromkeys(MEMORIES, 0) | {"sram": cycles}
        return Estimate(cycles / 10, cycles, cycles, used, moved, 7, {"Conv2D": {"count": 2, "cycles": cycles}}, 0)

    monkeypatch.setattr(npu, "compiled", compiled)
    monkeypatch.setattr(Subject, "lowered", lambda self: Lowered(self.name.encode(), (1.0, 0), (1.0, 0), {}))
    return asked


def content(path):
    return {npu.key(row): row for row in npu.read(path)["rows"]}


def test_interrupted_it_goes_on_where_it_was_and_ends_at_the_same_record(tmp_path, compiler):
    begun, whole = tmp_path / "begun.json", tmp_path / "whole.json"
    measure(SUBJECTS, ON, whole)
    assert len(compiler) == 4

    def interrupt(line):
        if line.startswith("2/2"):
            while len(compiler) < 6:  # the first network's, begun before
                time.sleep(0.01)
            raise KeyboardInterrupt

    measure(SUBJECTS[:1], ON[:1], begun)
    with pytest.raises(KeyboardInterrupt):
        measure(SUBJECTS, ON, begun, interrupt)
    compiler.clear()
    told = []
    measure(SUBJECTS, ON, begun, told.append)
    assert [name for name, _ in compiler] == ["of all", "of all"], "what was compiled before the interrupt is kept"
    assert [line.rpartition(": ")[2] for line in told] == ["0 of 2 targets", "2 of 2 targets"]
    assert content(begun) == content(whole)
    compiler.clear()
    measure(SUBJECTS, ON, begun)
    assert not compiler


def fails(monkeypatch, why):
    def refuse(tosa, target):
        raise DeployError(f"Vela cannot compile this network: {why}")

    monkeypatch.setattr(npu, "compiled", refuse)


def test_what_has_no_room_says_so_and_is_tried_again_by_whoever_asks_for_it(tmp_path, monkeypatch):
    path, told = tmp_path / "npu.json", []
    with monkeypatch.context() as patch:
        fails(patch, "Failed to allocate tensors")
        measure(SUBJECTS[:1], ON[:1], path, told.append)
    (row,) = npu.read(path)["rows"]
    assert row["refused"] == told[-1] == "Vela cannot compile this network: Failed to allocate tensors"
    measure(SUBJECTS[1:], ON[:1], path)
    assert row in npu.read(path)["rows"], "measuring others loses no row"
    measure(SUBJECTS[:1], ON[:1], path)
    assert not any("refused" in row for row in npu.read(path)["rows"])


def test_another_failure_is_no_lack_of_room_and_ends_in_an_error(tmp_path, monkeypatch):
    path = tmp_path / "npu.json"
    fails(monkeypatch, "exit code -9")
    with pytest.raises(DeployError, match=r"1 of the compilations failed: .*exit code -9"):
        measure(SUBJECTS[:1], ON[:1], path)
    assert not npu.read(path)["rows"]


@pytest.mark.parametrize("versions", [{"versions": {"ethos-u-vela": "4.0"}}, {}])
def test_a_record_of_other_versions_is_left_as_it_is(versions, tmp_path):
    path = tmp_path / "npu.json"
    measured.write(path, {"provenance": versions, "rows": []})
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"npu\.json was made by other versions of the compiler: move it away"):
        measure(SUBJECTS, ON, path)
    assert path.read_bytes() == before


def test_targets_are_those_asked_for_each_for_speed_and_size():
    assert len(targets()) == 2 * len(SYSTEMS)
    assert {one.optimise for one in targets(["ethos-u85-2048"])} == {"Performance", "Size"}
    assert {one.system for one in targets(["ethos-u85-2048"])} == {"Ethos_U85_SYS_DRAM_High", "Ethos_U85_SYS_DRAM_Mid"}
    assert {one.memory for one in targets(["ethos-u55-128"])} == {"Shared_Sram"}
    assert {one.memory for one in targets(["ethos-u55-256"], memory="Sram_Only")} == {"Sram_Only"}
    with pytest.raises(ConfigError, match="unknown NPU"):
        targets(["ethos-n78"])


def test_a_memory_that_a_target_lacks_has_no_line(tmp_path):
    measure(SUBJECTS[:1], ON[:1], tmp_path / "npu.json")
    (row,) = npu.read(tmp_path / "npu.json")["rows"]
    assert row["used"].keys() == row["moved"].keys() == {"sram"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--npu ethos-u99", "error: unknown NPU 'ethos-u99'"),
        ("--memory-mode Sram_Only", "error: a system or memory mode belongs to an NPU"),
        ("--npu ethos-u55-256 --system-config Ethos_U85_SYS_DRAM_Mid", "error: unknown system of ethos-u55-256"),
        ("--depth 19", "error: unknown depth 19"),
        ("--side 33", "error: unknown side 33"),
    ],
)
def test_bad_input_ends_in_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rdlib", "measure", "npu", *words.split(), "--to", str(tmp_path / "npu.json")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_the_published_record_is_whole_and_everything_runs_on_the_npu():
    rows = npu.read()["rows"]
    systems = {(row["target"], row["flags"]) for row in rows}
    assert len(systems) == 2 * len(SYSTEMS)
    subjects = {(row["name"], row["side"], row["weights"]) for row in rows}
    assert len(rows) == len(subjects) * len(systems) == len({npu.key(row) for row in rows})
    for row in rows:
        assert not row["outside"]
        if "refused" in row:
            assert "allocate" in row["refused"], row["refused"]
            continue
        assert row["on_cpu"] == 0
        assert sum(of["cycles"] for of in row["operators"].values()) == row["cycles"]
        assert ("Add" in row["operators"]) == (row["shortcuts"] != "none")

"""The memory record: measured, whole or absent, and the published one says what the arithmetic says."""

import json
from dataclasses import asdict

import pytest
import typer
from typer.testing import CliRunner

from rdlib.commands import measure as measure_command
from rdlib.deploy.planner import EXECUTORS, FUSED, IN_PLACE, OUT_OF_PLACE
from rdlib.errors import DeployError, RecordError
from rdlib.measure import memory
from rdlib.measure.arena import PEAKS
from rdlib.measure.candidates import Candidate, candidates, matched

PAIR = [Candidate(18, "all", 32), Candidate(18, "none", 32)]


def made_up(candidate):
    """A row as `measured_row` gives it, without measuring."""
    size = 2**20 * (3 if candidate.shortcuts == "all" else 2)
    taken = dict.fromkeys(EXECUTORS, size)
    arena = {"ONNX Runtime": size, "CUDA": None}
    return {"name": candidate.name, **asdict(candidate), "traffic": taken, "peak": taken, "arena": arena}


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The path of a written record."""
    monkeypatch.setattr(memory, "measured_row", made_up)
    memory.measure_all(PAIR, tmp_path / "measured" / "memory.json")
    return tmp_path / "measured" / "memory.json"


def test_a_candidate_is_planned_and_measured():
    row = memory.measured_row(PAIR[1])
    assert row["name"] == "plain-18, strictly plain"
    assert row["peak"] == dict.fromkeys(EXECUTORS, 2 * 4 * 64 * 32 * 32)
    assert row["at_peak"][FUSED] == {
        "operator": 3,
        "of": 37,
        "op": "Conv",
        "alive": [{"shape": [1, 64, 32, 32], "shortcut": False}] * 2,
    }
    assert row["arena"]["ONNX Runtime, not optimised"] == row["peak"][OUT_OF_PLACE]
    assert set(row["arena"]) == set(PEAKS)
    assert row["macs"] > row["parameters"] > 10**7
    json.dumps(row)


def test_a_written_record_reads_back_and_rows_are_found_by_name(record):
    read = memory.read(record)
    assert read["rows"] == [made_up(candidate) for candidate in PAIR]
    assert memory.find(read, "plain-18, strictly plain", 32) == made_up(PAIR[1])
    assert {"commit", "dirty", "cpu", "versions", "opset"} <= set(read["provenance"])
    with pytest.raises(RecordError, match=r"no ResNet-18 at 224.*python -m rdlib measure memory"):
        memory.find(read, "ResNet-18", 224)


def test_a_measurement_that_fails_leaves_the_record_as_it_was(record, monkeypatch):
    def fail(candidate):
        raise DeployError("an engine is missing")

    before = record.read_text()
    monkeypatch.setattr(memory, "measured_row", fail)
    with pytest.raises(DeployError):
        memory.measure_all(PAIR, record)
    assert record.read_text() == before
    assert list(record.parent.iterdir()) == [record]


def test_a_table_compares_each_network_with_its_resnet(record):
    table = memory.table(memory.read(record)["rows"], "arena")
    assert list(table["ONNX Runtime"]) == ["3.00", "2.00 (1.50x)"]
    assert "CUDA" not in table


def test_the_command_writes_the_record_and_prints_both_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "measured_row", made_up)
    monkeypatch.setattr("rdlib.measure.candidates.candidates", lambda: PAIR)
    monkeypatch.setattr("rdlib.measure.candidates.matched", list)
    app = typer.Typer()
    app.add_typer(measure_command.measure_app, name="measure")
    result = CliRunner().invoke(app, ["measure", "memory", "--to", str(tmp_path / "memory.json")])
    assert result.exit_code == 0, result.output
    assert "2/2 plain-18, strictly plain at 32" in result.output
    assert result.output.count("2.00 (1.50x)") == len(EXECUTORS) + 1
    assert memory.read(tmp_path / "memory.json")["rows"] == [made_up(candidate) for candidate in PAIR]
    result = CliRunner().invoke(app, ["measure", "memory", "--store", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    assert memory.read(tmp_path / "store" / "measured" / "memory.json")["rows"]


# The published record

MIB = 2**20
# Traffic out of place, then the peak of each executor, in MiB: arithmetic known before anything was programmed.
KNOWN = {
    ("ResNet-50", 224): (64.2, 9.19, 6.89, 4.98),
    ("plain-50, downsampling kept", 224): (42.8, 6.12, 6.12, 4.98),
    ("plain-50, strictly plain", 224): (37.4, 4.59, 4.59, 4.59),
    ("ResNet-18", 224): (13.1, 3.83, 3.83, 3.83),
    ("plain-18, strictly plain", 224): (9.6, 3.83, 3.83, 3.83),
    ("ResNet-34", 224): (20.3, 3.83, 3.83, 3.83),
    ("plain-34, strictly plain", 224): (14.4, 3.83, 3.83, 3.83),
    ("ResNet-50", 32): (20.0, 3.0, 2.25, 1.62),
    ("plain-50, strictly plain", 32): (11.2, 1.5, 1.5, 1.5),
}


@pytest.fixture(scope="module")
def published():
    return memory.read()


@pytest.mark.parametrize(("name", "side"), KNOWN)
def test_published_plans_agree_with_the_arithmetic(name, side, published):
    row = memory.find(published, name, side)
    ours = [row["traffic"][OUT_OF_PLACE], *(row["peak"][executor] for executor in EXECUTORS)]
    assert [value / MIB for value in ours] == pytest.approx(KNOWN[name, side], abs=0.051)


def test_every_candidate_is_published_once(published):
    expected = [(candidate.name, candidate.side) for candidate in (*candidates(), *matched())]
    assert [(row["name"], row["side"]) for row in published["rows"]] == expected


def test_no_engine_needs_less_than_the_ideal(published):
    for row in published["rows"]:
        arena, peak = row["arena"], row["peak"]
        assert arena["ONNX Runtime, optimised"] >= peak[FUSED]
        assert arena["ONNX Runtime, default"] >= arena["ONNX Runtime, optimised"]
        assert arena["ONNX Runtime, not optimised"] >= peak[IN_PLACE]
        assert arena["ExecuTorch, portable"] >= peak[OUT_OF_PLACE]


def test_what_is_alive_at_a_published_peak_sums_to_it(published):
    for row in published["rows"]:
        for executor in EXECUTORS:
            shapes = [held["shape"] for held in row["at_peak"][executor]["alive"]]
            assert sum(4 * a * b * c * d for a, b, c, d in shapes) == row["peak"][executor]


def test_pruned_and_narrowed_networks_cost_no_more_than_what_they_are_matched_to(published):
    def cost(name, what):
        row = memory.find(published, name, 224)
        return row["macs"] if what == "MACs" else row[what][OUT_OF_PLACE]

    for candidate in matched():
        what = candidate.variant.partition(" to ")[2]
        most = cost("plain-50, strictly plain", what)
        assert 0.7 * most < cost(candidate.name, what) <= most

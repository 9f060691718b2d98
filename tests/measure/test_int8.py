"""The record of what int8 costs: whole or absent, true to the deliveries; cells without a run stay empty."""

import pytest

from rdlib.deploy import tosa
from rdlib.deploy.microcontroller import Compared
from rdlib.errors import DeployError, RecordError
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, Row
from rdlib.measure import int8
from rdlib.measure import record as measured
from rdlib.runs.execute import train
from rdlib.runs.store import Store


@pytest.fixture
def cells(tiny_runs, store, monkeypatch):
    """A ResNet trained with two seeds and a plain network with none, as the cells of a profile."""
    runs = tuple(tiny_runs("Supervised", "all", seed) for seed in (0, 1))
    for run in runs:
        train(run, store, "cpu", progress=False)
    untrained = (tiny_runs("Supervised", "none"),)
    rows = [Row(18, "all", CROSS_ENTROPY, runs), Row(18, "none", CROSS_ENTROPY, untrained)]
    monkeypatch.setattr(int8, "rows", lambda profile: rows)
    return rows


def test_every_run_with_weights_is_measured_and_the_others_are_told(cells, store, tmp_path, monkeypatch):
    compared = Compared(images=30, equal_top1=29, steps=2.0)  # its own tests lower for real, which takes seconds
    monkeypatch.setattr(int8, "quantised_for", lambda network, images: (network, None, compared))
    path, told = tmp_path / "int8.json", []
    int8.measure(PROFILES["quick"], store, path, told.append)
    found = measured.read(path, "again")["runs"]
    assert set(found) == {run.id for run in cells[0].runs}
    for run in cells[0].runs:
        assert found[run.id]["float32_top1"] == pytest.approx(store.record(run).top1)
        assert 0 <= found[run.id]["int8_top1"] <= 100
        assert found[run.id]["npu_top1"] == found[run.id]["float32_top1"]
        assert (found[run.id]["npu_equal_top1"], found[run.id]["npu_steps"]) == (29, 2.0)
        assert found[run.id]["compared"] == 30
        assert "QLinearConv" in found[run.id]["runtime_operators"]
    assert told[-1] == "plain-18, strictly plain, cross-entropy, seed 0: no weights here, left out"
    table = int8.table(PROFILES["quick"], Store(), path)
    assert list(table["n"]) == ["2/2", "0/1"]
    assert not any(table.iloc[1].drop(["network", "n", "to fill"]))
    assert list(table["to fill"]) == ["", "python -m rdlib measure int8 quick"]
    mean = sum(one["float32_top1"] for one in found.values()) / 2
    assert table.iloc[0]["float32 top-1 (%)"].startswith(f"{mean:.2f} ± ")


def test_the_change_is_paired_over_seeds(cells, tmp_path):
    path = tmp_path / "int8.json"
    values = {run.id: three for run, three in zip(cells[0].runs, ((90.0, 88.0, 91.0), (80.0, 79.0, 83.0)), strict=True)}
    names = ("float32_top1", "int8_top1", "npu_top1")
    runs = {key: dict(zip(names, three, strict=True)) for key, three in values.items()}
    measured.write(path, {"runs": runs})
    line = int8.table(PROFILES["quick"], Store(), path).iloc[0]
    assert (line["float32 top-1 (%)"], line["int8, ONNX Runtime"]) == ("85.00 ± 7.07", "83.50 ± 6.36")
    assert (line["change, ONNX Runtime"], line["change, NPU"]) == ("-1.50 ± 0.71", "+2.00 ± 1.41")
    del runs[cells[0].runs[0].id]["npu_top1"]
    measured.write(path, {"runs": runs})
    assert int8.table(PROFILES["quick"], Store(), path).iloc[0]["n"] == "1/2", "a run lacks one tool"
    del runs[cells[0].runs[1].id]["npu_top1"]
    measured.write(path, {"runs": runs})
    older = int8.table(PROFILES["quick"], Store(), path)
    assert "int8, NPU" not in older.columns
    assert older.iloc[0]["n"] == "2/2"


def test_without_the_npus_compiler_the_other_tool_is_measured(cells, store, tmp_path, monkeypatch):
    def absent():
        raise DeployError("the NPU compiler is not installed")

    monkeypatch.setattr(tosa, "require_packages", absent)
    monkeypatch.setattr(int8, "quantised_for", None)
    path, told = tmp_path / "int8.json", []
    int8.measure(PROFILES["quick"], store, path, told.append)
    assert told[0] == "ONNX Runtime's int8 alone: the NPU compiler is not installed"
    assert all("int8_top1" in one and "npu_top1" not in one for one in measured.read(path, "again")["runs"].values())


def test_a_record_never_loses_a_run(cells, store, tmp_path):
    path = tmp_path / "int8.json"
    measured.write(path, {"runs": {"0" * 12: {}}})
    before = path.read_text()
    with pytest.raises(RecordError, match=r"int8\.json has 1 runs that would be lost"):
        int8.measure(PROFILES["quick"], store, path)
    assert path.read_text() == before


def test_without_a_record_every_cell_is_empty_and_names_its_command(store):
    table = int8.table(PROFILES["quick"], store)
    assert set(table["int8, NPU"]) == {""}
    assert set(table["to fill"]) == {f"python -m rdlib measure int8 quick --store {store.root}"}
    assert len(table) == 5

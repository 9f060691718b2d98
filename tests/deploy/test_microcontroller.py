"""`rdlib export --npu`: a file for a neural processor with a true report, or one sentence and no file."""

import sys

import pytest

from rdlib.__main__ import main
from rdlib.deploy import tosa
from rdlib.deploy.microcontroller import Compared, Compiled, compile_to
from rdlib.deploy.vela import Estimate, Target
from rdlib.errors import DeployError
from rdlib.models import Architecture, StagedResNet
from rdlib.runs.execute import train
from rdlib.train import evaluate

pytest.importorskip("ethosu")
pytest.importorskip("tosa_serializer")


def network(dataset, shortcuts):
    """One block a stage, untrained."""
    return StagedResNet(Architecture("basic", (1, 1, 1, 1), len(dataset.classes), shortcuts, 4)).eval()


def test_the_report_is_of_this_network_and_the_file_is_whole(dataset, tmp_path):
    plain = network(dataset, "none")
    found = compile_to(plain, dataset, tmp_path / "net.pte", Target("ethos-u55-128", optimise="Size"))
    lines = found.lines()
    assert found.path.read_bytes()[4:6] == b"ET", "a program of ExecuTorch"
    assert "for U55-128, High_End_Embedded, Shared_Sram, Size" in lines[0]
    assert "additions: none" in lines
    assert "operators left to the CPU: none, but for quantising the image and reading the logits" in lines
    assert found.network_top1 == evaluate(plain, dataset, dataset.test).top1
    assert found.compared.images == len(dataset.test)
    assert f"test top-1: network {found.network_top1:.2f} %, int8 {found.int8_top1:.2f} %" in lines
    assert [path.name for path in tmp_path.iterdir()] == ["net.pte"]


def test_additions_and_what_is_left_to_the_cpu_are_told(tmp_path):
    (tmp_path / "net.pte").write_bytes(bytes(2048))
    operators = {"Add": {"count": 16, "cycles": 30}, "Conv2D": {"count": 53, "cycles": 70}}
    estimate = Estimate(1.5, 100, 60, {"sram": 4096, "dram": 0}, {}, 7, operators, on_cpu=1)
    compared = Compared(30, 29, 2.0)
    found = Compiled(tmp_path / "net.pte", Target(), 98.0, 60.0, compared, estimate, {"sort": 2}, 100)
    lines = found.lines()
    assert "additions: 16, 30.0% of the cycles" in lines
    assert "operators left to the CPU: 2 sort, 1 operators by Vela, but for quantising the image and" in "\n".join(
        lines
    )
    assert "1.5 ms, 100 cycles, 4.0 KiB of sram" in lines[4]
    assert lines[-1].startswith("WARNING: int8 changes top-1 by -38.00 points")


def test_a_network_that_does_not_verify_is_not_written(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(tosa, "reference", lambda low, images: 1e3 * low.exit[0] * images.mean((1, 2, 3))[:, None])
    with pytest.raises(DeployError, match="what would be compiled differs in a logit by"):
        compile_to(network(dataset, "none"), dataset, tmp_path / "net.pte", Target())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--to net.pte --npu ethos-u99", "error: unknown NPU 'ethos-u99': choose one of ethos-u55-32"),
        ("--to net.onnx --npu ethos-u55-64", "error: net.onnx: what is compiled for an NPU is a program of ExecuTorch"),
        ("--to net.pte --npu ethos-u55-64 --int8", "error: what is compiled for an NPU is int8 and takes one image"),
        (
            "--to net.pte --memory-mode Sram_Only",
            "error: a system, a memory mode and what to optimise belong to an NPU",
        ),
        ("--to net.pte --npu ethos-u55-64 --memory-mode Dedicated_Sram", "error: unknown memory mode of Ethos_U55"),
        ("--to no/net.pte --npu ethos-u55-64", "error: cannot write net.pte"),
    ],
)
def test_bad_input_ends_in_one_sentence(words, sentence, tiny_runs, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tiny_runs("Supervised", "none")
    train(run, store, "cpu", progress=False)
    monkeypatch.setattr(sys, "argv", ["rdlib", "export", run.id, *words.split(), "--store", str(store.root)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1
    assert not list(tmp_path.glob("*.pte"))

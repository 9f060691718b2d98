"""Every engine computes what eager PyTorch does, and one that does not is never timed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rdlib.convolutions import fold
from rdlib.deploy.graph import read_graph
from rdlib.errors import DeployError
from rdlib.measure import engines
from rdlib.measure.engines import ENGINES, TOLERANCES, Engine, Subject, choose, prepare, require_same
from rdlib.models import resnet

HERE = [engine for engine in ENGINES if not engine.lacks]


def tiny() -> nn.Module:
    """A convolution, a shortcut around another one, and a classifier."""

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.one(x).relu()
            return self.fc((x + self.two(x)).mean((2, 3)))  # type: ignore[no-any-return]

    return Tiny().eval().requires_grad_(False)


@pytest.mark.parametrize("engine", HERE, ids=str)
def test_an_engine_gives_the_logits_of_its_images(engine: Engine, tmp_path: Path) -> None:
    network = tiny()
    run = prepare(engine, Subject(network, 8, tmp_path), batch=3)
    expected = network(Subject(network, 8, tmp_path).images(3))
    rough = 0.2 if engine.precision == "int8" else TOLERANCES[engine.precision]
    for _ in range(2):  # the second pass must not depend on the first
        torch.testing.assert_close(run().float().cpu(), expected, rtol=0, atol=rough * expected.abs().max().item())


@pytest.mark.parametrize("shortcuts", ["all", "none"])
def test_engines_agree_on_the_networks_of_the_table(shortcuts, tmp_path: Path) -> None:
    subject = Subject(fold(resnet(18, 10, shortcuts, 4).eval()), 32, tmp_path)
    for engine in HERE:
        if engine.name != "torch.compile":  # compiling takes half a minute; it had its turn above
            assert prepare(engine, subject, batch=2)().shape == (2, 10)


def test_bfloat16_is_really_bfloat16(tmp_path: Path) -> None:
    (engine,) = choose(["PyTorch eager"], ["bfloat16"])
    assert prepare(engine, Subject(tiny(), 8, tmp_path), 2)().dtype == torch.bfloat16


def test_a_network_is_exported_once_for_all_batches_and_engines(tmp_path: Path, monkeypatch) -> None:
    written = []

    def counted(network, path, side):
        written.append(path.name)
        return exported(network, path, side)

    exported = engines.export
    monkeypatch.setattr(engines, "export", counted)
    subject = Subject(tiny(), 8, tmp_path)
    for engine in choose(["ONNX Runtime", "OpenVINO", engines.AS_WRITTEN]):
        for batch in (1, 2):
            prepare(engine, subject, batch)
    assert written == ["network.onnx"]


def test_a_plain_network_is_exported_without_a_join(tmp_path: Path) -> None:
    graph = read_graph(Subject(fold(resnet(18, 10, "none", 4).eval()), 32, tmp_path).onnx())
    assert not graph.joins
    assert graph.operators.keys() <= {"Conv", "Relu", "ReduceMean", "GlobalAveragePool", "Reshape", "Flatten", "Gemm"}


def broken(output: torch.Tensor, precision: str = "float32") -> Engine:
    return Engine("broken", precision, lambda subject, images, threads: lambda: output)


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        (broken(torch.zeros(3, 5)), "differs from eager by 1.0e\\+00 of the largest logit, over 0.001"),
        (broken(torch.zeros(3, 5), "bfloat16"), "over 0.05"),
        (broken(torch.zeros(2, 5), "int8"), r"logits \[2, 5\], not \[3, 5\] finite ones"),
        (broken(torch.full((3, 5), torch.nan), "int8"), "finite"),
        (Engine("broken", "float32", lambda *given: 1 / 0), "broken, float32 cannot run network: division by zero"),
    ],
)
def test_a_wrong_engine_is_refused_in_a_sentence(engine, named, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=named):
        prepare(engine, Subject(tiny(), 8, tmp_path), 3)


def test_an_engine_with_one_weight_wrong_is_noticed(tmp_path: Path) -> None:
    network = tiny()
    wrong = tiny()
    wrong.load_state_dict(network.state_dict())
    wrong.get_parameter("two.weight").data[0, 0, 1, 1] += 0.5
    engine = Engine("wrong", "float32", lambda subject, images, threads: lambda: wrong(images))
    with pytest.raises(DeployError, match="differs from eager"):
        prepare(engine, Subject(network, 8, tmp_path), 3)


@pytest.mark.parametrize("factor", [1.0, 1.0005])
def test_tolerance_is_relative_to_the_largest_logit(factor: float) -> None:
    expected = 1e6 * torch.randn(4, 5)
    require_same(expected * factor, expected, "it", 1e-3)
    with pytest.raises(DeployError, match="it differs"):
        require_same(expected * 1.002, expected, "it", 1e-3)


def test_an_unfolded_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="not folded"):
        Subject(resnet(18, 10, width=4).eval(), 32, tmp_path)


@pytest.mark.parametrize(
    ("names", "precisions", "named"),
    [
        (["TensorRT"], None, "unknown engine 'TensorRT': choose from CUDA graphs; ONNX Runtime;"),
        (None, ["int4"], "unknown precision 'int4': choose from bfloat16; float32; int8"),
        (["torch.compile"], ["int8"], "none of these engines has that precision"),
    ],
)
def test_unknown_choices_end_in_a_sentence(names, precisions, named) -> None:
    with pytest.raises(DeployError, match=named):
        choose(names, precisions)


def test_an_engine_without_its_package_is_left_out_unless_asked_for(monkeypatch) -> None:
    absent = Engine("Absent", "float32", engines.eager, needs=("no_such_package",))
    monkeypatch.setattr(engines, "ENGINES", (ENGINES[0], absent))
    assert choose() == [ENGINES[0]]
    with pytest.raises(DeployError, match="Absent needs the package no_such_package"):
        choose(["Absent"])

"""A folded network as Arm's NPU compilers take it: int8 by PyTorch's own tools (PT2E), lowered to TOSA by ExecuTorch.

TOSA is what the compiler (`vela`) reads, and has a reference model that says, to the bit, what it means.
"""

import contextlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import require_folded
from rdlib.deploy.export import quiet
from rdlib.errors import DeployError

PACKAGES = ("torch", "torchao", "executorch", "ethos-u-vela", "tosa-tools")
MODULES = ("executorch", "torchao", "ethosu", "tosa_serializer")
EDGES = {"quantize_per_tensor", "dequantize_per_tensor"}  # images into int8 and logits out of it: the CPU's in any case


def require_packages() -> None:
    """Raise DeployError where the compiler or what leads to it is not installed."""
    if lacking := [name for name in MODULES if importlib.util.find_spec(name) is None]:
        raise DeployError(
            f"the NPU compiler is not installed ({', '.join(lacking)}): add it with `uv sync --locked --group npu` or "
            "`pip install --no-deps ethos-u-vela tosa-tools semver` (Linux on x86-64)"
        )


@contextlib.contextmanager
def taken(step: str) -> Iterator[None]:
    """Within the block the tools say nothing, and what they raise of a network is a DeployError."""
    try:
        with quiet():
            yield
    except (DeployError, OSError):
        raise
    except Exception as error:  # of each of their passes another
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DeployError(f"this network cannot be {step} for an NPU ({why}): replace what that names") from error


class Quantised(nn.Module):
    """The int8 network as PyTorch computes it, [N, 3, side, side] -> logits [N, classes]; any N."""

    def __init__(self, converted: Any):
        super().__init__()
        self.converted = converted

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.converted(images)
        return logits

    def train(self, mode: bool = True) -> "Quantised":
        return self  # what PT2E has converted knows no mode


@torch.no_grad()
def quantised(network: nn.Module, calibration: Sequence[Tensor], weights: int = 8, maps: int = 8) -> Quantised:
    """The form of a folded network with so many bits: weights symmetric per output channel, feature maps per tensor.

    calibration: batches [N, 3, side, side] of normalised images, from which the ranges of feature maps are read; all is
    the tool's default. Raises DeployError for a network that is not folded, and without the compiler.
    """
    require_folded(network)
    require_packages()
    with taken("quantised"):
        from executorch.backends.arm.quantizer import TOSAQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = TOSAQuantizer(lowering())
        most_weight, most_map = 2 ** (weights - 1) - 1, 2 ** (maps - 1) - 1
        ranges = {
            "weight_qmin": -most_weight,
            "weight_qmax": most_weight,
            "act_qmin": -most_map - 1,
            "act_qmax": most_map,
        }
        quantizer.set_global(get_symmetric_quantization_config(**ranges))
        example = torch.cat([calibration[0][:1]] * 2)  # an example of one image would fix the batch
        free = ({0: torch.export.Dim("batch")},)
        traced = torch.export.export(network, (example,), dynamic_shapes=free).module(check_guards=False)
        prepared = prepare_pt2e(traced, quantizer)
        for images in calibration:
            prepared(images)
        return Quantised(convert_pt2e(prepared))


def lowering(accelerator: str = "ethos-u55-32") -> Any:
    """How ExecuTorch is told to lower, but not to compile: for the oldest family, whose operators all others have. Our
    networks lowered for the youngest are the same to the byte (a test)."""
    from executorch.backends.arm.ethosu import EthosUCompileSpec
    from executorch.backends.arm.tosa.compile_spec import TosaCompileSpec

    return TosaCompileSpec(EthosUCompileSpec(accelerator).tosa_spec)


@dataclass(frozen=True)
class Lowered:
    """An int8 network as the compiler takes it for any processor: TOSA of one image, how it gets in and its logits out.

    entry, exit: scale and zero point of the images and of the logits. outside: operators that ExecuTorch leaves to the
    CPU, by name, quantisation at the edges apart.
    """

    tosa: bytes
    entry: tuple[float, int]
    exit: tuple[float, int]
    outside: dict[str, int]


def lowered(network: Quantised, side: int) -> Lowered:
    """Lower an int8 network, one image [1, 3, side, side] at a time.

    Raises DeployError where the operators that an NPU can run are not one connected part.
    """
    from executorch.backends.arm.tosa.partitioner import TOSAPartitioner

    program = edge(network, side, TOSAPartitioner(lowering())).exported_program()
    outside = left_outside(program)
    parts = [part for part in program.graph_module.children() if hasattr(part, "processed_bytes")]
    if len(parts) != 1:
        named = ", ".join(f"{count} {name}" for name, count in outside.items()) or "nothing"
        raise DeployError(
            f"an NPU would run this network in {len(parts)} parts, since it leaves {named} to the CPU: replace these "
            "operators"
        )
    ends = {name: node.args for node, name in called(program) if name in EDGES}
    entry, leave = (ends[name][1:3] for name in ("quantize_per_tensor", "dequantize_per_tensor"))
    return Lowered(parts[0].processed_bytes, entry, leave, outside)


def edge(network: Quantised, side: int, partitioner: Any) -> Any:
    """ExecuTorch's program of a network for one image, what the partitioner takes lowered."""
    with taken("lowered"):
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(network.converted, (torch.zeros(1, 3, side, side),))
        return to_edge_transform_and_lower(exported, partitioner=[partitioner])


def called(program: Any) -> Iterable[tuple[Any, str]]:
    """Every call in a program and the name of its operator, without overload and name space."""
    for node in program.graph.nodes:
        if node.op == "call_function":
            schema = getattr(node.target, "_schema", None)
            name = schema.name if schema else getattr(node.target, "__name__", str(node.target))
            yield node, name.rpartition("::")[2]


def left_outside(program: Any) -> dict[str, int]:
    of_npu = EDGES | {"executorch_call_delegate", "getitem"}
    return dict(Counter(name for _, name in called(program) if name not in of_npu))


def reference(network: Lowered, images: Tensor) -> Tensor:
    """Logits [N, classes] of normalised images [N, 3, side, side] by Arm's reference model of TOSA: what the lowered
    network means, operator by operator, to the bit. Raises DeployError where the model does not take it."""
    import tosa_reference_model

    (scale, zero), (unit, origin) = network.entry, network.exit
    found = []
    for image in torch.clamp(torch.round(images / scale) + zero, -128, 127).to(torch.int8):
        with silent():  # of a version of TOSA that it reads all the same
            (logits,), status = tosa_reference_model.run(network.tosa, [image[None].numpy()])
        if status != tosa_reference_model.GraphStatus.TOSA_VALID:
            raise DeployError(f"the reference model of TOSA does not take this network ({status})")
        found.append((torch.from_numpy(logits).float() - origin) * unit)
    return torch.cat(found)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within the block what native code writes to the process's output and errors is lost."""
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with open(os.devnull, "w") as nothing:
            for number in kept:
                os.dup2(nothing.fileno(), number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)

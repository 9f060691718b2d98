"""A folded network for Arm's neural processors (Ethos-U): int8 by PyTorch's own tools (PT2E), lowered to TOSA by
ExecuTorch, compiled by Arm's compiler Vela.

Times, cycles and memory are *estimates by the compiler*: no processor was run.
"""

import configparser
import contextlib
import csv
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rdlib.convolutions import require_folded
from rdlib.deploy.export import quiet
from rdlib.errors import DeployError, require_choice

PACKAGES = ("torch", "torchao", "executorch", "ethos-u-vela", "tosa-tools")
MODULES = ("executorch", "torchao", "ethosu", "tosa_serializer")
CONFIG = "Arm/vela.ini"  # Vela's own file of systems and memory modes
Optimise = Literal["Performance", "Size"]
SIZES = {"u55": (32, 64, 128, 256), "u65": (256, 512), "u85": (128, 256, 512, 1024, 2048)}  # MACs a cycle
ACCELERATORS = tuple(f"ethos-{family}-{macs}" for family, sizes in SIZES.items() for macs in sizes)
# The system and its memories where nothing is said, by family.
DEFAULTS = {
    "u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65": ("Ethos_U65_High_End", "Dedicated_Sram_384KB"),
    "u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_512KB"),
}
MEMORIES = ("sram", "dram", "on_chip_flash", "off_chip_flash")
ACCESSES = tuple(f"{what}_{way}" for what in ("feature_map", "weight") for way in ("read", "write"))
EDGES = {"quantize_per_tensor", "dequantize_per_tensor"}  # images into int8 and logits out of it: the CPU's in any case


def require_packages() -> None:
    """Raise DeployError where the compiler or what leads to it is not installed."""
    if lacking := [name for name in MODULES if importlib.util.find_spec(name) is None]:
        raise DeployError(
            f"the NPU compiler is not installed ({', '.join(lacking)}): add it with `uv sync --locked --group npu` or "
            "`pip install executorch` and `pip install --no-deps ethos-u-vela tosa-tools` (Linux on x86-64)"
        )


@dataclass(frozen=True, order=True)
class Target:
    """A processor, the system around it, where its data lie, and what the compiler is to save.

    system, memory: names of Vela's configuration, "" for the family's default. Raises DeployError without the compiler,
    ConfigError for an unknown name or for one of another processor.
    """

    accelerator: str = "ethos-u55-256"
    system: str = ""
    memory: str = ""
    optimise: Optimise = "Performance"

    def __post_init__(self) -> None:
        require_choice("NPU", self.accelerator, ACCELERATORS)
        require_choice("optimise", self.optimise, get_args(Optimise))
        require_packages()
        for field, value in zip(("system", "memory"), DEFAULTS[self.family], strict=True):
            if not getattr(self, field):
                object.__setattr__(self, field, value)
        systems, modes = configurations()
        mine = [name for name in systems if name.lower().startswith(f"ethos_{self.family}_")]
        require_choice(f"system of {self.accelerator}", self.system, mine)
        dram = systems[self.system].get("axi1_port") == "Dram"
        # What is dedicated to the NPU only caches an arena that lies in the other memory, which flash cannot be.
        require_choice(
            f"memory mode of {self.system}", self.memory, [m for m in modes if dram or not m.startswith("Dedicated")]
        )

    @property
    def family(self) -> str:
        return self.accelerator.split("-")[1]

    @property
    def name(self) -> str:
        system = self.system.removeprefix(f"Ethos_{self.family.upper()}_").removeprefix("SYS_")
        size = ", Size" if self.optimise == "Size" else ""
        return f"{self.family.upper()}-{self.accelerator.split('-')[2]}, {system}, {self.memory}{size}"

    @property
    def flags(self) -> list[str]:
        """What the compiler is told."""
        return [
            *("--accelerator-config", self.accelerator, "--system-config", self.system, "--memory-mode", self.memory),
            *("--config", CONFIG, "--output-format", "raw", "--optimise", self.optimise),
        ]


@cache
def configurations() -> tuple[dict[str, dict[str, str]], list[str]]:
    """Of the installed compiler: every system's settings by its name, and the memory modes."""
    import ethosu

    found = configparser.ConfigParser(inline_comment_prefixes=";")
    with (Path(ethosu.__path__[0]) / "config_files" / CONFIG).open() as file:
        found.read_file(file)
    named = {kind: [name for name in found if name.startswith(f"{kind}.")] for kind in ("System_Config", "Memory_Mode")}
    systems = {name.partition(".")[2]: dict(found[name]) for name in named["System_Config"]}
    return systems, [name.partition(".")[2] for name in named["Memory_Mode"]]


@contextlib.contextmanager
def taken(step: str) -> Iterator[None]:
    """Within the block the tools say nothing, and whatever they raise is a DeployError."""
    try:
        with quiet():
            yield
    except DeployError:
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
def quantised(network: nn.Module, calibration: Sequence[Tensor]) -> Quantised:
    """The int8 form of a folded network: weights symmetric per output channel, feature maps per tensor.

    calibration: batches [N, 3, side, side] of normalised images, from which the ranges of feature maps are read; all is
    the tool's default. Raises DeployError for a network that is not folded, and without the compiler.
    """
    require_folded(network)
    require_packages()
    with taken("quantised"):
        from executorch.backends.arm.quantizer import TOSAQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = TOSAQuantizer(tosa())
        quantizer.set_global(get_symmetric_quantization_config())
        example = torch.cat([calibration[0][:1]] * 2)  # an example of one image would fix the batch
        free = ({0: torch.export.Dim("batch")},)
        traced = torch.export.export(network, (example,), dynamic_shapes=free).module(check_guards=False)
        prepared = prepare_pt2e(traced, quantizer)
        for images in calibration:
            prepared(images)
        return Quantised(convert_pt2e(prepared))


def tosa() -> Any:
    """How ExecuTorch is told to lower, but not to compile: for the oldest family, whose operators all others have. Our
    networks lowered for the youngest are the same to the byte (a test)."""
    from executorch.backends.arm.ethosu import EthosUCompileSpec
    from executorch.backends.arm.tosa.compile_spec import TosaCompileSpec

    return TosaCompileSpec(EthosUCompileSpec(ACCELERATORS[0]).tosa_spec)


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

    program = edge(network, side, TOSAPartitioner(tosa())).exported_program()
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


@dataclass(frozen=True)
class Estimate:
    """What Vela says of one inference. Bytes, milliseconds, cycles of the NPU's clock.

    used: bytes held, by memory. moved: bytes read and written, by memory and access. operators: of each kind how many,
    and the cycles they take, stalls for memory included; one that is chained into a convolution takes none of its own.
    on_cpu: operators that the compiler leaves to the CPU. encoded_weights: bytes, compressed.
    """

    milliseconds: float
    cycles: int
    busy: int
    used: dict[str, int]
    moved: dict[str, dict[str, int]]
    encoded_weights: int
    operators: dict[str, dict[str, int]]
    on_cpu: int

    @property
    def add_share(self) -> float:
        """The share of all cycles that additions take."""
        return self.operators.get("Add", {"cycles": 0})["cycles"] / self.cycles

    def feature_maps(self, memories: Sequence[str] = MEMORIES) -> int:
        """Bytes of feature maps, read and written."""
        return sum(self.moved[m][access] for m in memories for access in ACCESSES if access.startswith("feature"))


def compiled(tosa: bytes, target: Target) -> Estimate:
    """Compile for a target, in a process of its own, and read the estimate. Raises DeployError where Vela gives up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tosa"
        path.write_bytes(tosa)
        command = [sys.executable, "-m", "ethosu.vela", *target.flags, "--verbose-performance"]
        done = subprocess.run(
            [*command, "--output-dir", folder, str(path)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        if done.returncode:
            why = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise DeployError(f"Vela cannot compile this network for {target.name}: {why.replace(folder, '')}")
        return estimate(Path(folder))


def program(network: Quantised, side: int, target: Target) -> tuple[bytes, bytes, Estimate]:
    """The content of a `.pte` file for a target: ExecuTorch's program, the NPU's commands and weights within; the TOSA
    that was compiled into it; and what the compiler says of it."""
    with tempfile.TemporaryDirectory() as folder, taken("compiled"), silent():
        from executorch.backends.arm.ethosu import EthosUCompileSpec, EthosUPartitioner

        flags = [f"--optimise={target.optimise}", "--verbose-performance"]
        spec = EthosUCompileSpec(target.accelerator, target.system, target.memory, flags, CONFIG)
        spec.dump_intermediate_artifacts_to(folder)
        content = bytes(edge(network, side, EthosUPartitioner(spec)).to_executorch().buffer)
        return content, (Path(folder) / "out.tosa").read_bytes(), estimate(Path(folder) / "output")


def estimate(folder: Path) -> Estimate:
    """The estimate in what Vela wrote into a folder."""
    [summary], layers = (rows(folder, pattern) for pattern in ("*_summary_*.csv", "*_per-layer.csv"))
    number = {name: float(value) for name, value in summary.items() if numeric(value)}
    operators: dict[str, dict[str, int]] = {}
    for layer in layers:
        of = operators.setdefault(layer["NNG Operator"], {"count": 0, "cycles": 0})
        of["count"] += 1
        of["cycles"] += round(float(layer["Op Cycles"]))
    return Estimate(
        milliseconds=1e3 * number["inference_time"],
        cycles=round(number["cycles_total"]),
        busy=round(number["cycles_npu"]),
        used={memory: round(1024 * number[f"{memory}_memory_used"]) for memory in MEMORIES},
        moved={m: {access: round(number[f"{m}_{access}_bytes"]) for access in ACCESSES} for m in MEMORIES},
        encoded_weights=round(number["total_npu_encoded_weights"]),
        operators=dict(sorted(operators.items())),
        on_cpu=sum(layer["Target"] != "NPU" for layer in layers),
    )


def numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    try:
        (path,) = folder.glob(pattern)
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (ValueError, OSError) as error:
        raise DeployError("this Vela writes other reports: install ethos-u-vela 5.2") from error

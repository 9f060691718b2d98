"""Arm's compiler for its neural processors (Ethos-U), Vela: what it is told, and what it says of a network.

Times, cycles and memory are *estimates by the compiler*: no processor was run.
"""

import configparser
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from rdlib.deploy.tosa import Lowered, Quantised, edge, require_packages, silent, taken
from rdlib.errors import DeployError, require_choice

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
        return add_share(self.operators, self.cycles)


def add_share(operators: Mapping[str, Mapping[str, int]], cycles: int) -> float:
    """The share of all cycles that additions take by themselves."""
    return operators.get("Add", {"cycles": 0})["cycles"] / cycles


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


def program(network: Quantised, lowered: Lowered, side: int, target: Target) -> tuple[bytes, Estimate]:
    """The content of a `.pte` file for a target (ExecuTorch's program, the NPU's commands and weights within), and what
    the compiler says of it. Raises DeployError unless what it holds is `lowered`, compiled."""
    with tempfile.TemporaryDirectory() as folder, taken("compiled"), silent():
        from executorch.backends.arm.arm_vela import vela_compile
        from executorch.backends.arm.ethosu import EthosUCompileSpec, EthosUPartitioner

        flags = [f"--optimise={target.optimise}", "--verbose-performance"]
        spec = EthosUCompileSpec(target.accelerator, target.system, target.memory, flags, CONFIG)
        content = bytes(edge(network, side, EthosUPartitioner(spec)).to_executorch().buffer)
        ours = vela_compile(lowered.tosa, list(spec.compiler_flags), intermediate_path=folder).processed_bytes
        if ours not in content:
            raise DeployError("the file would hold another network than the one that was verified: nothing is written")
        return content, estimate(Path(folder) / "output")


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

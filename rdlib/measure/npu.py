"""Tables 1 and 2 by a neural processor's own compiler: what Vela estimates of every network on every target.

Lowered once, compiled for each target, kept in one record, to which an interrupted measurement comes back.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.deploy.delivery import CALIBRATION, batches
from rdlib.deploy.hub import from_pretrained
from rdlib.deploy.vela import Estimate, Target, compiled
from rdlib.errors import DeployError, RecordError
from rdlib.images import load
from rdlib.measure import record as measured
from rdlib.measure.candidates import Candidate, seeded, shifted
from rdlib.measure.record import Tell
from rdlib.models import KINDS, Shortcuts, StagedResNet

RECORD = measured.FOLDER / "npu.json"
COMMAND = "python -m rdlib measure npu"
UNTRAINED = "untrained"
NO_ROOM = "Failed to allocate"  # Vela, where a network does not fit the SRAM of a target
PUBLISHED = ("digits-resnet-50", "digits-plain-50", "digits-plain-50-jointrd")
SYSTEMS = (
    ("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    ("ethos-u65-512", "Ethos_U65_High_End", "Dedicated_Sram_384KB"),
    ("ethos-u65-512", "Ethos_U65_Client_Server", "Dedicated_Sram_512KB"),
    ("ethos-u85-512", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_512KB"),
    ("ethos-u85-2048", "Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB"),
    ("ethos-u85-2048", "Ethos_U85_SYS_DRAM_Mid", "Shared_Sram"),
)


@dataclass(frozen=True)
class Subject:
    """A network to compile. weights: UNTRAINED, or the name of the published network that has them."""

    name: str
    depth: int
    shortcuts: Shortcuts
    side: int
    variant: str = ""
    weights: str = UNTRAINED
    build: Callable[[], nn.Module] = field(compare=False, repr=False, default=nn.Identity)

    def lowered(self) -> tosa.Lowered:
        """Folded, quantised and lowered. Calibrated on training images where it is trained, else on noise: with random
        weights ranges mean nothing, and neither cycles nor bytes depend on them."""
        if self.weights == UNTRAINED:
            calibration = [torch.randn(2, 3, self.side, self.side, generator=torch.Generator().manual_seed(0))]
        else:
            images = load(self.weights.split("-")[0])
            calibration = batches(images, images.train, CALIBRATION)
        return tosa.lowered(tosa.quantised(self.build(), calibration), self.side)

    def facts(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "depth", "shortcuts", "side", "variant", "weights")}


def subject(candidate: Candidate) -> Subject:
    return Subject(**asdict(candidate), name=candidate.name, build=candidate.network)


def published() -> list[Subject]:
    """The published networks of digits with their weights and, of each shape, with random ones."""
    found: list[Subject] = []
    for name in PUBLISHED:
        network = from_pretrained(name)
        of = network.architecture
        about = (f"{KINDS[of.shortcuts].format(50)}, width {of.width}", 50, of.shortcuts, 16, "")
        bare = Subject(*about, UNTRAINED, partial(untrained, network))
        found += [Subject(*about, name, partial(fold, network.eval())), *([] if bare in found else [bare])]
    return found


def untrained(network: StagedResNet) -> nn.Module:
    """A network of the same shape with random weights, folded."""
    with seeded():
        return fold(shifted(StagedResNet(network.architecture)).eval())


def targets(accelerators: Sequence[str] = (), system: str = "", memory: str = "") -> list[Target]:
    """Each target compiled for speed and for size: those of SYSTEMS, or of them those of the accelerators named.

    An accelerator that is not among SYSTEMS, or any with a system or memory mode named, has these (or its default).
    Raises ConfigError for names that do not exist or do not fit, DeployError without the compiler.
    """
    places = []
    for accelerator in accelerators or dict.fromkeys(place[0] for place in SYSTEMS):
        mine = [place for place in SYSTEMS if place[0] == accelerator]
        places += [(accelerator, system, memory)] if system or memory or not mine else mine
    return [Target(*place, optimise) for place in places for optimise in ("Performance", "Size")]


def measure(
    subjects: Sequence[Subject],
    on: Sequence[Target],
    path: Path,
    tell: Tell = lambda line: None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Compile every network for every target; returns the record, to which each network is written as it is done.

    A record that is there already is completed. What finds no room on a target, its row says, and whoever asks for it
    again has it tried again. jobs: compilers at once, default the cores.

    Raises RecordError where the record cannot be written or was made by other versions of the compiler, and DeployError
    where a network cannot be lowered or the compiler failed otherwise.
    """
    tosa.require_packages()
    measured.require_writable(path)
    origin = measured.origin(*tosa.PACKAGES)
    done: dict[tuple[Any, ...], dict[str, Any]] = {}
    if path.exists():
        found = read(path)
        if found["provenance"].get("versions") != origin["versions"]:
            raise RecordError(
                f"{path.name} was made by other versions of the compiler: move it away, or name another file"
            )
        done = {key(row): row for row in found["rows"]}
    compiling: list[tuple[dict[str, Any], Future[Estimate]]] = []
    failed: list[str] = []

    def collect() -> None:
        """Into the record what is compiled; an interrupt has cancelled the rest."""
        for row, future in compiling:
            if future.cancelled():
                continue
            try:
                done[key(row)] = row | short(future.result())
            except DeployError as error:
                tell(str(error))
                if NO_ROOM in str(error):
                    done[key(row)] = row | {"refused": str(error)}
                else:
                    failed.append(str(error))
        if compiling:
            measured.write(path, {"provenance": origin, "rows": list(done.values())}, listed="rows")
        compiling.clear()

    pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1)
    try:
        for i, one in enumerate(subjects):
            rows = [one.facts() | {"target": target.name, "flags": " ".join(target.flags)} for target in on]
            left = [i for i, row in enumerate(rows) if "refused" in done.get(key(row), {"refused": ""})]
            tell(f"{i + 1}/{len(subjects)} {one.name} at {one.side}, {one.weights}: {len(left)} of {len(on)} targets")
            if left:
                low = one.lowered()  # while the compilers work on the network before it
                collect()
                facts = {"outside": low.outside}
                compiling += [(rows[at] | facts, pool.submit(compiled, low.tosa, on[at])) for at in left]
        collect()
    finally:
        pool.shutdown(cancel_futures=True)
        collect()
    if failed:
        raise DeployError(f"{len(failed)} of the compilations failed: {failed[0]}; run the command again")
    return read(path)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("name", "side", "weights", "target"))


def settings(row: Mapping[str, Any]) -> dict[str, str]:
    """What the compiler was told, by flag: the accelerator, its system and memory mode, and what it saved."""
    words = str(row["flags"]).split()
    return dict(zip(words[::2], words[1::2], strict=True))


def system_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Accelerator, system and memory mode, as in SYSTEMS."""
    of = settings(row)
    return of["--accelerator-config"], of["--system-config"], of["--memory-mode"]


def for_size(row: Mapping[str, Any]) -> bool:
    return settings(row)["--optimise"] == "Size"


def short(estimate: Estimate) -> dict[str, Any]:
    """An estimate without the memories that a target lacks."""
    body = asdict(estimate)
    body["used"] = {memory: count for memory, count in body["used"].items() if count}
    body["moved"] = {memory: body["moved"][memory] for memory in body["used"]}
    return body


def read(path: Path = RECORD) -> dict[str, Any]:
    """The record. Raises RecordError where it is missing, damaged or was edited."""
    return measured.read(path, COMMAND)


def of_store(folder: Path) -> dict[str, Any]:
    """The record in a store's folder of measurements, else the published one: estimates need no training."""
    own = folder / RECORD.name
    return read(own if own.exists() else RECORD)

"""The ways to do a step that are compared: the reference, the fast one, and the fast one less a single trick."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference import TERMS, ReferenceStep, loader
from benchmarks.setting import PROGRESS, Setting
from rdlib.distributed import Shard
from rdlib.images.dataset import Dataset
from rdlib.methods import JointRD, Method
from rdlib.models import STAGES
from rdlib.runs.provenance import processor
from rdlib.step import FAST, Speed, Step

Batch = tuple[Tensor, Tensor]


class SequentialPaths(JointRD):
    """The mixed paths one after another instead of as one growing batch."""

    def paths(self, images: Tensor, with_mixed: bool) -> tuple[Tensor, Tensor | None]:
        maps = [self.student.stem(images)]
        for stage in self.student.stages:
            maps.append(stage(maps[-1]))
        if not with_mixed:
            return maps[-1], None
        mixed = []
        for k in (1, 2, 3):
            h = maps[k]
            for stage in self.guide.stages[k:]:
                h = stage(h)
            mixed.append(h)
        return maps[-1], torch.cat(mixed)


class TeacherGradients(JointRD):
    """The gradients of the teacher's stages are computed, and then thrown away; for a teacher that is not folded."""

    def paths(self, images: Tensor, with_mixed: bool) -> tuple[Tensor, Tensor | None]:
        # What autograd records here it also computes; a weight that needs no gradient any more then drops it.
        self.teacher.requires_grad_(True)
        try:
            return super().paths(images, with_mixed)
        finally:
            self.teacher.requires_grad_(False)


class InBfloat16(nn.Module):
    """A part of a network in bfloat16 among others in float32."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.part(x.to(torch.bfloat16))
        return out.float()


class TeacherInBfloat16(JointRD):
    """The folded teacher computes in bfloat16, in its own pass and on the mixed paths, and the student in float32."""

    def fold_teacher(self) -> None:
        super().fold_teacher()
        for name in ("conv1", *(f"layer{i + 1}" for i in range(STAGES))):
            self.guide.set_submodule(name, InBfloat16(self.guide.get_submodule(name)))


@dataclass(frozen=True)
class Variant:
    """One way to train. `images`: "device" is rdlib's pipeline, "loader" PIL in worker processes, "fixed" none."""

    speed: Speed = FAST
    images: str = "device"
    reference: bool = False
    method: type[Method] = JointRD
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of weights and images."""
        channels_last = self.speed.channels_last and not self.reference
        return torch.channels_last if channels_last else torch.contiguous_format

    def step(self, setting: Setting, device: torch.device) -> ReferenceStep | Step:
        method = setting.build(self.method, **self.options)
        if self.reference:
            return ReferenceStep(method, setting.recipe, device)
        return Step(method, setting.recipe, device, self.speed)


def variants(device: torch.device, compiled: bool = False) -> dict[str, Variant]:
    """Every variant of a JointRD step that means something on this device, by name; the compiled ones where wanted."""
    tricks = {"with torch.compile": Variant(Speed(compile=True))} if compiled else {}
    if device.type == "cuda":
        tricks["with a CUDA graph"] = Variant(Speed(graph=True))
        if compiled:
            tricks["with torch.compile in a CUDA graph"] = Variant(Speed(compile=True, graph=True))
        tricks["without fused SGD"] = Variant(Speed(fused=False))
        tricks["without bfloat16"] = Variant(Speed(bfloat16=False))
    else:
        tricks["with fused SGD"] = Variant(Speed(fused=True))
        if "amx_bf16" in processor()[1]:
            tricks["with bfloat16"] = Variant(Speed(bfloat16=True))
            tricks["with bfloat16 in the frozen teacher alone"] = Variant(method=TeacherInBfloat16)
    return {
        "reference": Variant(images="loader", reference=True),
        "fast": Variant(),
        "fast, one fixed batch": Variant(images="fixed"),
        **tricks,
        "without channels_last": Variant(Speed(channels_last=False)),
        "without the folded teacher": Variant(Speed(fold=False)),
        "without the growing batch": Variant(method=SequentialPaths),
        "unfolded, with teacher's weight gradients": Variant(Speed(fold=False), method=TeacherGradients),
        "with a DataLoader": Variant(images="loader"),
        "with sampled paths (another loss)": Variant(options={"paths": "sampled"}),
    }


def methods() -> dict[str, Variant]:
    """The fast step of every method at its defaults, and of JointRD with a teacher that learns beside the student."""
    each = {kind.__name__: Variant(method=kind) for kind in TERMS}
    return each | {"JointRD, joint teacher": Variant(options={"regime": "beside"})}


def can_compile() -> bool:
    """Whether torch.compile is wanted and finds a C++ compiler."""
    wanted = os.environ.get("TORCH_COMPILE_DISABLE", "0") != "1"
    return wanted and any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def allow_many_compiled() -> None:
    """Let dynamo keep every variant's code; beyond its default it would silently fall back to eager."""
    torch._dynamo.config.recompile_limit = 4096
    torch._dynamo.config.accumulated_recompile_limit = 4096


def turn(variant: Variant, setting: Setting, data: Dataset, steps: int, workers: int = 0) -> Callable[[], None]:
    """A short epoch of `steps` training steps, images and all."""
    step = variant.step(setting, data.device)
    source = batches(variant, setting, data, steps, workers)

    def run() -> None:
        for images, labels in source():
            step(images, labels, PROGRESS)

    return run


def batches(
    variant: Variant, setting: Setting, data: Dataset, steps: int, workers: int
) -> Callable[[], Iterable[Batch]]:
    """What gives a turn its batches, on the device and in the memory format of the weights."""
    layout = variant.layout
    if variant.images == "fixed":
        fixed = [(images.contiguous(memory_format=layout), labels) for images, labels in drawn(setting, data, 1)]
        return lambda: fixed * steps
    if variant.images == "device":
        return lambda: ((x.contiguous(memory_format=layout), y) for x, y in drawn(setting, data, steps))
    worked = loader(data, setting.recipe, steps, workers)
    return lambda: (
        (x.to(data.device, memory_format=layout, non_blocking=True), y.to(data.device, non_blocking=True))
        for x, y in worked
    )


def drawn(setting: Setting, data: Dataset, steps: int) -> Iterator[Batch]:
    """The first batches of one of rdlib's epochs."""
    return islice(data.training_batches(data.train, setting.recipe, 0, 0, Shard()), steps)

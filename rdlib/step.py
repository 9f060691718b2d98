"""One training step, as fast as the device allows; every trick is a line here and can be switched off alone.

What is fast for another reason lives where it belongs: images and augmentation on the device (`data`), one growing
batch for the mixed paths and no gradient for a teacher's weights (`methods`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import Reparametrised
from rdlib.distributed import replicate, shard, synchronise_norms
from rdlib.methods_base import Method
from rdlib.recipe import Recipe


@dataclass(frozen=True)
class Speed:
    """Which tricks are on; None means on CUDA only. All leave the mathematics alone, bfloat16 the last digits not."""

    bfloat16: bool | None = None  # autocast; on CPUs without matrix units for it some fifteen times slower
    channels_last: bool = True
    compile: bool | None = None  # torch.compile; costs seconds to a minute once
    fused: bool | None = None  # the optimiser as one kernel

    def on(self, trick: bool | None, device: torch.device) -> bool:
        return device.type == "cuda" if trick is None else trick


FAST = Speed()


def autocast(device: torch.device, speed: Speed = FAST) -> torch.autocast:
    """bfloat16 where `speed` wants it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=speed.on(speed.bfloat16, device))


def make_optimizer(method: nn.Module, recipe: Recipe, fused: bool = False) -> torch.optim.SGD:
    """SGD with Nesterov momentum over everything that learns; Dirac scales go without weight decay."""
    undecayed = {id(p) for m in method.modules() if isinstance(m, Reparametrised) for p in m.undecayed()}
    learning = [p for p in method.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if id(p) not in undecayed]},
        {"params": [p for p in learning if id(p) in undecayed], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


class Terms(nn.Module):
    """A method's loss terms behind `forward`, which is where data-parallel training listens."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, labels: Tensor, progress: float | None) -> dict[str, Tensor]:
        """The student's terms, or the teacher's where `progress` is None."""
        if progress is None:
            return self.method.teacher_losses(images, labels)
        return self.method.losses(images, labels, progress)


class Step:
    """`step(images, labels, progress)` moves the method's weights once and returns its loss terms, detached.

    A teacher that learns is moved first; then the student sees it. Under torchrun the batch is this rank's share.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device, speed: Speed = FAST):
        self.layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        method.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        for part in method.children():
            if any(p.requires_grad for p in part.parameters()):
                synchronise_norms(part)
        self.optimizer = make_optimizer(method, recipe, speed.on(speed.fused, device))
        self.terms, self.device, self.speed = replicate(Terms(method), method.partial), device, speed
        if speed.on(speed.compile, device):
            torch._dynamo.reset()  # a run's variants count against dynamo's limit, not those of all runs before it
            # SyncBatchNorm breaks compiled graphs in two, so of several processes only a frozen teacher's is compiled.
            method.compile(learning=shard().size == 1)
        self.teaches = method.teacher_learns

    def __call__(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        images = images.contiguous(memory_format=self.layout)
        teaching: dict[str, Tensor] = {}
        if self.teaches:
            with autocast(self.device, self.speed):
                teaching = self.terms(images, labels, None)
            self.down(teaching)
        with autocast(self.device, self.speed):
            learning = self.terms(images, labels, progress)
        self.down(learning)
        return {name: term.detach() for name, term in (teaching | learning).items()}

    def down(self, terms: dict[str, Tensor]) -> None:
        """One optimiser step on the sum of the terms; parameters no term reaches have no gradient and stay."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

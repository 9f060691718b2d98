"""One training step, as fast as the device allows; each trick is a field of `Speed` and leaves the mathematics alone.

What else is fast: whole batches augmented on the device (`images`), one growing batch for the mixed paths and no
gradient for a teacher's weights (`methods`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import Reparametrised
from rdlib.distributed import replicate, shard, synchronise_norms
from rdlib.methods import Method, Taught
from rdlib.models import StagedResNet
from rdlib.recipe import Recipe


@dataclass(frozen=True)
class Speed:
    """Which tricks are on; None: on CUDA only. All leave the mathematics alone, bfloat16 the last digits not."""

    bfloat16: bool | None = None  # autocast; on CPUs without matrix units for it some fifteen times slower
    channels_last: bool = True
    fold: bool = True  # a frozen teacher's BatchNorm into its convolutions
    fused: bool | None = None  # the optimiser as one kernel
    # torch.compile. On the first GPU that ran this (NVIDIA H200, torch 2.11, ResNet-18 and plain-18, width 64, batch
    # 128) a JointRD step took 13.8 to 16.4 ms eager and 21.7 to 32.7 ms compiled: the processor could not feed it.
    compile: bool = False
    # CUDA: losses and gradients as one CUDA graph. No GPU has run it yet, so it is off. Never where a teacher learns:
    # its f_T goes from one pass to the next in Python, which a replay would not run.
    graph: bool = False

    def on(self, trick: bool | None, device: torch.device) -> bool:
        return device.type == "cuda" if trick is None else trick


FAST = Speed()
WARM_UP = 3  # eager steps before a graph is recorded, in which libraries set up what they use and code is compiled


def autocast(device: torch.device, speed: Speed = FAST) -> torch.autocast:
    """bfloat16 where `speed` wants it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=speed.on(speed.bfloat16, device))


def make_optimizer(method: nn.Module, recipe: Recipe, fused: bool = False) -> torch.optim.Optimizer:
    """Over everything that learns; scales of Dirac weights go without weight decay. fused: SGD as one kernel."""
    scaled = [module for module in method.modules() if isinstance(module, Reparametrised)]
    undecayed = {id(getattr(module, name)) for module in scaled for name in module.undecayed}
    learning = [p for p in method.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim == 4] if recipe.optimizer == "muon" else []
    matrices = {id(p) for p in kernels}
    decayed: dict[str, Any] = {"params": [p for p in learning if id(p) not in undecayed | matrices]}
    others: dict[str, Any] = {"params": [p for p in learning if id(p) in undecayed], "weight_decay": 0.0}
    groups = [group for group in (decayed, others) if group["params"]]
    rate, m, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    sgd = torch.optim.SGD(groups, rate, m, weight_decay=decay, nesterov=m > 0, fused=fused)
    return MuonForKernels(kernels, sgd, recipe) if kernels else sgd


class MuonForKernels(torch.optim.Optimizer):
    """torch's Muon (Jordan et al., 2024) for kernels [out, in, k, k] as matrices [out, in k k], SGD for the rest.

    Both take the recipe's rate, momentum and decay; Muon's decay is decoupled: each step shrinks a kernel by rate times
    decay. A permutation of columns commutes with Muon's step, so the order of in k k may be that of the memory.
    """

    def __init__(self, kernels: Sequence[Tensor], rest: torch.optim.SGD, recipe: Recipe):
        self.kernels = kernels
        matrices = [nn.Parameter(as_matrix(kernel.detach())) for kernel in kernels]
        assert all(m.data_ptr() == k.data_ptr() for m, k in zip(matrices, kernels, strict=True)), "views, no copies"
        rate, m, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
        self.parts = torch.optim.Muon(matrices, rate, decay, m, nesterov=m > 0), rest
        super().__init__(matrices, {"lr": rate})
        self.link()

    def link(self) -> None:
        """One list of groups, so that a scheduler sets the rate of both."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for kernel in self.kernels:
            kernel.grad = None
        self.parts[1].zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for matrix, kernel in zip(self.parts[0].param_groups[0]["params"], self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, kernel)
        for part in self.parts:
            part.step()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.link()


def as_matrix(kernel: Tensor, like: Tensor | None = None) -> Tensor:
    """[out, in, k, k] -> [out, in k k] in the order of the memory of `like`: of the kernel itself a view."""
    ordered = kernel if (kernel if like is None else like).is_contiguous() else kernel.permute(0, 2, 3, 1)
    return ordered.flatten(1)


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

    A teacher that learns is moved first, by the pass that gives f_T; its margins are read before the first step at
    each progress, that is once an epoch. Under torchrun the batch is this rank's share.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device, speed: Speed = FAST):
        self.layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        self.method, self.device, self.speed = method, device, speed
        method.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        for part in method.children():
            if any(p.requires_grad for p in part.parameters()):
                synchronise_norms(part)
        self.optimizer = make_optimizer(method, recipe, speed.on(speed.fused, device))
        if speed.fold and isinstance(method, Taught):
            method.fold_teacher()
        if speed.on(speed.bfloat16, device):
            for teacher in method.folded:  # autocast would cast its weights anew at every step
                teacher.to(torch.bfloat16)
        self.graphs: dict[float | None, Replay] = {}  # that of the present progress
        self.steps: Counter[float | None] = Counter()  # at each progress
        self.graph = speed.graph and device.type == "cuda" and shard().size == 1 and not method.teacher_learns
        self.terms = replicate(Terms(method), method.partial)
        if speed.compile:
            compile_stages(method)

    def __call__(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        images = images.contiguous(memory_format=self.layout)
        if not self.steps[progress]:
            self.method.margin = None
        teaching = self.down(images, labels, None) if self.method.teacher_learns else {}
        return teaching | self.down(images, labels, progress)

    def down(self, images: Tensor, labels: Tensor, progress: float | None) -> dict[str, Tensor]:
        """One optimiser step on the sum of the terms; parameters no term reaches have no gradient and stay."""
        self.optimizer.zero_grad(set_to_none=True)
        self.steps[progress] += 1
        backward = self.replayed if self.graph and self.steps[progress] > WARM_UP else self.backward
        terms = backward(images, labels, progress)
        self.optimizer.step()
        return terms

    def backward(self, images: Tensor, labels: Tensor, progress: float | None) -> dict[str, Tensor]:
        """The terms, detached, and the gradients of their sum."""
        with autocast(self.device, self.speed):
            terms = self.terms(images, labels, progress)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        return {name: term.detach() for name, term in terms.items()}

    def replayed(self, images: Tensor, labels: Tensor, progress: float | None) -> dict[str, Tensor]:
        """The same from a CUDA graph, which is recorded anew where progress has changed: m(t) is part of it."""
        if progress not in self.graphs:
            self.graphs.clear()
            self.graphs[progress] = Replay(self, images, labels, progress)
        return self.graphs[progress](images, labels)


class Replay:
    """Terms and gradients of batches of one shape at one progress, recorded once and replayed with a single launch."""

    def __init__(self, step: Step, images: Tensor, labels: Tensor, progress: float | None):
        self.inputs = (images.clone(), labels.clone())
        self.graph = torch.cuda.CUDAGraph()
        # Computes nothing yet. Other threads (that pin photographs) may call CUDA meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.terms = step.backward(*self.inputs, progress)
        self.gradients = [(p, p.grad) for p in step.method.parameters() if p.grad is not None]

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms, in tensors that the next call overwrites; gradients as after `backward`."""
        for ours, new in zip(self.inputs, (images, labels), strict=True):
            ours.copy_(new)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.terms


def compile_stages(method: Method) -> None:
    """torch.compile the stages of a method's networks in place; names stay."""
    torch._dynamo.reset()  # a run's variants count against dynamo's limit, not those of all runs before it
    # All stages share one code object, and with it dynamo's count of variants (stage, mode, batch size).
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for network in (*method.children(), *method.folded):
        # SyncBatchNorm breaks compiled graphs in two, so of several processes only a frozen teacher's is compiled.
        whole = shard().size == 1 or not any(p.requires_grad for p in network.parameters())
        if isinstance(network, StagedResNet) and whole:
            for stage in network.stages:
                stage.compile(dynamic=False)  # when it is first called

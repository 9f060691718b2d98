"""How a student is taught: each method returns named loss terms, and the training loop only sums them.

A method is a module that owns the student (what gets deployed), the teacher where there is one, and whatever is needed
in training only. `losses` gives the terms that update the student; `teacher_losses` those of a teacher that learns
beside it and is updated first (empty otherwise). Every term is already weighted.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.losses import logit_distillation, margin_distance, negative_margin
from rdlib.models import STAGES, StagedResNet, require_choice

Init = Literal["scratch", "teacher"]
Regime = Literal["frozen", "joint"]


class Method(nn.Module, ABC):
    """Base of all methods. `student_logits` are those of the last batch, detached, for the training accuracy."""

    student: StagedResNet
    student_logits: Tensor

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """Weighted loss terms of the student; images [N, 3, H, W], labels [N], progress of training in [0, 1]."""

    def teacher_losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms that update a teacher that learns beside the student, before the student's step."""
        return {}

    def identity(self) -> dict[str, str]:
        """What a checkpoint must agree with before it is loaded into this method."""
        options = {k: v for k, v in vars(self).items() if k != "training" and isinstance(v, bool | int | float | str)}
        return {"method": type(self).__name__, "options": str(options), "shortcuts": self.student.shortcuts}

    def compile(self) -> None:
        """torch.compile the networks' stages; the method's few own operations stay eager."""
        for network in self.children():
            if isinstance(network, StagedResNet):
                network.compile_stages()


class Supervised(Method):
    """Cross-entropy alone: the baseline for every network, and how a teacher is trained."""

    def __init__(self, student: StagedResNet):
        super().__init__()
        self.student = student

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {"cross_entropy": F.cross_entropy(logits, labels)}


class Taught(Method):
    """A method with a teacher. A frozen one is never trained and stays in eval mode whatever `train()` is told."""

    teacher: StagedResNet

    def __init__(self, student: StagedResNet, teacher: StagedResNet, init: Init, regime: Regime = "frozen"):
        super().__init__()
        require_choice("init", init, get_args(Init))
        require_choice("regime", regime, get_args(Regime))
        if init == "teacher" and regime == "joint":
            raise ConfigError(
                "init='teacher' needs a trained teacher, and regime='joint' trains it from scratch: change one"
            )
        self.student, self.teacher, self.regime = student, teacher, regime
        if init == "teacher":
            start_from(student, teacher)
        if regime == "frozen":
            teacher.requires_grad_(False)
        self.train()

    def identity(self) -> dict[str, str]:
        frozen = {"teacher": fingerprint(self.teacher)} if self.regime == "frozen" else {}
        return super().identity() | frozen

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.regime == "frozen":
            self.teacher.eval()
        return self


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def start_from(student: StagedResNet, teacher: StagedResNet) -> None:
    """Copy the teacher's weights and BatchNorm statistics into the student, tensor by tensor of the same name.

    Shortcuts the student lacks are dropped. Raises ConfigError when a name or shape does not fit.
    """
    weights = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ConfigError(f"init='teacher' needs a teacher of the student's depth and width: {name} does not fit")
    student.load_state_dict({name: weights[name] for name in student.state_dict()})


class LogitDistillation(Taught):
    """(1 - alpha) CE(z_S, y) + alpha T^2 KL(teacher || student), Hinton et al., 2015; the paper's baseline settings."""

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        alpha: float = 0.9,
        temperature: float = 4.0,
        init: Init = "scratch",
    ):
        super().__init__(student, teacher, init)
        self.alpha, self.temperature = alpha, temperature

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        return {
            "cross_entropy": (1 - self.alpha) * F.cross_entropy(logits, labels),
            "logit_distillation": self.alpha * logit_distillation(logits, teacher_logits, self.temperature),
        }


class JointRD(Taught):
    """Residual distillation: the student's early stages also learn through the teacher's later ones.

        L(t) = CE(z_S, y) + lambda d(C_S(f_S), f_T) + m(t) sum_k [ CE(z_k, y) + lambda d(C_k(f_k), f_T) ],  k = 1, 2, 3

    z_k, f_k = teacher.tail(student.head(x, k), k) is the mixed path that leaves the student after stage k; d is the
    margin distance, C_* a connector (1x1 convolution and BatchNorm, used in training only). Nothing of L updates the
    teacher. regime "frozen": a trained teacher, in eval mode throughout; "joint": a teacher from scratch, updated
    before each student step by its own cross-entropy in train mode, while L sees it in eval mode.

    Options: distance_weight is lambda; m(t) falls on a cosine from m_start to m_min over the first m_end of training
    and then stays; quarter multiplies every cross-entropy and distance by 1/4, as the released code's joint regime
    does; init "teacher" starts the student from the teacher's weights. The defaults are the paper's CIFAR settings.
    Raises ConfigError when teacher and student disagree in a stage's channels.
    """

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        regime: Regime = "frozen",
        distance_weight: float = 1e-3,
        m_start: float = 1.0,
        m_min: float = 0.5,
        m_end: float = 0.3,
        quarter: bool = False,
        init: Init = "scratch",
    ):
        super().__init__(student, teacher, init, regime)
        if student.stage_channels != teacher.stage_channels:
            raise ConfigError(
                f"the mixed paths need equal channels at every stage: the student has {student.stage_channels}, "
                f"the teacher {teacher.stage_channels}"
            )
        self.distance_weight, self.scale = distance_weight, 0.25 if quarter else 1.0
        self.m_start, self.m_min, self.m_end = m_start, m_min, m_end
        channels = student.stage_channels[-1]
        self.connectors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)) for _ in range(STAGES)
        )

    def m(self, progress: float) -> float:
        """Weight of the mixed paths: cosine from m_start at 0 to m_min at m_end, then constant."""
        fraction = min(1.0, progress / self.m_end) if self.m_end > 0 else 1.0
        return self.m_min + (self.m_start - self.m_min) * (1 + math.cos(math.pi * fraction)) / 2

    def teacher_losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.regime == "frozen":
            return {}
        return {"teacher_cross_entropy": F.cross_entropy(self.teacher(images), labels)}

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with held_still(self.teacher):
            return self._losses(images, labels, self.m(progress))

    def _losses(self, images: Tensor, labels: Tensor, m: float) -> dict[str, Tensor]:
        with torch.no_grad():
            target = self.teacher.head(images, STAGES)
            margin = negative_margin(self.teacher.last_norm)
        # Once m has fallen to zero for good the mixed paths are left out; not before, so that every parameter that
        # will ever learn has a gradient from the first step on, as the fused optimiser wants it.
        own, mixed = self.paths(images, with_mixed=m > 0 or self.m_min > 0)
        logits = self.student.classify(own)
        self.student_logits = logits.detach()
        weight = self.scale * self.distance_weight
        terms = {
            "cross_entropy": self.scale * F.cross_entropy(logits, labels),
            "distance": weight * margin_distance(self.connectors[-1](own), target, margin),
        }
        if mixed is not None:
            mixed_logits = self.teacher.classify(mixed).chunk(STAGES - 1)
            for i, (z, f) in enumerate(zip(mixed_logits, mixed.chunk(STAGES - 1), strict=True)):
                # Students join the running batch stage by stage, so chunk i left the student after stage i + 1.
                distance = margin_distance(self.connectors[i](f), target, margin)
                terms[f"mixed_{i + 1}_cross_entropy"] = m * self.scale * F.cross_entropy(z, labels)
                terms[f"mixed_{i + 1}_distance"] = m * weight * distance
        return terms

    def paths(self, images: Tensor, with_mixed: bool) -> tuple[Tensor, Tensor | None]:
        """Last pre-ReLU maps of the own path [N, ...] and of the mixed paths [3 N, ...] (k = 1, 2, 3 in order).

        The mixed paths run as one batch that grows at each stage boundary: every teacher stage runs once, which is
        exact because the teacher's BatchNorm is in eval mode.
        """
        h = self.student.stem(images)
        running: Tensor | None = None
        for i, (student_stage, teacher_stage) in enumerate(zip(self.student.stages, self.teacher.stages, strict=True)):
            if running is not None:
                running = teacher_stage(running)
            h = student_stage(h)
            if with_mixed and i < STAGES - 1:
                running = h if running is None else torch.cat([running, h])
        return h, running


@contextmanager
def held_still(teacher: nn.Module) -> Iterator[None]:
    """Within the block the teacher is in eval mode and autograd records nothing for its parameters."""
    training = teacher.training
    learning = [p for p in teacher.parameters() if p.requires_grad]
    teacher.eval()
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        teacher.train(training)
        for p in learning:
            p.requires_grad_(True)


METHODS: dict[str, type[Method]] = {m.__name__: m for m in (Supervised, LogitDistillation, JointRD)}

"""Methods: how a student is trained, alone or by a teacher; each returns named loss terms, which the loop only sums.

A method is a module that owns the student (what gets deployed), the teacher where there is one, and what only training
needs. `losses` gives the terms that update the student, `teacher_losses` those of a teacher that learns beside it and
is updated first, on the same images. Every term is already weighted.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import connector, fold
from rdlib.errors import ConfigError, require_choice
from rdlib.losses import logit_distillation, margin_distance, negative_margin
from rdlib.models import STAGES, StagedResNet, fingerprint, held_still, start_from

Init = Literal["scratch", "teacher"]
Regime = Literal["frozen", "beside"]  # "beside": a teacher from scratch that learns beside the student


class Method(nn.Module):
    """Base of all methods: cross-entropy alone, where a method says nothing else."""

    student: StagedResNet
    teacher: StagedResNet  # where there is one
    regime: Regime = "frozen"
    folded: tuple[StagedResNet, ...] = ()  # of a frozen teacher, once asked for; in a tuple, for it is no part to save
    margin: Tensor | None = None  # [C], of a teacher that learns; `Step` has it read anew at each epoch's first step
    passed: tuple[Tensor, Tensor] | None = None  # images and f_T of `teacher_losses`, until `losses` takes them
    student_logits: Tensor  # of the last batch, detached, for the training accuracy
    shapes_alone: ClassVar[bool] = True  # whether it can be built from networks without data, as for counting
    starts_as_teacher: ClassVar[bool] = False  # whatever its options

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """Weighted loss terms of the student; images [N, 3, H, W], labels [N], progress of training in [0, 1]."""
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {"cross_entropy": F.cross_entropy(logits, labels)}

    @property
    def teacher_learns(self) -> bool:
        """Whether `teacher_losses` gives terms."""
        return self.regime == "beside"

    @property
    def partial(self) -> bool:
        """Whether some step leaves a learning parameter without a gradient."""
        return self.teacher_learns

    def teacher_losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms that update a teacher that learns, and by the same pass the f_T that `losses` then takes; else none."""
        if not self.teacher_learns:
            return {}
        if self.margin is None:
            self.margin = negative_margin(self.teacher.last_norm)
        feature = self.teacher.head(images, STAGES)
        self.passed = images, feature.detach()
        return {"teacher_cross_entropy": F.cross_entropy(self.teacher.classify(feature), labels)}

    def identity(self) -> dict[str, str]:
        """What a checkpoint must agree with before it is loaded into this method."""
        options = {k: v for k, v in vars(self).items() if k != "training" and isinstance(v, bool | int | float | str)}
        frozen = {"teacher": fingerprint(self.teacher)} if hasattr(self, "teacher") and not self.teacher_learns else {}
        return {"method": type(self).__name__, "options": str(options), "shortcuts": self.student.shortcuts} | frozen

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        """A newly built student, made to take these weights of one that was trained."""
        return network


class Supervised(Method):
    """Cross-entropy alone: the baseline for every network, and how a teacher is trained."""

    def __init__(self, student: StagedResNet):
        super().__init__()
        self.student = student


class Taught(Method):
    """A method with a teacher. A frozen one is never trained and stays in eval mode whatever `train()` is told."""

    def __init__(self, student: StagedResNet, teacher: StagedResNet, init: Init, regime: Regime = "frozen"):
        super().__init__()
        require_choice("init", init, get_args(Init))
        require_choice("regime", regime, get_args(Regime))
        if (init, regime) == ("teacher", "beside"):
            raise ConfigError("init='teacher' needs a trained teacher, regime='beside' has none at first: change one")
        ours, theirs, conv = student.fc.out_features, teacher.fc.out_features, teacher.architecture.conv
        if ours != theirs:
            raise ConfigError(f"student and teacher tell {ours} and {theirs} classes apart: they need the same ones")
        if conv != "plain":
            raise ConfigError(f"a teacher needs plain convolutions, not {conv}: choose another run")
        self.student, self.teacher, self.regime = student, teacher, regime
        if init == "teacher":
            start_from(student, teacher)
        if regime == "frozen":
            teacher.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.train(mode and self.regime != "frozen")
        return self

    def fold_teacher(self) -> None:
        """From now on see a frozen teacher with its BatchNorm in its convolutions: the same function, in less time."""
        self.folded = (fold(self.teacher),) if self.regime == "frozen" else ()

    @property
    def guide(self) -> StagedResNet:
        """The teacher as the student's terms see it."""
        return self.folded[0] if self.folded else self.teacher

    def target(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f_T, its last pre-ReLU feature map [N, C, h, w], detached, and its margins [C].

        Of one that learns as `teacher_losses` left them: ConfigError unless it saw these very images just before.
        """
        if not self.teacher_learns:
            with torch.no_grad():
                return self.guide.head(images, STAGES), negative_margin(self.teacher.last_norm)
        passed, self.passed = self.passed, None
        if passed is None or passed[0] is not images or self.margin is None:
            raise ConfigError("the teacher's own pass gives f_T: call teacher_losses on these very images first")
        return passed[1], self.margin


ALPHA, TEMPERATURE = 0.9, 4.0  # of the paper's logit distillation


class LogitDistillation(Taught):
    """(1 - alpha) CE(z_S, y) + alpha T^2 KL(teacher || student), Hinton et al., 2015; the paper's baseline settings."""

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        alpha: float = ALPHA,
        temperature: float = TEMPERATURE,
        init: Init = "scratch",
    ):
        super().__init__(student, teacher, init)
        self.alpha, self.temperature = alpha, temperature

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        with torch.no_grad():
            teacher_logits = self.guide(images)
        return {
            "cross_entropy": (1 - self.alpha) * F.cross_entropy(logits, labels),
            "logit_distillation": self.alpha * logit_distillation(logits, teacher_logits, self.temperature),
        }


class FeatureDistillation(Taught):
    """CE(z_S, y) + lambda d(C_S(f_S), f_T): the margin distance of the last stage alone (Heo et al., ICCV 2019).

    JointRD without its mixed paths; distance_weight is lambda. The last stages need equal channels (else ConfigError).
    """

    def __init__(
        self, student: StagedResNet, teacher: StagedResNet, *, distance_weight: float = 1e-3, init: Init = "scratch"
    ):
        super().__init__(student, teacher, init)
        if (ours := student.stage_channels[-1]) != (theirs := teacher.stage_channels[-1]):
            raise ConfigError(f"the last stages need equal channels: the student has {ours}, the teacher {theirs}")
        self.distance_weight = distance_weight
        self.connector = connector(ours, theirs)

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        target, margin = self.target(images)
        feature = self.student.head(images, STAGES)
        logits = self.student.classify(feature)
        self.student_logits = logits.detach()
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "distance": self.distance_weight * margin_distance(self.connector(feature), target, margin),
        }


class JointRD(Taught):
    """Residual distillation: the student's early stages also learn through the teacher's later ones.

        L(t) = CE(z_S, y) + lambda d(C_S(f_S), f_T) + m(t) sum_k [ CE(z_k, y) + lambda d(C_k(f_k), f_T) ],  k = 1, 2, 3

    z_k, f_k = teacher.tail(student.head(x, k), k) is the mixed path that leaves the student after stage k; d is the
    margin distance, C_* a connector (1x1 convolution and BatchNorm, used in training only). Nothing of L updates the
    teacher. regime "frozen": a trained teacher, in eval mode throughout; "beside": a teacher from scratch. One pass of
    it in train mode gives its cross-entropy and f_T, it is updated, and the mixed paths then see it in eval mode.

    Options: distance_weight is lambda; m(t) falls on a cosine from m_start to m_min over the first m_end of training
    and then stays; quarter multiplies every cross-entropy and distance by 1/4, as the released code's joint regime
    does; init "teacher" starts the student from the teacher's weights; paths "sampled" (not the paper's) sends a third
    of the batch down each mixed path instead of all of it. The defaults are the paper's CIFAR settings. Raises
    ConfigError when teacher and student disagree in a stage's channels, and for a batch that has no three images.
    """

    mixed: int = STAGES - 1  # how many mixed paths there are

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
        paths: Literal["sampled"] | None = None,
    ):
        super().__init__(student, teacher, init, regime)
        require_choice("paths", paths, (None, "sampled"))
        self.require_fit()
        self.sampled = paths  # None is no part of `identity`, so checkpoints from before stay valid
        self.distance_weight, self.scale = distance_weight, 0.25 if quarter else 1.0
        self.m_start, self.m_min, self.m_end = m_start, m_min, m_end
        self.connectors = self.make_connectors()

    def require_fit(self) -> None:  # ConfigError where the teacher's stages cannot take the student's maps
        if (ours := self.student.stage_channels) != (theirs := self.teacher.stage_channels):
            raise ConfigError(f"mixed paths need equal channels at every stage: student {ours}, teacher {theirs}")

    def make_connectors(self) -> nn.ModuleList:
        """One for each mixed path, and last the one of the own path."""
        ours, theirs = self.student.stage_channels[-1], self.teacher.stage_channels[-1]
        return nn.ModuleList(connector(c, theirs) for c in (*[theirs] * self.mixed, ours))

    @property
    def partial(self) -> bool:
        return self.teacher_learns or self.m_min == 0  # without mixed paths their connectors rest

    def m(self, progress: float) -> float:
        """Weight of the mixed paths: cosine from m_start at 0 to m_min at m_end, then constant."""
        fraction = min(1.0, progress / self.m_end) if self.m_end > 0 else 1.0
        return self.m_min + (self.m_start - self.m_min) * (1 + math.cos(math.pi * fraction)) / 2

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        m, weight = self.m(progress), self.scale * self.distance_weight
        with held_still(self.teacher) if self.teacher_learns else nullcontext():
            target, margin = self.target(images)
            # Left out once m is zero for good: until then all that learns has a gradient, as a fused optimiser wants.
            own, mixed = self.paths(images, with_mixed=m > 0 or self.m_min > 0)
            logits = self.student.classify(own)
            self.student_logits = logits.detach()
            terms = self.own_logits_terms(logits, labels, target)
            terms["distance"] = weight * self.distance(self.mixed, own, target, margin)
            if mixed is not None:
                # Students join the running batch part by part, so part i left the student at cut i.
                each = (whole.tensor_split(self.mixed) for whole in (self.guide.classify(mixed), mixed))
                for i, (z, f, y, f_t) in enumerate(zip(*each, self.shares(labels), self.shares(target), strict=True)):
                    terms[f"mixed_{i + 1}_cross_entropy"] = m * self.scale * F.cross_entropy(z, y)
                    terms[f"mixed_{i + 1}_distance"] = m * weight * self.distance(i, f, f_t, margin)
            return terms

    def shares(self, batch: Tensor) -> Sequence[Tensor]:
        """What of a batch [N, ...] goes down each mixed path: all of it, or an equal part where they are sampled."""
        if self.sampled and len(batch) < self.mixed:
            raise ConfigError(f"paths='sampled' needs {self.mixed} images in every batch, not {len(batch)}: take more")
        return batch.tensor_split(self.mixed) if self.sampled else [batch] * self.mixed

    def own_logits_terms(self, logits: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the own path's logits [N, classes] are asked for; target: the teacher's last feature map."""
        return {"cross_entropy": self.scale * F.cross_entropy(logits, labels)}

    def enter(self, stage: int, h: Tensor) -> Tensor:  # the teacher, after that stage (0..2)
        return h

    def distance(self, path: int, feature: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        """Of one path's last feature map from the teacher's; the last path never leaves the student."""
        return margin_distance(self.connectors[path](feature), target, margin)

    def segments(self, network: StagedResNet) -> Sequence[nn.Module]:
        """A network in pieces: mixed paths leave the student between two of them."""
        return network.stages

    def paths(self, images: Tensor, with_mixed: bool) -> tuple[Tensor, Tensor | None]:
        """Last pre-ReLU maps of the own path [N, ...] and of the mixed paths: of three [3 N, ...], or sampled [N, ...].

        These run as one batch that grows at each cut, so every piece of the teacher (BatchNorm in eval mode) runs once.
        """
        h, running = self.student.stem(images), None
        for i, (ours, theirs) in enumerate(zip(self.segments(self.student), self.segments(self.guide), strict=True)):
            if running is not None:
                running = theirs(running)
            h = ours(h)
            if with_mixed and i < self.mixed:
                entering = self.enter(i, self.shares(h)[i])
                running = entering if running is None else torch.cat([running, entering])
        return h, running

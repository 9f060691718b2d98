"""What every method of teaching is: a module that returns named loss terms, which the training loop only sums.

A method is a module that owns the student (what gets deployed), the teacher where there is one, and whatever is needed
in training only. `losses` gives the terms that update the student; `teacher_losses` those of a teacher that learns
beside it and is updated first (empty otherwise). Every term is already weighted.
"""

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Self, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import Reparametrised
from rdlib.errors import ConfigError, require_choice
from rdlib.models import StagedResNet

Init = Literal["scratch", "teacher"]
Regime = Literal["frozen", "joint"]


class Method(nn.Module, ABC):
    """Base of all methods. `student_logits` are those of the last batch, detached, for the training accuracy."""

    student: StagedResNet
    student_logits: Tensor
    shapes_alone: ClassVar[bool] = True  # whether it can be built from networks without data, as for counting
    starts_as_teacher: ClassVar[bool] = False  # whatever its options

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """Weighted loss terms of the student; images [N, 3, H, W], labels [N], progress of training in [0, 1]."""

    @property
    def teacher_learns(self) -> bool:
        """Whether `teacher_losses` gives terms."""
        return False

    @property
    def partial(self) -> bool:
        """Whether some step leaves a learning parameter without a gradient."""
        return self.teacher_learns

    def teacher_losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms that update a teacher that learns beside the student, before the student's step."""
        return {}

    def identity(self) -> dict[str, str]:
        """What a checkpoint must agree with before it is loaded into this method."""
        options = {k: v for k, v in vars(self).items() if k != "training" and isinstance(v, bool | int | float | str)}
        return {"method": type(self).__name__, "options": str(options), "shortcuts": self.student.shortcuts}

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        """A newly built student, made to take these weights of one that was trained."""
        return network

    def compile(self, learning: bool = True) -> None:
        """torch.compile the networks' stages (without `learning` a frozen teacher's alone); all else stays eager."""
        for network in self.children():
            if isinstance(network, StagedResNet) and (learning or not next(network.parameters()).requires_grad):
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


class Adopted(Supervised):
    """A network trained elsewhere, which nothing here can train; `weights` is its file's SHA-256, twelve digits."""

    def __init__(self, student: StagedResNet, *, weights: str = ""):
        raise ConfigError(
            f"this network was adopted from a file (SHA-256 {weights}...), not trained here: "
            "adopt that file again with `python -m rdlib adopt FILE`"
        )


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
        ours, theirs = student.fc.out_features, teacher.fc.out_features
        if ours != theirs:
            raise ConfigError(f"student and teacher tell {ours} and {theirs} classes apart: they need the same ones")
        if teacher.architecture.conv != "plain":
            raise ConfigError(
                f"a teacher needs plain convolutions, not {teacher.architecture.conv}: choose another run"
            )
        self.student, self.teacher, self.regime = student, teacher, regime
        if init == "teacher":
            start_from(student, teacher)
        if regime == "frozen":
            teacher.requires_grad_(False)
        self.train()

    @property
    def teacher_learns(self) -> bool:
        return self.regime == "joint"

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

    Shortcuts the student lacks are dropped; a reparametrised convolution inherits the teacher's plain one. Raises
    ConfigError when a name or shape does not fit.
    """
    ours, blocks = student.architecture.counts, teacher.architecture.counts
    if ours != blocks:
        raise ConfigError(
            f"init='teacher' needs a teacher of the student's depth: their stages have {blocks} and {ours} blocks"
        )
    weights, start = teacher.state_dict(), student.state_dict()
    heirs = {name: part for name, part in student.named_modules() if isinstance(part, Reparametrised)}
    theirs = {f"{name}.{key}" for name, part in heirs.items() for key in part.state_dict() if key != "weight"}
    for name in start:
        if name not in theirs and (name not in weights or weights[name].shape != start[name].shape):
            raise ConfigError(f"init='teacher' needs a teacher of the student's depth and width: {name} does not fit")
    student.load_state_dict({name: start[name] if name in theirs else weights[name] for name in start})
    for name, part in heirs.items():
        norm = teacher.get_submodule(name.replace("conv", "bn"))
        assert isinstance(norm, nn.BatchNorm2d)
        part.inherit(weights[f"{name}.weight"], norm)

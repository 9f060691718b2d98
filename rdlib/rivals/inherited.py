"""A student that starts as its teacher and learns from the labels alone: inherited, transferred, adopted networks."""

import copy
from dataclasses import fields, replace
from typing import Literal, Self, get_args

from torch import Tensor
from torch.nn import functional as F

from rdlib.errors import ConfigError, require_choice
from rdlib.methods import Supervised, Taught
from rdlib.models import StagedResNet

Backbone = Literal["full", "frozen"]


class FromTeacher(Taught):
    """Cross-entropy alone, of a student that starts from the teacher."""

    starts_as_teacher = True

    def fold_teacher(self) -> None:
        """It is not looked at."""

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {"cross_entropy": F.cross_entropy(logits, labels)}


class Inherited(FromTeacher):
    """No teaching at all: the plain network starts from the trained ResNet's weights."""

    def __init__(self, student: StagedResNet, teacher: StagedResNet):
        super().__init__(student, teacher, "teacher")


class Transfer(FromTeacher):
    """The teacher's weights are trained on another data set.

    The teacher is the network as it was trained there. The student, of the same architecture, takes all of it,
    BatchNorm statistics included, but the classifier, which stays as the run's seed initialised it. backbone "full":
    everything learns; "frozen": the classifier alone, and the rest stays in eval mode, its BatchNorm too.
    Raises ConfigError where depth, width, shortcuts or stem of the two differ.
    """

    backbone: Backbone = "full"  # until the base is initialised

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, backbone: Backbone = "full"):
        require_choice("backbone", backbone, get_args(Backbone))
        require_same_backbone(student, teacher)
        source = copy.deepcopy(teacher)
        source.fc = copy.deepcopy(student.fc)
        super().__init__(student, source, "teacher")
        self.backbone = backbone
        if backbone == "frozen":
            student.requires_grad_(False)
            student.fc.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.backbone == "frozen":
            self.student.eval()
        return self


def require_same_backbone(student: StagedResNet, teacher: StagedResNet) -> None:
    """Raise ConfigError with what differs between two architectures, the number of classes apart."""
    ours, theirs = student.architecture, replace(teacher.architecture, num_classes=student.architecture.num_classes)
    for field in fields(ours):
        here, there = getattr(ours, field.name), getattr(theirs, field.name)
        if here != there:
            raise ConfigError(
                f"a transfer keeps the network, and the source's {field.name} is {there}, this run's {here}: "
                "choose a source with the same depth, width, shortcuts and stem"
            )


class Adopted(Supervised):
    """A network trained elsewhere, which nothing here can train; `weights` is its file's SHA-256, twelve digits.

    mean, std, resize: as it saw its images, where that is not the data set's own way (`images.normalisation.seen_as`).
    """

    def __init__(
        self,
        student: StagedResNet,
        *,
        weights: str = "",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        resize: float | None = None,
    ):
        raise ConfigError(
            f"this network was adopted from a file (SHA-256 {weights}...), not trained here: "
            "adopt that file again with `python -m rdlib adopt FILE`"
        )

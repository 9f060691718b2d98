"""What student and teacher make of a few images at one moment of a training: feature maps, and every path's logits.

Taken between two epochs of `fit`, in eval mode, as the networks are deployed, and without a trace in what is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from rdlib.errors import ConfigError
from rdlib.images.dataset import Dataset, Split
from rdlib.measure.gradients import undisturbed
from rdlib.methods import JointRD
from rdlib.models import STAGES, StagedResNet

PATHS = ("own", *(f"mixed {k}" for k in range(1, STAGES)), "teacher")


@dataclass(frozen=True)
class Observation:
    """After `epoch` epochs (0: before training), for the same N images.

    student, teacher: pre-ReLU maps after stages 1..4, [N, C_k, h_k, w_k] each. logits [paths, N, classes], the paths
    in the order of PATHS: the student's own, those that leave it after stages 1 to 3 for the teacher's rest, and the
    teacher's.
    """

    epoch: int
    student: tuple[Tensor, ...]
    teacher: tuple[Tensor, ...]
    logits: Tensor


@dataclass
class Observed:
    """A training that is observed: its name, the images uint8 [N, 3, H, W] with labels, and what was seen so far."""

    name: str
    images: Split
    classes: Sequence[str]
    observations: list[Observation] = field(default_factory=list)


def observe(method: JointRD, images: Tensor, epoch: int) -> Observation:
    """Student, mixed paths and teacher on normalised images [N, 3, H, W]; the method is left bit for bit as it was."""
    with undisturbed(method), torch.no_grad():
        method.eval()
        student, teacher = method.student.features(images), method.teacher.features(images)
        mixed = [method.teacher.tail(method.enter(i, student[i]), i + 1)[0] for i in range(STAGES - 1)]
        own, theirs = method.student.classify(student[-1]), method.teacher.classify(teacher[-1])
    return Observation(epoch, tuple(student), tuple(teacher), torch.stack([own, *mixed, theirs]))


def finished(student: StagedResNet, teacher: StagedResNet, images: Dataset, epoch: int, name: str) -> Observed:
    """Two trained networks, seen once, after their last epoch, on the images of `chosen`. Of JointRD's own layers none
    is needed: a feature map enters the teacher as it is."""
    with torch.random.fork_rng(devices=[]):
        method = JointRD(student, teacher)
    seen = images.test.take(chosen(images))
    return Observed(name, seen, images.classes, [observe(method, images.normalise(seen.images), epoch)])


def chosen(images: Dataset) -> Tensor:
    """Indices of two test images of every class, by class: those that cut the class, in the data set's own order, into
    thirds. The rule looks at no network and no pixel. Raises ConfigError where a class has too few.
    """
    found = []
    for label, name in enumerate(images.classes):
        of_class = (images.test.labels == label).nonzero().flatten()
        if len(of_class) < 3:
            raise ConfigError(f"{name} of {images.name} has {len(of_class)} test images: 3 are needed here")
        found.append(of_class[[len(of_class) // 3, len(of_class) * 2 // 3]])
    return torch.cat(found)


def right(observed: Observed) -> pd.DataFrame:
    """How many of the images each path answers correctly, one line an observed epoch."""
    lines = []
    for seen in observed.observations:
        hits = (seen.logits.argmax(-1) == observed.images.labels).sum(-1).tolist()
        lines.append({"epoch": seen.epoch, **dict(zip(PATHS, hits, strict=True))})
    return pd.DataFrame(lines)


def parting(observed: Observed) -> tuple[int, int]:
    """Where the paths differ most: the place of the observation at which, for most images, some of the student's own
    and the mixed paths are right and others wrong; and of these images the first that is most as most images are.
    """
    labels = observed.images.labels
    hits = torch.stack([seen.logits[:-1].argmax(-1) == labels for seen in observed.observations])
    differ = hits.any(1) & ~hits.all(1)
    moment = int(differ.sum(1).argmax())
    usual = hits[moment].float().mean(1, keepdim=True) > 0.5
    unlike = (hits[moment] != usual).sum(0) + len(PATHS) * ~differ[moment]
    return moment, int(unlike.argmin())

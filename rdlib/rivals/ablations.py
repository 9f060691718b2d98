"""What JointRD is without one of its parts, or with one replaced: each class changes one thing."""

import re
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import connector
from rdlib.losses import logit_distillation
from rdlib.methods import ALPHA, TEMPERATURE, JointRD
from rdlib.models import STAGES


class Ablated(JointRD):
    """JointRD without the loss terms whose name matches `dropped`."""

    dropped: ClassVar[str]

    @property
    def partial(self) -> bool:
        return True

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        terms = super().losses(images, labels, progress)
        return {name: term for name, term in terms.items() if not re.fullmatch(self.dropped, name)}


class WithoutMixedCrossEntropy(Ablated):
    """Of the mixed paths the feature distance alone remains."""

    dropped = "mixed_._cross_entropy"


class WithoutMixedDistance(Ablated):
    """Of the mixed paths the cross-entropy alone remains."""

    dropped = "mixed_._distance"


class PathAfter1(Ablated):
    """Only the mixed path that leaves the student after stage 1."""

    dropped = "mixed_[23]_.*"


class PathAfter2(Ablated):
    """Only the mixed path that leaves the student after stage 2."""

    dropped = "mixed_[13]_.*"


class PathAfter3(Ablated):
    """Only the mixed path that leaves the student after stage 3."""

    dropped = "mixed_[12]_.*"


class LinearFall(JointRD):
    """m(t) falls on a straight line instead of a cosine."""

    def m(self, progress: float) -> float:
        fraction = min(1.0, progress / self.m_end) if self.m_end > 0 else 1.0
        return self.m_start + (self.m_min - self.m_start) * fraction


class MeanSquared(JointRD):
    """The squared distance of all elements, as the paper's figure names it, instead of the margin distance."""

    def distance(self, path: int, feature: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        distance: Tensor = (self.connectors[path](feature) - target).square().sum() / len(target)
        return distance


class WithoutConnectors(JointRD):
    """The feature maps are compared as they are."""

    def make_connectors(self) -> nn.ModuleList:
        return nn.ModuleList(nn.Identity() for _ in range(STAGES))


class Widened(JointRD):
    """For a teacher of another width: a connector leads each mixed path into the teacher (training only)."""

    def require_fit(self) -> None:
        """Any two widths fit."""

    def make_connectors(self) -> nn.ModuleList:
        pairs = zip(self.student.stage_channels[:-1], self.teacher.stage_channels[:-1], strict=True)
        self.entrances = nn.ModuleList(connector(ours, theirs) for ours, theirs in pairs)
        return super().make_connectors()

    def enter(self, stage: int, h: Tensor) -> Tensor:
        return self.entrances[stage](h)  # type: ignore[no-any-return]


class JointRDWithLogits(JointRD):
    """The own path's cross-entropy becomes logit distillation with the paper's baseline settings.

    The teacher's logits are those its classifier reads from f_T; of a teacher that learns, the updated classifier.
    """

    def own_logits_terms(self, logits: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        teacher_logits = self.teacher.classify(target).detach()
        return {
            "cross_entropy": (1 - ALPHA) * self.scale * F.cross_entropy(logits, labels),
            "logit_distillation": ALPHA * self.scale * logit_distillation(logits, teacher_logits, TEMPERATURE),
        }

"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017): the student looks where the teacher looks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rdlib.methods import Init, Taught
from rdlib.models import StagedResNet


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and positions of (Q_S / |Q_S| - Q_T / |Q_T|)^2 (Zagoruyko and Komodakis, 2017, equation 2).

    Q is the attention map: the mean over the channels of the squared feature map after its ReLU, as one vector of
    positions. student, teacher: pre-ReLU feature maps [N, C, H, W] of equal H and W, channels may differ; a scalar.
    """
    ours, theirs = (F.normalize(F.relu(h).square().mean(1).flatten(1)) for h in (student, teacher))
    return (ours - theirs).square().mean()


class AttentionTransfer(Taught):
    """CE(z_S, y) + weight * sum over the four stages of the distance of their attention maps (equation 2).

    The weight is that of Tian et al., ICLR 2020 (1000, their distance a mean over positions as here).
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 1000.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = self.teacher.features(images)
        ours = self.student.features(images)
        logits = self.student.classify(ours[-1])
        self.student_logits = logits.detach()
        distances = [attention_distance(s, t) for s, t in zip(ours, theirs, strict=True)]
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "attention": self.weight * torch.stack(distances).sum(),
        }

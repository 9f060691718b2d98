"""Similarity-preserving distillation (Tung and Mori, ICCV 2019): pairs of images as alike as for the teacher."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rdlib.methods import Init, Taught
from rdlib.models import STAGES, StagedResNet


class SimilarityPreserving(Taught):
    """CE(z_S, y) + weight / N^2 |G_S - G_T|^2 with G the images' similarities after the last stage (equations 1 to 4).

    The weight is the authors' for CIFAR.
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 3000.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = similarities(self.teacher.head(images, STAGES))
        feature = self.student.head(images, STAGES)
        logits = self.student.classify(feature)
        self.student_logits = logits.detach()
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "similarity": self.weight * F.mse_loss(similarities(feature), theirs),
        }


def similarities(feature: Tensor) -> Tensor:
    """Inner products of the images' maps after ReLU, each row of unit length: [N, C, H, W] -> [N, N]."""
    flat = F.relu(feature).flatten(1)
    return F.normalize(flat @ flat.T)

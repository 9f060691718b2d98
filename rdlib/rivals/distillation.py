"""Other distillation losses: cross-entropy and one weighted distance between student and teacher."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.methods import Init, Taught
from rdlib.models import STAGES, StagedResNet

MIDDLE = 2  # the stage whose output is the hint


class Hints(Taught):
    """CE(z_S, y) + weight * mean (r(h_S) - h_T)^2 with h the feature map after stage 2 and r a 1x1 convolution.

    FitNets (Romero et al., ICLR 2015), equation 3, in one phase instead of two, as later comparisons train it (Tian et
    al., ICLR 2020). Their weight, 100, diverged on these pre-ReLU maps at the paper's learning rate; 1 and 10 did not,
    and 10 was the better one (unrecorded trials: digits, tune split, one seed each).
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 10.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight
        ours, theirs = (network.stage_channels[MIDDLE - 1] for network in (student, teacher))
        self.regressor = nn.Conv2d(ours, theirs, 1)

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            hint = self.guide.head(images, MIDDLE)
        guided = self.student.head(images, MIDDLE)
        logits, _ = self.student.tail(guided, MIDDLE)
        self.student_logits = logits.detach()
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "hint": self.weight * F.mse_loss(self.regressor(guided), hint),
        }


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and positions of (Q_S / |Q_S| - Q_T / |Q_T|)^2 (Zagoruyko and Komodakis, 2017, equation 2).

    Q is the attention map: the mean over the channels of the squared feature map after its ReLU, as one vector of
    positions. student, teacher: pre-ReLU feature maps [N, C, H, W] of equal H and W, channels may differ; a scalar.
    """
    ours, theirs = (F.normalize(F.relu(h).square().mean(1).flatten(1)) for h in (student, teacher))
    return (ours - theirs).square().mean()


class AttentionTransfer(Taught):
    """CE(z_S, y) + weight * sum over the four stages of the distance of their attention maps.

    Zagoruyko and Komodakis (ICLR 2017), equation 2. The weight is that of Tian et al., ICLR 2020 (1000, their distance
    a mean over positions as here).
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 1000.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = self.guide.features(images)
        ours = self.student.features(images)
        logits = self.student.classify(ours[-1])
        self.student_logits = logits.detach()
        distances = [attention_distance(s, t) for s, t in zip(ours, theirs, strict=True)]
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "attention": self.weight * torch.stack(distances).sum(),
        }


class SimilarityPreserving(Taught):
    """CE(z_S, y) + weight / N^2 |G_S - G_T|^2 with G the images' similarities after the last stage.

    Tung and Mori (ICCV 2019), equations 1 to 4; the weight is the authors' for CIFAR.
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 3000.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = similarities(self.guide.head(images, STAGES))
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

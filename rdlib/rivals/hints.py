"""FitNets (Romero et al., ICLR 2015): a hint from the middle of the teacher."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.methods import Init, Taught
from rdlib.models import StagedResNet

MIDDLE = 2  # the stage whose output is the hint


class Hints(Taught):
    """CE(z_S, y) + weight * mean (r(h_S) - h_T)^2 with h the feature map after stage 2 and r a 1x1 convolution.

    Equation 3 of the paper, in one phase instead of two, as later comparisons train it (Tian et al., ICLR 2020). Their
    weight, 100, diverged on these pre-ReLU maps at the paper's learning rate; 1 and 10 did not, and 10 was the
    better one (unrecorded trials: digits, tune split, one seed each).
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 10.0, init: Init = "scratch"):
        super().__init__(student, teacher, init)
        self.weight = weight
        ours, theirs = (network.stage_channels[MIDDLE - 1] for network in (student, teacher))
        self.regressor = nn.Conv2d(ours, theirs, 1)

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            hint = self.teacher.head(images, MIDDLE)
        guided = self.student.head(images, MIDDLE)
        logits, _ = self.student.tail(guided, MIDDLE)
        self.student_logits = logits.detach()
        return {
            "cross_entropy": F.cross_entropy(logits, labels),
            "hint": self.weight * F.mse_loss(self.regressor(guided), hint),
        }

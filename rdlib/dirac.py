"""Dirac weights (Zagoruyko and Komodakis, 2017): the identity lives in the weights, not around them.

In the form of JointRD's released code: the original also scales each filter of W to unit length.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import Reparametrised, plain_like


class DiracConv2d(Reparametrised):
    """Convolution with the weight W' = alpha * delta + beta * W per output channel.

    alpha = 1 and beta = 0.1 at the start; both are trained without weight decay.
    """

    delta: Tensor

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
        super().__init__(c_in, c_out, kernel, stride, padding, groups)
        self.alpha = nn.Parameter(torch.ones(c_out))
        self.beta = nn.Parameter(torch.full((c_out,), 0.1))
        self.register_buffer("delta", nn.init.dirac_(torch.empty_like(self.weight), groups), persistent=False)

    def folded_weight(self) -> Tensor:
        """W' [out, in / groups, k, k]."""
        alpha, beta = self.alpha.view(-1, 1, 1, 1), self.beta.view(-1, 1, 1, 1)
        return alpha * self.delta + beta * self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.folded_weight(), None, self.stride, self.padding, groups=self.groups)

    def folded(self) -> nn.Conv2d:
        return plain_like(self, self.folded_weight())

    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """Choose W so that W' is the given weight; the BatchNorm is its neighbour's to load.

        W is then some ten times larger than at its usual start, and W' moves at beta^2 of the learning rate.
        """
        alpha, beta = self.alpha.detach().view(-1, 1, 1, 1), self.beta.detach().view(-1, 1, 1, 1)
        self.weight.data = (weight - alpha * self.delta) / beta

    def undecayed(self) -> list[nn.Parameter]:
        return [self.alpha, self.beta]

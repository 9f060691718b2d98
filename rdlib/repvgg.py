"""RepVGG (Ding et al., CVPR 2021): a 3x3, a 1x1 and an identity branch in training, one 3x3 convolution afterwards."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import Reparametrised, plain_like
from rdlib.errors import ConfigError


class RepVGGConv2d(Reparametrised):
    """BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x); the last only where channels and size stay as they are (section 3.2).

    Linear throughout, so in eval mode it is one 3x3 convolution with bias. Raises ConfigError for another kernel.
    """

    kernels = (3,)
    normalises = True

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 1, groups: int = 1):
        if (kernel, padding) != (3, 1):
            raise ConfigError(f"RepVGG is made for 3x3 convolutions with padding 1, not {kernel} and {padding}")
        super().__init__(c_in, c_out, kernel, stride, padding, groups)
        self.norm = nn.BatchNorm2d(c_out)
        self.pointwise = nn.Conv2d(c_in, c_out, 1, stride, groups=groups, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(c_out)
        self.identity_norm = nn.BatchNorm2d(c_in) if c_in == c_out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(super().forward(x)) + self.pointwise_norm(self.pointwise(x))
        return out if self.identity_norm is None else out + self.identity_norm(x)

    def folded(self) -> nn.Conv2d:
        """W' = s_3 W_3 + pad(s_1 W_1) + s_0 delta and b' = b_3 + b_1 + b_0, where s = gamma / sqrt(var + eps) and
        b = beta - s mean of each branch's BatchNorm (section 3.3)."""
        delta = nn.init.dirac_(torch.empty_like(self.weight), self.groups)
        branches = [(self.weight, self.norm), (F.pad(self.pointwise.weight, (1, 1, 1, 1)), self.pointwise_norm)]
        if self.identity_norm is not None:
            branches.append((delta, self.identity_norm))
        weight, bias = torch.zeros_like(self.weight), self.weight.new_zeros(self.out_channels)
        for kernel, norm in branches:
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight = weight + scale.view(-1, 1, 1, 1) * kernel
            bias = bias + norm.bias - scale * norm.running_mean
        return plain_like(self, weight, bias)

    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """The 3x3 branch takes both; the other branches keep their own start."""
        self.weight.data = weight.clone()
        self.norm.load_state_dict(norm.state_dict())

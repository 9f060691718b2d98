"""A convolution that is something else in training and exactly one plain convolution when deployed."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Reparametrised(nn.Conv2d, ABC):
    """Base of the kinds of convolution that `models.CONVOLUTIONS` names; `fold` replaces each by its `folded`."""

    kernels: ClassVar[tuple[int, ...]] = (1, 3)  # sizes it is made for; others stay plain
    normalises: ClassVar[bool] = False  # whether it holds its BatchNorm, so that none follows

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
        super().__init__(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)

    @abstractmethod
    def folded(self) -> nn.Conv2d:
        """The plain convolution that computes the same in eval mode."""

    @abstractmethod
    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """Start from a trained plain convolution [out, in / groups, k, k] and the BatchNorm after it."""

    def undecayed(self) -> list[nn.Parameter]:
        """Parameters that are trained without weight decay."""
        return []


def plain_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A plain convolution in eval mode with that weight and bias and the sizes of `conv`."""
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=bias is not None,
        device="meta",
    )
    plain.weight = nn.Parameter(weight.detach())
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach())
    return plain.eval()

"""The convolutions of a network: plain, and two kinds that are something else in training; and folding.

Folded, what only training needs (BatchNorm, Dirac weights, RepVGG's branches) has become plain convolutions.

DiracConv2d: Zagoruyko and Komodakis, 2017, in the form of JointRD's released code (the original also scales each
filter of W to unit length). RepVGGConv2d: Ding et al., CVPR 2021.
"""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # also the synchronised one of several GPUs
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rdlib.errors import ConfigError, DeployError

Network = TypeVar("Network", bound=nn.Module)


class Projection(nn.Conv2d):
    """A 1x1 convolution, [N, C, H, W] -> [N, C', H / stride, W / stride].

    oneDNN's weight gradient of a *strided* 1x1 convolution in channels_last corrupts memory where the input has fewer
    channels than its block, 8 with AVX2 and 16 with AVX-512 (oneDNN issue 6035). Where a CPU learns through so few,
    the pixels that the stride keeps are taken first: the same function, in a kernel without the fault.
    """

    FEW = 16

    def forward(self, x: Tensor) -> Tensor:
        down, across = self.stride
        if down > 1 and self.in_channels < self.FEW and x.device.type == "cpu" and torch.is_grad_enabled():
            kept = x[:, :, ::down, ::across].contiguous()
            return F.conv2d(kept, self.weight, self.bias, groups=self.groups)
        return super().forward(x)


class Reparametrised(nn.Conv2d, ABC):
    """Base of the kinds of convolution that `CONVOLUTIONS` names; `fold` replaces each by its `folded`."""

    kernels: ClassVar[tuple[int, ...]] = (1, 3)  # sizes it is made for; others stay plain
    normalises: ClassVar[bool] = False  # whether it holds its BatchNorm, so that none follows
    undecayed: ClassVar[tuple[str, ...]] = ()  # parameters that are trained without weight decay

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
        super().__init__(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)

    @abstractmethod
    def folded(self) -> nn.Conv2d:
        """The plain convolution that computes the same in eval mode."""

    @abstractmethod
    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """Start from a trained plain convolution [out, in / groups, k, k] and the BatchNorm after it."""

    def plain(self, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
        """A plain convolution of the same sizes, in eval mode, with that weight and bias."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
        conv = nn.Conv2d(**{name: getattr(self, name) for name in names}, bias=bias is not None, device="meta")
        conv.weight = nn.Parameter(weight.detach())
        if bias is not None:
            conv.bias = nn.Parameter(bias.detach())
        return conv.eval()


class DiracConv2d(Reparametrised):
    """Convolution with the weight W' = alpha * delta + beta * W per output channel.

    alpha = 1 and beta = 0.1 at the start; both are trained without weight decay.
    """

    undecayed = ("alpha", "beta")
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
        return self.plain(self.folded_weight())

    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """Choose W so that W' is the given weight; the BatchNorm is its neighbour's to load.

        W is then some ten times larger than at its usual start, and W' moves at beta^2 of the learning rate.
        """
        alpha, beta = self.alpha.detach().view(-1, 1, 1, 1), self.beta.detach().view(-1, 1, 1, 1)
        self.weight.data = (weight - alpha * self.delta) / beta


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
        self.pointwise = Projection(c_in, c_out, 1, stride, groups=groups, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(c_out)
        self.identity_norm = nn.BatchNorm2d(c_in) if c_in == c_out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(super().forward(x)) + self.pointwise_norm(self.pointwise(x))
        return out if self.identity_norm is None else out + self.identity_norm(x)

    def folded(self) -> nn.Conv2d:
        """W' = s_3 W_3 + pad(s_1 W_1) + s_0 delta and b' = b_3 + b_1 + b_0, where s = gamma / sqrt(var + eps) and
        b = beta - s mean of each branch's BatchNorm (section 3.3)."""
        branches = [(self.weight, self.norm), (F.pad(self.pointwise.weight, (1, 1, 1, 1)), self.pointwise_norm)]
        if self.identity_norm is not None:
            branches.append((nn.init.dirac_(torch.empty_like(self.weight), self.groups), self.identity_norm))
        weight, bias = torch.zeros_like(self.weight), self.weight.new_zeros(self.out_channels)
        for kernel, norm in branches:
            scale = norm.weight / (norm.get_buffer("running_var") + norm.eps).sqrt()
            weight = weight + scale.view(-1, 1, 1, 1) * kernel
            bias = bias + norm.bias - scale * norm.get_buffer("running_mean")
        return self.plain(weight, bias)

    def inherit(self, weight: Tensor, norm: nn.BatchNorm2d) -> None:
        """The 3x3 branch takes both; the other branches keep their own start."""
        self.weight.data = weight.clone()
        self.norm.load_state_dict(norm.state_dict())


CONVOLUTIONS: dict[str, type[Reparametrised] | None] = {"plain": None, "dirac": DiracConv2d, "repvgg": RepVGGConv2d}


def convolution(c_in: int, c_out: int, kernel: int, stride: int = 1, conv: str = "plain", groups: int = 1) -> nn.Conv2d:
    kind = CONVOLUTIONS[conv]
    if kind is not None and kernel in kind.kernels:
        return kind(c_in, c_out, kernel, stride, kernel // 2, groups)
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


def norm_after(conv: nn.Conv2d) -> nn.Module:
    """The BatchNorm of a convolution, or nothing where the convolution holds its own."""
    normalised = isinstance(conv, Reparametrised) and conv.normalises
    return nn.Identity() if normalised else nn.BatchNorm2d(conv.out_channels)


def connector(ours: int, theirs: int) -> nn.Sequential:
    """What leads from a student's feature map of that many channels to a teacher's, in training only.

    Weights start as PyTorch has them. Those of the released code, from N(0, 2 / theirs), are 2.45 times as large where
    both channels are equal: BatchNorm hides that from the forward pass, but not from the rate at which they learn.
    """
    return nn.Sequential(nn.Conv2d(ours, theirs, 1, bias=False), nn.BatchNorm2d(theirs))


def projection(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """The downsampling shortcut: 1x1 convolution and BatchNorm, named as in torchvision."""
    return nn.Sequential(Projection(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def fold(network: Network) -> Network:
    """A copy of a network in eval mode in which convolutions have biases and no BatchNorm is left.

    W' = gamma / sqrt(var + eps) W, b' = beta - gamma mean / sqrt(var + eps), per output channel; a reparametrised
    convolution is first replaced by its `folded` one. Every BatchNorm must be registered straight after the convolution
    that feeds it, as in torchvision's ResNets. Raises DeployError where it is not, and for a network in training mode.
    """
    if any(module.training for module in network.modules()):
        raise DeployError("a network in training mode cannot be folded: call network.eval() first")
    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        if isinstance(parent, Reparametrised):
            continue  # replaced as a whole
        fed_by, previous = "", None
        for name, child in list(parent.named_children()):
            if isinstance(child, Reparametrised):
                child = child.folded()
                setattr(parent, name, child)
            if isinstance(child, _BatchNorm):
                if not isinstance(previous, nn.Conv2d):
                    raise DeployError(f"the BatchNorm {name} follows no convolution, so it cannot be folded")
                fused = fuse_conv_bn_eval(previous, child)
                fused.__class__ = nn.Conv2d  # also of a Projection: what is folded does not learn
                setattr(parent, fed_by, fused)
                setattr(parent, name, nn.Identity())
            fed_by, previous = name, child
    return folded.eval().requires_grad_(False)


def require_folded(network: nn.Module) -> None:
    """Raise DeployError for a network in training mode or with a BatchNorm or reparametrised convolution left."""
    if any(module.training for module in network.modules()):
        raise DeployError("a network in training mode cannot be deployed: call network.eval(), then fold it")
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm | Reparametrised):
            raise DeployError(f"{name} is not folded ({type(module).__name__}): deploy fold(network)")

"""Fold what only training needs: BatchNorm and Dirac weights become plain convolutions that compute the same."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # also the synchronised one of several GPUs
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rdlib.errors import DeployError
from rdlib.models import DiracConv2d

Network = TypeVar("Network", bound=nn.Module)


def fold(network: Network) -> Network:
    """A copy of a network in eval mode in which convolutions have biases and no BatchNorm is left.

    W' = gamma / sqrt(var + eps) W, b' = beta - gamma mean / sqrt(var + eps), per output channel; a Dirac convolution is
    first replaced by the plain one with its weight alpha delta + beta W. The given network is left as it is.

    Every BatchNorm must be registered straight after the convolution that feeds it, as in `rdlib.models` and in
    torchvision's ResNets. Raises DeployError for a network in training mode (its BatchNorm would use the statistics of
    the batch) and where a BatchNorm has no convolution.
    """
    if any(module.training for module in network.modules()):
        raise DeployError("a network in training mode cannot be folded: call network.eval() first")
    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        fed_by, previous = "", None
        for name, child in list(parent.named_children()):
            if isinstance(child, DiracConv2d):
                child = plain_convolution(child)
                setattr(parent, name, child)
            if isinstance(child, _BatchNorm):
                if not isinstance(previous, nn.Conv2d):
                    raise DeployError(f"the BatchNorm {name} follows no convolution, so it cannot be folded")
                setattr(parent, fed_by, fuse_conv_bn_eval(previous, child))
                setattr(parent, name, nn.Identity())
            fed_by, previous = name, child
    return folded.eval().requires_grad_(False)


def plain_convolution(dirac: DiracConv2d) -> nn.Conv2d:
    """The convolution with the weight that a Dirac convolution computes."""
    plain = nn.Conv2d(
        dirac.in_channels,
        dirac.out_channels,
        dirac.kernel_size,  # type: ignore[arg-type]
        dirac.stride,  # type: ignore[arg-type]
        dirac.padding,  # type: ignore[arg-type]
        groups=dirac.groups,
        bias=False,
        device="meta",
    )
    plain.weight = nn.Parameter(dirac.folded_weight().detach())
    return plain.eval()


def require_folded(network: nn.Module) -> None:
    """Raise DeployError for a network in training mode or with a BatchNorm or Dirac convolution left."""
    if any(module.training for module in network.modules()):
        raise DeployError("a network in training mode cannot be deployed: call network.eval(), then fold it")
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm | DiracConv2d):
            raise DeployError(f"{name} is not folded ({type(module).__name__}): deploy fold(network)")

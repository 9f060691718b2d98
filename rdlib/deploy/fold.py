"""Fold what only training needs: BatchNorm, Dirac weights and RepVGG branches become plain convolutions."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # also the synchronised one of several GPUs
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rdlib.convolutions import Reparametrised
from rdlib.errors import DeployError

Network = TypeVar("Network", bound=nn.Module)


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
                fused.__class__ = nn.Conv2d  # also of a Projection: what is deployed does not learn
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

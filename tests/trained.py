"""Networks as if trained, in float64, and what a training leaves in them, for the tests of methods."""

import torch
from torch import Tensor, nn

from rdlib.convolutions import Reparametrised
from rdlib.models import StagedResNet, resnet


def as_if_trained(module: nn.Module) -> nn.Module:
    """In float64; no BatchNorm and no Dirac scale is in its initial state, where many mistakes cancel."""
    for part in module.double().modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (part.bias, part.running_mean):
                nn.init.uniform_(tensor, -0.5, 0.5)
        elif isinstance(part, Reparametrised):
            for scale in (getattr(part, name) for name in part.undecayed):
                nn.init.uniform_(scale, 0.2, 1.0)
    return module


def network(
    shortcuts: str = "none", seed: int = 0, depth: int = 18, width: int = 4, conv: str = "plain"
) -> StagedResNet:
    torch.manual_seed(seed)
    return as_if_trained(resnet(depth, 10, shortcuts, width, conv=conv))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(module: nn.Module, before: dict[str, Tensor]) -> None:
    after = module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}

"""Networks as if trained, and what their tests compare."""

import torch
from torch import Tensor, nn

from rdlib.convolutions import DiracConv2d, Reparametrised
from rdlib.models import StagedResNet, resnet

LAMBDA = 1e-3
KINDS = [(d, s, c) for d in (18, 34, 50) for s in ("all", "downsample", "none") for c in ("plain", "dirac")]


def randomise(network: nn.Module, images: Tensor, seed: int = 0) -> nn.Module:
    """Statistics of real images and random scales: with the initial ones many mistakes cancel.

    Shifts are positive, because an untrained plain network with centred ones is ill-conditioned: at depth 50 its logits
    in float32 and float64 differ by 2e-3 in PyTorch itself (trained networks: 2e-5 and less).
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(0.5, 1.0, generator=generator)
            module.momentum = None  # average over all batches seen
        if isinstance(module, DiracConv2d):
            module.alpha.data.uniform_(0.5, 1.5, generator=generator)
            module.beta.data.uniform_(0.05, 0.5, generator=generator)
    with torch.no_grad():
        network.train()(images[::2])
    return network.eval()


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

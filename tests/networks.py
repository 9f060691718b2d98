"""Networks as if trained, and what their tests compare."""

import torch
from torch import Tensor, nn

from rdlib.convolutions import DiracConv2d
from rdlib.models import StagedResNet, resnet

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


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(module: nn.Module, before: dict[str, Tensor]) -> None:
    after = module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


LAMBDA = 1e-3


def network(shortcuts: str = "none", seed: int = 0, depth: int = 18, width: int = 4) -> StagedResNet:
    """A network in float64 whose BatchNorms are no longer in their initial state."""
    torch.manual_seed(seed)
    net = resnet(depth, 10, shortcuts, width).double()
    for name, tensor in net.state_dict().items():
        if "bn" in name or "downsample.1" in name:
            if name.endswith(("weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                tensor.uniform_(-0.5, 0.5)
    return net

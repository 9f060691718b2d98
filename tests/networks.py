"""Networks as if trained, for the tests of deployment."""

import torch
from torch import Tensor, nn

from rdlib.convolutions import DiracConv2d

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

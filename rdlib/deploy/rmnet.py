"""RMNet (Meng et al., 2021, arXiv 2111.00687): a trained ResNet, rewritten without shortcuts, computes the same.

The paper's two steps, in a block whose input x went through ReLU, so that x >= 0 and a further ReLU leaves it alone:

- *reserve*: every convolution but the last one gets extra channels that copy x. Their kernels are 1 at the centre tap,
  which in a strided convolution reads the very pixels that the 1x1 projection of the shortcut reads;
- *merge*: the last convolution adds them at its centre tap: by the identity, or by the folded projection.

The projection's own output cannot be reserved: it has negative values, and the next ReLU would cut them.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import Reparametrised, fold
from rdlib.errors import DeployError
from rdlib.models import Block, StagedResNet


def rewritten(network: StagedResNet) -> StagedResNet:
    """A folded copy of a network in eval mode without any shortcut, which computes the same after every stage.

    Images [N, 3, H, W] -> logits [N, classes], as before, in the network's dtype and on its device. A basic block with
    a shortcut becomes about twice as wide inside, a bottleneck five times where its shortcut is the identity; blocks
    without one stay as they are. A network that is folded or pruned is fine. The copy is for deployment: its
    convolutions are wider than its `architecture` says. The given network is left as it is.

    Raises DeployError for grouped or reparametrised convolutions and for a network in training mode.
    """
    for name, module in network.named_modules():
        if isinstance(module, Reparametrised) or (isinstance(module, nn.Conv2d) and module.groups > 1):
            raise DeployError(f"{name} is a grouped or reparametrised convolution: RMNet rewrites plain ones only")
    copy = fold(network)
    for block in copy.modules():
        if isinstance(block, Block) and block.shortcut:
            remove_shortcut(block)
    copy.shortcuts = "none"
    copy.architecture = replace(copy.architecture, shortcuts="none")
    return copy


def remove_shortcut(block: Block) -> None:
    """Widen the convolutions of a folded block, in place, so that they carry its input to its end and add it there."""
    *inner, last = (module for module in block.children() if isinstance(module, nn.Conv2d))
    channels, beside = inner[0].in_channels, 0
    for conv in inner:
        reserve(conv, channels, beside)
        beside = channels
    kernel, shift = torch.eye(channels).to(last.weight)[:, :, None, None], torch.zeros(()).to(last.weight)
    if block.downsample is not None:
        kernel, shift = block.downsample[0].parameters()
    merge(last, kernel, shift)
    block.shortcut, block.downsample = False, None


def reserve(conv: nn.Conv2d, channels: int, beside: int) -> None:
    """Let a convolution also return the last `channels` of its inputs, at every stride-th place.

    beside: how many of them come in addition to the channels that it has read so far.
    """
    assert conv.bias is not None  # the network is folded
    weight = F.pad(conv.weight, (0, 0, 0, 0, 0, beside))  # what it returned so far does not depend on them
    _, inputs, height, width = weight.shape
    copies = weight.new_zeros(channels, inputs, height, width)
    copies[range(channels), range(inputs - channels, inputs), height // 2, width // 2] = 1
    set_weights(conv, torch.cat([weight, copies]), F.pad(conv.bias, (0, channels)))


def merge(conv: nn.Conv2d, kernel: Tensor, shift: Tensor) -> None:
    """Let a convolution also read the channels beside its own and add kernel (1x1) * them + shift to its result."""
    assert conv.bias is not None
    margin = conv.weight.shape[2] // 2
    set_weights(conv, torch.cat([conv.weight, F.pad(kernel, (margin,) * 4)], 1), conv.bias + shift)


def set_weights(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.out_channels, conv.in_channels = weight.shape[:2]
    conv.weight, conv.bias = (nn.Parameter(tensor, requires_grad=False) for tensor in (weight, bias))

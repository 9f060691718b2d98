"""The reviewers' question, cost side: a ResNet made as cheap as a plain network while it keeps its shortcuts.

It loses channels of a trained network (`pruned`) or is built with fewer from the start. What cheap means is the
caller's: `cost` takes a network and returns a number that never rises when channels go, such as its feature-map
traffic, its planned peak or its multiply-additions.
"""

import copy
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from rdlib.convolutions import Reparametrised
from rdlib.errors import DeployError, require_choice
from rdlib.models import STAGES, StagedResNet

ROUND_TO = 8  # channels stay a multiple: what vectorised kernels need to be fast
SIDE = 32  # of the image that torch-pruning traces; which layers depend on which is the same for every side

Size = TypeVar("Size")
Cost = Callable[[nn.Module], float]


def ratio_within(
    network: StagedResNet, cost: Cost, target: float, stages: int = STAGES, round_to: int = ROUND_TO
) -> float:
    """The smallest ratio at which the network, pruned, costs at most the target.

    Raises DeployError as `pruned` does, and where even the smallest copy costs more.
    """
    sizes = ratios(network, round_to)
    return largest_within(sizes, lambda ratio: pruned(network, ratio, stages, round_to), cost, target)


def width_within(network_of_width: Callable[[int], nn.Module], cost: Cost, target: float, widths: Sequence[int]) -> int:
    """The largest of the widths, in channels of the first stage, at which the network costs at most the target.

    Raises DeployError where even the narrowest costs more.
    """
    return largest_within(sorted(widths, reverse=True), network_of_width, cost, target)


def fewest_stages(network: StagedResNet, cost: Cost, target: float, round_to: int = ROUND_TO) -> int:
    """How many stages, from the first, must lose channels so that the target can be reached at all.

    A peak lies in early stages: whoever prunes for it leaves the late ones alone. Raises DeployError where all four
    together do not reach it.
    """
    smallest = ratios(network, round_to)[-1]
    for stages in range(1, STAGES):
        if cost(pruned(network, smallest, stages, round_to)) <= target:
            return stages
    largest_within([smallest], lambda ratio: pruned(network, ratio, round_to=round_to), cost, target)
    return STAGES


def largest_within(sizes: Sequence[Size], build: Callable[[Size], nn.Module], cost: Cost, target: float) -> Size:
    """The first of the sizes, ordered from the largest network to the smallest, that costs at most the target.

    By bisection: about log2(len(sizes)) networks are built. Raises DeployError where even the last costs more.
    """
    cost_at = cache(lambda index: cost(build(sizes[index])))
    reached = cost_at(len(sizes) - 1)
    if reached > target:
        raise DeployError(
            f"a cost of {target:,.0f} cannot be reached: the smallest network tried still costs {reached:,.0f}, "
            "so raise the target"
        )
    return sizes[bisect_left(range(len(sizes)), True, key=lambda index: cost_at(index) <= target)]


def ratios(network: StagedResNet, round_to: int = ROUND_TO) -> list[float]:
    """Pruning ratios that give different networks, from 0 on: at each the widest layer loses another round_to channels.

    The last leaves round_to channels to the narrowest layer. Raises DeployError where a layer has fewer than these.
    """
    channels = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    if min(channels) < round_to:
        raise DeployError(
            f"pruning keeps multiples of {round_to} channels, but a layer has {min(channels)}: take a wider network"
        )
    steps = max(channels) // round_to
    return [step / steps for step in range(steps + 1) if step / steps <= 1 - round_to / min(channels)]


def pruned(network: StagedResNet, ratio: float, stages: int = STAGES, round_to: int = ROUND_TO) -> StagedResNet:
    """A copy without that share of the channels in the stem and the first stages, in each layer the least important.

    Uniform (every layer loses the same share, so that the shapes do not depend on the weights), rounded down to
    multiples of round_to. A channel's importance is the mean L1 norm of the weights that make and use it, over all
    layers that a shortcut binds together (torch-pruning's MagnitudeImportance; Fang et al., CVPR 2023). The copy is
    trainable, in the given network's mode, and works as a staged network; its `architecture` is the one it was cut
    from. The given network is left as it is.

    Raises DeployError for grouped or reparametrised convolutions and for a folded network: what is pruned is to be
    fine-tuned, which needs its BatchNorm.
    """
    require_choice("number of stages to prune", stages, range(1, STAGES + 1))
    for name, module in network.named_modules():
        if isinstance(module, Reparametrised) or (isinstance(module, nn.Conv2d) and module.groups > 1):
            raise DeployError(f"{name} is a grouped or reparametrised convolution: only plain ones can be pruned")
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise DeployError("the network is folded: prune it before, so that it can be fine-tuned")
    import torch_pruning

    slim = copy.deepcopy(network).requires_grad_(True)
    if ratio > 0:
        # A hair less, lest a rounding error of the ratio take another round_to channels.
        ratio_of = dict.fromkeys((slim.conv1, *slim.stages[:stages]), ratio - 1e-9)
        with torch.enable_grad():  # the layers' dependencies are read from autograd's graph
            torch_pruning.pruner.BasePruner(
                slim,
                torch.zeros(1, 3, SIDE, SIDE, device=slim.conv1.weight.device, dtype=slim.conv1.weight.dtype),
                importance=torch_pruning.importance.MagnitudeImportance(p=1),
                pruning_ratio=0.0,
                pruning_ratio_dict=ratio_of,
                ignored_layers=[slim.fc],
                round_to=round_to,
            ).step()
    slim.stage_channels = [channels_after(stage) for stage in slim.stages]
    return slim.train(network.training)


def channels_after(stage: nn.Module) -> int:
    """Channels of the feature map that a stage returns."""
    *_, last = (module for module in stage.modules() if isinstance(module, nn.BatchNorm2d))
    return int(last.num_features)

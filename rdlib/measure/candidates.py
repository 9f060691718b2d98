"""The networks that tables 1 and 2 compare, by name: three kinds of shortcuts, and ResNets made as cheap as plain ones.

Weights are untrained: memory and latency depend on the shapes alone, and so, because pruning is uniform, do the shapes
of the pruned networks.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import Graph, read_graph
from rdlib.deploy.planner import OUT_OF_PLACE, plan, traffic
from rdlib.errors import require_choice
from rdlib.models import DEPTHS, KINDS, STAGES, Shortcuts, StagedResNet, Stem, resnet
from rdlib.rivals.pruning import Cost, fewest_stages, pruned, ratio_within, width_within

WIDTH = 64
INPUTS: dict[int, tuple[Stem, int]] = {32: ("cifar", 100), 224: ("imagenet", 1000)}  # side: stem, classes
# Adding into a new buffer is what the paper's 40 % speaks of, and asks most of a network that keeps its shortcuts.
COSTS: dict[str, Callable[[Graph], float]] = {
    "traffic": lambda graph: traffic(graph, OUT_OF_PLACE),
    "peak": lambda graph: plan(graph, OUT_OF_PLACE).peak,
    "MACs": lambda graph: graph.macs,
}
VARIANTS = tuple(f"{how} to {what}" for how in ("pruned", "narrowed") for what in COSTS)


@dataclass(frozen=True)
class Candidate:
    """A network of width 64 for images of one side: 32 (CIFAR stem, 100 classes) or 224 (ImageNet stem, 1000 classes).

    variant: "", or one of VARIANTS for a ResNet as expensive as the strictly plain network of its depth and side.
    Raises ConfigError for an unknown choice.
    """

    depth: int
    shortcuts: Shortcuts
    side: int
    variant: str = ""

    def __post_init__(self) -> None:
        require_choice("depth", self.depth, DEPTHS)
        require_choice("shortcuts", self.shortcuts, get_args(Shortcuts))
        require_choice("side", self.side, INPUTS)
        require_choice("variant", self.variant, ("", *VARIANTS) if self.shortcuts == "all" else ("",))

    @property
    def name(self) -> str:
        kind = KINDS[self.shortcuts].format(self.depth)
        return f"{kind}, {self.variant}" if self.variant else kind

    def network(self) -> nn.Module:
        """Folded, on the CPU, untrained; the same weights every time. A variant is searched for once in a process."""
        return fold(self.trainable().eval())

    def trainable(self) -> StagedResNet:
        """The same network before folding, in training mode."""
        if self.variant.startswith("pruned"):
            return pruned(self.whole(WIDTH), *pruning_of(self))
        return self.whole(width_of(self) if self.variant.startswith("narrowed") else WIDTH)

    def whole(self, width: int) -> StagedResNet:
        """The network of that width, with all its channels."""
        stem, classes = INPUTS[self.side]
        with seeded():
            return shifted(resnet(self.depth, classes, self.shortcuts, width, stem))


@contextmanager
def seeded() -> Iterator[None]:
    """Within the block torch's generator starts anew; after it, it is where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def shifted(network: StagedResNet) -> StagedResNet:
    """The untrained network, its BatchNorms given shifts: the exporter drops biases that are zero."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.bias, 0.5, 1.0)
    return network


def candidates(depths: Sequence[int] = (18, 34, 50), sides: Sequence[int] = (224, 32)) -> list[Candidate]:
    """The three kinds of shortcuts of every depth and side."""
    return [Candidate(depth, kind, side) for side in sides for depth in depths for kind in KINDS]


def matched() -> list[Candidate]:
    """ResNet-50s that keep their shortcuts and cost at most what the strictly plain network of depth 50 costs."""
    return [Candidate(50, "all", 224, variant) for variant in VARIANTS]


def cost(what: str, side: int) -> Cost:
    """One of COSTS for images of that side: traffic and peak in bytes, batch 1, float32, after folding."""
    require_choice("cost", what, COSTS)
    return lambda network: COSTS[what](deployed_graph(network, side))


def deployed_graph(network: nn.Module, side: int) -> Graph:
    """What is left of a network, in whichever mode, when it is folded and exported."""
    with tempfile.TemporaryDirectory() as folder:
        return read_graph(export(fold(copy.deepcopy(network).eval()), Path(folder) / "network.onnx", side))


@cache
def plain_graph(depth: int, side: int) -> Graph:
    """Of the strictly plain network that variants are matched to."""
    return deployed_graph(Candidate(depth, "none", side).trainable(), side)


def match(candidate: Candidate) -> tuple[str, Cost, float]:
    """What a variant is matched in, the cost that measures it, and the target."""
    what = candidate.variant.partition(" to ")[2]
    return what, cost(what, candidate.side), COSTS[what](plain_graph(candidate.depth, candidate.side))


@cache
def pruning_of(candidate: Candidate) -> tuple[float, int]:
    """The ratio and the number of stages, for `pruned`.

    For traffic and multiply-additions all four stages are pruned, for a peak the fewest that reach it.
    """
    what, price, target = match(candidate)
    network = candidate.whole(WIDTH)
    stages = fewest_stages(network, price, target) if what == "peak" else STAGES
    return ratio_within(network, price, target, stages), stages


@cache
def width_of(candidate: Candidate) -> int:
    """The width, a multiple of 4, of a narrowed variant."""
    _, price, target = match(candidate)
    return width_within(candidate.whole, price, target, range(4, WIDTH + 1, 4))

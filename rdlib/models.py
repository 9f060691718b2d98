"""Staged residual networks, and the same networks without their shortcuts.

Blocks *start* with ReLU and *return the pre-ReLU sum*. This is the same function as torchvision's ResNet (its last
ReLU of a block is our first ReLU of the next one), but every stage boundary is a pre-ReLU feature map, so a map can
leave one network and enter another: `teacher.tail(student.head(x, k), k)`.

Parameter names equal torchvision's, so the state dicts of its ResNets, wide ResNets and ResNeXts load unchanged with
`stem="imagenet"`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import CONVOLUTIONS, Reparametrised, convolution, norm_after, projection
from rdlib.errors import ConfigError, require_choice

Shortcuts = Literal["all", "downsample", "none"]
Stem = Literal["cifar", "imagenet"]
Kind = Literal["basic", "bottleneck"]

STAGES = 4
SHORTCUTS = {"all": "all", "downsample": "downsampling kept", "none": "strictly plain"}  # in words
KINDS: dict[Shortcuts, str] = {
    "all": "ResNet-{}",
    "downsample": f"plain-{{}}, {SHORTCUTS['downsample']}",
    "none": f"plain-{{}}, {SHORTCUTS['none']}",
}


class Block(nn.Module, ABC):
    """What both kinds share: ReLU first, the residual branch, and a shortcut or none."""

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor: ...

    def add_shortcut(self, c_in: int, c_out: int, stride: int, wanted: bool) -> None:
        """Called last, so that names have torchvision's order."""
        self.shortcut = wanted
        fits = stride == 1 and c_in == c_out
        self.downsample = projection(c_in, c_out, stride) if wanted and not fits else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] pre-ReLU -> [N, C', H', W'] pre-ReLU."""
        x = F.relu(x)
        if not self.shortcut:
            return self.residual(x)
        return self.residual(x) + (x if self.downsample is None else self.downsample(x))


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, c_in: int, planes: int, stride: int, shortcut: bool, of: "Architecture"):
        super().__init__()
        self.conv1 = convolution(c_in, planes, 3, stride, of.conv)
        self.bn1 = norm_after(self.conv1)
        self.conv2 = convolution(planes, planes, 3, 1, of.conv)
        self.bn2 = norm_after(self.conv2)
        self.add_shortcut(c_in, planes, stride, shortcut)

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))  # type: ignore[no-any-return]


class Bottleneck(Block):
    """1x1, 3x3 (carries the stride), 1x1 convolution; four times `planes` channels come out.

    The 3x3 has as many channels as `planes`; more in a wide ResNet, and in groups in a ResNeXt.
    """

    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int, shortcut: bool, of: "Architecture"):
        super().__init__()
        width, c_out = planes * of.width_per_group // 64 * of.groups, planes * self.expansion
        self.conv1 = convolution(c_in, width, 1)
        self.bn1 = norm_after(self.conv1)
        self.conv2 = convolution(width, width, 3, stride, of.conv, of.groups)
        self.bn2 = norm_after(self.conv2)
        self.conv3 = convolution(width, c_out, 1, 1, of.conv)
        self.bn3 = norm_after(self.conv3)
        self.add_shortcut(c_in, c_out, stride, shortcut)

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))  # type: ignore[no-any-return]


BLOCKS: dict[Kind, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
DEPTHS: dict[int, tuple[Kind, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    66: ("basic", (6, 8, 12, 6)),  # twice and three times the blocks of 34, to see where plain networks break
    98: ("basic", (9, 12, 18, 9)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


@dataclass(frozen=True)
class Architecture:
    """What a network is built from: equal values build networks whose weights fit each other.

    counts: blocks of each stage. width: channels of the first stage (64 in the paper). groups and width_per_group are
    torchvision's and shape the 3x3 convolutions of bottlenecks: 1 x 64 a ResNet, 1 x 128 a wide one, 32 x 4 a ResNeXt.
    """

    block: Kind
    counts: tuple[int, ...]
    num_classes: int
    shortcuts: Shortcuts = "all"
    width: int = 64
    stem: Stem = "cifar"
    conv: str = "plain"
    groups: int = 1
    width_per_group: int = 64


class StagedResNet(nn.Module):
    """A stem, four stages, global average pooling and one linear layer; cut at any stage boundary k = 0..4.

    `shortcuts`: "all" is a ResNet; "downsample" keeps only the stride-2 projections that open stages 2-4 (the released
    code's student); "none" is strictly plain and has no `downsample` parameter at all.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = of = architecture
        self.shortcuts = of.shortcuts
        block, width = BLOCKS[of.block], of.width
        self.conv1 = convolution(3, width, 7, 2) if of.stem == "imagenet" else convolution(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        # The pool sees pre-ReLU values; max-pooling and ReLU commute, so torchvision's function is unchanged.
        self.maxpool = nn.MaxPool2d(3, 2, 1) if of.stem == "imagenet" else nn.Identity()
        self.stage_channels = [width * 2**i * block.expansion for i in range(STAGES)]
        c_in = width
        for i, count in enumerate(of.counts):
            blocks = []
            for j in range(count):
                opens_stage = i > 0 and j == 0
                keep = of.shortcuts == "all" or (of.shortcuts == "downsample" and opens_stage)
                blocks.append(block(c_in, width * 2**i, 2 if opens_stage else 1, keep, of))
                c_in = self.stage_channels[i]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, of.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        return tuple(self.get_submodule(f"layer{i + 1}") for i in range(STAGES))

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The BatchNorm that ends the last block, before its addition; the feature margins are read from it.

        Raises ConfigError for a folded network, and one whose convolutions hold their BatchNorm (RepVGG).
        """
        *_, block = self.stages[-1].children()
        norm = block.bn3 if isinstance(block, Bottleneck) else block.bn2
        if not isinstance(norm, nn.BatchNorm2d):
            raise ConfigError("margins are read from the BatchNorm that ends the last block, and this network has none")
        return norm

    def stem(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> pre-ReLU feature map that enters stage 1."""
        return self.maxpool(self.bn1(self.conv1(x)))  # type: ignore[no-any-return]

    def classify(self, feature: Tensor) -> Tensor:
        """Last pre-ReLU feature map [N, C, h, w] -> logits [N, classes]."""
        return self.fc(self.avgpool(F.relu(feature)).flatten(1))  # type: ignore[no-any-return]

    def head(self, x: Tensor, k: int) -> Tensor:
        """Stem and stages 1..k: images [N, 3, H, W] -> the pre-ReLU feature map [N, C_k, h, w] after stage k."""
        h = self.stem(x)
        for stage in self.stages[:k]:
            h = stage(h)
        return h

    def features(self, x: Tensor) -> list[Tensor]:
        """The pre-ReLU feature maps after stages 1..4, from one pass; the last one is what `classify` takes."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def tail(self, h: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Stages k+1..4 and classifier: feature map after stage k -> (logits, last pre-ReLU feature map)."""
        for stage in self.stages[k:]:
            h = stage(h)
        return self.classify(h), h

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, classes]; equals `tail(head(x, k), k)[0]` for every k."""
        return self.classify(self.head(x, STAGES))


def resnet(
    depth: int,
    num_classes: int,
    shortcuts: Shortcuts = "all",
    width: int = 64,
    stem: Stem = "cifar",
    conv: str = "plain",
) -> StagedResNet:
    """Build a ResNet (or, with fewer shortcuts, a plain network) of depth 18, 34, 50, 66, 98, 101 or 152.

    width: channels of the first stage (64 in the paper). Weights are He-initialised (fan-out) from torch's global
    generator; the last BatchNorm of a block is not zero-initialised. Raises ConfigError for an unknown choice.
    """
    require_choice("depth", depth, DEPTHS)
    require_choice("shortcuts", shortcuts, get_args(Shortcuts))
    require_choice("stem", stem, get_args(Stem))
    require_choice("conv", conv, CONVOLUTIONS)
    if width < 1 or num_classes < 2:
        raise ConfigError(f"a network needs width >= 1 and at least 2 classes, not {width} and {num_classes}")
    block, counts = DEPTHS[depth]
    return StagedResNet(Architecture(block, counts, num_classes, shortcuts, width, stem, conv))


def plain(depth: int, num_classes: int, width: int = 64, stem: Stem = "cifar", conv: str = "plain") -> StagedResNet:
    """The strictly plain network of that depth: `resnet` with shortcuts "none"."""
    return resnet(depth, num_classes, "none", width, stem, conv)


def without_shortcuts(network: StagedResNet, shortcuts: Shortcuts = "none") -> StagedResNet:
    """The plain network of the same architecture, newly initialised: the student of a teacher of any kind."""
    require_choice("shortcuts", shortcuts, get_args(Shortcuts))
    return StagedResNet(replace(network.architecture, shortcuts=shortcuts))


def start_from(student: StagedResNet, teacher: StagedResNet) -> None:
    """Copy the teacher's weights and BatchNorm statistics into the student, tensor by tensor of the same name.

    Shortcuts the student lacks are dropped; a reparametrised convolution inherits the teacher's plain one. Raises
    ConfigError when a name or shape does not fit.
    """
    ours, blocks = student.architecture.counts, teacher.architecture.counts
    if ours != blocks:
        raise ConfigError(
            f"init='teacher' needs a teacher of the student's depth: their stages have {blocks} and {ours} blocks"
        )
    weights, start = teacher.state_dict(), student.state_dict()
    heirs = {name: module for name, module in student.named_modules() if isinstance(module, Reparametrised)}
    kept = {f"{name}.{key}" for name, heir in heirs.items() for key in heir.state_dict() if key != "weight"}
    for name in start:
        if name not in kept and (name not in weights or weights[name].shape != start[name].shape):
            raise ConfigError(f"init='teacher' needs a teacher of the student's depth and width: {name} does not fit")
    student.load_state_dict({name: start[name] if name in kept else weights[name] for name in start})
    for name, heir in heirs.items():
        norm: Any = teacher.get_submodule(name.replace("conv", "bn"))
        heir.inherit(weights[f"{name}.weight"], norm)


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """Within the block a network that learns is in eval mode and its weights get no gradients."""
    training = network.training
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.train(training).requires_grad_(True)


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()

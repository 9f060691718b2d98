"""torchvision's layout: recognise a ResNet of any depth and kind by the names and shapes of its weights."""

import copy
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rdlib.errors import CheckpointError, ConfigError
from rdlib.models import DEPTHS, STAGES, Architecture, StagedResNet, Stem

PROBE = 64  # pixels of the random images on which two networks are compared


def staged(network: nn.Module) -> StagedResNet:
    """The same network, cut at its stages, so that it can teach: for torchvision's ResNets, wide ResNets and ResNeXts
    of any depth, and those of other libraries that name their weights so.

    Raises CheckpointError with the first weight that does not fit, ConfigError where the weights fit but the network
    computes something else with them (dilated, other activations, ...).
    """
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    ours = StagedResNet(architecture_of(weights)).eval()
    load_into(ours, weights, f"this {type(network).__name__} is no ResNet in torchvision's layout:")
    images = torch.randn(2, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = ours(images)
        try:
            found = copy.deepcopy(network).cpu().float().eval()(images)
            same = torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(found.abs().max()))
        except (RuntimeError, TypeError, AttributeError):  # of another pooling, or outputs that are no tensor
            same = False
    if not same:
        raise ConfigError(
            f"this {type(network).__name__} has the weights of a ResNet but computes something else with them "
            "(dilated convolutions, another activation or pooling?): only torchvision's own forward pass can teach"
        )
    return ours


def architecture_of(weights: Mapping[str, Tensor]) -> Architecture:
    """What the names and shapes of a ResNet's weights tell. Raises CheckpointError where they are no ResNet's."""
    stages = (f"layer{i + 1}.0.conv1.weight" for i in range(STAGES))
    for name in ("conv1.weight", "fc.weight", *stages, "layer1.0.conv2.weight"):
        if name not in weights:
            raise CheckpointError(f"this is no ResNet in torchvision's layout: it has no {name}")
        if weights[name].dim() != (2 if name == "fc.weight" else 4) or not weights[name].numel():
            raise CheckpointError(f"its {name} is {list(weights[name].shape)}, which no ResNet has")
    if "layer2.0.downsample.0.weight" not in weights:
        raise CheckpointError("this network has no shortcuts, so it is no ResNet: a plain network needs no student")
    blocks = [name.split(".")[0] for name in weights if re.fullmatch(r"layer\d\.\d+\.conv1\.weight", name)]
    counts = tuple(blocks.count(f"layer{i + 1}") for i in range(STAGES))
    width, channels, _, kernel = weights["conv1.weight"].shape
    if channels != 3:
        raise CheckpointError(f"its first convolution takes images of {channels} channels, and images here have 3")
    if kernel not in (3, 7):
        raise CheckpointError(f"its first convolution is {kernel} x {kernel}, a ResNet has 7 x 7 (or 3 x 3) there")
    stem: Stem = "imagenet" if kernel == 7 else "cifar"
    classes = weights["fc.weight"].shape[0]
    if "layer1.0.conv3.weight" not in weights:
        return Architecture("basic", counts, classes, "all", width, stem)
    inner, per_group = weights["layer1.0.conv2.weight"].shape[:2]
    if (base := per_group * 64 // width) < 1:
        raise CheckpointError(f"its 3x3 convolutions take {per_group} channels a group, fewer than a ResNeXt's")
    return Architecture("bottleneck", counts, classes, "all", width, stem, "plain", inner // per_group, base)


def depth_of(architecture: Architecture) -> int | None:
    """Its depth, as `models.resnet` builds it; None where it builds none such: wide ResNets, ResNeXts, other blocks."""
    if (architecture.groups, architecture.width_per_group) != (1, 64):
        return None
    return next((depth for depth, of in DEPTHS.items() if of == (architecture.block, architecture.counts)), None)


def described(architecture: Architecture) -> str:
    """An architecture in words."""
    depth, of = depth_of(architecture), architecture
    kind = "ResNeXt" if of.groups > 1 else "wide ResNet" if of.width_per_group > 64 else "ResNet"
    groups = "" if (of.groups, of.width_per_group) == (1, 64) else f", {of.groups} x {of.width_per_group}"
    name = f"ResNet-{depth}" if depth else f"{kind} of {'-'.join(map(str, of.counts))} {of.block} blocks{groups}"
    return f"{name}, width {of.width}, first convolution {'7x7' if of.stem == 'imagenet' else '3x3'}"


def load_into(network: StagedResNet, weights: Mapping[str, Tensor], misfit: str) -> None:
    """Load weights of the same names and shapes; raises CheckpointError that opens with `misfit` for the first other.

    A missing count of batches, which files from before PyTorch 0.4.1 lack and nothing here reads, stays zero.
    """
    expected = network.state_dict()
    for name in [*expected, *weights]:
        if name not in expected:
            raise CheckpointError(f"{misfit} there is no place for its {name}")
        if name not in weights and not name.endswith("num_batches_tracked"):
            raise CheckpointError(f"{misfit} it has no {name}")
        found, wanted = (list(of.get(name, expected[name]).shape) for of in (weights, expected))
        if found != wanted:
            raise CheckpointError(f"{misfit} its {name} is {found} where {wanted} is needed")
    network.load_state_dict(expected | dict(weights))

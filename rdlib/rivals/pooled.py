"""The rival for peak memory (ReDistill): a ResNet that pools early, and what it loses is taught back."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.methods import Taught
from rdlib.models import StagedResNet


class Encoded(nn.Module):
    """x sigmoid(C_1(x)) + min(max(C_3(x), 0), 6), C_k a k x k convolution and BatchNorm; [N, C, H, W] -> the same.

    ReDistill's residual encoded block. It stays in the network that is deployed.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gate, self.encoder = (
            nn.Sequential(nn.Conv2d(channels, channels, side, padding=side // 2), nn.BatchNorm2d(channels))
            for side in (1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(x)
        return x * gate.sigmoid() + F.relu6(self.encoder(x))


class Pooled(Taught):
    """(CE(z_S, y) + weight mean_i [1 - cos(mean_c B_i, mean_c T_i)]) / 2: ReDistill (Chen et al., arXiv 2406.03744).

    The student, a ResNet or plain network, is rebuilt by `pooled`; B_i are its five blocks' maps and T_i the teacher's
    of the same resolution, one halving later: mean_c is over channels, cos of two such maps over their pixels. Places
    and formula are the released code's (its first block stands before the stem's BatchNorm, ours after it, so that the
    network folds), weight its value for small images. Raises ConfigError as `pooled` does.
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 50.0):
        super().__init__(pooled(student), teacher, "scratch")
        self.weight, self.seen = weight, list[Tensor]()
        for module in student.modules():
            if isinstance(module, Encoded):
                module.register_forward_hook(lambda module, inputs, out: self.seen.append(out))

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        return pooled(network)

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        self.seen.clear()
        logits = self.student(images)
        self.student_logits = logits.detach()
        with torch.no_grad():
            theirs = list(targets(self.guide, images))
        gaps = [1 - cosine(b, t) for b, t in zip(self.seen, theirs, strict=True)]
        self.seen.clear()
        return {
            "cross_entropy": F.cross_entropy(logits, labels) / 2,
            "distance": self.weight * sum(gaps[1:], gaps[0]) / len(gaps) / 2,
        }


def pooled(network: StagedResNet) -> StagedResNet:
    """The same network, changed: its stem halves the resolution once more and stage 4 once less; five blocks `Encoded`.

    After the stem, and before and after the blocks that open stages 2 and 3. Weights stay what they were.
    Raises ConfigError for reparametrised convolutions and a network that is pooled already.
    """
    if network.architecture.conv != "plain" or isinstance(network.maxpool, nn.Sequential):
        raise ConfigError("only a network of plain convolutions that has not been pooled yet can be: take one")
    down, across = network.conv1.stride
    network.conv1.stride = (2 * down, 2 * across)
    for module in network.get_submodule("layer4.0").modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    channels = [network.conv1.out_channels, *network.stage_channels]
    network.set_submodule("maxpool", nn.Sequential(network.maxpool, Encoded(channels[0])))
    for stage in (2, 3):
        name = f"layer{stage}.0"
        around = Encoded(channels[stage - 1]), network.get_submodule(name), Encoded(channels[stage])
        network.set_submodule(name, nn.Sequential(*around))
    return network


def targets(teacher: StagedResNet, images: Tensor) -> Iterator[Tensor]:
    """The teacher's maps that are as large as those of the student's five blocks, in their order."""
    h = teacher.stem(images)
    for number, stage in enumerate(teacher.stages):
        for place, block in enumerate(stage.children()):
            if number > 1 and not place:
                yield h
            h = block(h)
            if number and not place:
                yield h


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two maps [N, C, h, w] and [N, D, h, w], each averaged over its channels; the mean over the batch."""
    return F.cosine_similarity(a.mean(1).flatten(1), b.mean(1).flatten(1)).mean()

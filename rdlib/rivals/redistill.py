"""ReDistill, the rival for peak memory: a ResNet that halves the resolution early, and is taught what that loses."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.methods import Taught
from rdlib.models import StagedResNet


class EncodedBlock(nn.Module):
    """x sigmoid(C_1(x)) + min(max(C_3(x), 0), 6), C_k a k x k convolution and BatchNorm; [N, C, H, W] -> the same.

    The residual encoded block, of ReLU(x) where `rectified`. It stays in the network that is deployed.
    """

    def __init__(self, channels: int, rectified: bool = True):
        super().__init__()
        self.rectified = rectified
        self.gate, self.encoder = (
            nn.Sequential(nn.Conv2d(channels, channels, side, padding=side // 2), nn.BatchNorm2d(channels))
            for side in (1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x) if self.rectified else x
        gate: Tensor = self.gate(x)
        return x * gate.sigmoid() + F.relu6(self.encoder(x))


class ReDistill(Taught):
    """(CE(z_S, y) + weight mean_i [1 - cos(mean_c B_i, mean_c T_i)]) / 2 (Chen et al., arXiv 2406.03744).

    The student is rebuilt by `halving_early`. B_i are the maps of its five encoded blocks, T_i the teacher's of the
    same resolution, after ReLU; mean_c is over channels, and cos compares two such maps over their pixels. Weight,
    formula and places are those of the released code for small images, with two differences: its first block stands
    before the stem's BatchNorm (ours after the stem, so that the network folds), and its teacher is in train mode.

    Raises ConfigError as `halving_early` does.
    """

    def __init__(self, student: StagedResNet, teacher: StagedResNet, *, weight: float = 50.0):
        super().__init__(halving_early(student), teacher, "scratch")
        self.weight = weight

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        return halving_early(network)

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        ours = list[Tensor]()
        blocks = [module for module in self.student.modules() if isinstance(module, EncodedBlock)]
        hooks = [block.register_forward_hook(lambda block, inputs, out: ours.append(out)) for block in blocks]
        logits = self.student(images)
        for hook in hooks:
            hook.remove()
        self.student_logits = logits.detach()
        with torch.no_grad():
            theirs = list(targets(self.guide, images))
        gaps = [1 - cosine(b, t) for b, t in zip(ours, theirs, strict=True)]
        return {
            "cross_entropy": F.cross_entropy(logits, labels) / 2,
            "distance": self.weight * torch.stack(gaps).mean() / 2,
        }


def halving_early(network: StagedResNet) -> StagedResNet:
    """The same network, changed: its stem halves the resolution once more and stage 4 no more; five encoded blocks.

    After the stem, and before and after the blocks that open stages 2 and 3. Weights stay what they were.
    Raises ConfigError for reparametrised convolutions and a network that was changed already.
    """
    if network.architecture.conv != "plain" or isinstance(network.maxpool, nn.Sequential):
        raise ConfigError("only a network of plain convolutions can be made to halve early, and once: take another")
    down, across = network.conv1.stride
    network.conv1.stride = (2 * down, 2 * across)
    for module in network.get_submodule("layer4.0").modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    channels = [network.conv1.out_channels, *network.stage_channels]
    network.set_submodule("maxpool", nn.Sequential(network.maxpool, EncodedBlock(channels[0], rectified=False)))
    for stage in (2, 3):
        name = f"layer{stage}.0"
        around = EncodedBlock(channels[stage - 1]), network.get_submodule(name), EncodedBlock(channels[stage])
        network.set_submodule(name, nn.Sequential(*around))
    return network


def targets(teacher: StagedResNet, images: Tensor) -> Iterator[Tensor]:
    """The teacher's maps, after ReLU, that are as large as those of the student's five blocks, in their order: after
    the block that opens stage 2, and before and after those that open stages 3 and 4."""
    h = teacher.stem(images)
    for number, stage in enumerate(teacher.stages, 1):
        for place, block in enumerate(stage.children()):
            if number > 2 and not place:
                yield F.relu(h)
            h = block(h)
            if number > 1 and not place:
                yield F.relu(h)
            if number == 4:
                return


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two maps [N, C, h, w] and [N, D, h, w], each averaged over its channels; the mean over the batch."""
    return F.cosine_similarity(a.mean(1).flatten(1), b.mean(1).flatten(1)).mean()

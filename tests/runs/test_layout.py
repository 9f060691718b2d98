"""ResNets of every kind that torchvision has are recognised by their weights, compute the same, and can teach."""

import pytest
import torch
import torchvision
from networks import randomise
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from rdlib.errors import CheckpointError, ConfigError
from rdlib.methods import JointRD
from rdlib.models import Architecture, without_shortcuts
from rdlib.runs.layout import architecture_of, staged

KINDS = {
    "resnet18": ("basic", (2, 2, 2, 2), 1, 64),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 1, 64),
    "resnet152": ("bottleneck", (3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": ("bottleneck", (3, 4, 6, 3), 32, 4),
    "wide_resnet101_2": ("bottleneck", (3, 4, 23, 3), 1, 128),
}


@pytest.mark.parametrize("name", KINDS)
def test_torchvisions_networks_are_recognised(name):
    block, counts, groups, width_per_group = KINDS[name]
    with torch.device("meta"):
        weights = getattr(torchvision.models, name)(num_classes=7).state_dict()
    expected = Architecture(block, counts, 7, "all", 64, "imagenet", "plain", groups, width_per_group)
    assert architecture_of(weights) == expected


@pytest.mark.parametrize(
    ("block", "counts", "options"),
    [
        (BasicBlock, [1, 2, 1, 1], {}),
        (Bottleneck, [1, 1, 2, 1], {}),
        (Bottleneck, [1, 1, 1, 1], {"groups": 8, "width_per_group": 4}),
        (Bottleneck, [1, 1, 1, 1], {"width_per_group": 128}),
    ],
)
def test_a_recognised_network_computes_the_same_and_teaches_a_plain_one(block, counts, options):
    images, labels = torch.randn(4, 3, 40, 40), torch.tensor([0, 1, 2, 3])
    network = randomise(ResNet(block, counts, num_classes=5, **options), images)
    teacher = staged(network)
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), network(images), rtol=1e-4, atol=1e-5)
    student = without_shortcuts(teacher)
    assert not [name for name, _ in student.named_modules() if "downsample" in name]
    method = JointRD(student, teacher, init="teacher")
    torch.testing.assert_close(student.conv1.weight, network.conv1.weight)
    losses = method.train().losses(images, labels, 0.0)
    torch.stack(list(losses.values())).sum().backward()
    assert student.conv1.weight.grad.abs().sum() > 0


def test_the_given_network_is_left_as_it_was():
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5).train()
    network.layer2.eval()  # as where some BatchNorms are frozen
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    staged(network)
    assert network.training
    assert not network.layer2.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Smooth(ResNet):
    """torchvision's names, another activation."""

    def __init__(self):
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=5)
        self.relu = nn.SiLU()


def of_fixed_pooling() -> nn.Module:
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.avgpool = nn.AvgPool2d(7)
    return network


def with_another_stem() -> nn.Module:
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.conv1 = nn.Conv2d(3, 64, 5, 2, 2, bias=False)
    return network


def with_attention() -> nn.Module:
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.layer3[0].attention = nn.Linear(2, 2)
    return network


def without_a_shortcut() -> nn.Module:
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.layer2[0].downsample = None
    return network


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (
            torchvision.models.squeezenet1_0,
            CheckpointError,
            "no ResNet in torchvision's layout: it has no conv1",
        ),
        (Smooth, ConfigError, "this Smooth has the weights of a ResNet but computes something else with them"),
        (
            lambda: ResNet(Bottleneck, [1, 1, 1, 2], replace_stride_with_dilation=[False, False, True]),
            ConfigError,
            "this ResNet has the weights of a ResNet but computes something else with them",
        ),
        (of_fixed_pooling, ConfigError, "computes something else with them"),
        (with_another_stem, CheckpointError, "its first convolution is 5 x 5"),
        (with_attention, CheckpointError, "there is no place for its layer3.0.attention"),
        (without_a_shortcut, CheckpointError, "this network has no shortcuts, so it is no ResNet"),
    ],
)
def test_what_is_no_such_resnet_is_told_so(make, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        staged(make())
    assert "\n" not in str(caught.value)

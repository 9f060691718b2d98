"""RMNet's rewrite computes what the trained ResNet computes, without a shortcut, at the price of wider convolutions."""

import copy

import pytest
import torch
from networks import randomise
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import fold
from rdlib.deploy.export import export, verify
from rdlib.deploy.rmnet import rewritten
from rdlib.errors import DeployError
from rdlib.models import Architecture, Block, StagedResNet, resnet
from rdlib.rivals.pruning import pruned

WIDTH = 8


def equal(network: nn.Module, other: nn.Module) -> bool:
    """Of all tensors."""
    ours, theirs = network.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def pictures(side: int = 16, number: int = 4) -> Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def as_if_trained(network: StagedResNet, images: Tensor) -> StagedResNet:
    """Random BatchNorms; every other channel of a projection is shifted below zero, as in a trained network."""
    randomise(network.double(), images)
    for projection in projections(network):
        projection[1].bias.data[::2] *= -1
    return network


def projections(network: nn.Module) -> list[nn.Sequential]:
    return [block.downsample for block in blocks(network) if block.downsample is not None]


def blocks(network: nn.Module) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]


def convolutions(block: Block) -> list[tuple[int, int]]:
    """Channels that each convolution of the main path reads and returns."""
    found = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    assert all(tuple(conv.weight.shape[:2]) == (conv.out_channels, conv.in_channels) for conv in found)
    return [(conv.in_channels, conv.out_channels) for conv in found]


@pytest.mark.parametrize("side", [16, 33], ids=["even", "odd"])  # an odd map shows which pixels a stride reads
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("shortcuts", ["all", "downsample"])
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_every_stage_computes_the_same_without_a_shortcut(depth, shortcuts, stem, side):
    images = pictures(side)
    network = as_if_trained(resnet(depth, 10, shortcuts, WIDTH, stem), images)
    plain = rewritten(network)
    with torch.no_grad():
        wanted, found = network.features(images), plain.features(images)
        logits = network(images)
        assert (plain(images) - logits).abs().max() < 1e-9 * logits.abs().max()
    assert logits.std() > 0.1
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-9 * theirs.abs().max()
    assert not any(block.shortcut or block.downsample for block in blocks(plain))
    assert (plain.shortcuts, plain.architecture.shortcuts) == ("none", "none")
    assert not any(module.training or isinstance(module, nn.BatchNorm2d) for module in plain.modules())


@pytest.mark.parametrize("depth", [18, 50])
def test_a_projection_cut_by_a_relu_would_be_another_network(depth):
    """The classic mistake is to carry the projection's output, which is negative in many places, through a ReLU."""
    images = pictures()
    network = as_if_trained(resnet(depth, 10, "all", WIDTH), images)
    mistaken, negative = copy.deepcopy(network), []
    for projection in projections(mistaken):

        def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            negative.append((output < 0).double().mean().item())
            return F.relu(output)

        projection.register_forward_hook(cut)
    with torch.no_grad():
        logits = network(images)
        assert (mistaken(images) - logits).abs().max() > 0.1
        assert (rewritten(network)(images) - logits).abs().max() < 1e-9
    assert len(negative) == (3 if depth == 18 else 4)
    assert min(negative) > 0.2


@pytest.mark.parametrize(("kind", "convolutions_per_block"), [("basic", 2), ("bottleneck", 3)])
def test_the_exported_file_adds_nothing_and_computes_what_the_resnet_computes(kind, convolutions_per_block, tmp_path):
    network = as_if_trained(StagedResNet(Architecture(kind, (2, 1, 1, 1), 10, width=4)), pictures()).float()
    path = export(rewritten(network), tmp_path / "net.onnx", 16)
    found = verify(network, path, [pictures().float()])
    assert found.adds_nothing  # not even within the runtime
    graph = found.graph
    assert set(graph.operators) <= {"Conv", "Relu", "GlobalAveragePool", "ReduceMean", "Reshape", "Gemm"}
    assert graph.operators["Conv"] == 1 + 5 * convolutions_per_block


@pytest.mark.parametrize(
    ("depth", "opens_stage_1", "opens_stage_2", "second"),
    [
        (18, [(8, 16), (16, 8)], [(8, 24), (24, 16)], [(16, 32), (32, 16)]),
        (50, [(8, 16), (16, 16), (16, 32)], [(32, 48), (48, 48), (48, 64)], [(64, 80), (80, 80), (80, 64)]),
    ],
)
def test_a_block_is_widened_by_the_channels_of_its_input(depth, opens_stage_1, opens_stage_2, second):
    plain = rewritten(resnet(depth, 10, "all", WIDTH).eval())
    found = [convolutions(block) for block in (plain.layer1[0], plain.layer2[0], plain.layer2[1])]
    assert found == [opens_stage_1, opens_stage_2, second]


@pytest.mark.parametrize("shortcuts", ["downsample", "none"])
def test_blocks_without_a_shortcut_stay_as_they_are(shortcuts):
    network = as_if_trained(resnet(18, 10, shortcuts, WIDTH), pictures())
    touched = 0
    for before, after in zip(blocks(fold(network)), blocks(rewritten(network)), strict=True):
        if before.shortcut:
            touched += 1
        else:
            assert equal(before, after)
    assert touched == (3 if shortcuts == "downsample" else 0)


def test_the_given_network_is_left_as_it_is():
    images = pictures()
    network = as_if_trained(resnet(18, 10, "all", WIDTH), images)
    for given in (network, fold(network)):
        before = copy.deepcopy(given)
        plain = rewritten(given)
        assert equal(given, before)
        assert (given.architecture, repr(given)) == (before.architecture, repr(before))
        ours = {tensor.data_ptr() for tensor in plain.state_dict().values()}
        assert not ours & {tensor.data_ptr() for tensor in given.state_dict().values()}


def test_folded_rewritten_pruned_and_wide_networks_are_fine():
    images = pictures()
    network = as_if_trained(resnet(18, 10, "all", 16), images)
    architecture = Architecture("bottleneck", (1, 2, 1, 1), 10, width=WIDTH, width_per_group=128)
    wide = as_if_trained(StagedResNet(architecture), images)
    for given in (fold(network), rewritten(network), pruned(network, 0.5), wide, fold(wide)):
        with torch.no_grad():
            assert (rewritten(given)(images) - given(images)).abs().max() < 1e-9
    assert equal(rewritten(network), rewritten(rewritten(network)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_dtype_and_device_stay(dtype, device):
    plain = rewritten(resnet(18, 10, "all", 4).eval().to(device, dtype))
    assert {(p.dtype, p.device.type) for p in plain.parameters()} == {(dtype, device)}


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: resnet(18, 10, width=4, conv="dirac").eval(), r"^layer1\.0\.conv1 is a grouped or reparametrised"),
        (lambda: resnet(18, 10, width=4, conv="repvgg").eval(), r"^layer1\.0\.conv1 is a grouped or reparametrised"),
        (
            lambda: StagedResNet(Architecture("bottleneck", (1, 1, 1, 1), 10, width=16, groups=4)).eval(),
            r"^layer1\.0\.conv2 is a grouped or reparametrised convolution: RMNet rewrites plain ones only$",
        ),
        (lambda: resnet(18, 10, width=4), r"training mode cannot be folded: call network\.eval\(\) first"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(network, sentence):
    with pytest.raises(DeployError, match=sentence):
        rewritten(network())

"""Staged networks: cut anywhere they compute the same, and with shortcuts they are torchvision's."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from rdlib.convolutions import DiracConv2d, RepVGGConv2d
from rdlib.errors import ConfigError
from rdlib.models import StagedResNet, plain, projection, resnet

DEPTHS = (18, 34, 50)
BLOCKS = {18: 8, 34: 16, 50: 16}


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm weights and statistics: with the initial ones many mistakes cancel."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("shortcuts", ["all", "downsample", "none"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_head_and_tail_compose_to_the_network_at_every_cut(depth, shortcuts, stem, images):
    network = randomise(resnet(depth, 10, shortcuts, 4, stem))
    with torch.no_grad():
        expected = network(images)
        for k in range(5):
            logits, feature = network.tail(network.head(images, k), k)
            torch.testing.assert_close(logits, expected, rtol=0, atol=0)
            torch.testing.assert_close(network.classify(feature), expected, rtol=0, atol=0)


def test_stage_features_are_before_relu(images):
    network = randomise(resnet(18, 10, width=4))
    with torch.no_grad():
        assert all((network.head(images, k) < 0).any() for k in range(5))
        assert (network.tail(network.head(images, 2), 2)[1] < 0).any()


@pytest.mark.parametrize("depth", DEPTHS)
def test_torchvision_weights_load_unchanged_and_give_its_logits(depth):
    torch.manual_seed(depth)
    reference = randomise(getattr(torchvision.models, f"resnet{depth}")())
    ours = resnet(depth, 1000, stem="imagenet").eval()
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in reference.named_parameters()]
    ours.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, logits = reference(images), ours(images)
    assert expected.std() > 0.01  # logits that vary, or equality would mean little
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("conv", ["plain", "dirac"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_plain_network_has_no_shortcut_parameter_or_exactly_the_three_stride_two_projections(depth, conv):
    names = list(plain(depth, 10, 4, conv=conv).state_dict())
    assert names
    assert not [name for name in names if "downsample" in name]
    network = resnet(depth, 10, "downsample", 4, conv=conv)
    kept = {name for name, module in network.named_modules() if name.endswith("downsample.0")}
    assert kept == {"layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"}
    assert all(network.get_submodule(name).stride == (2, 2) for name in kept)


def additions(network: StagedResNet) -> int:
    graph = torch.export.export(network.eval(), (torch.randn(2, 3, 16, 16),)).graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return sum(name.startswith(("aten.add", "aten.sub", "aten.cat")) for name in called)


@pytest.mark.parametrize("depth", DEPTHS)
def test_exported_graph_adds_once_a_block_with_shortcuts_and_never_without(depth):
    assert additions(plain(depth, 10, 4)) == 0
    assert additions(resnet(depth, 10, "downsample", 4)) == 3
    assert additions(resnet(depth, 10, "all", 4)) == BLOCKS[depth]


@pytest.mark.parametrize("conv", ["plain", "dirac"])
def test_convolutions_start_he_fan_out(conv):
    torch.manual_seed(0)
    network = resnet(50, 10, width=16, conv=conv)
    large = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000]
    assert len(large) > 20
    for weight in large:
        fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
        assert weight.mean().item() == pytest.approx(0, abs=5 * (2 / fan_out / weight.numel()) ** 0.5)
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_last_norm_of_a_block_is_not_zero_initialised():
    norms = [m for m in resnet(18, 10, width=4).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_imagenet_stem_quarters_the_resolution_and_stages_halve_it_with_the_stated_channels(depth, images):
    network = resnet(depth, 10, width=4)
    shapes = [tuple(network.head(images, k).shape[1:]) for k in range(1, 5)]
    assert shapes == [(c, side, side) for c, side in zip(network.stage_channels, (32, 16, 8, 4), strict=True)]
    assert network.stem(images).shape == (2, 4, 32, 32)
    assert resnet(depth, 10, width=4, stem="imagenet").stem(images).shape == (2, 4, 8, 8)


def test_bottleneck_strides_on_its_3x3_convolution():
    block = resnet(50, 10, width=4).layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 0)])
def test_dirac_with_alpha_1_and_beta_0_is_the_identity_and_starts_at_beta_a_tenth(kernel, padding):
    conv = DiracConv2d(6, 6, kernel, padding=padding)
    expected = 0.1 * conv.weight + nn.init.dirac_(torch.empty(6, 6, kernel, kernel))
    torch.testing.assert_close(conv.folded_weight(), expected)
    conv.beta.data.zero_()
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(conv(x), x, rtol=0, atol=0)


def test_folded_dirac_weight_in_a_plain_convolution_gives_the_same():
    conv = DiracConv2d(6, 8, 3, stride=2, padding=1).double()
    conv.alpha.data.uniform_(0.5, 1.5)
    conv.beta.data.uniform_(-1, 1)
    folded = nn.Conv2d(6, 8, 3, 2, 1, bias=False).double()
    folded.weight.data = conv.folded_weight().detach()
    x = torch.randn(2, 6, 7, 7, dtype=torch.float64)
    by_hand = F.conv2d(x, conv.weight, None, 2, 1) * conv.beta.view(-1, 1, 1)  # beta * W * x + alpha * delta * x
    by_hand[:, :6] += x[:, :, ::2, ::2] * conv.alpha[:6].view(-1, 1, 1)
    torch.testing.assert_close(conv(x), by_hand)
    torch.testing.assert_close(folded(x), conv(x))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"depth": 19}, "18, 34, 50"),
        ({"shortcuts": "some"}, "all, downsample, none"),
        ({"stem": "mnist"}, "cifar, imagenet"),
        ({"conv": "dense"}, "plain, dirac"),
        ({"width": 0}, "width >= 1"),
        ({"num_classes": 1}, "2 classes"),
    ],
)
def test_unknown_choice_raises_and_names_the_choices(fields, named):
    with pytest.raises(ConfigError, match=named):
        resnet(**{"depth": 18, "num_classes": 10, "width": 4} | fields)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("width", range(1, 17))
@pytest.mark.parametrize("kind", [lambda *n: projection(*n)[0], lambda i, o, s: RepVGGConv2d(i, o, 3, s).pointwise])
def test_a_projections_gradients_are_those_of_float64(kind, width, layout):
    images, out = torch.randn(16, width, 8, 8), torch.randn(16, 2 * width, 4, 4)
    found, ours = [], kind(width, 2 * width, 2)
    for dtype, order in ((torch.float64, torch.contiguous_format), (torch.float32, layout)):
        one = ours.to(dtype, memory_format=order)
        one.zero_grad()
        x = images.to(dtype, memory_format=order).requires_grad_()
        one(x).backward(out.to(dtype, memory_format=order))
        found.append((one.weight.grad.double(), x.grad.double()))
    for true, single in zip(*found, strict=True):
        assert float((true - single).abs().max() / true.abs().max()) < 1e-5

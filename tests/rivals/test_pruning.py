"""A pruned or narrowed network is the largest within the cost, still trains, and folds and exports like any other."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from networks import assert_same, snapshot
from torch import nn
from torch.nn import functional as F

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.deploy.kinds import INPUT, session
from rdlib.errors import ConfigError, DeployError
from rdlib.models import Architecture, StagedResNet, resnet
from rdlib.rivals.pruning import (
    ROUND_TO,
    fewest_stages,
    largest_within,
    pruned,
    ratio_within,
    ratios,
    width_within,
)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def small(depth=18, width=16, shortcuts="all", seed=0):
    torch.manual_seed(seed)
    network = resnet(depth, 10, shortcuts, width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return network


def widths(network):
    return {name: m.out_channels for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", range(-1, 12))
def test_the_search_returns_the_first_size_within_the_target_and_builds_few(target):
    costs, built = [9, 9, 7, 7, 7, 4, 3, 1], []

    def build(index):
        built.append(index)
        return index

    if target < 1:
        with pytest.raises(DeployError, match=r"smallest network tried still costs 1\b"):
            largest_within(range(8), build, costs.__getitem__, target)
        return
    found = largest_within(range(8), build, costs.__getitem__, target)
    assert found == next(index for index in range(8) if costs[index] <= target)
    assert len(built) == len(set(built)) <= 5


@pytest.mark.parametrize(("depth", "share"), [(18, 0.8), (18, 0.4), (50, 0.5)])
def test_pruned_within_the_cost_and_the_next_larger_network_is_not(depth, share):
    network = small(depth)
    target = share * parameters(network)
    ratio = ratio_within(network, parameters, target)
    larger = ratios(network)[ratios(network).index(ratio) - 1]
    assert parameters(pruned(network, ratio)) <= target < parameters(pruned(network, larger))


def test_narrowed_within_the_cost_and_the_next_wider_network_is_not():
    def of_width(width):
        return resnet(18, 10, "all", width)

    assert width_within(of_width, parameters, parameters(of_width(10)), (16, 4, 8, 12)) == 8
    assert width_within(of_width, parameters, 1e12, (4, 8, 6)) == 8
    with pytest.raises(DeployError, match="cannot be reached"):
        width_within(of_width, parameters, 1, (4, 8))


def test_a_target_above_the_whole_network_leaves_it_whole(images):
    network = small().eval()
    assert ratio_within(network, parameters, parameters(network)) == 0
    same = pruned(network, 0)
    torch.testing.assert_close(same(images), network(images), rtol=0, atol=0)


def test_an_unreachable_target_says_what_was_reached():
    network = small()
    least = parameters(pruned(network, ratios(network)[-1]))
    for search in (ratio_within, fewest_stages):
        with pytest.raises(DeployError, match=f"cannot be reached: the smallest network tried still costs {least:,}"):
            search(network, parameters, least - 1)


@pytest.mark.parametrize("depth", [18, 50])
def test_every_ratio_gives_another_network_with_fewer_channels_in_multiples(depth):
    network, sizes = small(depth), []
    for ratio in ratios(network)[:: 1 if depth == 18 else 16]:
        after = widths(pruned(network, ratio))
        assert all(channels % ROUND_TO == 0 and channels >= ROUND_TO for channels in after.values())
        assert all(channels <= widths(network)[name] * (1 - ratio) for name, channels in after.items())
        sizes.append(sum(after.values()))
    assert len(sizes) > 2
    assert all(smaller < larger for larger, smaller in pairwise(sizes))


def test_shapes_do_not_depend_on_the_weights_but_the_choice_of_channels_does():
    one, other = small(seed=0), small(seed=1)
    assert widths(pruned(one, 0.5)) == widths(pruned(other, 0.5))
    kept = [network.layer1[0].bn1.running_var.tolist() for network in (pruned(one, 0.5), pruned(other, 0.5))]
    places = [
        [net.layer1[0].bn1.running_var.tolist().index(v) for v in values]
        for net, values in zip((one, other), kept, strict=True)
    ]
    assert places[0] != places[1]


def test_only_the_first_stages_lose_channels():
    network = small()
    for stages in (1, 2, 3):
        before, after = widths(network), widths(pruned(network, 0.5, stages))
        changed = {name.split(".")[0] for name in before if after[name] != before[name]}
        assert changed == {"conv1", *(f"layer{i}" for i in range(1, stages + 1))}


def test_the_fewest_stages_that_reach_a_target():
    network = small()
    for stages in (1, 2, 3, 4):
        least = parameters(pruned(network, ratios(network)[-1], stages))
        assert fewest_stages(network, parameters, least) == stages


@pytest.mark.parametrize("shortcuts", ["all", "downsample", "none"])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_pruned_network_is_a_staged_network_that_trains(depth, shortcuts, images):
    network = pruned(small(depth, shortcuts=shortcuts), 0.4)
    assert network.training
    with torch.no_grad():
        network.eval()
        for k in range(5):
            torch.testing.assert_close(network.tail(network.head(images, k), k)[0], network(images), rtol=0, atol=0)
        assert network.stage_channels == [network.head(images, k).shape[1] for k in range(1, 5)]
        assert network.last_norm.num_features == network.stage_channels[-1] < 16 * 8 * (4 if depth == 50 else 1)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), 0.02)
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(network(images), torch.tensor([1, 2, 3]))
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_least_important_channels_go():
    """Those that nothing writes and nothing reads; the others keep their weights."""
    network = small().eval()
    silent = torch.randperm(16, generator=torch.Generator().manual_seed(2))[:8]
    block = network.layer1[0]
    for tensor in (block.conv1.weight, block.bn1.weight, block.bn1.bias, block.bn1.running_mean):
        tensor.data[silent] = 0
    block.conv2.weight.data[:, silent] = 0
    slim = pruned(network, 0.5)
    kept = [channel for channel in range(16) if channel not in silent]
    out = [i for i in range(16) if any(torch.equal(network.bn1.running_var[i], v) for v in slim.bn1.running_var)]
    torch.testing.assert_close(slim.layer1[0].conv1.weight, block.conv1.weight[kept][:, out], rtol=0, atol=0)


def test_the_given_network_stays_as_it_is_and_gives_the_same_result_again():
    network = small().eval().requires_grad_(False)
    before = snapshot(network)
    with torch.no_grad():
        one, other = (pruned(network, 0.5) for _ in range(2))
    assert not network.training
    assert not one.training
    assert all(parameter.requires_grad for parameter in one.parameters())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.stage_channels == [16, 32, 64, 128]
    assert one.stage_channels == [8, 16, 32, 64]
    assert_same(network, before)
    assert_same(one, other.state_dict())


@pytest.mark.parametrize("depth", [18, 50])
def test_a_pruned_network_folds_exactly(depth, images):
    network = pruned(small(depth), 0.4).double().eval()
    with torch.no_grad():
        difference = (fold(network)(images.double()) - network(images.double())).abs().max()
    assert difference < 1e-9


def test_an_exported_pruned_network_computes_the_same_and_still_adds(images, tmp_path):
    network = fold(pruned(small(), 0.5).eval())
    path = export(network, tmp_path / "slim.onnx", 32)
    (logits,) = session(path).run(None, {INPUT: images.numpy()})
    np.testing.assert_allclose(logits, network(images).numpy(), atol=1e-4)
    assert len(read_graph(path).joins) == 8


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: resnet(18, 10, width=16, conv="dirac"), "layer1.0.conv1 is a grouped or reparametrised"),
        (
            lambda: StagedResNet(Architecture("bottleneck", (1, 1, 1, 1), 10, width=16, groups=4, width_per_group=16)),
            "layer1.0.conv2 is a grouped or reparametrised",
        ),
        (lambda: fold(small().eval()), "prune it before"),
        (lambda: resnet(18, 10, width=4), "a layer has 4"),
    ],
)
def test_what_cannot_be_pruned_is_named(network, sentence):
    with pytest.raises(DeployError, match=sentence):
        ratio_within(network(), parameters, 1000)


def test_the_number_of_stages_is_one_to_four():
    with pytest.raises(ConfigError, match="1, 2, 3, 4"):
        pruned(small(), 0.5, 0)

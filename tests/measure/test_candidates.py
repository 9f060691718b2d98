"""The compared networks are what their names say, always the same, and matched ones cost at most what plain ones do."""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch

from rdlib.convolutions import require_folded
from rdlib.errors import ConfigError
from rdlib.measure import candidates as compared
from rdlib.measure.candidates import COSTS, VARIANTS, Candidate, candidates, cost, deployed_graph, matched
from rdlib.models import resnet
from rdlib.rivals.pruning import pruned, ratios


@pytest.fixture
def small(monkeypatch):
    """Width 16 instead of 64, and nothing known from other tests."""
    monkeypatch.setattr("rdlib.measure.candidates.WIDTH", 16)
    for one in ("plain_graph", "pruning_of", "width_of"):
        monkeypatch.setattr(compared, one, cache(getattr(compared, one).__wrapped__))


def test_three_kinds_of_shortcuts_for_every_depth_and_side():
    listed = candidates()
    assert len(listed) == len(set(listed)) == 18
    kinds = ("all", "downsample", "none")
    assert {(c.depth, c.side, c.shortcuts) for c in listed} == {*product((18, 34, 50), (32, 224), kinds)}
    names = ["ResNet-50", "plain-50, downsampling kept", "plain-50, strictly plain"]
    assert [c.name for c in candidates((50,), (32,))] == names
    assert [c.name for c in matched()] == [f"ResNet-50, {variant}" for variant in VARIANTS]
    assert [(c.depth, c.shortcuts, c.side) for c in matched()] == [(50, "all", 224)] * 6


@pytest.mark.parametrize(("side", "stem", "classes"), [(32, 3, 100), (224, 7, 1000)])
def test_a_candidate_is_folded_and_fits_its_images(side, stem, classes):
    network = Candidate(18, "downsample", side).network()
    require_folded(network)
    assert network.conv1.weight.shape == (64, 3, stem, stem)
    assert network.fc.out_features == classes
    assert {name.split(".")[0] for name, _ in network.named_parameters() if "downsample" in name} == {
        *("layer2", "layer3", "layer4")
    }


def test_a_candidate_has_the_same_weights_every_time_and_leaves_the_generator_alone():
    candidate, state = Candidate(18, "none", 32), torch.random.get_rng_state()
    one, other = candidate.network(), candidate.network()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.conv1.weight.std() > 0
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_costs_are_those_of_the_folded_network():
    """By hand: ResNet-18 of width 8 at side 32."""
    network = resnet(18, 10, width=8)
    stages = [8 * 32**2, 16 * 16**2, 32 * 8**2, 64 * 4**2]  # values of a feature map
    maps = stages[0] + sum(6 * stage for stage in stages) + sum(stages[1:])  # stem; 2 x (2 conv, 1 add); projections
    macs = 27 * stages[0] + 9 * 8 * 4 * stages[0] + 640
    for i, stage in enumerate(stages[1:], start=1):
        width = 8 * 2**i
        macs += stage * (9 * width // 2 + 9 * width * 3 + width // 2)
    graph = deployed_graph(network, 32)
    assert COSTS["traffic"](graph) == 4 * (maps + 64 + 10)  # pooled features and logits
    assert COSTS["peak"](graph) == 4 * 3 * stages[0]  # shortcut, residual and their sum
    assert COSTS["MACs"](graph) == macs
    assert network.training
    with pytest.raises(ConfigError, match="traffic, peak, MACs"):
        cost("energy", 32)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture
def quick_costs(small, monkeypatch):
    """Costs that need no export: the search is the same for all."""
    monkeypatch.setattr("rdlib.measure.candidates.deployed_graph", lambda network, side: network)
    for what in ("traffic", "MACs"):
        monkeypatch.setitem(COSTS, what, parameters)
    monkeypatch.setitem(COSTS, "peak", lambda net: (2 + (net.shortcuts == "all")) * net.stage_channels[0])


@pytest.mark.parametrize(("variant", "stages"), [("traffic", 4), ("MACs", 4), ("peak", 1)])
def test_a_pruned_variant_costs_at_most_what_the_plain_network_does_and_the_next_larger_more(
    variant, stages, quick_costs
):
    candidate = Candidate(18, "all", 32, f"pruned to {variant}")
    target = COSTS[variant](Candidate(18, "none", 32).trainable())
    ratio, pruned_stages = compared.pruning_of(candidate)
    every = ratios(candidate.whole(16))
    larger = pruned(candidate.whole(16), every[every.index(ratio) - 1], stages)
    assert pruned_stages == stages
    assert COSTS[variant](candidate.trainable()) <= target < COSTS[variant](larger)
    assert (candidate.trainable().layer4[0].conv1.out_channels < 128) == (stages == 4)
    require_folded(candidate.network())


@pytest.mark.parametrize("variant", ["traffic", "MACs", "peak"])
def test_a_narrowed_variant_costs_at_most_what_the_plain_network_does_and_the_next_wider_more(variant, quick_costs):
    candidate = Candidate(18, "all", 32, f"narrowed to {variant}")
    target = COSTS[variant](Candidate(18, "none", 32).trainable())
    width = compared.width_of(candidate)
    assert candidate.network().conv1.out_channels == width
    assert COSTS[variant](candidate.trainable()) <= target < COSTS[variant](candidate.whole(width + 4))


def test_a_variant_matched_by_the_exported_graph_still_adds(small):
    candidate = Candidate(18, "all", 32, "narrowed to peak")
    graph = deployed_graph(candidate.network(), 32)
    assert COSTS["peak"](graph) <= COSTS["peak"](compared.plain_graph(18, 32)) < cost("peak", 32)(candidate.whole(16))
    assert len(graph.joins) == 8


def test_a_variant_is_searched_for_once(small, monkeypatch):
    candidate = Candidate(18, "all", 32, "narrowed to MACs")
    monkeypatch.setattr("rdlib.measure.candidates.cost", lambda what, side: lambda network: network.conv1.out_channels)
    monkeypatch.setitem(COSTS, "MACs", lambda graph: 9)
    one = candidate.network()
    monkeypatch.setattr("rdlib.measure.candidates.cost", None)
    other = candidate.network()
    assert one.conv1.out_channels == 8
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("depth", 19, "18, 34, 50"),
        ("shortcuts", "some", "all, downsample, none"),
        ("side", 64, "32, 224"),
        ("variant", "pruned to taste", "pruned to traffic"),
    ],
)
def test_an_unknown_choice_names_the_choices(field, value, named):
    with pytest.raises(ConfigError, match=named):
        replace(Candidate(18, "all", 32), **{field: value})
    with pytest.raises(ConfigError, match="unknown variant"):
        Candidate(50, "none", 32, "pruned to traffic")

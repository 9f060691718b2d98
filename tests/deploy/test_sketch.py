"""A sketch is the exported graph, operator by operator, so the explorer's numbers are those of table 1."""

from dataclasses import replace

import pytest
import torch

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.deploy.planner import EXECUTORS, plan, traffic
from rdlib.deploy.sketch import sketch
from rdlib.errors import ConfigError
from rdlib.measure import memory
from rdlib.measure.candidates import INPUTS, WIDTH, Candidate
from rdlib.measure.memory import row
from rdlib.models import DEPTHS, Architecture, StagedResNet

RESNEXT = Architecture(
    "bottleneck", (1, 2, 1, 1), 9, "downsample", 32, "imagenet", "dirac", groups=2, width_per_group=32
)
EXPORTED = {  # two blocks in some stages, so that blocks with and without stride follow each other
    "basic, all": (Architecture("basic", (2, 2, 1, 1), 10, "all", 8, "imagenet"), 50, 1),
    "basic, none": (Architecture("basic", (1, 2, 1, 1), 7, "none", 4, "cifar"), 17, 3),
    "bottleneck, all": (Architecture("bottleneck", (2, 1, 2, 1), 10, "all", 16, "cifar"), 16, 1),
    "ResNeXt, downsample": (RESNEXT, 64, 2),
}
RECORDED = [r for r in memory.read()["rows"] if not r["variant"]]


def unnamed(graph):
    """The graph with every feature map called by the place of the operator that writes it."""
    place = {graph.input: -1} | {node.output: i for i, node in enumerate(graph.nodes)}
    nodes = [(node.op, [place[x] for x in node.inputs], node.macs, graph.shapes[node.output]) for node in graph.nodes]
    return nodes, graph.shapes[graph.input], graph.parameters, graph.input, graph.output


@pytest.mark.parametrize("kind", EXPORTED)
def test_a_sketch_is_the_exported_graph(kind, tmp_path):
    architecture, side, batch = EXPORTED[kind]
    network = StagedResNet(architecture).eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # the exporter drops zero and equal biases: untrained ones
            torch.nn.init.uniform_(norm.bias, 0.5, 1.0)
    exported = read_graph(export(fold(network), tmp_path / "network.onnx", side), batch)
    drawn = sketch(architecture, side, batch)
    assert unnamed(drawn) == unnamed(exported)
    assert drawn.operators == exported.operators
    for executor in EXECUTORS:
        ours, theirs = plan(drawn, executor), plan(exported, executor)
        assert [step.bytes for step in ours.steps] == [step.bytes for step in theirs.steps]
        assert [step.shortcut_bytes for step in ours.steps] == [step.shortcut_bytes for step in theirs.steps]
        assert (ours.peak, ours.at) == (theirs.peak, theirs.at)
        assert traffic(drawn, executor) == traffic(exported, executor)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: f"{r['name']} at {r['side']}")
def test_every_number_of_table_1_follows_from_a_sketch(recorded):
    candidate = Candidate(recorded["depth"], recorded["shortcuts"], recorded["side"])
    stem, classes = INPUTS[candidate.side]
    drawn = sketch(Architecture(*DEPTHS[candidate.depth], classes, candidate.shortcuts, WIDTH, stem), candidate.side)
    assert row(candidate, drawn) | {"arena": recorded["arena"]} == recorded


def test_the_record_of_table_1_covers_depths_stems_and_shortcuts():
    assert {(r["depth"], r["side"], r["shortcuts"]) for r in RECORDED} == {
        (depth, side, kept) for depth in (18, 34, 50) for side in (32, 224) for kept in ("all", "downsample", "none")
    }


@pytest.mark.parametrize("depth", [66, 98])
@pytest.mark.parametrize("shortcuts", ["all", "downsample", "none"])
def test_deep_networks_have_the_parameters_and_shortcuts_of_the_real_ones(depth, shortcuts):
    architecture = Architecture(*DEPTHS[depth], 10, shortcuts, 4)
    with torch.device("meta"):
        network = StagedResNet(architecture)
    blocks = [block for stage in network.stages for block in stage]
    # Folding gives a convolution the bias of its BatchNorm and drops the scale: one value a channel less.
    scales = sum(m.num_features for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    drawn = sketch(architecture, 32)
    assert drawn.parameters == sum(p.numel() for p in network.parameters()) - scales
    assert drawn.operators.get("Add", 0) == sum(block.shortcut for block in blocks) == len(drawn.joins)
    assert sum("downsample" in node.name for node in drawn.nodes) == sum(b.downsample is not None for b in blocks)


def test_a_batch_scales_maps_and_work_but_not_parameters():
    architecture = Architecture(*DEPTHS[18], 10, "all", 4)
    one, five = (sketch(architecture, 16, batch) for batch in (1, 5))
    assert (five.macs, traffic(five), five.parameters) == (5 * one.macs, 5 * traffic(one), one.parameters)


@pytest.mark.parametrize("wrong", [{"side": 0}, {"batch": 0}, {"width": 0}, {"num_classes": 0}])
def test_a_network_of_nothing_is_refused(wrong):
    sizes = {"side": 16, "batch": 1} | {key: n for key, n in wrong.items() if key in ("side", "batch")}
    fields = {key: n for key, n in wrong.items() if key not in sizes}
    with pytest.raises(ConfigError, match=r"of at least 1, not .*\b0\b"):
        sketch(replace(Architecture(*DEPTHS[18], 10), **fields), **sizes)

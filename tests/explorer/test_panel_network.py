"""The network panel: what is drawn is the network, the numbers are the planner's, and every control changes both."""

import base64
import html
import re
from dataclasses import replace

import pytest
import torch
from matplotlib.colors import to_hex

from rdlib.deploy.delivery import size
from rdlib.deploy.planner import EXECUTORS, FUSED, OUT_OF_PLACE, plan, traffic
from rdlib.deploy.sketch import sketch
from rdlib.explorer.network import (
    BATCHES,
    LARGE,
    SIDES,
    NetworkPanel,
    Setting,
    about_stem,
    comparison,
    description,
    planned,
)
from rdlib.figures.memory import MAIN, SHORTCUT
from rdlib.figures.networks import draw
from rdlib.measure import memory
from rdlib.models import DEPTHS, Architecture, StagedResNet

RESNET = Setting(50, 64, "all", 224, 1, OUT_OF_PLACE)  # what the panel opens with
KINDS = ("all", "downsample", "none")


@pytest.fixture(scope="module")
def panel():
    return NetworkPanel()


def figure_of(setting):
    graph, found = planned(setting)
    whole, most = planned(setting.resnet)
    return draw(graph, found, setting.shortcuts, "title", len(whole.nodes), most.peak)


def table(panel):
    """The rows of the table of numbers, as a reader sees them."""
    rows = re.findall("<tr>(.*?)</tr>", panel.numbers.value)
    return [[html.unescape(cell) for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_it_opens_with_resnet_50_of_table_1(panel):
    assert panel.setting == RESNET
    assert panel.controls["batch"].options == BATCHES
    assert panel.picture.alt == description(RESNET)
    assert base64.b64decode(panel._repr_mimebundle_()["image/png"]) == panel.picture.png


@pytest.mark.parametrize(
    ("name", "value"),
    [("shortcuts", "none"), ("depth", 34), ("width", 32), ("side", 64), ("batch", 2), ("executor", FUSED)],
)
def test_every_control_changes_picture_numbers_and_text(name, value, panel):
    """One after the other, so that each works from where the last one left the panel."""
    if name == "executor":
        panel.controls["shortcuts"].value = "all"  # where nothing is added, executors do the same
    before, shown = panel.setting, shown_by(panel)
    panel.controls[name].value = value
    assert panel.setting == replace(before, **{name: value})
    assert all(old != new for old, new in zip(shown, shown_by(panel), strict=True))
    assert panel.picture.alt == description(panel.setting)
    assert f'alt="{html.escape(panel.picture.alt)}"' in panel.picture.value
    assert table(panel)[1:] == [list(row) for row in comparison(panel.setting)]
    assert table(panel)[0] == ["", panel.setting.name, panel.setting.resnet.name, "times less"]
    assert html.unescape(panel.message.value) == about_stem(panel.setting)


def shown_by(panel):
    return panel.picture.png, panel.picture.value, panel.picture.alt, panel.numbers.value


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("shortcuts", KINDS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_numbers_are_those_of_table_1(side, shortcuts, executor):
    setting = Setting(50, 64, shortcuts, side, 1, executor)
    rows = [r for r in memory.read()["rows"] if (r["depth"], r["side"], r["variant"]) == (50, side, "")]
    ours, whole = (next(r for r in rows if r["shortcuts"] == kept) for kept in (shortcuts, "all"))

    def row(name, text, value):
        return name, text(value(ours)), text(value(whole)), f"{value(whole) / value(ours):.2f}x"

    assert comparison(setting) == [
        row("parameters", "{:,}".format, lambda r: r["parameters"]),
        row("MACs", "{:,}".format, lambda r: r["macs"]),
        row("feature maps written", size, lambda r: r["traffic"][executor]),
        row("planned peak", size, lambda r: r["peak"][executor]),
    ]
    at = ours["at_peak"][executor]
    peak = f"peak at {size(ours['peak'][executor])}, at operator {at['operator']} of {at['of']} ({at['op']})"
    for told in (ours["name"], "width 64", f"{side}x{side} pixels", "batch 1", executor, peak):
        assert told in description(setting)


def test_numbers_of_other_networks_are_the_planners():
    graph = sketch(Architecture(*DEPTHS[66], 1000, "downsample", 16, "imagenet"), 96, 4)
    assert [row[1] for row in comparison(Setting(66, 16, "downsample", 96, 4, OUT_OF_PLACE))] == [
        f"{graph.parameters:,}",
        f"{graph.macs:,}",
        size(traffic(graph)),
        size(plan(graph, OUT_OF_PLACE).peak),
    ]


@pytest.mark.parametrize("side", SIDES)
def test_small_images_have_the_small_stem_and_the_panel_says_so(side):
    setting, large = replace(RESNET, side=side), side >= LARGE
    assert ("MaxPool" in planned(setting)[0].operators) == large
    told = about_stem(setting)
    assert ("ImageNet stem" in told, "CIFAR stem" in told) == (large, not large)
    assert f"{1000 if large else 100} classes" in told
    assert f"{'from' if large else 'below'} {LARGE} pixels" in told


def arcs_drawn(figure):
    """The ends of the arcs in the picture, in operators counted from 1: identities, then projections."""
    drawn = {c.get_gid(): c.get_paths() for c in figure.axes[0].collections}
    kinds = (drawn["identities"], drawn["projections"])
    return [[(path.vertices[0][0], path.vertices[-1][0]) for path in paths] for paths in kinds]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shortcuts", KINDS)
def test_as_many_arcs_are_drawn_as_the_network_has_shortcuts(depth, shortcuts):
    setting = Setting(depth, 8, shortcuts, 32, 1, OUT_OF_PLACE)
    with torch.device("meta"):
        network = StagedResNet(setting.architecture)
    blocks = [block for stage in network.stages for block in stage]
    identities, projections = arcs_drawn(figure_of(setting))
    assert len(identities) == sum(block.shortcut and block.downsample is None for block in blocks)
    assert len(projections) == sum(block.downsample is not None for block in blocks)
    graph = planned(setting)[0]
    added = [i for i, node in enumerate(graph.nodes, start=1) if node.op == "Add"]
    assert sorted(end for _, end in (*identities, *projections)) == added


@pytest.mark.parametrize("shortcuts", KINDS)
@pytest.mark.parametrize("executor", [OUT_OF_PLACE, FUSED])
def test_the_curve_is_the_plan_on_the_resnets_axes(shortcuts, executor):
    setting = replace(RESNET, shortcuts=shortcuts, executor=executor)
    found, most = planned(setting)[1], planned(setting.resnet)[1]
    below = figure_of(setting).axes[1]
    dotted, outline, dot = below.lines
    assert list(outline.get_ydata()[:-1] * 2**20) == [step.bytes for step in found.steps]
    assert [y * 2**20 for y in dotted.get_ydata()] == [most.peak] * 2
    assert (dot.get_xdata()[0], dot.get_ydata()[0] * 2**20) == (found.at + 1, found.peak)
    assert (below.get_xlim(), below.get_ylim()[0]) == ((0.5, len(most.steps) + 0.5), 0)
    assert most.peak / 2**20 < below.get_ylim()[1] < 1.5 * most.peak / 2**20
    written = [text.get_text() for text in below.texts]
    assert written[:2] == [f"peak {size(found.peak)}", f"ResNet {size(most.peak)}"]


def test_what_is_held_for_a_shortcut_stands_on_the_main_path():
    found = planned(RESNET)[1]
    main, shortcut = figure_of(RESNET).axes[1].collections
    assert [to_hex(area.get_facecolor()[0]) for area in (main, shortcut)] == [MAIN, SHORTCUT]
    for i, step in enumerate(found.steps, start=1):
        for area, low, high in (
            (main, 0, step.bytes - step.shortcut_bytes),
            (shortcut, step.bytes - step.shortcut_bytes, step.bytes),
        ):
            inside = area.get_paths()[0].vertices
            here = [y * 2**20 for x, y in inside if abs(x - i) == 0.5]
            assert {low, high} <= {round(y) for y in here}

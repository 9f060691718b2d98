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
from rdlib.errors import RecordError
from rdlib.explorer.network import (
    ASKED,
    BATCHES,
    LARGE,
    NOTHING,
    SIDES,
    Compiled,
    NetworkPanel,
    Setting,
    about_stem,
    comparison,
    description,
    planned,
)
from rdlib.explorer.panel import breakable
from rdlib.figures.memory import MAIN, SHORTCUT
from rdlib.figures.networks import Estimates, draw
from rdlib.measure import memory, npu
from rdlib.models import DEPTHS, SHORTCUTS, Architecture, StagedResNet
from rdlib.paper.npu import times
from rdlib.runs.store import Store

RESNET = Setting(50, 64, "all", 224, 1, OUT_OF_PLACE)
KINDS = ("all", "downsample", "none")


@pytest.fixture(scope="module")
def panel():
    return NetworkPanel()


def figure_of(setting):
    graph, found = planned(setting)
    whole, most = planned(setting.resnet)
    return draw(graph, found, setting.shortcuts, "title", (whole, most), NOTHING)


def table(panel):
    """The rows of the table of numbers, as a reader sees them."""
    rows = re.findall("<tr>(.*?)</tr>", panel.numbers.value)
    return [[html.unescape(cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def test_it_opens_with_the_strictly_plain_network_beside_resnet_50(panel):
    assert panel.setting == replace(RESNET, shortcuts="none")
    assert panel.controls["batch"].options == BATCHES
    assert panel.picture.alt == description(panel.setting, panel.estimates)
    assert [name for name, _ in panel.estimates.rows] == ["plain-50", "ResNet-50"]
    assert base64.b64decode(panel._repr_mimebundle_()[0]["image/png"]) == panel.picture.png


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("npu", "U85-512 DRAM_Mid 512KB"), ("saves", "size"), ("executor", FUSED), ("shortcuts", "all")),
        *(("depth", 34), ("width", 32), ("side", 64), ("batch", 2)),
    ],
)
def test_every_control_changes_picture_numbers_and_text(name, value, panel):
    """One after the other, so that each works from where the last one left the panel."""
    before, shown = panel.setting, shown_by(panel)
    (panel.controls | panel.target)[name].value = value
    assert panel.setting == (before if name in panel.target else replace(before, **{name: value}))
    assert all(old != new for old, new in zip(shown, shown_by(panel), strict=True))
    assert panel.picture.alt == description(panel.setting, panel.estimates)
    assert f'alt="{html.escape(panel.picture.alt)}"' in panel.picture.value
    assert table(panel)[1:] == [list(row) for row in comparison(panel.setting, panel.estimates)]
    assert table(panel)[0] == ["", panel.setting.name, panel.setting.resnet.name, "times less"]
    told = about_stem(panel.setting) if panel.estimates.rows else f"{about_stem(panel.setting)} {ASKED}"
    assert html.unescape(panel.message.value) == told


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

    assert comparison(setting, NOTHING) == [
        row("parameters", "{:,}".format, lambda r: r["parameters"]),
        row("MACs", "{:,}".format, lambda r: r["macs"]),
        row("feature maps written", size, lambda r: r["traffic"][executor]),
        row("planned peak", size, lambda r: r["peak"][executor]),
    ]
    at = ours["at_peak"][executor]
    peak = f"peak at {size(ours['peak'][executor])}, at operator {at['operator']} of {at['of']} ({at['op']})"
    for told in (ours["name"], "width 64", f"{side}x{side} pixels", "batch 1", executor, peak):
        assert told in description(setting, NOTHING)


def test_numbers_of_other_networks_are_the_planners():
    graph = sketch(Architecture(*DEPTHS[66], 1000, "downsample", 16, "imagenet"), 96, 4)
    setting = Setting(66, 16, "downsample", 96, 4, OUT_OF_PLACE)
    assert [row[1] for row in comparison(setting, NOTHING)] == [
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


COMPILED = Compiled(Store())
EVERY = [(depth, side, kept) for depth in (18, 34, 50) for side in (32, 224) for kept in KINDS]


@pytest.mark.parametrize("saves", ["speed", "size"])
def test_every_target_of_the_record_can_be_chosen_and_its_numbers_are_the_tables(saves, panel):
    """Those of notebook 08, written by other code."""
    record = npu.read()
    assert list(panel.target["npu"].options) == [(breakable(place), place) for place in COMPILED.targets]
    assert len(COMPILED.targets) == len(npu.SYSTEMS)
    for depth, side, kept in EVERY:
        setting = Setting(depth, 64, kept, side)
        told = {(line["target"], line["compiled for"]): line for line in times(record, side, depth).to_dict("records")}
        for target in COMPILED.targets:
            line, found = told[target, saves], COMPILED.estimates(setting, target, saves)
            (_, ours, whole, less), *_ = comparison(setting, found)[4:]
            assert whole.removesuffix(" ms") == line[f"ResNet-{depth} (ms)"]
            assert kept == "all" or less == line[SHORTCUTS[kept]]
            assert found.title in description(setting, found)
            assert ours in description(setting, found)


def test_the_panel_says_what_the_compiler_was_asked():
    bare = [row for row in npu.read()["rows"] if row["weights"] == npu.UNTRAINED and "width" not in row["name"]]
    assert {(row["depth"], row["side"]) for row in bare} == {(depth, side) for depth, side, _ in EVERY}
    assert "depths 18, 34 and 50, width 64, sides 32 and 224" in ASKED
    for other in ({"width": 32}, {"batch": 2}, {"depth": 66}, {"side": 64}):
        assert COMPILED.estimates(replace(RESNET, **other), COMPILED.targets[0], "speed") == NOTHING


def test_what_has_no_room_says_so_and_without_a_record_the_rest_is_shown(monkeypatch):
    room = {"milliseconds": 2.0, "used": {"sram": 2048}, "moved": {}, "cycles": 10, "operators": {}}
    refused = Estimates("here", [("plain-50", room), ("ResNet-50", {"refused": "Failed to allocate"})])
    assert comparison(Setting(), refused)[4] == ("NPU: time", "2 ms", "no room", "fits")
    assert "plain-50 2 ms, ResNet-50 no room" in description(Setting(), refused)
    (graph, found), whole = planned(Setting()), planned(RESNET)
    assert "no room" in [text.get_text() for text in draw(graph, found, "none", "", whole, refused).texts]

    def missing(folder):
        raise RecordError("there is no npu.json")

    monkeypatch.setattr(npu, "of_store", missing)
    panel = NetworkPanel()
    assert panel.picture.png
    assert panel.message.value.endswith("there is no npu.json")
    assert len(table(panel)) == 5


def test_a_bar_is_as_long_as_its_cycles_and_the_resnets_are_the_unit():
    compiled = COMPILED.estimates(Setting(), COMPILED.targets[0], "speed")
    (graph, found), whole = planned(Setting()), planned(RESNET)
    bars = draw(graph, found, "none", "", whole, compiled).artists
    wide = [sum(bar.get_width() for bar in bars[:3]), sum(bar.get_width() for bar in bars[3:])]
    (_, ours), (_, theirs) = compiled.rows
    assert wide[0] / wide[1] == pytest.approx(ours["cycles"] / theirs["cycles"])
    assert bars[4].get_width() / wide[1] == pytest.approx(theirs["operators"]["Add"]["cycles"] / theirs["cycles"])


def arcs_drawn(figure):
    """The ends of the arcs in the picture, in operators counted from 1: identities, projections, and absent ones."""
    drawn = {c.get_gid(): c.get_paths() for c in figure.axes[0].collections}
    kinds = (drawn["identities"], drawn["projections"], drawn["absent"])
    return [[(path.vertices[0][0], path.vertices[-1][0]) for path in paths] for paths in kinds]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shortcuts", KINDS)
def test_as_many_arcs_are_drawn_as_the_network_has_shortcuts(depth, shortcuts):
    setting = Setting(depth, 8, shortcuts, 32, 1, OUT_OF_PLACE)
    with torch.device("meta"):
        network = StagedResNet(setting.architecture)
    blocks = [block for stage in network.stages for block in stage]
    identities, projections, absent = arcs_drawn(figure_of(setting))
    assert len(identities) == sum(block.shortcut and block.downsample is None for block in blocks)
    assert len(projections) == sum(block.downsample is not None for block in blocks)
    graph, whole = planned(setting)[0], planned(setting.resnet)[0]
    added = [i for i, node in enumerate(whole.nodes, start=1) if node.op == "Add"]
    assert sorted(end for _, end in (*identities, *projections, *absent)) == added
    assert len(absent) == len(added) - sum(node.op == "Add" for node in graph.nodes)


@pytest.mark.parametrize("shortcuts", KINDS)
@pytest.mark.parametrize("executor", [OUT_OF_PLACE, FUSED])
def test_the_curve_is_the_plan_on_the_resnets_axes(shortcuts, executor):
    setting = replace(RESNET, shortcuts=shortcuts, executor=executor)
    found, most = planned(setting)[1], planned(setting.resnet)[1]
    below = figure_of(setting).axes[1]
    outline, dot, resnet = below.lines
    place = {node.name: i for i, node in enumerate(planned(setting.resnet)[0].nodes)}
    drawn = dict(enumerate(outline.get_ydata()[:-1] * 2**20))
    assert [drawn[place[step.node.name]] for step in found.steps] == [step.bytes for step in found.steps]
    assert {*drawn.values()} == {step.bytes for step in found.steps}  # nothing where the ResNet alone has an operator
    assert list(resnet.get_ydata()[:-1] * 2**20) == [step.bytes for step in most.steps]
    at = place[found.steps[found.at].node.name]
    assert (dot.get_xdata()[0], dot.get_ydata()[0] * 2**20) == (at + 1, found.peak)
    assert (below.get_xlim(), below.get_ylim()[0]) == ((0.5, len(most.steps) + 0.5), 0)
    assert most.peak / 2**20 < below.get_ylim()[1] < 1.5 * most.peak / 2**20
    written = [text.get_text() for text in below.texts]
    assert written[:2] == [f"dot: peak {size(found.peak)}", f"line: the ResNet's, peak {size(most.peak)}"]


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

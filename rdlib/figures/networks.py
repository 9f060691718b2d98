"""A network drawn with its shortcuts, above what it holds in memory at every operator; both from a sketched graph."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from rdlib.deploy.delivery import size
from rdlib.deploy.graph import Graph
from rdlib.deploy.planner import Plan, main_path_reads
from rdlib.figures.memory import SHORTCUT, held
from rdlib.figures.npu import OPERATORS, share
from rdlib.figures.style import COLOURS, NETWORK_COLOURS
from rdlib.models import Shortcuts
from rdlib.paper.npu import Row, said

SIZE = (7.7, 5.6)  # inches
LEFT, RIGHT = 0.1, 0.985  # of the figure: nothing moves when a control does
DASHES = (0, (2.5, 1.2))
TALLEST = 112  # pixels: what a 7x7 stem leaves of 224, before pooling
NARROWEST, WIDEST = 8, 4096  # channels
ARC = 0.55  # height of an arc over the maps that it joins; the tallest map has 1


def milliseconds(row: Row) -> str:
    return f"{row['milliseconds']:.3g} ms"


@dataclass(frozen=True)
class Arc:
    """A shortcut: from the operator that wrote what it carries to the one that adds it; a ReLU between writes in place.

    Places count from 0. projection: the place of its 1x1 convolution, or None where it carries the map as it is.
    """

    start: int
    end: int
    projection: int | None = None


@dataclass(frozen=True)
class Estimates:
    """What an NPU's compiler estimates: where, in words, and by name the network's row of the record, then the ResNet's
    where that is another; nothing of a network that is not in the record."""

    title: str
    rows: Sequence[tuple[str, Row]]


def arcs(graph: Graph) -> tuple[Arc, ...]:
    """The shortcuts of a network: for each addition, the summand that does not come along the longest chain."""
    place = {node.output: i for i, node in enumerate(graph.nodes)}
    main = main_path_reads(graph)
    found = []
    for end, node in enumerate(graph.nodes):
        for name in node.inputs if node.op == "Add" else ():
            if main.get(name) != end:
                projection = None if name in main else place[name]
                carried = name if projection is None else graph.nodes[projection].inputs[0]
                node_before = graph.nodes[place[carried]]
                start = place[node_before.inputs[0] if node_before.op == "Relu" else carried]
                found.append(Arc(start, end, projection))
    return tuple(found)


def draw(
    graph: Graph, plan: Plan, kind: Shortcuts, title: str, whole: tuple[Graph, Plan], estimates: Estimates
) -> Figure:
    """The network, below it the bytes alive at each of its operators, and what a compiler estimates of it.

    whole: the ResNet's graph and plan. Every operator stands where the ResNet has it, and the ResNet's memory is a line
    of its own: what a network without shortcuts lacks and saves is seen. Graphs and plans are those of `sketch` and
    `planner.plan`.
    """
    figure = Figure(figsize=SIZE)
    above, below = (figure.add_axes((LEFT, low, RIGHT - LEFT, high)) for low, high in ((0.535, 0.37), (0.245, 0.275)))
    place = {node.name: i for i, node in enumerate(whole[0].nodes)}
    draw_network(graph, whole[0], NETWORK_COLOURS[kind], above)
    figure.text(0.01, 0.99, title, fontsize=11, va="top", color="#222")
    draw_memory(spread(plan, place), plan, whole[1], below)
    for ax in (above, below):
        ax.set_xlim(0.5, len(place) + 0.5)
    draw_estimates(estimates, NETWORK_COLOURS[kind], figure)
    return figure


def spread(plan: Plan, place: Mapping[str, int]) -> Plan:
    """The plan with a step for each of the ResNet's operators: what it lacks lasts as long as the one before."""
    at = {place[step.node.name]: step for step in plan.steps}
    steps = [at[0]]
    for i in range(1, len(place)):
        steps.append(at.get(i, steps[-1]))
    return Plan(tuple(steps))


def draw_network(graph: Graph, whole: Graph, colour: str, ax: Axes) -> None:
    """Each map that is written is a bar (height: resolution, width: channels, both on a compressed scale), each block
    a box, each shortcut an arc that ends in its addition; the ResNet's shortcuts that are not there are pale."""
    height = [tall(whole.shapes[node.output]) for node in whole.nodes]
    here = {node.name for node in graph.nodes}
    bars = [i for i, node in enumerate(whole.nodes) if node.op in ("Conv", "MaxPool", "ReduceMean", "Gemm")]
    boxes = [
        box(low - 0.5, high + 0.5, 0.07 + max(height[i] for i in bars if low <= i <= high))
        for low, high in extents(whole, depth=2)
    ]
    ax.add_collection(PolyCollection(boxes, facecolor="#f1f1f1", edgecolor="#bbb", linewidth=0.6))
    every = arcs(whole)
    found = [arc for arc in every if whole.nodes[arc.end].name in here]
    projections = [arc.projection for arc in every if arc.projection is not None]
    main = [i for i in bars if i not in projections]
    for places, shade in ((main, colour), (projections, SHORTCUT)):
        places = [i for i in places if whole.nodes[i].name in here]
        wide = [wide_of(whole.shapes[whole.nodes[i].output]) / 2 for i in places]
        drawn = [box(i - half, i + half, height[i]) for i, half in zip(places, wide, strict=True)]
        ax.add_collection(PolyCollection(drawn, facecolor=shade, linewidth=0))
    kinds = {
        "absent": ([arc for arc in every if arc not in found], "#d9d0e3", "solid"),
        "identities": ([arc for arc in found if arc.projection is None], SHORTCUT, "solid"),
        "projections": ([arc for arc in found if arc.projection is not None], SHORTCUT, DASHES),
    }
    for name, (those, shade, line) in kinds.items():
        paths = [arch(arc, height) for arc in those]
        ax.add_collection(
            PathCollection(paths, facecolor="none", edgecolor=shade, linewidth=1.5, linestyle=line, gid=name)
        )
    ends = [arc.end for arc in found]
    ax.scatter([i + 1 for i in ends], [height[i] for i in ends], s=13, color=SHORTCUT, zorder=3)
    label_parts(whole, ax)
    ax.set(xlim=(0, len(height) + 1), ylim=(-0.5, 0.8 + ARC))
    ax.set_axis_off()
    # Words instead of a legend, which takes longer to lay out.
    lacks = "pale: the ResNet's, which it lacks" if len(found) < len(every) else "dashed: with a projection"
    ax.text(0, 1, f"arcs: shortcuts ({lacks})", transform=ax.transAxes, fontsize=9, color=SHORTCUT)
    maps = "bars: feature maps (height: resolution, width: channels)"
    ax.text(1, 1, maps, transform=ax.transAxes, fontsize=9, color="#444", ha="right")


def draw_memory(shown: Plan, plan: Plan, whole: Plan, ax: Axes) -> None:
    """What is held, in KiB or MiB and on the ResNet's axes, and as a line what the ResNet holds."""
    peak = whole.peak
    unit, name = (2**20, "MiB") if peak >= 2**20 else (2**10, "KiB")
    held(shown, ax, unit)
    edges = [i + 0.5 for i in range(len(whole.steps) + 1)]
    most = [step.bytes / unit for step in whole.steps]
    ax.step(edges, [*most, most[-1]], where="post", color=COLOURS["ResNet"], linewidth=1, gid="ResNet")
    words = {
        f"dot: peak {size(plan.peak)}": "#222",
        f"line: the ResNet's, peak {size(peak)}": COLOURS["ResNet"],
        "grey: for the main path": "#777",
    }
    if any(step.shortcut_bytes for step in plan.steps):
        words["violet: for a shortcut"] = SHORTCUT
    for line, (what, colour) in enumerate(words.items()):
        ax.text(1, 0.86 - 0.115 * line, what, transform=ax.transAxes, fontsize=9, color=colour, ha="right")
    ax.set_ylim(0, 1.22 * peak / unit)
    ax.set_xlabel("operator of the ResNet", fontsize=9, labelpad=2)
    ax.set_ylabel(f"held ({name})", fontsize=10)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def draw_estimates(estimates: Estimates, colour: str, figure: Figure) -> None:
    """A bar a network on the NPU: its cycles by operator, as a share of the ResNet's, and its milliseconds.

    On no axes of their own, which take as long to make as all this.
    """
    figure.text(LEFT, 0.118, estimates.title, fontsize=9, color="#222", va="center")
    for y, (name, row) in zip((0.028, 0.077), estimates.rows, strict=False):
        shade = colour if y < 0.05 else COLOURS["ResNet"]
        figure.text(LEFT - 0.01, y, name, fontsize=9, va="center", ha="right", color=shade)
        whole = estimates.rows[-1][1]
        unit = 0.6 / (row if "refused" in whole else whole).get("cycles", 1)  # of the figure's width, a cycle
        left = LEFT
        for operator, shade in {} if "refused" in row else OPERATORS.items():
            width = unit * share(row, operator) * row["cycles"]
            figure.add_artist(Rectangle((left, y - 0.018), width, 0.036, color=shade, linewidth=0))
            left += width
        figure.text(left + 0.006, y, said(row, milliseconds), fontsize=9, va="center")
    for x, (operator, shade) in zip((0.77, 0.865, 0.93), OPERATORS.items(), strict=True):
        figure.text(x, 0.118, "\u25a0", fontsize=11, va="center", ha="right", color=shade)
        figure.text(x + 0.006, 0.118, operator, fontsize=9, va="center", color="#444")


def label_parts(graph: Graph, ax: Axes) -> None:
    """Under each stage its number, resolution and channels; stem and classifier are too narrow for more than a word."""
    stages = extents(graph, depth=1)
    for number, (low, high) in enumerate(stages, start=1):
        _, channels, *side = graph.shapes[graph.nodes[high].output]
        lines = f"stage {number}\n{'x'.join(map(str, side))} pixels\n{channels} channels"
        ax.text((low + high) / 2 + 1, -0.09, lines, ha="center", va="top", fontsize=9, linespacing=1.2)
    ends = (("stem", 0, stages[0][0] - 1), ("classifier", stages[-1][1] + 1, len(graph.nodes) - 1))
    for word, low, high in ends:
        ax.text((low + high) / 2 + 1, -0.09, word, ha="center", va="top", rotation=90, fontsize=9, color="#666")


def extents(graph: Graph, depth: int) -> list[tuple[int, int]]:
    """First and last operator of each stage (depth 1) or block (depth 2), in the order of execution."""
    found: dict[str, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        if node.name.startswith("layer"):
            found.setdefault(".".join(node.name.split(".")[:depth]), []).append(i)
    return [(places[0], places[-1]) for places in found.values()]


def tall(shape: Sequence[int]) -> float:
    """Height of a map's bar: the square root of its resolution; a vector is as tall as one pixel."""
    return math.sqrt((shape[2] if len(shape) == 4 else 1) / TALLEST)


def wide_of(shape: Sequence[int]) -> float:
    """Width of a map's bar, from 0.2 to 0.95 of its operator's place: the logarithm of its channels."""
    share = math.log(shape[1] / NARROWEST) / math.log(WIDEST / NARROWEST)
    return 0.2 + 0.75 * min(max(share, 0), 1)


def box(low: float, high: float, height: float) -> list[tuple[float, float]]:
    """A rectangle on the ground line between two places, which count from 0 where the axis counts from 1."""
    return [(low + 1, 0), (low + 1, height), (high + 1, height), (high + 1, 0)]


def arch(arc: Arc, height: Sequence[float]) -> Path:
    """From the top of the map that the shortcut carries to the top of the sum, over what lies between."""
    start, end = (arc.start + 1, height[arc.start]), (arc.end + 1, height[arc.end])
    rise = ARC * min(1, 4 * math.sqrt((arc.end - arc.start) / len(height)))  # lower where it would be a spike
    top = max(start[1], end[1]) + rise / 0.75  # a cubic curve rises to three quarters of its control points
    return Path([start, (start[0], top), (end[0], top), end], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])

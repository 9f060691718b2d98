"""A network drawn with its shortcuts, above what it holds in memory at every operator; both from a sketched graph."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.path import Path

from rdlib.deploy.delivery import size
from rdlib.deploy.graph import Graph
from rdlib.deploy.planner import Plan, main_path_reads
from rdlib.figures.memory import SHORTCUT, held
from rdlib.figures.style import COLOURS, NETWORK_COLOURS, note
from rdlib.models import Shortcuts

SIZE = (10.0, 5.3)  # inches
LEFT, RIGHT = 0.085, 0.985  # of the figure: nothing moves when a control does
DASHES = (0, (2.5, 1.2))
TALLEST = 112  # pixels: what a 7x7 stem leaves of 224, before pooling
NARROWEST, WIDEST = 8, 4096  # channels
ARC = 0.55  # height of an arc over the maps that it joins; the tallest map has 1


@dataclass(frozen=True)
class Arc:
    """A shortcut: from the operator that wrote what it carries to the one that adds it; a ReLU between writes in place.

    Places count from 0. projection: the place of its 1x1 convolution, or None where it carries the map as it is.
    """

    start: int
    end: int
    projection: int | None = None


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


def draw(graph: Graph, plan: Plan, kind: Shortcuts, title: str, operators: int, peak: int) -> Figure:
    """The network, and below it the bytes alive at each of its operators.

    operators and peak (bytes) fix the axes: given the ResNet's, what a network without shortcuts saves is seen. The
    ResNet's peak is a dotted line. Graph and plan are those of `sketch` and `planner.plan` for shortcuts `kind`.
    """
    figure = Figure(figsize=SIZE)
    above = figure.add_axes((LEFT, 0.5, RIGHT - LEFT, 0.39))
    below = figure.add_axes((LEFT, 0.095, RIGHT - LEFT, 0.355), sharex=above)
    draw_network(graph, NETWORK_COLOURS[kind], above)
    figure.text(LEFT, 0.985, title, fontsize=12, va="top", color="#222")
    draw_memory(plan, peak, below)
    below.set_xlim(0.5, operators + 0.5)
    return figure


def draw_network(graph: Graph, colour: str, ax: Axes) -> None:
    """Each map that is written is a bar (height: resolution, width: channels, both on a compressed scale), each block
    a box, each shortcut an arc that ends in its addition."""
    height = [tall(graph.shapes[node.output]) for node in graph.nodes]
    bars = [i for i, node in enumerate(graph.nodes) if node.op in ("Conv", "MaxPool", "ReduceMean", "Gemm")]
    boxes = [
        box(low - 0.5, high + 0.5, 0.07 + max(height[i] for i in bars if low <= i <= high))
        for low, high in extents(graph, depth=2)
    ]
    ax.add_collection(PolyCollection(boxes, facecolor="#f1f1f1", edgecolor="#bbb", linewidth=0.6))
    found = arcs(graph)
    projections = [arc.projection for arc in found if arc.projection is not None]
    main = [i for i in bars if i not in projections]
    for places, shade in ((main, colour), (projections, SHORTCUT)):
        wide = [wide_of(graph.shapes[graph.nodes[i].output]) / 2 for i in places]
        drawn = [box(i - half, i + half, height[i]) for i, half in zip(places, wide, strict=True)]
        ax.add_collection(PolyCollection(drawn, facecolor=shade, linewidth=0))
    for name, line in (("identities", "solid"), ("projections", DASHES)):
        paths = [arch(arc, height) for arc in found if (arc.projection is not None) == (name == "projections")]
        ax.add_collection(
            PathCollection(paths, facecolor="none", edgecolor=SHORTCUT, linewidth=1.5, linestyle=line, gid=name)
        )
    ends = [arc.end for arc in found]
    ax.scatter([i + 1 for i in ends], [height[i] for i in ends], s=13, color=SHORTCUT, zorder=3)
    label_parts(graph, ax)
    ax.set_ylim(-0.5, 0.8 + ARC)
    ax.set_axis_off()
    # Words instead of a legend, which takes longer to lay out.
    shortcuts = "arcs: shortcuts (solid: identity; dashed: projection, its map in violet)"
    ax.text(0, 1, shortcuts, transform=ax.transAxes, fontsize=9, color=SHORTCUT)
    maps = "bars: feature maps (height: resolution, width: channels)"
    ax.text(1, 1, maps, transform=ax.transAxes, fontsize=9, color="#444", ha="right")


def draw_memory(plan: Plan, peak: int, ax: Axes) -> None:
    """What is held, in KiB or MiB and on an axis up to `peak`, the ResNet's."""
    unit, name = (2**20, "MiB") if peak >= 2**20 else (2**10, "KiB")
    ax.axhline(peak / unit, color=COLOURS["ResNet"], linewidth=1, linestyle=":")
    held(plan, ax, unit)
    pale = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    note(ax, f"peak {size(plan.peak)}", (plan.at + 1, plan.peak / unit), (6, 5), bbox=pale, fontsize=10)
    most = {"xycoords": ("axes fraction", "data"), "ha": "right", "fontsize": 10}
    note(ax, f"ResNet {size(peak)}", (1, peak / unit), (-2, 3), **most)
    ax.set_ylim(0, 1.22 * peak / unit)
    ax.set_xlabel("operator", fontsize=10)
    ax.set_ylabel(f"feature maps held ({name})", fontsize=10)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    for line, (what, colour) in enumerate((("violet: for a shortcut", SHORTCUT), ("grey: for the main path", "#777"))):
        ax.text(1, 0.7 - 0.09 * line, what, transform=ax.transAxes, fontsize=9, color=colour, ha="right")


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

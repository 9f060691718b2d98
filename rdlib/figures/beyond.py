"""The figures of what comes after the paper; each works with whatever part of its records is there."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import cell
from rdlib.figures.rivals import write_beside
from rdlib.figures.style import COLOURS, OTHERS, PATH_COLOURS, legend_below, on_error, short_name
from rdlib.models import DEPTHS
from rdlib.paper.beyond import arithmetic, cuts
from rdlib.runs.store import Store

WIDTH = 8.4  # inches
BLUE = COLOURS["plain, JointRD"]
STAGE_GREYS = ("#e3e3e3", "#cfcfcf")  # of neighbouring stages
GUESSING = 10.0  # percent, of ten classes


def where(rows: Sequence[Row]) -> Figure:
    """Where the mixed paths leave the student, a line a way of cutting: a box a block, stages in two greys, a mark a
    cut; JointRD's three in the colours of its paths."""
    ways = dict.fromkeys((row.runs[0].method == "JointRD", tuple(cuts(row.runs[0]))) for row in rows)
    ordered = sorted((way for way in ways if way[1]), key=lambda way: (len(way[1]), not way[0]))
    counts = DEPTHS[rows[0].depth][1]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(ordered) + 0.75), layout="constrained")
    greys = [STAGE_GREYS[stage % 2] for stage, blocks in enumerate(counts) for _ in range(blocks)]
    for y, (own, ends) in enumerate(ordered):
        ax.barh([y] * len(greys), 0.86, left=np.arange(len(greys)) + 0.07, height=0.5, color=greys, linewidth=0)
        for end, colour in zip(ends, PATH_COLOURS if own else [BLUE] * len(ends), strict=True):
            ax.plot([end, end], [y - 0.42, y + 0.42], color=colour, lw=3)
    names = [f"{len(ends)}, {'as JointRD' if own else 'evenly spaced'}" for own, ends in ordered]
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks(np.cumsum([0, *counts]))
    ax.set(xlim=(-0.5, sum(counts) + 0.5), ylim=(len(names) - 0.5, -0.6))
    ax.set_xlabel("blocks of the student, two convolutions each; the two greys tell its stages apart")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    return figure


def look(row: Row) -> tuple[str, str, bool]:
    """Of a row of "deeper" what the legend says, its marker, and whether it is filled."""
    marker = "s" if row.runs[0].method == "JointRDAtBlocks" else "o"
    if row.heir:
        return "from the teacher's weights", marker, False
    if row.conditions:
        return "JointRD, as much arithmetic", "D", True
    known = {CROSS_ENTROPY: "plain, alone", JOINTRD: "JointRD"}
    return known.get(row.teaching, "evenly spaced"), marker, True


def over_cuts(rows: Sequence[Row], store: Store) -> Figure | None:
    """Test top-1 over the number of mixed paths and the arithmetic of so many, a panel a depth, on an axis of the
    error: a small dot a seed, a large mark the mean, the ResNet as a line; beside the most paths what has as much
    arithmetic. None without any run."""
    if not any(cell(row, store).values for row in rows):
        return None
    depths = sorted({row.depth for row in rows})
    figure, panels = plt.subplots(
        1, len(depths), figsize=(WIDTH, 4.6), sharey=True, squeeze=False, layout="constrained"
    )
    of_plain = min(row.runs[0].recipe.epochs for row in rows)
    paths = sorted({len(cuts(row.runs[0])) for row in rows})
    costs = {len(cuts(row.runs[0])): arithmetic(row.runs[0], of_plain) for row in rows if not row.conditions}
    for ax, depth in zip(panels[0], depths, strict=True):
        evenly, beside = list[tuple[float, float]](), dict.fromkeys(range(len(paths)), 0)
        for row in (row for row in rows if row.depth == depth and cell(row, store).values):
            values, (label, marker, filled) = cell(row, store).values, look(row)
            if row.shortcuts == "all":
                level(ax, values)
                continue
            place = len(paths) - 1 if row.conditions else paths.index(len(cuts(row.runs[0])))
            x, colour = place + 0.14 * beside[place], BLUE if cuts(row.runs[0]) else COLOURS["plain"]
            beside[place] += 1
            ax.plot([x] * len(values), values, "o", ms=3.2, mew=0, color=colour, alpha=0.5)
            face = {"markerfacecolor": colour if filled else "white", "markeredgewidth": 1.8}
            ax.plot(x, np.mean(values), marker, ms=8, ls="", label=label, color=colour, **face)
            if label == "evenly spaced":
                evenly.append((x, float(np.mean(values))))
        if len(evenly) > 1:
            ax.plot(*zip(*sorted(evenly), strict=True), color=BLUE, lw=1.2)
        ax.axhline(GUESSING, color="#999", lw=0.9, ls=":", label="guessing")
        ax.set_xticks(range(len(paths)), [f"{n or 'none'}\n{costs[n]:.1f}x" for n in paths])
        ax.set(xlim=(-0.4, len(paths) - 0.35), title=f"{depth} layers")
        ax.set_xlabel("mixed paths; arithmetic (times plain)")
        on_error(ax)
    panels[0][0].set_ylabel("test top-1, last epoch (%)")
    legend_below(figure, 3)
    return figure


def level(ax: Axes, values: Sequence[float]) -> None:
    """The ResNet's mean, and between its lowest and its highest seed a band."""
    ax.axhspan(min(values), max(values), color=COLOURS["ResNet"], alpha=0.15, lw=0)
    ax.axhline(float(np.mean(values)), color=COLOURS["ResNet"], lw=1.8, label="ResNet")


def over_depth(rows: Sequence[Row], store: Store) -> Figure | None:
    """Test top-1 over depth, on an axis of the error: a small dot a seed, a line through the means, its name where it
    ends. None without any run."""
    if not any(cell(row, store).values for row in rows):
        return None
    figure = plt.figure(figsize=(WIDTH, 4.4))  # laid out by hand: the names are placed in pixels
    ax = figure.add_axes((0.08, 0.13, 0.9, 0.84))
    depths, ends = sorted({row.depth for row in rows}), dict[str, tuple[float, float]]()
    names = dict.fromkeys(short_name(row) for row in rows)
    colours = dict(zip([name for name in names if name not in COLOURS], OTHERS, strict=False))
    for name in names:
        colour = colours.setdefault(name, COLOURS.get(name, "#555"))
        known = [(row.depth, cell(row, store).values) for row in rows if short_name(row) == name]
        known = [(depth, values) for depth, values in known if values]
        for depth, values in known:
            ax.plot([depth] * len(values), values, "o", ms=3.5, mew=0, color=colour, alpha=0.4)
        if known:
            means = [float(np.mean(values)) for _, values in known]
            ax.plot([depth for depth, _ in known], means, "o-", color=colour, lw=2, ms=6)
            ends[name] = known[-1][0], means[-1]
    ax.axhline(GUESSING, color="#999", lw=0.9, ls=":", zorder=0)
    ax.annotate("guessing", (depths[0], GUESSING), (0, 4), textcoords="offset points", color="#777", fontsize=9)
    ax.set_xticks(depths)
    ax.set(xlim=(depths[0] - 3, depths[-1] + 30), xlabel="layers", ylabel="test top-1, last epoch (%)")
    on_error(ax)
    said = [name.removeprefix("plain, cross-entropy, ") for name in ends]
    write_beside(ax, list(ends.values()), said, [colours[name] for name in ends])
    return figure

"""The figure of the rivals: how accurate every way is, beside what its training and its network cost.

Most ways deploy the same network, so that accuracy over cost would be one column of dots: here every way has a line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.deploy.planner import OUT_OF_PLACE
from rdlib.figures.accuracy import COLOURS
from rdlib.paper.rivals import PLAIN, RESNET, SCRATCH, Line, one_of

FAMILIES = {  # the first that occurs in a way's name
    "JointRD": COLOURS["plain, JointRD"],
    "ResNet": COLOURS["ResNet"],
    "feature distance": COLOURS["plain, feature distance"],
    "Dirac": "#cc79a7",
    "RepVGG": "#cc79a7",
    "cross-entropy": COLOURS["plain"],
}
OTHER = COLOURS["plain, logit distillation"]  # what else a teacher can teach
TICKS = (10, 50, 80, 90, 95, 98, 99, 99.5)  # percent


def colour(way: str) -> str:
    return next((shade for name, shade in FAMILIES.items() if name in way), OTHER)


def order(found: Sequence[Line]) -> list[str]:
    """Ways, the best first, by the better of their two starts; the ResNet before all, ways without runs last."""
    best = {line.way: -1.0 for line in found}
    for line in found:
        if line.top1:
            best[line.way] = max(best[line.way], line.cell.mean)
    return sorted(best, key=lambda way: (way != RESNET, -best[way]))


def error_axis(ax: Axes, lowest: float) -> None:
    """An x axis of accuracies in percent, as the logarithm of what is missing to 100: near the top a point is much."""
    ax.set_xscale("function", functions=(lambda x: -np.log10(np.maximum(100 - x, 1e-2)), lambda y: 100 - 10.0**-y))
    lowest = 100 - 1.15 * (100 - lowest)  # some room beside the last dot
    shown = [tick for tick in TICKS if tick >= lowest]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(shown, [f"{tick:g}" for tick in shown])
    ax.set_xlim(lowest, 99.7)


def dots(found: Sequence[Line], ways: Sequence[str], ax: Axes) -> Axes:
    """Test top-1 of every way in its line: a small dot a seed, a large one the mean; open where the student started
    from the teacher's weights. The bar goes from the lowest seed to the highest."""
    for line in found:
        if not line.top1:
            continue
        two = len([other for other in found if other.way == line.way]) > 1
        y = ways.index(line.way) + (0 if not two else -0.17 if line.start == SCRATCH else 0.17)
        values, shade = np.array(list(line.top1.values())), colour(line.way)
        filled = line.start == SCRATCH
        ax.plot([values.min(), values.max()], [y, y], color=shade, linewidth=1.4, alpha=0.55, zorder=2)
        ax.plot(values, [y] * len(values), "o", color=shade, markersize=3, alpha=0.6, zorder=3)
        face = shade if filled else "white"
        ax.plot(values.mean(), y, "o", ms=8, color=shade, markerfacecolor=face, markeredgewidth=1.8, zorder=4)
    for y in range(0, len(ways), 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
    lowest = min((value for line in found for value in line.top1.values()), default=90)
    error_axis(ax, min(90, lowest))
    ax.set(ylim=(len(ways) - 0.5, -0.5), xlabel="test top-1 (%)")
    ax.grid(axis="x", alpha=0.4)
    return ax


def costs(found: Sequence[Line], ways: Sequence[str], ax: Axes, what: str) -> Axes:
    """A bar a way: arithmetic of the training and, paler, of the teacher's before it; or feature-map traffic deployed.

    what: "training" (from scratch, where that was done) or "traffic", both as multiples of the plain network's.
    """
    plain = one_of(found, PLAIN)
    for y, way in enumerate(ways):
        line, shade = next(line for line in found if line.way == way), colour(way)
        if what == "training" and line.training:
            own, teacher = (line.training[part] / plain.training["flops"] for part in ("flops", "teacher_flops"))
            ax.barh(y, own, color=shade, height=0.55)
            ax.barh(y, teacher, left=own, color=shade, height=0.55, alpha=0.3)
        if what == "traffic" and line.network:
            ax.barh(y, written(line) / written(plain), color=shade, height=0.55)
            if left := line.network["additions"]:
                ax.annotate(f"+ {left}", (0, y), (4, 0), textcoords="offset points", va="center", **ON_BAR)
    for y in range(0, len(ways), 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
    ax.axvline(1, color="#555", linewidth=0.8, linestyle=":")
    ax.set_xlim(0, None)
    return ax


ON_BAR: dict[str, Any] = {"color": "white", "fontsize": 9}


def written(line: Line) -> float:
    return float(line.network["traffic"][OUT_OF_PLACE])


def accuracy_and_costs(tables: Mapping[str, Sequence[Line]]) -> Figure:
    """A panel a table of `rival_table.lines` under its title, the ways sorted by the first one, and two of costs."""
    first = next(iter(tables.values()))
    ways = order(first)
    known = any(line.training for line in first)
    ratios = [2.4] * len(tables) + [1.0, 1.0] * known
    figure, panels = plt.subplots(
        *(1, len(ratios)),
        figsize=(3.2 + 1.2 * sum(ratios), 0.36 * len(ways) + 1.4),
        sharey=True,
        squeeze=False,
        width_ratios=ratios,
        layout="constrained",
    )
    for ax, (title, found) in zip(panels[0], tables.items(), strict=False):
        dots(found, ways, ax).set_title(title, fontsize=11)
    if known:
        for ax, what, label in zip(panels[0][-2:], ("training", "traffic"), COST_LABELS, strict=True):
            costs(first, ways, ax, what).set_title(label, fontsize=10)
            ax.set_xlabel("times plain")
    panels[0][0].set_yticks(range(len(ways)), ways)
    for ax in panels[0][1:]:
        ax.tick_params(axis="y", length=0)
    how = {"marker": "o", "color": "#444", "linestyle": "", "markersize": 8, "markeredgewidth": 1.8}
    handles = [
        Line2D([], [], label="from scratch", **how),  # type: ignore[arg-type]
        Line2D([], [], label="from the teacher's weights", markerfacecolor="white", **how),  # type: ignore[arg-type]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


COST_LABELS = ("training\n(pale: teacher's)", "traffic deployed\n(+ additions)")

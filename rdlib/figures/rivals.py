"""The figure of the rivals: how accurate every way is, beside what its training and its network cost.

Most ways deploy the same network, so that accuracy over cost would be one column of dots: here every way has a line.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.deploy.planner import OUT_OF_PLACE
from rdlib.figures.style import COLOURS, NETWORK_COLOURS, legend_below, note
from rdlib.paper.rivals import PLAIN, RESNET, SCRATCH, Line, one_of

FAMILIES = {  # the first that occurs in a way's name
    "JointRD": COLOURS["plain, JointRD"],
    "ResNet": COLOURS["ResNet"],
    "feature distance": COLOURS["plain, feature distance"],
    "Dirac": NETWORK_COLOURS["downsample"],
    "RepVGG": NETWORK_COLOURS["downsample"],
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


def dots(found: Sequence[Line], ways: Sequence[str], ax: Axes) -> None:
    """Test top-1 of every way in its line: a small dot a seed, a large one the mean; open where the student started
    from the teacher's weights. The bar goes from the lowest seed to the highest."""
    starts = Counter(line.way for line in found)
    for line in (line for line in found if line.top1):
        aside = 0.0 if starts[line.way] == 1 else -0.17 if line.start == SCRATCH else 0.17
        y, values, shade = ways.index(line.way) + aside, np.array(list(line.top1.values())), colour(line.way)
        ax.plot([values.min(), values.max()], [y, y], color=shade, linewidth=1.4, alpha=0.55, zorder=2)
        ax.plot(values, [y] * len(values), "o", color=shade, markersize=3, alpha=0.6, zorder=3)
        ax.plot(values.mean(), y, **mean_dot(line.start == SCRATCH, shade), zorder=4)
    error_axis(ax, min([90.0, *(value for line in found for value in line.top1.values())]))
    ax.set(ylim=(len(ways) - 0.5, -0.5), xlabel="test top-1 (%)")
    ax.grid(axis="x", alpha=0.4)


def mean_dot(filled: bool, shade: str) -> dict[str, Any]:
    face = shade if filled else "white"
    return {"marker": "o", "ms": 8, "color": shade, "ls": "", "markerfacecolor": face, "markeredgewidth": 1.8}


def costs(found: Sequence[Line], ways: Sequence[str], training: Axes, traffic: Axes) -> None:
    """A bar a way, in multiples of the plain network's: on one axes the arithmetic of the training (from scratch, where
    that was done) and, paler, of the teacher's before it; on the other the feature-map traffic of what is deployed."""
    plain = one_of(found, PLAIN)
    for y, way in enumerate(ways):
        line, shade = next(line for line in found if line.way == way), colour(way)
        if line.training:
            own, teacher = (line.training[part] / plain.training["flops"] for part in ("flops", "teacher_flops"))
            training.barh(y, own, color=shade, height=0.55)
            training.barh(y, teacher, left=own, color=shade, height=0.55, alpha=0.3)
        if line.network:
            written, of_plain = (one.network["traffic"][OUT_OF_PLACE] for one in (line, plain))
            traffic.barh(y, written / of_plain, color=shade, height=0.55)
            if left := line.network["additions"]:
                note(traffic, f"+ {left}", (0, y), (4, 0), va="center", color="white", fontsize=9)
    for ax, title in ((training, "training\n(pale: teacher's)"), (traffic, "traffic deployed\n(+ additions)")):
        ax.axvline(1, color="#555", linewidth=0.8, linestyle=":")
        ax.set_xlim(0, None)
        ax.set_title(title, fontsize=8.5)
        ax.set_xlabel("times plain")


def accuracy_and_costs(tables: Mapping[str, Sequence[Line]]) -> Figure:
    """A panel a table of `paper.rivals.lines` under its title, the ways sorted by the first one, and two of costs."""
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
        dots(found, ways, ax)
        ax.set_title(title, fontsize=11)
    if known:
        costs(first, ways, *panels[0][-2:])
    for ax in panels[0]:
        for y in range(0, len(ways), 2):
            ax.axhspan(y - 0.5, y + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
    panels[0][0].set_yticks(range(len(ways)), ways)
    for ax in panels[0][1:]:
        ax.tick_params(axis="y", length=0)
    for filled, label in ((True, "from scratch"), (False, "from the teacher's weights")):
        panels[0][0].plot([], [], **mean_dot(filled, "#444"), label=label)
    legend_below(figure)
    return figure

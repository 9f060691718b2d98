"""The figures of the rivals: accuracy over what the training, or the deployed network, costs; and what the start adds.

Every point has its name beside it. Accuracies are on the logarithm of the error, for near the top a point is much.
"""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.deploy.planner import OUT_OF_PLACE
from rdlib.figures.style import COLOURS, NETWORK_COLOURS, counted, note
from rdlib.measure.rival_costs import RMNET
from rdlib.paper.rivals import JOINTRD, PLAIN, RESNET, SCRATCH, Line

FAMILIES = {  # by the first of these words in a way's name: what the legend says, and its colour
    "JointRD": ("mixed paths", COLOURS["plain, JointRD"]),
    "ResNet": ("ResNet", COLOURS["ResNet"]),
    "feature distance": ("feature distance alone", COLOURS["plain, feature distance"]),
    "Dirac": ("other convolutions", NETWORK_COLOURS["downsample"]),
    "RepVGG": ("other convolutions", NETWORK_COLOURS["downsample"]),
    "cross-entropy": ("labels alone", COLOURS["plain"]),
}
OTHER = ("other losses of a teacher", COLOURS["plain, logit distillation"])
TICKS = (10, 50, 80, 90, 95, 97, 98, 99, 99.5, 99.8)  # percent
SIZE = (8.4, 4.7)  # inches
APART, COLUMN, BESIDE = 0.18, 0.9, 0.2  # inches: two names in a column, two columns of them, a name and its points
SHORT = {RMNET: "RMNet", RESNET: "ResNet"}
BARE = {PLAIN: "plain, alone", JOINTRD: "plain, JointRD"}
FINEST = 0.05  # points of error: the axis ends there, since 100 % has no logarithm


def family(way: str) -> tuple[str, str]:
    return next((found for word, found in FAMILIES.items() if word in way), OTHER)


def order(found: Sequence[Line]) -> list[str]:
    """Ways, the best first, by the better of their two starts; the ResNet before all, ways without runs last."""
    best = {line.way: -1.0 for line in found}
    for line in found:
        if line.top1:
            best[line.way] = max(best[line.way], line.cell.mean)
    return sorted(best, key=lambda way: (way != RESNET, -best[way]))


def error_axis(ax: Axes, which: Literal["x", "y"], found: Sequence[Line]) -> None:
    """Make x or y one of test accuracies in percent that holds these lines: the logarithm of what is missing to 100."""
    values = [value for line in found for value in line.top1.values()] or [90.0]
    low, high = (100 - part * max(100 - value, FINEST) for part, value in ((1.2, min(values)), (0.75, max(values))))
    functions = (lambda x: -np.log10(np.maximum(100 - x, FINEST / 2)), lambda y: 100 - 10.0**-y)
    axis = getattr(ax, f"{which}axis")
    getattr(ax, f"set_{which}scale")("function", functions=functions)
    shown = [tick for tick in TICKS if low <= tick <= high]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(shown, [f"{tick:g}" for tick in shown])
    getattr(ax, f"set_{which}lim")(low, high)
    axis.set_label_text(f"test top-1, last epoch (%), {counted(len(line.top1) for line in found)}")
    axis.grid(True, alpha=0.4)


def mean_dot(filled: bool, shade: str) -> dict[str, Any]:
    face = shade if filled else "white"
    return {"marker": "o", "ms": 8, "color": shade, "ls": "", "markerfacecolor": face, "markeredgewidth": 1.8}


def over_training(found: Sequence[Line]) -> Figure | None:
    """Ways without additions, and the ResNet, from scratch where they can: over the arithmetic of the whole training,
    the teacher's included, in multiples of the plain network's. None where neither costs nor accuracies are known."""
    ways = [line for line in found if line.training and (line.way == RESNET or not line.adds)]
    scratch = {line.way for line in ways if line.start == SCRATCH}
    ways = [line for line in ways if line.start == SCRATCH or line.way not in scratch]
    unit = next((line.training["flops"] for line in ways if (line.way, line.start) == PLAIN), 1)
    costs = [(line.training["flops"] + line.training["teacher_flops"]) / unit for line in ways]
    label = "arithmetic of the training, the teacher's included (times plain)"
    names = [SHORT.get(line.way, line.way) for line in ways]
    return over(ways, costs, names, label)


def over_traffic(found: Sequence[Line]) -> Figure | None:
    """Networks with additions, and beside them the plain one alone and by JointRD, and RMNet's: over the bytes of the
    feature maps that one image writes, in multiples of the plain network's. None where that is not known."""
    known = [line for line in found if line.network]
    unit = next((line.network["traffic"][OUT_OF_PLACE] for line in known if (line.way, line.start) == PLAIN), 1)
    shown = [line for line in known if line.adds or line.exact or (line.way, line.start) in BARE]
    costs = [line.network["traffic"][OUT_OF_PLACE] / unit for line in shown]
    names = [SHORT.get(line.way) or BARE.get((line.way, line.start)) or cut(line.way) for line in shown]
    return over(shown, costs, names, "feature maps written by the deployed network (times plain)")


def cut(way: str) -> str:
    """The name of a ResNet made as cheap, short: narrowed, one that fits the traffic fits the peak too."""
    short = {"ResNet, ": "", " and peak": "", ", cross-entropy": "", "logit distillation": "by logits"}
    for long, words in short.items():
        way = way.replace(long, words)
    return way


def over(found: Sequence[Line], costs: Sequence[float], names: Sequence[str], label: str) -> Figure | None:
    """Mean test top-1 over costs, its name beside each point; the bar goes from the lowest seed to the highest,
    and what started from the teacher's weights is open. Points of one cost stand side by side. Ways without a run are
    left out."""
    shown = [(line, cost, name) for line, cost, name in zip(found, costs, names, strict=True) if line.top1]
    if not shown:
        return None
    figure = plt.figure(figsize=SIZE)  # laid out by hand: the names are placed in pixels
    ax = figure.add_axes((0.08, 0.13, 0.91, 0.85))
    error_axis(ax, "y", [line for line, *_ in shown])
    places = [x for _, x, _ in shown]
    low, high = min(0.9, min(places) - 0.06), max(places)
    ax.set(xlabel=label, xlim=(low, high + 0.38 * (high - low) + 0.05))
    steps = beside(places, 0.015 * (high - low))
    points = [(x, line.cell.mean) for x, (line, *_) in zip(steps, shown, strict=True)]
    colours = [family(line.way)[1] for line, *_ in shown]
    for (x, y), (line, *_), colour in zip(points, shown, colours, strict=True):
        ax.plot([x, x], [min(line.top1.values()), max(line.top1.values())], color=colour, lw=1.4, alpha=0.5, zorder=2)
        ax.plot(x, y, **mean_dot(line.start == SCRATCH, colour), zorder=4)
    write_beside(ax, points, [name for *_, name in shown], colours)
    return figure


def together(places: npt.ArrayLike, gap: float) -> list[npt.NDArray[np.intp]]:
    """Indices of the places in groups, from left to right; within a group none is more than a gap from the next."""
    across = np.argsort(places, kind="stable")
    return np.split(across, np.flatnonzero(np.diff(np.asarray(places)[across]) > gap) + 1)


def beside(places: Sequence[float], step: float) -> list[float]:
    """The places, those less than a step apart spread by a step each about where they are."""
    found = list(places)
    for group in together(places, step):
        for rank, i in enumerate(group):
            found[i] += step * (rank - (len(group) - 1) / 2)
    return found


def write_beside(ax: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str]) -> None:
    """A name to the right of each point, those of neighbours in one column, moved apart and tied to their points."""
    at = ax.transData.transform(np.reshape(points, (-1, 2))) / ax.figure.dpi  # inches
    for group in together(at[:, 0], COLUMN):
        column = sorted(group, key=lambda i: at[i, 1])
        for i, height in zip(column, apart(at[column, 1]), strict=True):
            offset = (72 * (at[column, 0].max() + BESIDE - at[i, 0]), 72 * (height - at[i, 1]))  # points
            tie = {"arrowstyle": "-", "color": colours[i], "lw": 0.7, "alpha": 0.6, "shrinkA": 1, "shrinkB": 5}
            note(ax, names[i], points[i], offset, va="center", color=colours[i], fontsize=9.5, arrowprops=tie)


def apart(heights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The nearest heights, by squares, of which each is APART above the one before; given in rising order."""
    from scipy.optimize import isotonic_regression

    steps = APART * np.arange(len(heights))
    found: npt.NDArray[Any] = isotonic_regression(heights - steps).x + steps
    return found


def starts(found: Sequence[Line]) -> Figure:
    """Every way without additions, and the ResNet, in its line, the best first: a small dot a seed, a large one the
    mean, open where the student started from the teacher's weights; the bar goes from the lowest seed to the highest.
    """
    found = [line for line in found if line.way == RESNET or not line.adds]
    ways = order(found)
    figure, ax = plt.subplots(figsize=(SIZE[0], 0.3 * len(ways) + 1.5), layout="constrained")
    for line in (line for line in found if line.top1):
        both = sum(other.way == line.way for other in found) > 1
        aside = both * (-0.17 if line.start == SCRATCH else 0.17)
        y, values, shade = ways.index(line.way) + aside, np.array(list(line.top1.values())), family(line.way)[1]
        ax.plot([values.min(), values.max()], [y, y], color=shade, linewidth=1.4, alpha=0.55, zorder=2)
        ax.plot(values, [y] * len(values), "o", color=shade, markersize=3, alpha=0.6, zorder=3)
        ax.plot(values.mean(), y, **mean_dot(line.start == SCRATCH, shade), zorder=4)
    error_axis(ax, "x", found)
    for y in range(0, len(ways), 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
    ax.set_yticks(range(len(ways)), [SHORT.get(way, way) for way in ways])
    ax.set_ylim(len(ways) - 0.5, -0.5)
    kinds = [Line2D([], [], **mean_dot(filled, "#444")) for filled in (True, False)]
    families = dict.fromkeys(family(way) for way in ways)
    kinds += [Line2D([], [], color=shade, lw=5) for _, shade in families]
    words = ["from scratch", "from the teacher's weights", *(word for word, _ in families)]
    figure.legend(kinds, words, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure

"""The picture of trainings side by side: training accuracy and loss, epoch by epoch; drawn without pyplot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from rdlib.experiments.rows import Row
from rdlib.figures.accuracy import COLOURS, short_name
from rdlib.runs.run import Run

OTHERS = ("#aa3377", "#66a61e", "#8c564b")  # of networks without a colour of their own
WIDTH, LINE = 9.4, 0.2  # inches of the figure, and of a line of its legend
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Curves of one network, a row a seed: training top-1 in percent and loss, both [seeds, epochs]."""

    name: str
    colour: str
    dashed: bool
    top1: Array
    loss: Array
    legend: str


def looks(rows: Sequence[Row]) -> list[tuple[str, bool]]:
    """Colour and whether dashed, for each row; no two look alike."""
    found: list[tuple[str, bool]] = []
    for i, row in enumerate(rows):
        colour = COLOURS.get(short_name(row), OTHERS[i % len(OTHERS)])
        found.append((colour, any(colour == other for other, _ in found)))
    return found


def of_epochs(histories: Sequence[Sequence[dict[str, Any]]]) -> tuple[Array, Array]:
    """Training top-1 and the sum of the loss terms, both [histories, epochs]."""
    top1 = np.array([[epoch["train_top1"] for epoch in one] for one in histories], float)
    loss = np.array([[sum(epoch["losses"].values()) for epoch in one] for one in histories], float)
    return top1, loss


def heading(dataset: str, runs: Sequence[Run]) -> str:
    """The data set and the peak learning rates of its runs, each once."""
    rates = list(dict.fromkeys(f"{run.recipe.learning_rate:g}" for run in runs))
    return f"{dataset}, learning rate (peak) {' and '.join(rates)}" if rates else dataset


def curves(found: Sequence[Series], epochs: int, title: str) -> Figure:
    """Mean and, of several seeds, their range; the axis is `epochs` long. The loss is on a logarithmic scale."""
    below = 0.62 + LINE * len(found)
    height = 3.5 + below
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.55 / WIDTH, 1 - 0.12 / height, title, size=11, va="top")
    for left, what, value in (
        (0.55, "training top-1 (%)", "top1"),
        (5.35, "training loss (sum of its terms), log scale", "loss"),
    ):
        ax = figure.add_axes((left / WIDTH, below / height, 3.85 / WIDTH, 2.85 / height))
        for one in found:
            draw(ax, one, getattr(one, value))
        ax.set(xlim=(0.5, max(epochs, 2) + 0.5), xticks=ticks(epochs))
        ax.set_xlabel("epoch", size=10)
        ax.set_title(what, size=11, loc="left", y=1)  # a given y is not searched for: faster
        ax.spines[["top", "right"]].set_visible(False)
        if value == "top1":
            ax.set_ylim(0, 102)
        else:
            logarithmic(ax)
    shown = [Line2D([], [], **look(one), label=f"{one.name}: {one.legend}") for one in found]
    figure.legend(handles=shown, loc="lower left", bbox_to_anchor=(0.05, 0), frameon=False, fontsize=10, borderpad=0)
    return figure


def look(one: Series) -> dict[str, Any]:
    return {"color": one.colour, "linestyle": "--" if one.dashed else "-", "linewidth": 1.8}


def draw(ax: Axes, one: Series, values: Array) -> None:
    if not values.size:
        return
    x = np.arange(1, values.shape[1] + 1)
    ax.plot(x, values.mean(0), marker="o", markersize=3, **look(one))
    if len(values) > 1:
        ax.fill_between(x, values.min(0), values.max(0), color=one.colour, alpha=0.16, linewidth=0)


def ticks(epochs: int) -> list[int]:
    step = next((step for step in (1, 2, 5, 10, 20, 50) if epochs / step <= 7), 100)
    return [1, *range(step if step > 1 else 2, epochs + 1, step)]


def logarithmic(ax: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 times the powers of ten, thinned to at most eight.

    Where fewer than two of them are within it, the numbers are evenly spaced instead.
    """
    if not ax.lines:
        ax.set_yticks([])
        return
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        marks = [m * 10.0**p for p in powers for m in factors if low <= m * 10.0**p <= high]
        if len(marks) <= 8:
            break
    if len(marks) < 2:
        marks = [mark for mark in MaxNLocator(5).tick_values(low, high) if low <= mark <= high]
    ax.set_yticks(marks, [f"{mark:g}" for mark in marks])
    ax.yaxis.set_minor_locator(NullLocator())

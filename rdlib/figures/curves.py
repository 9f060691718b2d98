"""Training accuracy and loss, epoch by epoch: while networks train, from records, and trainings side by side."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from rdlib.experiments.rows import Row
from rdlib.experiments.tables import records_of
from rdlib.figures.style import COLOURS, OTHERS, band, on_error, short_name
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import Epoch

DASHES = {
    "plain": "--",
    "plain, logit distillation": ":",
    "plain, feature distance": "-.",
    "plain, JointRD": (0, (7, 1)),
}
WIDTH, LINE = 7.7, 0.18  # inches of the figure, and of a line of its legend
CHARACTERS = 105  # of such a line
TOP1 = (0, 102)  # limits of an axis in percent
Array = npt.NDArray[np.float64]


class LiveCurves:
    """Training accuracy, a line a network, redrawn in place while `fit` runs; works in JupyterLab and under papermill.

    `epochs` fixes the width of the axis.
    """

    def __init__(self, epochs: int):
        from IPython.display import display

        self.epochs = epochs
        self.curves: dict[str, list[Epoch]] = {}
        self.handle = display(self.draw(), display_id=True)  # type: ignore[no-untyped-call]

    def add(self, name: str, epoch: Epoch) -> None:
        self.curves.setdefault(name, []).append(epoch)
        self.handle.update(self.draw())

    def draw(self) -> Figure:
        figure, ax = plt.subplots(figsize=(7, 4))
        for name, history in self.curves.items():
            values = np.array([[epoch.train_top1 for epoch in history]])
            epochs = [epoch.epoch for epoch in history]
            band(ax, values, epochs, color=COLOURS.get(name), label=name, marker="o", markersize=3)
        ax.set(xlabel="epoch", ylabel="training top-1 (%)", xlim=(0.5, self.epochs + 0.5), ylim=TOP1)
        ax.set_xticks(ticks(self.epochs))
        if self.curves:
            ax.legend(frameon=False, loc="lower right")
        plt.close(figure)
        return figure


def mean_curves(rows: Sequence[Row], store: Store, ax: Axes) -> None:
    """Recorded training accuracy on an axis of the error: mean over the seeds, and a band from lowest to highest."""
    for row in rows:
        if records := records_of(row, store):
            top1, name = of_epochs([record.history for record in records])[0], short_name(row)
            look: dict[str, Any] = {"color": COLOURS[name], "linestyle": DASHES.get(name, "-"), "linewidth": 1.8}
            band(ax, top1, label=f"{name} (n = {len(records)})", **look)
    on_error(ax)
    ax.set(xlabel="epoch", ylabel="training top-1 (%)")


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
    """Mean and, of several seeds, their range; the axis is `epochs` long. The loss is on a logarithmic scale.

    Drawn without pyplot and laid out by hand, so that it follows a training.
    """
    names = [textwrap.fill(f"{one.name}: {one.legend}", CHARACTERS) for one in found]
    below = 0.62 + LINE * sum(1 + name.count("\n") for name in names)
    height = 3.5 + below
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.1 / WIDTH, 1 - 0.12 / height, title, size=11, va="top")
    accuracies, losses = (
        figure.add_axes((left / WIDTH, below / height, 3.05 / WIDTH, 2.85 / height)) for left in (0.5, 4.45)
    )
    handles = []
    for one, name in zip(found, names, strict=True):
        look: dict[str, Any] = {"color": one.colour, "linestyle": "--" if one.dashed else "-", "linewidth": 1.8}
        handles += accuracies.plot([], [], **look, label=name)
        for ax, values in ((accuracies, one.top1), (losses, one.loss)):
            band(ax, values, marker="o", markersize=3, **look)
    for ax, what in ((accuracies, "training top-1 (%)"), (losses, "training loss (sum of its terms), log scale")):
        ax.set(xlim=(0.5, max(epochs, 2) + 0.5), xticks=ticks(epochs))
        ax.set_xlabel("epoch", size=10)
        ax.set_title(what, size=11, loc="left", y=1)  # a given y is not searched for: faster
        ax.spines[["top", "right"]].set_visible(False)
    accuracies.set_ylim(TOP1)
    logarithmic(losses)
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.01, 0), frameon=False, fontsize=9, borderpad=0)
    return figure


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
    for locator in (*(LogLocator(subs=subs, numticks=99) for subs in ((1, 2, 5), (1, 3), (1,))), MaxNLocator(5)):
        marks = [mark for mark in locator.tick_values(low, high) if low <= mark <= high]
        if 2 <= len(marks) <= 8:
            break
    ax.set_yticks(marks, [f"{mark:g}" for mark in marks])
    ax.yaxis.set_minor_locator(NullLocator())

"""Last-epoch accuracies: of rows, over the learning rate and over depth; and the README's figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.rows import CROSS_ENTROPY, Row
from rdlib.experiments.tables import cell
from rdlib.figures.style import COLOURS, counted, legend_below, note, short_name, style
from rdlib.models import DEPTHS, SHORTCUTS
from rdlib.runs.store import Store


def by_seed(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """A line a seed with a record: the place of its row, network (a key of COLOURS), depth, learning rate, top1."""
    lines = [
        (place, short_name(row), row.depth, row.runs[0].recipe.learning_rate, top1)
        for place, row in enumerate(rows)
        for top1 in cell(row, store).values
    ]
    return pd.DataFrame(lines, columns=["place", "network", "depth", "rate", "top1"])


def accuracy(
    rows: Sequence[Row], store: Store, ax: Axes | None = None, references: Sequence[float | None] = ()
) -> Axes:
    """Last-epoch test accuracy: each seed a dot, the mean a bar, one standard deviation as its error bar.

    `references`: the reported value for each row or None, drawn as a diamond.
    """
    ax = ax or plt.subplots(figsize=(7, 0.5 * len(rows) + 1))[1]
    found = by_seed(rows, store)
    if len(found):
        how: dict[str, Any] = {"x": "top1", "y": "place", "hue": "network", "palette": COLOURS, "legend": False}
        how |= {"data": found, "orient": "h", "native_scale": True, "ax": ax}
        bar = {"marker": "|", "markersize": 18, "markeredgewidth": 2.5, "capsize": 0.25, "linestyle": "none"}
        sns.pointplot(**how, **bar, errorbar="sd", err_kws={"linewidth": 1.5})
        sns.stripplot(**how, jitter=False, size=5.5, alpha=0.6, zorder=3)
    for y, row in enumerate(rows):
        colour, top1 = COLOURS[short_name(row)], found["top1"][found["place"] == y]
        if len(top1):
            note(ax, f"{top1.mean():.1f}", (top1.mean(), y), (0, 11), ha="center", color=colour)
        if references and (reported := references[y]) is not None:
            ax.scatter([reported], [y], marker="D", s=34, facecolor="white", edgecolor=colour, zorder=2)
    ax.set_yticks(range(len(rows)), [tick(row) for row in rows])
    label = ", ".join(filter(None, ["test top-1, last epoch (%)", counted(found["place"].value_counts())]))
    ax.set(xlabel=label, ylabel="", ylim=(len(rows) - 0.4, -0.8))
    ax.grid(axis="x", alpha=0.3)
    return ax


def tick(row: Row) -> str:
    kept = f", {SHORTCUTS[row.shortcuts]}" if row.shortcuts == "downsample" else ""
    name = f"{row.network}-{row.depth}{kept}"
    return name if row.teaching == CROSS_ENTROPY else f"{name}\n{row.method}"


def means(found: pd.DataFrame, x: str, errorbar: Any) -> Axes:
    """Mean over the seeds at every x, with bars, a line a network; the legend says of how many seeds."""
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in found["network"].unique():
        of = found[found["network"] == name]
        look = {"color": COLOURS[name], "marker": "o", "markersize": 7, "markeredgewidth": 0}
        look |= {"label": f"{name} ({counted(of[x].value_counts())})", "legend": False}
        sns.lineplot(of, x=x, y="top1", errorbar=errorbar, err_style="bars", err_kws={"capsize": 4}, ax=ax, **look)
    legend_below(figure, 3)
    return ax


def against_learning_rate(rows: Sequence[Row], store: Store) -> Axes:
    """Last-epoch accuracy over the peak learning rate (log axis): mean and range of the seeds, one line a network."""
    ax = means(by_seed(rows, store), "rate", ("pi", 100))
    rates = sorted({row.runs[0].recipe.learning_rate for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates], minor=False)
    ax.minorticks_off()
    ax.set(xlabel="peak learning rate", ylabel="tune top-1, last epoch (%)", ylim=(0, 102))
    return ax


def against_depth(rows: Sequence[Row], store: Store) -> Figure:
    """The README's figure: last-epoch test accuracy over depth, a line a network through the means, a dot a seed."""
    style()
    figure, ax = plt.subplots(figsize=(8.2, 4.4), layout="constrained")
    found = by_seed(rows, store)
    depths = sorted({row.depth for row in rows})
    for name, aside in zip(found["network"].unique(), (0.0, 0.7, -0.7), strict=False):
        of, colour = found[found["network"] == name], COLOURS[name]
        means = of.groupby("depth")["top1"].mean()
        ax.plot(means.index, means, color=colour, lw=2.4, marker="o", ms=6, zorder=3)
        ax.plot(of["depth"] + aside, of["top1"], "o", color=colour, ms=4, mew=0, alpha=0.35, zorder=2)
        end = (float(means.index[-1]), float(means.iloc[-1]))
        lift = {"plain": -6, "plain, JointRD": 6}.get(name, 0)  # they may end close to each other
        note(ax, NAMES.get(name, name), end, (10, lift), va="center", color=colour, weight="bold", size=11)
    ax.axhline(10, color="#999", lw=0.9, ls=":", zorder=0)
    note(ax, "guessing", (depths[0], 10), (-2, 4), color="#777", size=9)
    # The bottleneck of depth 50 is another block, so its place in the line is no step of depth alone.
    names = [f"{depth}\n(bottleneck)" if DEPTHS[depth][0] == "bottleneck" else str(depth) for depth in depths]
    ax.set_xticks(depths, names)
    ax.set(xlabel="layers", ylabel="test top-1, last epoch (%)", ylim=(0, 103), xlim=(depths[0] - 3, depths[-1] + 26))
    ax.set_xlabel(f"layers (dots: seeds, {counted(found['place'].value_counts())}; lines: their means)")
    return figure


NAMES = {"plain": "plain, alone", "plain, JointRD": "plain, by JointRD"}

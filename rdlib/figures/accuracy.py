"""Last-epoch accuracies: of rows, over the learning rate and over depth; and the README's figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

from rdlib.experiments.rows import CROSS_ENTROPY, HEIR, Row, listed
from rdlib.experiments.tables import cell
from rdlib.figures.style import CAPTION, COLOURS, beside, counted, note, on_error, short_name, style
from rdlib.models import DEPTHS, SHORTCUTS
from rdlib.paper.questions import NEARLY
from rdlib.paper.summary import keeps_up
from rdlib.runs.store import Store

NAMES = {"plain": "plain, alone", "plain, JointRD": "plain, by JointRD"}
SEED: dict[str, Any] = {
    "marker": "o",
    "linestyle": "none",
    "markeredgewidth": 0,
    "alpha": 0.45,
    "clip_on": False,
}  # the look of one seed


def by_seed(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """A line a seed with a record: the place of its row, network (a key of COLOURS), depth, learning rate, top1."""
    lines = [
        (place, short_name(row), row.depth, row.runs[0].recipe.learning_rate, top1)
        for place, row in enumerate(rows)
        for top1 in cell(row, store).values
    ]
    return pd.DataFrame(lines, columns=["place", "network", "depth", "rate", "top1"])


def accuracy(rows: Sequence[Row], store: Store, references: Sequence[float | None] = ()) -> Axes:
    """Last-epoch test accuracy on an axis of the error: each seed a dot, the mean a bar with its value.

    `references`: the reported value for each row or None, drawn as a diamond.
    """
    ax = plt.subplots(figsize=(8.2, 0.4 * len(rows) + 1.1), layout="constrained")[1]
    found, known = by_seed(rows, store), [value for value in references if value is not None]
    for y, row in enumerate(rows):
        colour, top1 = COLOURS.get(short_name(row), COLOURS[row.network]), found["top1"][found["place"] == y]
        if len(top1):
            ax.plot(top1, [y] * len(top1), color=colour, markersize=6, **SEED)
            ax.plot(top1.mean(), y, "|", color=colour, markersize=15, markeredgewidth=2.5)
        beside(ax, y, f"{top1.mean():.1f}" if len(top1) else "not run", color=colour if len(top1) else "#999")
        if references and (reported := references[y]) is not None:
            ax.scatter([reported], [y], marker="D", s=34, facecolor="white", edgecolor=colour, zorder=2)
    on_error(ax, "x", [*found["top1"], *known])
    ax.set_yticks(range(len(rows)), [tick(row) for row in rows])
    label = ", ".join(filter(None, ["test top-1, last epoch (%)", counted(found["place"].value_counts())]))
    ax.set(xlabel=label, ylabel="", ylim=(len(rows) - 0.5, -0.5))
    ax.set_title(f"dots: seeds; bar and number: their mean{'; diamond: reported' * bool(known)}", loc="left", **CAPTION)
    ax.grid(alpha=0.3)
    return ax


def tick(row: Row) -> str:
    kept, taught = SHORTCUTS[row.shortcuts] * (row.shortcuts == "downsample"), row.teaching != CROSS_ENTROPY
    return listed(f"{row.network}-{row.depth}", kept, row.method * taught, HEIR * row.heir, row.conditions)


def against_learning_rate(rows: Sequence[Row], store: Store) -> Axes:
    """Last-epoch accuracy, on an axis of the error, over the peak learning rate: a line of means, a dot a seed."""
    ax = plt.subplots(figsize=(8.2, 3.9), layout="constrained")[1]
    found = by_seed(rows, store)
    for name, of in found.groupby("network", sort=False):
        named(ax, str(name), of.groupby("rate")["top1"].mean())
        ax.plot(of["rate"], of["top1"], color=COLOURS[str(name)], **SEED)
    rates = sorted({row.runs[0].recipe.learning_rate for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates], minor=False)
    ax.minorticks_off()
    on_error(ax, values=found["top1"])
    ax.set(xlabel="peak learning rate", ylabel="tune top-1, last epoch (%)", xlim=(rates[0] * 0.93, rates[-1] * 1.7))
    counts = counted(found.groupby(["network", "rate"]).size())
    ax.set_title(", ".join(filter(None, ["dots: seeds", counts])) + "; lines: their means", loc="left", **CAPTION)
    return ax


def named(ax: Axes, name: str, means: "pd.Series[float]", lift: float = 0) -> None:
    """A line of means with its network's name at the right end, so many points higher."""
    colour = COLOURS[name]
    ax.plot(means.index, means, color=colour, lw=2.4, marker="o", ms=6, zorder=3)
    look = {"va": "center", "color": colour, "weight": "bold", "size": 11}
    note(ax, NAMES.get(name, name), (float(means.index[-1]), float(means.iloc[-1])), (10, lift), **look)


def against_depth(rows: Sequence[Row], store: Store) -> Figure:
    """The README's figure. Above, how deep each network keeps up with the ResNet; below, last-epoch test accuracy over
    depth on an axis of the error, a line a network through the means, a dot a seed."""
    style()
    ratios = [1, 3.6]
    figure, (bars, ax) = plt.subplots(2, figsize=(8.2, 5.2), layout="constrained", sharex=True, height_ratios=ratios)
    found = by_seed(rows, store)
    depths, reach = sorted({row.depth for row in rows}), keeps_up(found)
    for name, aside in zip(found["network"].unique(), (0.0, -0.6, 0.6), strict=False):
        of = found[found["network"] == name]
        ax.plot(of["depth"] + aside, of["top1"], color=COLOURS[name], ms=4, zorder=2, **SEED)
        lift = {"plain": 5, "plain, JointRD": 20}.get(name, 0)  # they may end close to each other
        named(ax, name, of.groupby("depth")["top1"].mean(), lift)
    for y, (name, depth) in enumerate(sorted(reach.items(), key=lambda one: -one[1])):
        bars.barh(y, depth - depths[0] + 2, left=depths[0] - 2, height=0.62, color=COLOURS[name])
        look = {"va": "center", "color": COLOURS[name], "weight": "bold", "size": 11}
        note(bars, f"{NAMES.get(name, name)}: {depth} layers", (depth, y), (6, 0), **look, backgroundcolor="white")
        if depth < depths[-1]:
            drawn = float(found["top1"][(found["network"] == name) & (found["depth"] == depth)].mean())
            ends = {"xyA": (depth, y), "coordsA": bars.transData, "xyB": (depth, drawn), "coordsB": ax.transData}
            figure.add_artist(ConnectionPatch(**ends, color=COLOURS[name], ls=":", lw=1.4, zorder=-1))
    bars.set(ylim=(max(len(reach), 1) - 0.5, -0.5))
    bars.set_axis_off()
    bars.set_title(f"keeps up with the ResNet (mean within {NEARLY:g} points) up to", loc="left", **CAPTION)
    ax.set_facecolor("none")  # or it would hide the dotted lines
    ax.plot(depths, [10] * len(depths), color="#999", lw=0.9, ls="--", zorder=0)
    note(ax, "guessing", (depths[0], 10), (-2, 4), color="#777", size=9)
    # The bottleneck of depth 50 is another block, so its place in the line is no step of depth alone.
    names = [f"{depth}\n(bottleneck)" if DEPTHS[depth][0] == "bottleneck" else str(depth) for depth in depths]
    ax.set_xticks(depths, names)
    ax.set(ylabel="test top-1, last epoch (%)", xlim=(depths[0] - 3, depths[-1] + 26))
    ax.set_xlabel(f"layers (dots: seeds, {counted(found['place'].value_counts())}; lines: their means)")
    on_error(ax)
    return figure

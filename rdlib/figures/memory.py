"""The plots of memory: what networks write, hold and request, and what one holds at every operator."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE, Plan, Step
from rdlib.figures.style import CAPTION, NETWORK_COLOURS, legend_below, note, style
from rdlib.measure.candidates import COSTS

MAIN, SHORTCUT = "#b8b8b8", "#8250a8"
MIB = 2**20
WIDTH = 8.6  # inches
MEANINGS = {"traffic": "written in one forward pass", "peak": "held at the peak", "arena": "requested by engines"}
Row = Mapping[str, Any]  # of the record of memory


def held(plan: Plan, ax: Axes, unit: int = MIB) -> None:
    """Bytes alive at every operator; what is alive only for a shortcut stands on top, and a dot marks the peak."""
    edges = np.arange(len(plan.steps) + 1) + 0.5
    total = np.array([*(step.bytes for step in plan.steps), 0]) / unit  # a step function ends in a value of its own
    main = total - np.array([*(step.shortcut_bytes for step in plan.steps), 0]) / unit
    named = {"alive for the operator and the main path": (main, 0 * main, MAIN)}
    named |= {"alive for a shortcut": (total, main, SHORTCUT)}
    for name, (high, low, colour) in named.items():
        ax.fill_between(edges, low, high, step="post", color=colour, linewidth=0, label=name)
    ax.step(edges, total, where="post", color="#333", linewidth=0.6)
    ax.plot(plan.at + 1, plan.peak / unit, "o", color="#222", markersize=5)


def memory_over_operators(plan: Plan, ax: Axes) -> None:
    """`held` in MiB, over the height and width of the maps that the operators write, where there are several."""
    held(plan, ax)
    peak = plan.peak / MIB
    note(ax, f"peak {peak:.2f}", (plan.at + 1, peak), (0, 5), fontsize=9)
    start, shaded = 0.5, True
    for side, steps in groupby(plan.steps, side_written):
        end = start + len(list(steps))
        if end - start > 5:
            if shaded:
                ax.axvspan(start, end, color="#f2f2f2", linewidth=0, zorder=0)
            where = ((start + end) / 2, 0.99)
            ax.annotate(side, where, xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8)
            shaded = not shaded
        start = end


def side_written(step: Step) -> str:
    """Height x width of the map an operator writes."""
    shape = next(held.shape for held in step.alive if held.name == step.node.output)
    return "x".join(map(str, shape[2:])) if len(shape) == 4 else "1x1"


def memory_of(plans: Mapping[str, Plan]) -> Figure:
    """A panel a plan under its title, two in a line, all on one scale."""
    style()
    lines = (len(plans) + 1) // 2
    figure, axes = plt.subplots(
        lines, 2, figsize=(WIDTH, 2.5 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, plan) in zip(axes.flat, plans.items(), strict=False):
        memory_over_operators(plan, ax)
        ax.set_title(title, fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("operator")
    for ax in axes[:, 0]:
        ax.set_ylabel("held (MiB)")
    operators, peak = max(len(plan.steps) for plan in plans.values()), max(plan.peak for plan in plans.values()) / MIB
    axes[0, 0].set(xlim=(0.5, operators + 0.5), ylim=(0, 1.25 * peak))
    figure.suptitle("at the top of a band: height x width of the maps that its operators write", **CAPTION)
    legend_below(figure)
    return figure


def compared(rows: Sequence[Row], *meanings: str, claims: Mapping[str, float] | None = None) -> Figure:
    """MiB by MEANINGS, a panel each: a group of bars an executor or engine, a bar a network; beside it how many times
    less than the ResNet, which is among the rows. claims: how many times less the paper says, as a dotted mark."""
    style()
    whole = next(row for row in rows if row["shortcuts"] == "all")
    names = {what: [name for name, taken in whole[what].items() if taken is not None] for what in meanings}
    size = (WIDTH, 0.85 * max(map(len, names.values())) + 1.3)
    figure, axes = plt.subplots(1, len(meanings), figsize=size, squeeze=False, layout="constrained")
    for ax, what in zip(axes[0], meanings, strict=True):
        longest = max(row[what][name] for row in rows for name in names[what]) / MIB
        for i, name in enumerate(names[what]):
            for aside, row in enumerate(rows):
                y, taken, most = i + 0.26 * (aside - 1), row[what][name] / MIB, whole[what][name] / MIB
                ax.barh(y, taken, 0.24, color=NETWORK_COLOURS[row["shortcuts"]], label=row["name"])
                less = "" if row is whole else f" ({most / taken:.2f}x less)"
                note(ax, f"{taken:.2f}{less}", (longest, y), (4, 0), va="center", fontsize=9)
            if claim := (claims or {}).get(what):
                look = {"colors": "#222", "linestyles": (0, (1, 1)), "label": "plain, by the paper's number"}
                ax.vlines(most / claim, i - 0.42, i + 0.42, **look)
        words = [textwrap.fill(name, 14) for name in names[what]]
        same = ax is not axes[0, 0] and names[what] == names[meanings[0]]
        ax.set_yticks(range(len(words)), [""] * len(words) if same else words)
        room = 1 + 0.35 * len(meanings)  # for the numbers beside the bars
        ax.set(title=MEANINGS[what], xlabel="MiB", xlim=(0, room * longest))
        ax.invert_yaxis()
    legend_below(figure, ncols=2 if claims else 3)
    return figure


def against_rivals(rows: Iterable[Row]) -> Figure:
    """Arithmetic against memory: the ResNet, the strictly plain network, and ResNets pruned or narrowed until they cost
    as much as it; to the left is less memory, upwards a larger network."""
    style()
    panels = {("traffic", OUT_OF_PLACE): "written (MiB), adding out of place", ("peak", FUSED): "peak (MiB), fused"}
    markers = dict(zip(COSTS, "s^D", strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True, layout="constrained")
    for ax, ((what, executor), label) in zip(axes, panels.items(), strict=True):
        for row in rows:
            how, _, cost = row["variant"].partition(" to ")
            colour = NETWORK_COLOURS[row["shortcuts"]]
            face = {"pruned": "white", "narrowed": "#c8c8c8"}.get(how, colour)
            look = {"markerfacecolor": face, "markersize": 8, "zorder": 2 if how else 3}
            at = (row[what][executor] / MIB, row["macs"] / 1e9)
            ax.plot(*at, markers.get(cost, "o"), color=colour, label=row["variant"] or row["name"], **look)
        ax.set(xlabel=label, xlim=(0, 1.05 * ax.get_xlim()[1]), ylim=(0, 1.05 * ax.get_ylim()[1]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("multiply-additions (G)")
    legend_below(figure, ncols=4)
    return figure

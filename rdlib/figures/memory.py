"""The plots of what a network holds in memory at every operator of its forward pass."""

from collections.abc import Mapping
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.deploy.planner import Plan, Step
from rdlib.figures.style import legend_below, note, style

MAIN, SHORTCUT = "#b8b8b8", "#8250a8"
MIB = 2**20


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
    """`held` in MiB, over bands of the operators that write maps of one height and width."""
    held(plan, ax)
    peak = plan.peak / MIB
    note(ax, f"peak {peak:.2f}", (plan.at + 1, peak), (0, 5), fontsize=9)
    start = 0.5
    for band, (side, steps) in enumerate(groupby(plan.steps, side_written)):
        end = start + len(list(steps))
        if band % 2:
            ax.axvspan(start, end, color="#f2f2f2", linewidth=0, zorder=0)
        if end - start > 5:
            where = ((start + end) / 2, 0.99)
            ax.annotate(side, where, xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8)
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
        lines, 2, figsize=(10, 2.7 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, plan) in zip(axes.flat, plans.items(), strict=False):
        memory_over_operators(plan, ax)
        ax.set_title(title, fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("operator")
    for ax in axes[:, 0]:
        ax.set_ylabel("alive (MiB)")
    operators, peak = max(len(plan.steps) for plan in plans.values()), max(plan.peak for plan in plans.values()) / MIB
    axes[0, 0].set(xlim=(0.5, operators + 0.5), ylim=(0, 1.25 * peak))
    legend_below(figure)
    return figure

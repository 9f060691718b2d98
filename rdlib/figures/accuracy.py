"""The plots, each returning its Axes. Every network keeps one colour through the whole project."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.deploy.planner import Plan, Step
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import cell, records_of
from rdlib.measure.latency_record import Cell
from rdlib.measure.speedup import Speedup
from rdlib.runs.store import Store
from rdlib.train import Epoch

COLOURS = {
    "ResNet": "#4d4d4d",
    "plain": "#d55e00",
    "plain, logit distillation": "#cc9a00",
    "plain, feature distance": "#009e73",
    "plain, JointRD": "#0072b2",
    "plain, JointRD, joint teacher": "#56b4e9",
}


def style() -> None:
    """Seaborn's quiet look, sharp in notebooks (also on dense screens) and in print."""
    from IPython.core.getipython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    if get_ipython() is not None:
        set_matplotlib_formats("retina")  # type: ignore[no-untyped-call]
    sns.set_theme(context="notebook", style="ticks", font_scale=0.95)
    plt.rcParams.update({"figure.dpi": 110, "savefig.dpi": 160, "axes.spines.top": False, "axes.spines.right": False})


def short_name(row: Row) -> str:
    """The key of COLOURS: what a reader calls a row."""
    return row.network if row.teaching == CROSS_ENTROPY else f"{row.network}, {row.method}"


def learning_curves(curves: Mapping[str, Sequence[Epoch]], ax: Axes | None = None, epochs: int | None = None) -> Axes:
    """Training accuracy of the student per epoch, one line a network; `epochs` fixes the width of the axis."""
    ax = ax or plt.subplots(figsize=(7, 4))[1]
    for name, history in curves.items():
        x, y = [e.epoch for e in history], [e.train_top1 for e in history]
        ax.plot(x, y, color=COLOURS.get(name), label=name, marker="o", markersize=3)
    ax.set(xlabel="epoch", ylabel="training top-1 (%)", ylim=(0, 102))
    if epochs:
        ax.set_xlim(0.5, epochs + 0.5)
    if curves:
        ax.legend(frameon=False, loc="lower right")
    return ax


class LiveCurves:
    """Learning curves that are redrawn in place while `fit` runs; works in JupyterLab and under papermill."""

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
        learning_curves(self.curves, ax, self.epochs)
        plt.close(figure)
        return figure


def mean_curves(rows: Sequence[Row], store: Store, ax: Axes | None = None) -> Axes:
    """Recorded training accuracy: mean over the seeds, and the range between the lowest and the highest seed."""
    ax = ax or plt.subplots(figsize=(7, 4))[1]
    for row in rows:
        records = records_of(row, store)
        if not records:
            continue
        values = np.array([[epoch["train_top1"] for epoch in record.history] for record in records])
        x, name = np.arange(1, values.shape[1] + 1), short_name(row)
        ax.plot(x, values.mean(0), color=COLOURS[name], label=f"{name} (n = {len(records)})")
        ax.fill_between(x, values.min(0), values.max(0), color=COLOURS[name], alpha=0.18, linewidth=0)
    ax.set(xlabel="epoch", ylabel="training top-1 (%)", ylim=(0, 102))
    if ax.lines:
        legend_below(ax)
    return ax


def legend_below(ax: Axes) -> None:
    """A legend under the axis, where it hides no curve."""
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def accuracy(
    rows: Sequence[Row], store: Store, ax: Axes | None = None, references: Sequence[float | None] = ()
) -> Axes:
    """Last-epoch test accuracy: each seed a dot, the mean a bar, one standard deviation as its error bar.

    `references`: the reported value for each row or None, drawn as a diamond.
    """
    ax = ax or plt.subplots(figsize=(7, 0.5 * len(rows) + 1))[1]
    for y, row in enumerate(rows):
        ours = cell(row, store)
        colour = COLOURS[short_name(row)]
        if ours.values:
            spread = ours.std if len(ours.values) > 1 else 0.0
            ax.errorbar(ours.mean, y, xerr=spread, fmt="|", ms=18, mew=2.5, capsize=4, color=colour)
            ax.scatter(ours.values, [y] * len(ours.values), s=22, color=colour, alpha=0.6, zorder=3)
            ax.annotate(
                f"{ours.mean:.1f}", (ours.mean, y), (0, 11), textcoords="offset points", ha="center", color=colour
            )
        reference = references[y] if references else None
        if reference is not None:
            ax.scatter([reference], [y], marker="D", s=34, facecolor="white", edgecolor=colour, zorder=2)
    counts = sorted({len(cell(row, store).values) for row in rows} - {0})
    seeds = f", n = {' or '.join(map(str, counts))}" if counts else ""
    ax.set_yticks(range(len(rows)), [tick(row) for row in rows])
    ax.set(xlabel=f"test top-1, last epoch (%){seeds}", ylim=(len(rows) - 0.4, -0.8))
    ax.grid(axis="x", alpha=0.3)
    return ax


def tick(row: Row) -> str:
    kept = {"all": "", "downsample": ", downsampling kept", "none": ""}[row.shortcuts]
    name = f"{row.network}-{row.depth}{kept}"
    return name if row.teaching == CROSS_ENTROPY else f"{name}\n{row.method}"


def claim(rows: Sequence[Row], store: Store) -> Figure:
    """The README's figure: curves and last-epoch accuracy of ResNet, plain and JointRD plain of one depth."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1, 1.05), layout="constrained")
    mean_curves([row for row in rows if row.teaching in (CROSS_ENTROPY, JOINTRD)], store, left)
    rate = rows[0].runs[0].recipe.learning_rate
    title = f"learning rate {rate:g}; mean of the seeds, band from lowest to highest"
    left.set_title(title, fontsize=10, color="#555")
    accuracy(rows, store, right)
    right.set_title("dots: seeds; bar: mean ± standard deviation", fontsize=10, color="#555")
    return figure


def against_learning_rate(rows: Sequence[Row], store: Store, ax: Axes | None = None) -> Axes:
    """Last-epoch accuracy over the peak learning rate (log axis): mean and range of the seeds, one line a network."""
    ax = ax or plt.subplots(figsize=(7, 4))[1]
    for name in dict.fromkeys(short_name(row) for row in rows):
        found = [(row.runs[0].recipe.learning_rate, cell(row, store)) for row in rows if short_name(row) == name]
        filled = [(rate, ours) for rate, ours in found if ours.values]
        if filled:
            x, y = [rate for rate, _ in filled], [ours.mean for _, ours in filled]
            low = [ours.mean - min(ours.values) for _, ours in filled]
            high = [max(ours.values) - ours.mean for _, ours in filled]
            n = max(len(ours.values) for _, ours in filled)
            ax.errorbar(x, y, [low, high], marker="o", capsize=4, color=COLOURS[name], label=f"{name} (n = {n})")
    rates = sorted({row.runs[0].recipe.learning_rate for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates], minor=False)
    ax.minorticks_off()
    ax.set(xlabel="peak learning rate", ylabel="tune top-1, last epoch (%)", ylim=(0, 102))
    if ax.containers:
        legend_below(ax)
    return ax


NETWORK_COLOURS = {"downsample": "#cc79a7", "none": COLOURS["plain"]}


def speedups(found: Mapping[Cell, Speedup], side: int, batch: int, claimed: float) -> Figure:
    """How many times faster than its ResNet a plain network is, with 95 % interval: a panel a depth, a line an engine.

    claimed: the paper's speed-up of depth 50 at 224x224, drawn in that panel alone.
    """
    chosen = [one for cell, one in found.items() if (cell.side, cell.batch, cell.variant) == (side, batch, "")]
    plain = [one for one in chosen if not one.is_resnet]
    depths = sorted({one.cell.depth for one in plain}) or [50]
    engines = sorted({(one.cell.engine, one.cell.precision) for one in plain}, reverse=True)
    size = (3.1 * len(depths) + 2.6, 0.42 * len(engines) + 1.5)
    figure, panels = plt.subplots(
        1, len(depths), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, depth in zip(panels[0], depths, strict=True):
        for one in plain:
            if one.cell.depth == depth:
                kind = one.cell.shortcuts
                y = engines.index((one.cell.engine, one.cell.precision)) + (0.14 if kind == "downsample" else -0.14)
                spread = [[max(one.ratio - one.low, 0)], [max(one.high - one.ratio, 0)]]
                ax.errorbar(one.ratio, y, xerr=spread, fmt="o", ms=5, capsize=3, color=NETWORK_COLOURS[kind])
        ax.axvline(1, color=COLOURS["ResNet"], linewidth=1)
        if (depth, side) == (50, 224):
            ax.axvline(claimed, color="#999", linewidth=1, linestyle=":")
            ax.annotate(
                "paper", (claimed, 1), (3, -2), ("data", "axes fraction"), "offset points", color="#777", va="top"
            )
        ax.set(xlabel=f"times as fast as ResNet-{depth}", ylim=(-0.6, len(engines) - 0.2))
        ax.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(engines)), [f"{engine}\n{precision}" for engine, precision in engines])
    named = (("downsampling kept", "downsample"), ("strictly plain", "none"))
    for name, kind in named:
        panels[0][0].plot([], [], marker="o", linestyle="", color=NETWORK_COLOURS[kind], label=name)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    figure.suptitle(f"{side}x{side}, batch {batch}; median and 95 % interval", fontsize=10, color="#555")
    return figure


HELD_FOR = {"the operator and the main path": "#b8b8b8", "a shortcut": "#8250a8"}


def memory_over_operators(plan: Plan, ax: Axes | None = None) -> Axes:
    """Bytes alive at every operator of the forward pass; what is alive only for a shortcut stands on top.

    Bands mark the operators that write maps of one height and width; a dot marks the peak.
    """
    ax = ax or plt.subplots(figsize=(7, 3))[1]
    edges = np.arange(len(plan.steps) + 1) + 0.5
    total = np.array([step.bytes for step in plan.steps]) / 2**20
    main = total - np.array([step.shortcut_bytes for step in plan.steps]) / 2**20
    for (name, colour), low, high in zip(HELD_FOR.items(), (np.zeros_like(main), main), (main, total), strict=True):
        ax.stairs(high, edges, baseline=low, fill=True, color=colour, linewidth=0, label=f"alive for {name}")
    ax.stairs(total, edges, baseline=None, color="#333", linewidth=0.6)
    ax.plot(plan.at + 1, plan.peak / 2**20, "o", color="#333", markersize=4)
    ax.annotate(
        f"peak {plan.peak / 2**20:.2f}",
        (plan.at + 1, plan.peak / 2**20),
        (0, 5),
        textcoords="offset points",
        fontsize=9,
    )
    sides = [side_written(step) for step in plan.steps]
    starts = [0, *(i for i in range(1, len(sides)) if sides[i] != sides[i - 1])]
    for band, (start, end) in enumerate(zip(starts, [*starts[1:], len(sides)], strict=True)):
        if band % 2:
            ax.axvspan(start + 0.5, end + 0.5, color="#f2f2f2", linewidth=0, zorder=0)
        if end - start > 5:
            at = ((start + end + 1) / 2, 0.99)
            ax.annotate(sides[start], at, xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8)
    ax.set(xlim=(0.5, len(sides) + 0.5), ylim=(0, None), xlabel="operator", ylabel="alive (MiB)")
    return ax


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
        memory_over_operators(plan, ax).set_title(title, fontsize=10)
    for ax in axes[:, 1]:
        ax.set_ylabel("")
    axes[0, 0].set_xlim(0.5, max(len(plan.steps) for plan in plans.values()) + 0.5)
    axes[0, 0].set_ylim(0, 1.25 * max(plan.peak for plan in plans.values()) / 2**20)
    named = axes[0, 0].get_legend_handles_labels()
    figure.legend(*named, loc="outside lower center", ncols=2, frameon=False)
    return figure

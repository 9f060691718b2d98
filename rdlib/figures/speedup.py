"""The plot of table 2: how many times as fast as its ResNet a plain network is."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.figures.style import CAPTION, COLOURS, NETWORK_COLOURS, NETWORK_MARKERS, legend_below, note, style
from rdlib.measure.latency_record import Cell
from rdlib.measure.speedup import Speedup
from rdlib.models import SHORTCUTS, Shortcuts


def speedups(
    machines: Mapping[str, Mapping[Cell, Speedup]], side: int, batch: int, depths: Sequence[int], claimed: float
) -> Figure:
    """Ratios with 95 % interval: a panel a machine and depth that was timed, a line an engine.

    claimed: the paper's speed-up of depth 50 at 224x224, drawn in such panels alone.
    """
    style()
    panels: dict[tuple[str, int], list[Speedup]] = {}
    for machine, found in machines.items():
        for one in found.values():
            cell = one.cell
            same = (cell.side, cell.batch, cell.variant) == (side, batch, "")
            if same and cell.depth in depths and not one.is_resnet:
                panels.setdefault((machine, cell.depth), []).append(one)
    lines = sorted({line_of(one) for plain in panels.values() for one in plain}, reverse=True)
    figure, axes = plt.subplots(
        *(1, max(1, len(panels))),
        figsize=(8.6, 0.42 * len(lines) + 1.7),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, ((machine, depth), plain) in zip(axes[0], panels.items(), strict=False):
        for kind, aside in (("downsample", 0.14), ("none", -0.14)):
            here = [one for one in plain if one.cell.shortcuts == kind]
            y = [lines.index(line_of(one)) + aside for one in here]
            ends = [[max(one.ratio - one.low, 0) for one in here], [max(one.high - one.ratio, 0) for one in here]]
            look = {"fmt": NETWORK_MARKERS[kind], "ms": 5, "capsize": 3, "color": NETWORK_COLOURS[kind]}
            ax.errorbar([one.ratio for one in here], y, xerr=ends, label=SHORTCUTS[kind], **look)
        ax.set(xlabel=f"times as fast as ResNet-{depth}", ylim=(-0.6, len(lines) - 0.2))
        ax.set_title(textwrap.fill(machine, 36), fontsize=10)
        mark(ax, claimed if (depth, side) == (50, 224) else None)
    axes[0, 0].set_yticks(range(len(lines)), [f"{engine}\n{precision}" for engine, precision in lines], fontsize=9)
    legend_below(figure)
    figure.suptitle(f"{side}x{side}, batch {batch}; median and 95 % interval", **CAPTION)
    return figure


def against_rivals(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """How many times as fast as the whole ResNet-50 networks are: a panel a processor under its title, a line a network
    by its name, a dot an engine or target."""
    style()
    names = list(dict.fromkeys(name for of in panels.values() for name in of))
    size = (8.6, 0.34 * len(names) + 1.5)
    figure, axes = plt.subplots(
        1, max(1, len(panels)), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, of) in zip(axes[0], panels.items(), strict=False):
        for name, ratios in of.items():
            kind: Shortcuts = "none" if name == SHORTCUTS["none"] else "all"
            look = {"color": NETWORK_COLOURS[kind], "alpha": 0.6, "markersize": 6}
            ax.plot(ratios, [names.index(name)] * len(ratios), NETWORK_MARKERS[kind], **look)
        ax.set_title(textwrap.fill(title, 26), fontsize=10)
        mark(ax, None)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("times as fast as the whole ResNet-50, batch 1; a dot an engine or a target", fontsize=11)
    return figure


def mark(ax: Axes, claimed: float | None) -> None:
    """A line where a network is as fast as the ResNet, and a dotted one where the paper's is."""
    ax.axvline(1, color=COLOURS["ResNet"], linewidth=1)
    ax.grid(axis="x", alpha=0.3)
    if claimed:
        ax.axvline(claimed, color="#222", linewidth=1.2, linestyle=":")
        look = {"xycoords": ("data", "axes fraction"), "color": "#444", "ha": "right", "va": "top", "fontsize": 9}
        note(ax, f"the paper: {claimed:g}", (claimed, 1), (-4, -1), **look)


def line_of(one: Speedup) -> tuple[str, str]:
    """Engine and precision."""
    return one.cell.engine, one.cell.precision

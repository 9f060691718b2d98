"""The plots of what an NPU's compiler estimates: speed against memory, and where the cycles go."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.figures.style import CAPTION, NETWORK_COLOURS, legend_below, style
from rdlib.measure.npu import SIZE
from rdlib.models import SHORTCUTS
from rdlib.paper.npu import Record, Row, by_target, feature_maps

OPERATORS = {"Conv2D": "#b8b8b8", "Add": "#8250a8", "others": "#dbc9a0"}
KIB, MB = 2**10, 1e6


def memory_axis(row: Row) -> tuple[str, float]:
    """What limits a network on a target, in words and as a number: the SRAM that it uses where feature maps lie in it;
    else, where SRAM only caches them and is full, what of them moves to and from DRAM."""
    cached = "Dedicated" in row["target"]
    return (
        ("feature maps to and from DRAM (MB)", feature_maps(row, "dram") / MB)
        if cached
        else (
            "SRAM used (KiB)",
            row["used"]["sram"] / KIB,
        )
    )


def trade(record: Record, side: int, depth: int) -> Figure:
    """Milliseconds against memory: a panel a target, a colour a network; filled compiled for speed, hollow for size."""
    style()
    found = by_target(record, side, depth)
    places = [target for target in found if not target.endswith(SIZE)]
    figure, axes = plt.subplots(2, (len(places) + 1) // 2, figsize=(11, 6.2), squeeze=False, layout="constrained")
    for ax, place in zip(axes.flat, places, strict=False):
        for name, row in found[place].items():
            if not row["variant"]:
                both = [row, found.get(place + SIZE, {}).get(name)]
                points(ax, [one for one in both if one and "refused" not in one], NETWORK_COLOURS[row["shortcuts"]])
        ax.set_title(place.replace(", ", "\n", 1), fontsize=9)
        ax.set(xlim=(0, 1.1 * ax.get_xlim()[1]), ylim=(0, 1.1 * ax.get_ylim()[1]), ylabel="ms")
        ax.grid(alpha=0.3)
    for ax in axes.flat[len(places) :]:
        ax.axis("off")
    for shortcuts, words in SHORTCUTS.items():
        shown = f"ResNet-{depth}" if shortcuts == "all" else f"plain-{depth}, {words}"
        axes[0, 0].plot([], [], "o", color=NETWORK_COLOURS[shortcuts], label=shown)
    axes[0, 0].plot([], [], "o", color="#666", label="compiled for speed")
    axes[0, 0].plot([], [], "o", color="#666", markerfacecolor="white", label="compiled for size")
    legend_below(figure, ncols=5)
    figure.suptitle(f"{side}x{side}, int8; the compiler's estimates: to the lower left is better", **CAPTION)
    return figure


def points(ax: Axes, rows: list[Row], colour: str) -> None:
    """A network compiled for speed and for size, joined by a line."""
    at = [(memory_axis(row)[1], row["milliseconds"]) for row in rows]
    ax.plot(*zip(*at, strict=True), color=colour, linewidth=0.8, alpha=0.6) if at else None
    for row, (x, y) in zip(rows, at, strict=True):
        face = "white" if row["target"].endswith(SIZE) else colour
        ax.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=7)
        ax.set_xlabel(memory_axis(row)[0], fontsize=9)


def cycles(record: Record, side: int, depth: int) -> Figure:
    """Cycles by operator as a share of the ResNet's: a group a target, a bar a network; compiled for speed."""
    style()
    found = {target: of for target, of in by_target(record, side, depth).items() if not target.endswith(SIZE)}
    names, kinds = list(found), list(SHORTCUTS)
    figure, ax = plt.subplots(figsize=(9, 0.75 * len(names) + 1.6), layout="constrained")
    for i, target in enumerate(reversed(names)):
        rows = {row["shortcuts"]: row for row in found[target].values() if not row["variant"]}
        for aside, kind in enumerate(kinds):
            row, left, y = rows.get(kind), 0.0, i + 0.26 * (1 - aside)
            if row is None or "refused" in row:
                ax.annotate("no room", (0.01, y), va="center", fontsize=8, color="#777")
                continue
            for name, colour in OPERATORS.items():
                width = share(row, name) * row["cycles"] / rows["all"]["cycles"]
                ax.barh(y, width, 0.23, left, color=colour, label=name)
                left += width
            ax.annotate(
                SHORTCUTS[kind] if kind != "all" else f"ResNet-{depth}",
                (left, y),
                (3, 0),
                va="center",
                textcoords="offset points",
                fontsize=8,
                color=NETWORK_COLOURS[kind],
            )
    ax.set_yticks(range(len(names)), [name.replace(", ", "\n", 1) for name in reversed(names)], fontsize=9)
    ax.set(xlabel=f"cycles, as a share of ResNet-{depth}'s", xlim=(0, 1.25))
    legend_below(figure, ncols=3)
    figure.suptitle(f"{side}x{side}, int8; the compiler's estimates", **CAPTION)
    return figure


def share(row: Row, operator: str) -> float:
    """Of a network's cycles, those of an operator, or of all that OPERATORS does not name."""
    by = {name: of["cycles"] / row["cycles"] for name, of in row["operators"].items()}
    named = [name for name in OPERATORS if name != "others"]
    return float(
        by.get(operator, 0.0) if operator in named else sum(by.values()) - sum(by.get(one, 0) for one in named)
    )

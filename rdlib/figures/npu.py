"""The plots of what an NPU's compiler estimates: speed against memory, and where the cycles go."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.figures.style import CAPTION, NETWORK_COLOURS, legend_below, note, style
from rdlib.measure.npu import for_size
from rdlib.models import KINDS, SHORTCUTS
from rdlib.paper.npu import Record, Row, by_target, feature_maps, place

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
    fits: dict[str, list[Row]] = {}
    for of in by_target(record, side, depth).values():
        for row in of.values():
            if not row["variant"] and "refused" not in row:
                fits.setdefault(place(row), []).append(row)
    columns = max(1, (len(fits) + 1) // 2)
    figure, axes = plt.subplots(2, columns, figsize=(11, 6.2), squeeze=False, layout="constrained")
    for ax, (name, rows) in zip(axes.flat, fits.items(), strict=False):
        for shortcuts, colour in NETWORK_COLOURS.items():
            points(ax, [row for row in rows if row["shortcuts"] == shortcuts], colour)
        ax.set_title(name.replace(" ", "\n", 1), fontsize=9)
        ax.set(xlim=(0, 1.1 * ax.get_xlim()[1]), ylim=(0, 1.1 * ax.get_ylim()[1]), ylabel="ms")
        ax.grid(alpha=0.3)
    for ax in axes.flat[len(fits) :]:
        ax.axis("off")
    for kind, words in KINDS.items():
        axes[0, 0].plot([], [], "o", color=NETWORK_COLOURS[kind], label=words.format(depth))
    axes[0, 0].plot([], [], "o", color="#666", label="compiled for speed")
    axes[0, 0].plot([], [], "o", color="#666", markerfacecolor="white", label="compiled for size")
    legend_below(figure, ncols=5)
    figure.suptitle(f"{side}x{side}, int8; the compiler's estimates: to the lower left is better", **CAPTION)
    return figure


def points(ax: Axes, rows: list[Row], colour: str) -> None:
    """A network compiled for speed and for size, joined by a line."""
    at = [(memory_axis(row)[1], row["milliseconds"]) for row in rows]
    if at:
        ax.plot(*zip(*at, strict=True), color=colour, linewidth=0.8, alpha=0.6)
    for row, (x, y) in zip(rows, at, strict=True):
        ax.plot(x, y, "o", color=colour, markerfacecolor="white" if for_size(row) else colour, markersize=7)
        ax.set_xlabel(memory_axis(row)[0], fontsize=9)


def cycles_by_operator(record: Record, side: int, depth: int) -> Figure:
    """Cycles by operator as a share of the ResNet's: a group a target, a bar a network; compiled for speed."""
    style()
    whole = KINDS["all"].format(depth)
    found = [
        of for of in by_target(record, side, depth).values() if not for_size(of[whole]) and "refused" not in of[whole]
    ]
    figure, ax = plt.subplots(figsize=(9, 0.75 * len(found) + 1.6), layout="constrained")
    for i, of in enumerate(reversed(found)):
        rows = {row["shortcuts"]: row for row in of.values() if not row["variant"]}
        for aside, kind in enumerate(SHORTCUTS):
            row, left, y = rows.get(kind), 0.0, i + 0.26 * (1 - aside)
            if row is None or "refused" in row:
                ax.annotate("no room", (0.01, y), va="center", fontsize=8, color="#777")
                continue
            for name, colour in OPERATORS.items():
                width = share(row, name) * row["cycles"] / rows["all"]["cycles"]
                ax.barh(y, width, 0.23, left, color=colour, label=name)
                left += width
            words = {"va": "center", "fontsize": 8, "color": NETWORK_COLOURS[kind]}
            note(ax, whole if kind == "all" else SHORTCUTS[kind], (left, y), (3, 0), **words)
    ax.set_yticks(range(len(found)), [place(of[whole]).replace(" ", "\n", 1) for of in reversed(found)], fontsize=9)
    ax.set(xlabel=f"cycles, as a share of {whole}'s", xlim=(0, 1.25))
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

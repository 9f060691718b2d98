"""The plots of what an NPU's compiler estimates: speed, speed against memory, and where the cycles go."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.figures.speedup import mark
from rdlib.figures.style import CAPTION, NETWORK_COLOURS, NETWORK_MARKERS, legend_below, note, style
from rdlib.measure.npu import for_size
from rdlib.models import KINDS, SHORTCUTS
from rdlib.paper.npu import Record, Row, by_target, feature_maps, place

OPERATORS = {"Conv2D": "#b8b8b8", "Add": "#8250a8", "others": "#f1e6c8"}
KIB, MB = 2**10, 1e6
WIDTH = 8.6  # inches
ESTIMATED = "int8; the compiler's estimates"


def memory_axis(row: Row) -> tuple[str, float]:
    """What limits a network on a target, in words and as a number: the SRAM that it uses where feature maps lie in it;
    else, where SRAM only caches them and is full, what of them moves to and from DRAM."""
    cached = "Dedicated" in row["target"]
    return (
        ("moved to and from DRAM (MB)", feature_maps(row, "dram") / MB)
        if cached
        else (
            "SRAM used (KiB)",
            row["used"]["sram"] / KIB,
        )
    )


def of_places(record: Record, side: int, depth: int) -> dict[str, list[Row]]:
    """Rows that the compiler had room for, by target; for speed and for size under one name."""
    found: dict[str, list[Row]] = {}
    for of in by_target(record, side, depth).values():
        for row in of.values():
            if not row["variant"] and "refused" not in row:
                found.setdefault(place(row), []).append(row)
    return found


def faster(record: Record, side: int, depth: int, claimed: float) -> Figure:
    """How many times as fast as the ResNet compiled alike: a line a target; filled compiled for speed, hollow for size.
    claimed: the paper's."""
    style()
    found = of_places(record, side, depth)
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(found) + 1.6), layout="constrained")
    for i, rows in enumerate(reversed(found.values())):
        whole = {for_size(row): row["milliseconds"] for row in rows if row["shortcuts"] == "all"}
        for row in (row for row in rows if row["shortcuts"] != "all" and for_size(row) in whole):
            y = i + (0.14 if row["shortcuts"] == "downsample" else -0.14)
            point(ax, row, whole[for_size(row)] / row["milliseconds"], y)
    ax.set_yticks(range(len(found)), [name.replace(" ", "\n", 1) for name in reversed(found)], fontsize=9)
    ax.set(xlabel=f"times as fast as ResNet-{depth}", ylim=(-0.6, len(found) - 0.2))
    mark(ax, claimed)
    key(ax, depth, "downsample", "none")
    legend_below(figure)
    figure.suptitle(f"{side}x{side}, {ESTIMATED}", **CAPTION)
    return figure


def trade(record: Record, side: int, depth: int) -> Figure:
    """Milliseconds against memory: a panel a target, a colour a network; filled compiled for speed, hollow for size."""
    style()
    found = of_places(record, side, depth)
    columns = max(1, (len(found) + 1) // 2)
    figure, axes = plt.subplots(2, columns, figsize=(WIDTH, 5.4), squeeze=False, layout="constrained")
    for ax, (name, rows) in zip(axes.flat, found.items(), strict=False):
        for shortcuts in NETWORK_COLOURS:
            of_network(ax, [row for row in rows if row["shortcuts"] == shortcuts])
        ax.set_title(name.replace(" ", "\n", 1), fontsize=9)
        ax.set(xlim=(0, 1.1 * ax.get_xlim()[1]), ylim=(0, 1.1 * ax.get_ylim()[1]))
        ax.tick_params(labelsize=9)
        ax.grid(alpha=0.3)
    for ax in axes.flat[len(found) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("ms")
    key(axes[0, 0], depth, *NETWORK_COLOURS)
    legend_below(figure, ncols=3)
    figure.suptitle(f"{side}x{side}, {ESTIMATED}: to the lower left is better", **CAPTION)
    return figure


def of_network(ax: Axes, rows: list[Row]) -> None:
    """A network compiled for speed and for size, joined by a line."""
    at = [(memory_axis(row)[1], row["milliseconds"]) for row in rows]
    if at:
        ax.plot(*zip(*at, strict=True), color=NETWORK_COLOURS[rows[0]["shortcuts"]], linewidth=0.8, alpha=0.6)
        ax.set_xlabel(memory_axis(rows[0])[0], fontsize=9)
    for row, (x, y) in zip(rows, at, strict=True):
        point(ax, row, x, y)


def point(ax: Axes, row: Row, x: float, y: float) -> None:
    """Filled where it was compiled for speed, hollow where for size."""
    kind, colour = row["shortcuts"], NETWORK_COLOURS[row["shortcuts"]]
    ax.plot(x, y, NETWORK_MARKERS[kind], color=colour, markerfacecolor="white" if for_size(row) else colour, ms=7)


def key(ax: Axes, depth: int, *kinds: str) -> None:
    """The legend's entries of these networks, and of the two compilations."""
    for kind, words in KINDS.items():
        if kind in kinds:
            ax.plot([], [], NETWORK_MARKERS[kind], color=NETWORK_COLOURS[kind], label=words.format(depth))
    for face, what in (("#666", "speed"), ("white", "size")):
        ax.plot([], [], "o", color="#666", markerfacecolor=face, label=f"compiled for {what}")


def cycles_by_operator(record: Record, side: int, depth: int) -> Figure:
    """Cycles by operator as a share of the ResNet's: a group a target, a bar a network; compiled for speed."""
    style()
    whole = KINDS["all"].format(depth)
    found = [
        of for of in by_target(record, side, depth).values() if not for_size(of[whole]) and "refused" not in of[whole]
    ]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.7 * len(found) + 1.4), layout="constrained")
    for i, of in enumerate(reversed(found)):
        rows = {row["shortcuts"]: row for row in of.values() if not row["variant"]}
        for aside, kind in enumerate(SHORTCUTS):
            row, left, y = rows.get(kind), 0.0, i + 0.26 * (1 - aside)
            if row is None or "refused" in row:
                ax.annotate("no room", (0.01, y), va="center", fontsize=8, color="#777")
                continue
            for name, colour in OPERATORS.items():
                width = share(row, name) * row["cycles"] / rows["all"]["cycles"]
                ax.barh(y, width, 0.23, left, color=colour, edgecolor="#999", linewidth=0.4, label=name)
                left += width
            words = {"va": "center", "fontsize": 8, "color": NETWORK_COLOURS[kind]}
            note(ax, whole if kind == "all" else SHORTCUTS[kind], (left, y), (3, 0), **words)
    ax.set_yticks(range(len(found)), [place(of[whole]).replace(" ", "\n", 1) for of in reversed(found)], fontsize=9)
    ax.set(xlabel=f"cycles, as a share of {whole}'s", xlim=(0, 1.25))
    legend_below(figure, ncols=3)
    figure.suptitle(f"{side}x{side}, {ESTIMATED}; compiled for speed", **CAPTION)
    return figure


def share(row: Row, operator: str) -> float:
    """Of a network's cycles, those of an operator, or of all that OPERATORS does not name."""
    by = {name: of["cycles"] / row["cycles"] for name, of in row["operators"].items()}
    named = [name for name in OPERATORS if name != "others"]
    return float(
        by.get(operator, 0.0) if operator in named else sum(by.values()) - sum(by.get(one, 0) for one in named)
    )

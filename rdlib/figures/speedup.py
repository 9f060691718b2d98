"""The plot of table 2: how many times faster than its ResNet a plain network is."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rdlib.figures.style import CAPTION, COLOURS, NETWORK_COLOURS, legend_below, note
from rdlib.measure.latency_record import Cell
from rdlib.measure.speedup import Speedup
from rdlib.models import SHORTCUTS


def speedups(found: Mapping[Cell, Speedup], side: int, batch: int, claimed: float) -> Figure:
    """Ratios with 95 % interval: a panel a depth, a line an engine.

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
        for kind, aside in zip(("downsample", "none"), (0.14, -0.14), strict=True):
            here = [one for one in plain if (one.cell.depth, one.cell.shortcuts) == (depth, kind)]
            y = [engines.index((one.cell.engine, one.cell.precision)) + aside for one in here]
            below = [max(one.ratio - one.low, 0) for one in here]
            above = [max(one.high - one.ratio, 0) for one in here]
            look = {"fmt": "o", "ms": 5, "capsize": 3, "color": NETWORK_COLOURS[kind], "label": SHORTCUTS[kind]}
            ax.errorbar([one.ratio for one in here], y, xerr=[below, above], **look)
        ax.axvline(1, color=COLOURS["ResNet"], linewidth=1)
        if (depth, side) == (50, 224):
            ax.axvline(claimed, color="#999", linewidth=1, linestyle=":")
            note(ax, "paper", (claimed, 1), (3, -2), xycoords=("data", "axes fraction"), color="#777", va="top")
        ax.set(xlabel=f"times as fast as ResNet-{depth}", ylim=(-0.6, len(engines) - 0.2))
        ax.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(engines)), [f"{engine}\n{precision}" for engine, precision in engines])
    legend_below(figure)
    figure.suptitle(f"{side}x{side}, batch {batch}; median and 95 % interval", **CAPTION)
    return figure

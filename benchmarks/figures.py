"""The two figures of the report."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.growth import EPOCH, others
from benchmarks.setting import Setting
from rdlib.figures.style import CAPTION, COLOURS, NETWORK_COLOURS, style

REFERENCE, FAST, OTHER = COLOURS["ResNet"], COLOURS["plain, JointRD"], "#9ecae1"
DEVICES = (FAST, COLOURS["plain"], COLOURS["plain, feature distance"], NETWORK_COLOURS["downsample"])
AXES = {"depth": "depth (layers)", "width": "width (channels of the first stage)", "batch_size": "batch size (images)"}
Bodies = list[dict[str, Any]]


def step(bodies: Bodies) -> Figure:
    """Images/s of every variant, one panel a device and setting; beside each bar its ratio to the reference."""
    style()
    panels = [(body, entry) for body in bodies for entry in body["entries"] if "variants" in entry]
    columns = min(2, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(6.2 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (body, entry) in zip(axes.flat, panels, strict=False):
        bars(ax, entry)
        ax.set_title(f"{body['device']}\n{Setting(**entry['setting']).label}", **CAPTION)
    return figure


def bars(ax: Axes, entry: dict[str, Any]) -> None:
    variants = entry["variants"]
    base = variants["reference"]["images_per_second"]
    names, speeds = list(variants), [v["images_per_second"] for v in variants.values()]
    colours = [{"reference": REFERENCE, "fast": FAST}.get(name, OTHER) for name in names]
    ax.barh(names, speeds, color=colours, height=0.7)
    for y, (v, speed) in enumerate(zip(variants.values(), speeds, strict=True)):
        slow, quick = (entry["setting"]["batch_size"] / v["seconds"][end] for end in ("max", "min"))
        ax.plot([slow, quick], [y, y], color="black", linewidth=1)
        ax.annotate(f"{speed / base:.2f}×", (max(speed, quick), y), (5, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    ax.margins(x=0.2)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("images/s, median and range")


def growth(bodies: Bodies) -> Figure:
    """Minutes an epoch against depth, width and batch size, one line a device."""
    style()
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for ax, (axis, label) in zip(axes, AXES.items(), strict=True):
        values: set[int] = set()
        for colour, body in zip(DEVICES, bodies, strict=False):
            for entry in body["entries"]:
                if entry["setting"]["axis"] != axis:
                    continue
                x = [point["value"] for point in entry["points"]]
                y = [point["epoch_seconds"] / 60 for point in entry["points"]]
                ax.plot(
                    x, y, marker="o", markersize=4, color=colour, label=f"{body['device']}, {others(entry['setting'])}"
                )
                values |= set(x)
        if axis != "depth":
            ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(values), [str(value) for value in sorted(values)])
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda minutes, _: f"{minutes:g}")
        ax.minorticks_off()
        ax.margins(x=0.08, y=0.15)
        ax.grid(axis="y", alpha=0.3)
        ax.set_xlabel(label)
        if ax.lines:
            ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel(f"minutes an epoch\n({EPOCH:,} images)")
    return figure

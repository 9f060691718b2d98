"""The plots of who teaches which stage: share and direction of the gradient, likeness to the teacher, over epochs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from rdlib.figures.style import CAPTION, COLOURS, PATH_COLOURS, band, counted, note, style
from rdlib.measure.gradients import PARTS
from rdlib.paper.gradients import paths_into

OWN, ALONE = COLOURS["plain, JointRD"], COLOURS["plain"]
FIRST = 10  # epochs; later the directions of all paths are noise
APART = 12  # points between the labels of two lines, at least


def panels(
    rows: Mapping[Any, str],
    columns: Mapping[Any, str],
    draw: Callable[[Axes, Any, Any], None],
    size: tuple[float, float],
    sharey: bool | str,
) -> Figure:
    """Panels over epochs, of that size (inches) each; `draw` gets one's axes and the keys of its row and column.

    The values of `rows` stand beside the axes, those of `columns` above, the labels of lines at the ends of a row.
    """
    style()
    figure, axes = plt.subplots(
        *(len(rows), len(columns)),
        figsize=(1.9 + size[0] * len(columns), 0.9 + size[1] * len(rows)),
        sharex=True,
        sharey=sharey,  # type: ignore[arg-type]
        squeeze=False,
        layout="constrained",
    )
    for (row, label), line in zip(rows.items(), axes, strict=True):
        line[0].set_ylabel(label)
        for ax, column in zip(line, columns, strict=True):
            draw(ax, row, column)
            ax.grid(axis="y", alpha=0.3)
    for ax, title in zip(axes[0], columns.values(), strict=True):
        ax.set_title(title, fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.draw_without_rendering()
    for line in axes:
        name_lines(line[-1])
    return figure


def name_lines(ax: Axes) -> None:
    """Each line's label right of the axes, in its colour, at the height of its end or as near as the others let it."""
    in_points, lowest = 72 / ax.figure.dpi, -float("inf")
    named = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    ends = {line: float(ax.transData.transform(np.asarray(line.get_xydata())[-1])[1]) * in_points for line in named}
    for line in sorted(named, key=ends.__getitem__):
        lowest = max(lowest + APART, ends[line])
        look = {"color": line.get_color(), "va": "center", "size": 9.5, "annotation_clip": False}
        at = (1.0, float(ax.transAxes.inverted().transform((0, ends[line] / in_points))[1]))
        note(ax, str(line.get_label()), at, (8, lowest - ends[line]), xycoords="axes fraction", **look)


def by_rate(rates: Iterable[float], label: str = "") -> dict[float, str]:
    """A title for each learning rate, the highest first; without any, for one that is no number and equals none."""
    return {rate: f"{label}learning rate {rate:g}" for rate in sorted(set(rates), reverse=True) or [float("nan")]}


def caption(figure: Figure, found: pd.DataFrame, what: str) -> Figure:
    """A line above that says what is drawn and of how many seeds."""
    figure.suptitle(", ".join(filter(None, [what, counted([found["seed"].nunique()])])), **CAPTION)
    return figure


def by_seed(found: pd.DataFrame, value: str) -> pd.DataFrame:
    """One column of the record, of one network, part and learning rate: a line a seed, a column an epoch."""
    return found.dropna(subset=[value]).pivot(index="seed", columns="epoch", values=value)


def drawn(ax: Axes, found: pd.DataFrame, value: str, color: str, label: str) -> None:
    """One column of the record over epochs, mean and range."""
    wide = by_seed(found, value)
    band(ax, wide.to_numpy(), wide.columns.to_numpy(), color=color, label=label, linewidth=2)


def smoothed(found: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """These columns as a centred moving average of 3 epochs, from which the state before training stays out."""
    smooth = found.sort_values("epoch", ignore_index=True)
    keys = [smooth[key] for key in ("network", "rate", "seed", "part")] + [(smooth["epoch"] > 0).rename("trained")]
    averaged = smooth.groupby(keys)[list(columns)].rolling(3, center=True, min_periods=1).mean()
    smooth[list(columns)] = averaged.droplevel([0, 1, 2, 3, 4]).where(smooth[list(columns)].notna())
    return smooth


def shares(found: pd.DataFrame) -> Figure:
    """How much of JointRD's gradient comes through the teacher, |mixed| / (|mixed| + |own|), as trained and without
    m(t). A column a stage; stage 4 is left out, since no mixed path reaches it. Dotted: paths all of one length."""
    stages = {stage: f"{stage}, mixed paths: {paths_into(stage)}" for stage in PARTS[1:-1]}
    taught = smoothed(found[found["network"] == "JointRD"], "share", "share_at_1")

    def panel(ax: Axes, rate: float, stage: str) -> None:
        here, paths = taught[(taught["rate"] == rate) & (taught["part"] == stage)], paths_into(stage)
        drawn(ax, here, "share", OWN, "as trained")
        if len(without := by_seed(here, "share_at_1").mean()):
            ax.plot(without.index, without, color="#222", linestyle="--", linewidth=1.5, label="m(t) taken out")
        ax.axhline(paths / (paths + 1), color="#777", linewidth=1.2, linestyle=":", label="equal paths")
        ax.set_ylim(0, 1)

    figure = panels(by_rate(found["rate"], "share through the teacher\n"), stages, panel, (2.2, 2.2), sharey=True)
    return caption(figure, taught, "moving averages of 3 epochs; mean and range of the seeds")


def directions(found: pd.DataFrame) -> Figure:
    """Stage 1, path by path: whether two halves of the probe want the same change (cosine; 0 is noise), and its length.

    At the first epochs at which single mixed paths were told apart, evenly spaced; a dot a seed, lines: their means.
    """
    chosen = (found["network"] == "JointRD") & (found["part"] == PARTS[1]) & (found["epoch"] <= FIRST)
    found = found[chosen].dropna(subset=["norm_mixed_1"])
    epochs = sorted(found["epoch"].unique())
    labels = {"agreement": "agreement of two halves", "norm": "length of the gradient"}
    paths = {f"mixed_{k}": (f"leaves after stage {k}", colour) for k, colour in enumerate(PATH_COLOURS, 1)}
    paths["own"] = ("own path", OWN)

    def panel(ax: Axes, what: str, rate: float) -> None:
        for aside, (path, (label, colour)) in zip((-0.12, -0.04, 0.04, 0.12), paths.items(), strict=True):
            if (wide := by_seed(found[found["rate"] == rate], f"{what}_{path}")).size:
                places = [epochs.index(epoch) + aside for epoch in wide]
                dashes = "--" if path == "own" else "-"
                ax.plot(places, wide.mean(), color=colour, linewidth=2.2, linestyle=dashes, label=label)
                ax.plot(places, wide.T, "o", color=colour, markersize=4, markeredgewidth=0, alpha=0.6)
        ax.set_xticks(range(len(epochs)), list(map(str, epochs)))
        if what == "norm":
            ax.set_yscale("log")
            ax.minorticks_off()

    figure = panels(labels, by_rate(found["rate"]), panel, (3.2, 2.3), sharey="row")
    return caption(figure, found, "stage 1; lines: means of the seeds, dots: seeds")


def likeness(found: pd.DataFrame) -> Figure:
    """Linear CKA of every stage's output with the same stage of the ResNet of that seed."""
    networks = {"plain": ("plain, alone", ALONE), "JointRD": ("by JointRD", OWN)}

    def panel(ax: Axes, rate: float, stage: str) -> None:
        here = found[(found["rate"] == rate) & (found["part"] == stage)]
        for network, (label, colour) in networks.items():
            drawn(ax, here[here["network"] == network], "cka", colour, label)
        ax.set_ylim(0, 1)
        ax.xaxis.set_major_locator(MultipleLocator(10))

    stages = {stage: stage for stage in PARTS[1:]}
    figure = panels(by_rate(found["rate"], "likeness (CKA)\n"), stages, panel, (1.65, 2.0), sharey=True)
    return caption(figure, found, "1: as the ResNet's stage; mean and range of the seeds")


OF_A_RECORD = (shares, directions, likeness)

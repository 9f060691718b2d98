"""The plots of who teaches which stage, each returning its Figure; a column a part or learning rate, seeds as bands."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.rows import Row
from rdlib.experiments.tables import cell, records_of
from rdlib.figures.accuracy import COLOURS, style
from rdlib.measure.gradients import PARTS
from rdlib.measure.gradients_record import short_name
from rdlib.models import DEPTHS, STAGES
from rdlib.runs.run import Record
from rdlib.runs.store import Store

NETWORKS = {"ResNet": COLOURS["ResNet"], "plain": COLOURS["plain"], "JointRD": COLOURS["plain, JointRD"]}
# From the images to the classifier, dark to light, so that the order can be read without colour.
PART_COLOURS = dict(zip(PARTS, ("#30123b", "#3e63c4", "#1ba79c", "#8fbf2e", "#f0b428"), strict=True))
FIRST_PATH = "#30123b"
MIXED_PATHS, OWN_PATH = COLOURS["plain, JointRD"], COLOURS["plain, JointRD, joint teacher"]
BAND = "line: mean, band: lowest to highest seed"

Series = Mapping[str, tuple[str, str, str]]  # label of a line: its network, its column of the record, its colour


def band(
    ax: Axes, x: Sequence[int], values: "np.ndarray[Any, Any]", colour: str, label: str, dashes: str = "-"
) -> None:
    """The mean of values [seeds, epochs] as a line and the range of the seeds as a band; gaps where all are missing."""
    known = ~np.isnan(values).all(0)
    at, seen = np.asarray(x)[known], values[:, known]
    if at.size:
        ax.plot(at, np.nanmean(seen, 0), dashes, color=colour, label=label, linewidth=1.6)
        ax.fill_between(at, np.nanmin(seen, 0), np.nanmax(seen, 0), color=colour, alpha=0.18, linewidth=0)


def draw(ax: Axes, found: pd.DataFrame, value: str, colour: str, label: str, smooth: int = 1) -> None:
    """One column of the record over epochs; its lines are those of one network, part and learning rate.

    smooth: epochs of a centred moving average, from which the state before training stays out.
    """
    if len(found):
        wide = found.pivot_table(index="seed", columns="epoch", values=value, dropna=False)
        epochs = [int(epoch) for epoch in wide.columns]
        trained = wide[[epoch for epoch in epochs if epoch > 0]]
        averaged = trained.T.rolling(smooth, center=True, min_periods=1).mean().T.where(trained.notna())
        shown = pd.concat([wide[[epoch for epoch in epochs if epoch == 0]], averaged], axis=1)
        band(ax, epochs, shown.to_numpy(), colour, label)


def panels(lines: int, columns: int, size: tuple[float, float], sharey: bool | str) -> tuple[Figure, Any]:
    """Axes [line][column] of panels of that size (inches); the lowest line names the epochs."""
    style()
    width, height = size
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(1 + width * columns, 0.9 + height * lines),
        sharex=True,
        sharey=sharey,  # type: ignore[arg-type]
        squeeze=False,
        layout="constrained",
    )
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    return figure, axes


def rates_of(found: pd.DataFrame) -> list[float]:
    """The learning rates, highest first; one that is not a number, which equals none, for an empty record."""
    return sorted(set(found["rate"]), reverse=True) or [float("nan")]


def finish(figure: Figure, found: pd.DataFrame, what: str, ncols: int = 3) -> Figure:
    """One legend for all panels, below, and a line that says what is drawn and of how many seeds."""
    named: dict[str, Any] = {}
    for ax in figure.axes:
        ax.grid(axis="y", alpha=0.3)
        handles, labels = ax.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    if named:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=ncols, frameon=False)
    n = found["seed"].nunique()
    figure.suptitle(f"{what}; {BAND} (n = {n})" if n else what, fontsize=10, color="#555")
    return figure


def by_stage(found: pd.DataFrame, series: Series, label: str, what: str, smooth: int = 1) -> Figure:
    """A column a stage, a row a learning rate, a line each of `series`; `smooth` as in `draw`."""
    rates, stages = rates_of(found), PARTS[1:]
    figure, axes = panels(len(rates), len(stages), (2.1, 2), sharey=True)
    for rate, line in zip(rates, axes, strict=True):
        line[0].set_ylabel(f"{label}\nlearning rate {rate:g}")
        for ax, stage in zip(line, stages, strict=True):
            here = found[(found["rate"] == rate) & (found["part"] == stage)]
            for name, (network, value, colour) in series.items():
                draw(ax, here[here["network"] == network], value, colour, name, smooth)
    for ax, stage in zip(axes[0], stages, strict=True):
        ax.set_title(stage, fontsize=11)
    return finish(figure, found, what)


def shares(found: pd.DataFrame) -> Figure:
    """How much of JointRD's gradient comes through the teacher, with m(t) and without, and where it points.

    A column a learning rate, a line a part; stage 4 is left out, since no mixed path reaches it.
    """
    labels = {
        "share": "share of mixed paths",
        "share_at_1": "share, m(t) taken out",
        "cosine": "cosine, own / mixed",
    }
    rates, taught = rates_of(found), found[found["network"] == "JointRD"]
    figure, axes = panels(len(labels), len(rates), (3.7, 2.1), sharey="row")
    for (value, label), line in zip(labels.items(), axes, strict=True):
        line[0].set_ylabel(label)
        for ax, rate in zip(line, rates, strict=True):
            for part in PARTS[:-1]:
                here = taught[(taught["rate"] == rate) & (taught["part"] == part)]
                draw(ax, here, value, PART_COLOURS[part], part)
            ax.axhline(0 if value == "cosine" else 0.5, color="#999", linewidth=1, linestyle=":")
            if value != "cosine":
                ax.set_ylim(0, 1)
    for ax, rate in zip(axes[0], rates, strict=True):
        ax.set_title(f"learning rate {rate:g}", fontsize=11)
    return finish(figure, taught, "share: |mixed| / (|mixed| + |own|)", 4)


def norms(found: pd.DataFrame) -> Figure:
    """Length of the whole gradient of each stage, for the three networks, on a logarithmic axis."""
    series = {name: (name, "norm_all", colour) for name, colour in NETWORKS.items()}
    figure = by_stage(found, series, "gradient norm", "length of the gradient, each of its own loss")
    for ax in figure.axes:
        ax.set_yscale("log")
        ax.minorticks_off()
    return figure


def agreements(found: pd.DataFrame) -> Figure:
    """Cosine between the gradients of two halves of the probe: 1 is the same direction, 0 is noise."""
    series = {
        "JointRD, leaves after stage 1": ("JointRD", "agreement_mixed_1", FIRST_PATH),
        "JointRD, all mixed paths": ("JointRD", "agreement_mixed", MIXED_PATHS),
        "JointRD, own path": ("JointRD", "agreement_own", OWN_PATH),
        "plain alone": ("plain", "agreement_all", NETWORKS["plain"]),
        "ResNet alone": ("ResNet", "agreement_all", NETWORKS["ResNet"]),
    }
    what = "two halves of the probe, moving average of 3 epochs"
    return by_stage(found, series, "agreement (cosine)", what, smooth=3)


def likeness(found: pd.DataFrame) -> Figure:
    """Linear CKA of every stage's output with the same stage of the ResNet of that seed."""
    series = {name: (name, "cka", NETWORKS[name]) for name in ("JointRD", "plain")}
    return by_stage(found, series, "linear CKA", "likeness to the same stage of the trained ResNet")


OF_A_RECORD = (shares, norms, agreements, likeness)


def term_lines() -> dict[str, tuple[list[str], str, str]]:
    """Label of a line: the terms of JointRD that it sums, its colour, its dashes."""
    mixed = range(1, STAGES)
    lines = {"own cross-entropy": (["cross_entropy"], OWN_PATH, "-")}
    lines |= {
        f"mixed {k} cross-entropy": ([f"mixed_{k}_cross_entropy"], PART_COLOURS[f"stage {k}"], "-") for k in mixed
    }
    lines["own distance"] = (["distance"], OWN_PATH, "--")
    lines["mixed distances, sum"] = ([f"mixed_{k}_distance" for k in mixed], MIXED_PATHS, "--")
    return lines


def losses(rows: Sequence[Row], store: Store) -> Figure:
    """Training losses from the runs' records: above every network's own cross-entropy, below each term of JointRD.

    Terms are weighted as in training, so the mixed ones contain m(t). Logarithmic axes.
    """
    rates = list(dict.fromkeys(row.runs[0].recipe.learning_rate for row in rows)) or [float("nan")]
    figure, axes = panels(2, len(rates), (3.9, 2.3), sharey="row")
    seeds = set()
    for rate, above, below in zip(rates, *axes, strict=True):
        above.set_title(f"learning rate {rate:g}", fontsize=11)
        for row in (row for row in rows if row.runs[0].recipe.learning_rate == rate):
            records, name = records_of(row, store), short_name(row)
            seeds |= {record.run.seed for record in records}
            curve(above, records, ["cross_entropy"], NETWORKS[name], name)
            if name == "JointRD":
                for label, (terms, colour, dashes) in term_lines().items():
                    curve(below, records, terms, colour, label, dashes)
    for line, label in zip(axes, ("own cross-entropy", "terms of JointRD"), strict=True):
        line[0].set_ylabel(label)
        for ax in line:
            ax.set_yscale("log")
            ax.grid(axis="y", alpha=0.3)
        if line[-1].lines:
            line[-1].legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"{BAND} (n = {len(seeds)})", fontsize=10, color="#555")
    return figure


def curve(
    ax: Axes, records: Sequence[Record], terms: Sequence[str], colour: str, label: str, dashes: str = "-"
) -> None:
    """The sum of some loss terms over epochs, of several seeds."""
    if records:
        values = np.array([[sum(epoch["losses"][t] for t in terms) for epoch in one.history] for one in records])
        band(ax, range(1, values.shape[1] + 1), values, colour, label, dashes)


def against_depth(rows: Sequence[Row], store: Store, ax: Axes | None = None) -> Axes:
    """Last-epoch test accuracy over depth, a line a network: mean and standard deviation of the seeds with records."""
    ax = ax or plt.subplots(figsize=(7, 4))[1]
    for name, colour in NETWORKS.items():
        found = [(row.depth, cell(row, store)) for row in rows if short_name(row) == name]
        filled = sorted((depth, ours) for depth, ours in found if ours.values)
        if filled:
            spread = [0.0 if len(ours.values) < 2 else ours.std for _, ours in filled]
            means, n = [ours.mean for _, ours in filled], sorted({len(ours.values) for _, ours in filled})
            label = f"{name} (n = {' or '.join(map(str, n))})"
            ax.errorbar([d for d, _ in filled], means, spread, marker="o", capsize=4, color=colour, label=label)
    depths = sorted({row.depth for row in rows})
    # The bottleneck of depth 50 is another block, so its place in the line is no step of depth alone.
    names = [f"{depth}\n(bottleneck)" if DEPTHS[depth][0] == "bottleneck" else str(depth) for depth in depths]
    ax.set_xticks(depths, names)
    ax.set(xlabel="depth (layers)", ylabel="test top-1, last epoch (%)")
    ax.grid(axis="y", alpha=0.3)
    ax.margins(x=0.06)
    if ax.containers:
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3)
    return ax

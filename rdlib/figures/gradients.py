"""The plots of who teaches which stage: a column a stage or a learning rate, seeds as bands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.rows import Row
from rdlib.experiments.tables import records_of
from rdlib.figures.style import CAPTION, COLOURS, band, counted, legend_below, style
from rdlib.measure.gradients import PARTS
from rdlib.measure.gradients_record import short_name
from rdlib.models import STAGES
from rdlib.runs.store import Store

NETWORKS = {"ResNet": COLOURS["ResNet"], "plain": COLOURS["plain"], "JointRD": COLOURS["plain, JointRD"]}
# From the images to the classifier, dark to light, so that the order can be read without colour.
PART_COLOURS = dict(zip(PARTS, ("#30123b", "#3e63c4", "#1ba79c", "#8fbf2e", "#f0b428"), strict=True))
MIXED_PATHS, OWN_PATH = COLOURS["plain, JointRD"], COLOURS["plain, JointRD, joint teacher"]

Series = Mapping[str, tuple[str, str, str]]  # label of a line: its network, its column of the record, its colour


def panels(
    rows: Mapping[Any, str],
    columns: Mapping[Any, str],
    draw: Callable[[Axes, Any, Any], None],
    size: tuple[float, float],
    sharey: bool | str,
) -> Figure:
    """Panels over epochs, of that size (inches) each; `draw` gets one's axes and the keys of its row and column.

    The values of `rows` stand beside the axes, those of `columns` above.
    """
    style()
    figure, axes = plt.subplots(
        *(len(rows), len(columns)),
        figsize=(1 + size[0] * len(columns), 0.9 + size[1] * len(rows)),
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
    return figure


def by_rate(rates: Iterable[float]) -> dict[float, str]:
    """A title for each learning rate, the highest first; without any, for one that is no number and equals none."""
    return {rate: f"learning rate {rate:g}" for rate in sorted(set(rates), reverse=True) or [float("nan")]}


def draw(ax: Axes, found: pd.DataFrame, value: str, colour: str, label: str) -> None:
    """One column of the record over epochs; its lines are those of one network, part and learning rate."""
    wide = found.pivot(index="seed", columns="epoch", values=value)
    band(ax, wide.to_numpy(), wide.columns.to_numpy(), color=colour, label=label, linewidth=1.6)


def caption(figure: Figure, what: str, seeds: int) -> Figure:
    """A line above that says what is drawn and of how many seeds."""
    shown = f"line: mean, band: lowest to highest seed ({counted([seeds])})" if seeds else ""
    figure.suptitle("; ".join(filter(None, [what, shown])), **CAPTION)
    return figure


def by_stage(found: pd.DataFrame, series: Series, label: str, what: str) -> Figure:
    """A column a stage, a row a learning rate, a line each of `series`."""

    def panel(ax: Axes, rate: float, stage: str) -> None:
        here = found[(found["rate"] == rate) & (found["part"] == stage)]
        for name, (network, value, colour) in series.items():
            draw(ax, here[here["network"] == network], value, colour, name)

    rates = {rate: f"{label}\n{title}" for rate, title in by_rate(found["rate"]).items()}
    figure = panels(rates, {stage: stage for stage in PARTS[1:]}, panel, (2.1, 2), sharey=True)
    legend_below(figure, 3)
    return caption(figure, what, found["seed"].nunique())


def shares(found: pd.DataFrame) -> Figure:
    """How much of JointRD's gradient comes through the teacher, with m(t) and without, and where it points.

    A column a learning rate, a line a part; stage 4 is left out, since no mixed path reaches it.
    """
    labels = {
        "share": "share of mixed paths",
        "share_at_1": "share, m(t) taken out",
        "cosine": "cosine, own / mixed",
    }
    taught = found[found["network"] == "JointRD"]

    def panel(ax: Axes, value: str, rate: float) -> None:
        for part in PARTS[:-1]:
            draw(ax, taught[(taught["rate"] == rate) & (taught["part"] == part)], value, PART_COLOURS[part], part)
        ax.axhline(0 if value == "cosine" else 0.5, color="#999", linewidth=1, linestyle=":")
        if value != "cosine":
            ax.set_ylim(0, 1)

    figure = panels(labels, by_rate(found["rate"]), panel, (3.7, 2.1), sharey="row")
    legend_below(figure, 4)
    return caption(figure, "share: |mixed| / (|mixed| + |own|)", taught["seed"].nunique())


def norms(found: pd.DataFrame) -> Figure:
    """Length of the whole gradient of each stage, for the three networks, on a logarithmic axis."""
    series = {name: (name, "norm_all", colour) for name, colour in NETWORKS.items()}
    figure = by_stage(found, series, "gradient norm", "length of the gradient, each of its own loss")
    for ax in figure.axes:
        ax.set_yscale("log")
        ax.minorticks_off()
    return figure


def agreements(found: pd.DataFrame) -> Figure:
    """Cosine between the gradients of two halves of the probe: 1 is the same direction, 0 is noise.

    A centred moving average of 3 epochs, from which the state before training stays out.
    """
    series = {
        "JointRD, leaves after stage 1": ("JointRD", "agreement_mixed_1", PART_COLOURS[PARTS[0]]),
        "JointRD, all mixed paths": ("JointRD", "agreement_mixed", MIXED_PATHS),
        "JointRD, own path": ("JointRD", "agreement_own", OWN_PATH),
        "plain alone": ("plain", "agreement_all", NETWORKS["plain"]),
        "ResNet alone": ("ResNet", "agreement_all", NETWORKS["ResNet"]),
    }
    columns = sorted({column for _, column, _ in series.values()})
    smooth = found.sort_values("epoch", ignore_index=True)
    keys = [smooth[key] for key in ("network", "rate", "seed", "part")] + [(smooth["epoch"] > 0).rename("trained")]
    averaged = smooth.groupby(keys)[columns].rolling(3, center=True, min_periods=1).mean()
    smooth[columns] = averaged.droplevel([0, 1, 2, 3, 4]).where(smooth[columns].notna())
    return by_stage(smooth, series, "agreement (cosine)", "two halves of the probe, moving average of 3 epochs")


def likeness(found: pd.DataFrame) -> Figure:
    """Linear CKA of every stage's output with the same stage of the ResNet of that seed."""
    series = {name: (name, "cka", NETWORKS[name]) for name in ("JointRD", "plain")}
    return by_stage(found, series, "linear CKA", "likeness to the same stage of the trained ResNet")


OF_A_RECORD = (shares, norms, agreements, likeness)


MIXED = range(1, STAGES)
TERMS = {  # a line: the terms of JointRD that it sums, its colour, its dashes
    "own cross-entropy": (["cross_entropy"], OWN_PATH, "-"),
    **{f"mixed {k} cross-entropy": ([f"mixed_{k}_cross_entropy"], PART_COLOURS[f"stage {k}"], "-") for k in MIXED},
    "own distance": (["distance"], OWN_PATH, "--"),
    "mixed distances, sum": ([f"mixed_{k}_distance" for k in MIXED], MIXED_PATHS, "--"),
}


def losses(rows: Sequence[Row], store: Store) -> Figure:
    """Training losses from the runs' records: above every network's own cross-entropy, below each term of JointRD.

    Terms are weighted as in training, so the mixed ones contain m(t). Logarithmic axes.
    """
    rates = by_rate(row.runs[0].recipe.learning_rate for row in rows)
    labels = {"own": "own cross-entropy", "terms": "terms of JointRD"}

    def panel(ax: Axes, which: str, rate: float) -> None:
        for row in (row for row in rows if row.runs[0].recipe.learning_rate == rate):
            name, histories = short_name(row), [record.history for record in records_of(row, store)]
            own = {name: (["cross_entropy"], NETWORKS[name], "-")}
            lines = own if which == "own" else TERMS if name == "JointRD" else {}
            for label, (terms, colour, dashes) in lines.items() if histories else ():
                values = np.array([[sum(epoch["losses"][t] for t in terms) for epoch in one] for one in histories])
                band(ax, values, color=colour, label=label, linestyle=dashes, linewidth=1.6)
        ax.set_yscale("log")
        if rate == min(rates) and ax.lines:
            ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))

    figure = panels(labels, rates, panel, (3.9, 2.3), sharey="row")
    return caption(figure, "", len({record.run.seed for row in rows for record in records_of(row, store)}))

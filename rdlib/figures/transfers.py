"""The few-shot curve of a transfer."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import cell
from rdlib.experiments.transfers import ALL, FROZEN, FULL, SCRATCH, START, Line, Task, lines
from rdlib.figures.style import COLOURS, legend_below
from rdlib.images.subsets import SUBSETS
from rdlib.runs.store import Store

BEYOND = 3.0  # "all" stands so many times as far out as the most images of a class
BESIDE = 0.011  # of the axis: points of one place stand so far apart, centred on its tick


def few_shot(profile: Profile, task: Task, store: Store) -> Figure:
    """Test top-1 over training images of each class, mean ± std over seeds; a panel a start, from scratch dashed.

    Dotted: what guessing among the target's classes gives, where the target is a part of a data set.
    """
    found = [one for one in lines(profile) if one.task == task]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.3), sharey=True, layout="constrained")
    for ax, start in zip(axes, (FROZEN, FULL), strict=True):
        curves([one for one in found if one.start in (SCRATCH, start)], store, ax)
        ax.set_title(START[start], fontsize=11)
        ax.set_xlabel("training images of each class")
        ax.grid(axis="y", alpha=0.35)
    axes[0].set_ylabel(f"test top-1 on {task.target} (%)")
    for name in dict.fromkeys(one.network for one in found if one.network in COLOURS):
        axes[0].plot([], [], color=COLOURS[name], marker="o", label=name)
    axes[0].plot([], [], color="#777", marker="o", markerfacecolor="white", linestyle="--", label="from scratch")
    if task.target in SUBSETS:
        chance = 100 / len(SUBSETS[task.target].classes)
        for ax in axes:
            ax.axhline(chance, color="#777", linestyle=":", linewidth=1.2, label=f"chance, {chance:g} %")
    legend_below(figure, ncols=6)
    counts = sorted({len(c.values) for one in found if (c := cell(one.row, store)).values}) or [0]
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    figure.suptitle(f"{task.name}: mean ± standard deviation, n = {seeds}", fontsize=11)
    return figure


def curves(drawn: list[Line], store: Store, ax: Axes) -> None:
    """One line a network and start, those from scratch on the left of each place."""
    counts = sorted({one.shots for one in drawn if one.shots is not ALL})
    place: dict[int | None, float] = {n: float(n) for n in counts}
    place[ALL] = BEYOND * (counts[-1] if counts else 1)
    left, right = min(place.values()) * 0.75, place[ALL] * 1.3
    cases = dict.fromkeys((one.start, one.network) for one in sorted(drawn, key=lambda one: one.start != SCRATCH))
    for i, (start, network) in enumerate(cases):
        cells = {one.shots: cell(one.row, store) for one in drawn if (one.start, one.network) == (start, network)}
        aside = (right / left) ** (BESIDE * (i - (len(cases) - 1) / 2))  # beside each other, not over each other
        look: dict[str, Any] = {"color": COLOURS.get(network), "marker": "o", "markersize": 5}
        look |= {"linewidth": 1.8, "capsize": 2.5, "elinewidth": 1}
        if start == SCRATCH:
            look |= {"linestyle": "--", "markerfacecolor": "white", "linewidth": 1.2, "alpha": 0.75}
        for group in (counts, [ALL]):  # all images, for more steps, are not on the curve of the few
            points = [(place[n] * aside, cells[n].mean, cells[n].std) for n in group if cells[n].values]
            if points:
                x, means, spreads = zip(*points, strict=True)
                ax.errorbar(x, means, spreads, **look)
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(FixedLocator(sorted(place.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(place.values()), [*map(str, counts), "all"])

"""The few-shot curve of a transfer."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import cell
from rdlib.experiments.transfers import ALL, FROZEN, FULL, SCRATCH, START, Line, Task, lines
from rdlib.figures.accuracy import COLOURS
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
    names = {one.network: COLOURS[one.network] for one in found if one.network in COLOURS}
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in names.items()]
    handles += [Line2D([], [], color="#777", marker="o", markerfacecolor="white", linestyle="--", label="from scratch")]
    chance = 100 / len(SUBSETS[task.target].classes) if task.target in SUBSETS else None
    for ax, start in zip(axes, (FROZEN, FULL), strict=True):
        curves([one for one in found if one.start in (SCRATCH, start)], store, ax)
        if chance is not None:
            guess = ax.axhline(chance, color="#777", linestyle=":", linewidth=1.2, label=f"chance, {chance:g} %")
        ax.set_title(START[start], fontsize=11)
        ax.set_xlabel("training images of each class")
        ax.grid(axis="y", alpha=0.35)
    axes[0].set_ylabel(f"test top-1 on {task.target} (%)")
    counts = sorted({len(c.values) for one in found if (c := cell(one.row, store)).values}) or [0]
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    handles += [] if chance is None else [guess]
    figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=len(handles))
    figure.suptitle(f"{task.name}: mean ± standard deviation, n = {seeds}", fontsize=11)
    return figure


def curves(drawn: list[Line], store: Store, ax: Axes) -> None:
    """One line a network and start, those from scratch on the left of each place."""
    counts = sorted({one.shots for one in drawn if one.shots is not ALL})
    place: dict[int | None, float] = {n: float(n) for n in counts}
    place[ALL] = BEYOND * (counts[-1] if counts else 1)
    left, right = min(place.values()) * 0.75, place[ALL] * 1.3
    cases = dict.fromkeys((one.start, one.network) for one in sorted(drawn, key=lambda one: one.start != SCRATCH))
    for i, case in enumerate(cases):
        cells = {one.shots: cell(one.row, store) for one in drawn if (one.start, one.network) == case}
        aside = (right / left) ** (BESIDE * (i - (len(cases) - 1) / 2))  # beside each other, not over each other
        scratch = case[0] == SCRATCH
        for group in (counts, [ALL]):  # all images, for more steps, are not on the curve of the few
            points = [(place[n] * aside, cells[n].mean, cells[n].std) for n in group if cells[n].values]
            if points:
                x, y, spread = zip(*points, strict=True)
                ax.errorbar(
                    x,
                    y,
                    spread,
                    color=COLOURS.get(case[1]),
                    linestyle="--" if scratch else "-",
                    marker="o",
                    markersize=5,
                    markerfacecolor="white" if scratch else None,
                    linewidth=1.2 if scratch else 1.8,
                    alpha=0.75 if scratch else 1,
                    capsize=2.5,
                    elinewidth=1,
                )
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(FixedLocator(sorted(place.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(place.values()), [*map(str, counts), "all"])

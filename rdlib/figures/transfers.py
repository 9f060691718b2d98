"""Transfers at a glance, and the few-shot curve of one."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import cell
from rdlib.experiments.transfers import ALL, FROZEN, FULL, JOINTRD, PLAIN, RESNET, SCRATCH, START, Line, Task, lines
from rdlib.figures.style import CAPTION, COLOURS, counted, legend_below, note, style
from rdlib.images.subsets import SUBSETS
from rdlib.runs.store import Store

BEYOND = 3.0  # "all" stands so many times as far out as the most images of a class
MARKERS = {RESNET: "o", PLAIN: "s", JOINTRD: "D"}  # told apart in grey too
BESIDE = 0.011  # of the axis: points of one place stand so far apart, centred on its tick


def at_a_glance(tasks: Sequence[tuple[Profile, Task]], store: Store) -> Figure:
    """Test top-1 after all training images: a panel a task, a line a start and network, a dot a seed, means as bars."""
    style()
    cases = list(dict.fromkeys(case for _, task in tasks for case in task.cases))
    starts = list(dict.fromkeys(start for start, _ in cases))
    places = {case: place + starts.index(case[0]) for place, case in enumerate(cases)}  # a gap above each start
    figure, axes = plt.subplots(
        *(1, max(len(tasks), 1)),
        figsize=(1.8 + 2.2 * max(len(tasks), 1), 0.9 + 0.29 * (len(cases) + len(starts))),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    counts = []
    for (profile, task), ax in zip(tasks, axes[0], strict=False):
        for one in (one for one in lines(profile) if one.task == task and one.shots is ALL):
            ours, y, colour = cell(one.row, store), places[one.start, one.network], COLOURS.get(one.network, "#000")
            counts.append(len(ours.values))
            if ours.values:
                ax.plot(ours.values, [y] * len(ours.values), "o", color=colour, markersize=5, mew=0, alpha=0.55)
                ax.plot(ours.mean, y, "|", color=colour, markersize=13, mew=3)
                note(ax, f"{ours.mean:.1f}", (1, y), (6, 0), xycoords=("axes fraction", "data"), va="center", size=9)
        ax.set_title(task.name.replace(" to ", "\nto ", 1), fontsize=10)
        ax.set_xlabel("test top-1 (%)")
        if not ax.lines:
            ax.set_xlim(0, 100)
        ax.grid(axis="x", alpha=0.3)
    labels = axes[0][0]
    labels.set_yticks(list(places.values()), [network for _, network in cases])
    for (_, network), text in zip(cases, labels.get_yticklabels(), strict=True):
        text.set_color(COLOURS.get(network, "#000"))
    for start in starts:
        first = min(place for case, place in places.items() if case[0] == start)
        note(
            labels,
            START[start],
            (0, first - 0.9),
            (6, 0),
            xycoords=("axes fraction", "data"),
            va="center",
            weight="bold",
        )
    labels.set_ylim(max(places.values(), default=0) + 0.6, -1.5)
    figure.suptitle(", ".join(filter(None, ["dots: seeds, bars and numbers: their means", counted(counts)])), **CAPTION)
    return figure


def few_shot(profile: Profile, task: Task, store: Store) -> Figure:
    """Test top-1 over training images of each class, mean ± std over seeds; a panel a start; dashed: scratch, means.

    Dotted: what guessing among the target's classes gives, where the target is a part of a data set.
    """
    style()
    found = [one for one in lines(profile) if one.task == task]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.1), sharey=True, layout="constrained")
    for ax, start in zip(axes, (FROZEN, FULL), strict=True):
        curves([one for one in found if one.start in (SCRATCH, start)], store, ax)
        ax.set_title(START[start], fontsize=11)
        ax.set_xlabel("training images of each class")
        ax.grid(axis="y", alpha=0.35)
    axes[0].set_ylabel(f"test top-1 on {task.target} (%)")
    for name in dict.fromkeys(one.network for one in found if one.network in COLOURS):
        axes[0].plot([], [], color=COLOURS[name], marker=MARKERS[name], label=name)
    axes[0].plot([], [], color="#777", marker="o", markerfacecolor="white", linestyle="--", label="from scratch")
    if task.target in SUBSETS:
        chance = 100 / len(SUBSETS[task.target].classes)
        for ax in axes:
            ax.axhline(chance, color="#777", linestyle=":", linewidth=1.2, label=f"chance, {chance:g} %")
    legend_below(figure, ncols=6)
    seeds = counted(len(cell(one.row, store).values) for one in found)
    figure.suptitle(", ".join(filter(None, [f"{task.name}: mean ± standard deviation", seeds])), **CAPTION)
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
        look: dict[str, Any] = {"color": COLOURS.get(network), "marker": MARKERS.get(network, "o"), "markersize": 5}
        look |= {"linewidth": 1.8, "capsize": 2.5, "elinewidth": 1}
        if start == SCRATCH:
            look |= {"linestyle": "--", "markerfacecolor": "white", "linewidth": 1.2, "alpha": 0.75}
        for group in (counts, [ALL]):  # all images, for more steps, are not on the curve of the few
            points = [(place[n] * aside, cells[n].mean, cells[n].std) for n in group if cells[n].values]
            if points:
                x, means, spreads = zip(*points, strict=True)
                ax.errorbar(x, means, None if start == SCRATCH else spreads, **look)  # fewer bars are read more
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(FixedLocator(sorted(place.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(place.values()), [*map(str, counts), "all"])

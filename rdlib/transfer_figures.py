"""The few-shot curve of a transfer."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rdlib.figures import COLOURS
from rdlib.profiles import Profile
from rdlib.runs import Store
from rdlib.tables import cell
from rdlib.transfer_rows import ALL, FROZEN, FULL, SCRATCH, START, Line, Task, lines

BEYOND = 3.0  # "all" stands so many times as far out as the most images of a class


def few_shot(profile: Profile, task: Task, store: Store) -> Figure:
    """Test top-1 over training images of each class, mean ± std over seeds; a panel a start, from scratch dashed."""
    found = [one for one in lines(profile) if one.task == task]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.3), sharey=True, layout="constrained")
    for ax, start in zip(axes, (FROZEN, FULL), strict=True):
        curves(found, start, store, ax)
        curves(found, SCRATCH, store, ax)
        ax.set_title(START[start], fontsize=11)
        ax.set_xlabel("training images of each class")
        ax.grid(axis="y", alpha=0.35)
    axes[0].set_ylabel(f"test top-1 on {task.target} (%)")
    counts = sorted({len(c.values) for one in found if (c := cell(one.row, store)).values}) or [0]
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    names = {one.network: COLOURS[one.network] for one in found if one.network in COLOURS}
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in names.items()]
    dashed = Line2D([], [], color="#777", marker="o", markerfacecolor="white", linestyle="--", label="from scratch")
    figure.legend(handles=[*handles, dashed], frameon=False, loc="outside lower center", ncols=4)
    figure.suptitle(f"{task.name}: mean ± standard deviation, n = {seeds}", fontsize=11)
    return figure


def curves(found: list[Line], start: str, store: Store, ax: Axes) -> None:
    """One line a network of that start."""
    drawn = [one for one in found if one.start == start]
    counts = sorted({one.shots for one in found if one.shots is not ALL})
    place: dict[int | None, float] = {n: float(n) for n in counts}
    place[ALL] = BEYOND * (counts[-1] if counts else 1)
    scratch = start == SCRATCH
    for i, network in enumerate(dict.fromkeys(one.network for one in drawn)):
        cells = {one.shots: cell(one.row, store) for one in drawn if one.network == network}
        for group in (counts, [ALL]):  # all images, for more steps, are not on the curve of the few
            aside = (0.9 if scratch else 1) * 1.045 ** (i - 1)  # beside each other, not over each other
            points = [(place[n] * aside, cells[n].mean, cells[n].std) for n in group if cells[n].values]
            if points:
                x, y, spread = zip(*points, strict=True)
                ax.errorbar(
                    x,
                    y,
                    spread,
                    color=COLOURS.get(network),
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
    ax.set_xlim(min(place.values()) * 0.75, place[ALL] * 1.3)
    ax.xaxis.set_major_locator(FixedLocator(sorted(place.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(place.values()), [*map(str, counts), "all"])

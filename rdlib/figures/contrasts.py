"""The plot of one thing changed: rows held against a reference, with intervals."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rdlib.experiments.rows import Row
from rdlib.experiments.tables import cell
from rdlib.figures.style import BAD, GOOD, note
from rdlib.paper.contrasts import judged
from rdlib.paper.statistics import NO, YES
from rdlib.runs.store import Store

VERDICTS = {YES: GOOD, NO: BAD}  # all others grey


def differences(groups: Mapping[str, Sequence[Row]], reference: Row, store: Store, limits: tuple[float, float]) -> Axes:
    """Each row minus the reference: seeds (minus the reference's mean) as dots, mean and its interval as a bar.

    Green: the whole interval above zero, orange: below. What lies beyond `limits` (points) ends in an arrow.
    """
    rows = [(question, row) for question, of in groups.items() for row in of]
    ax = plt.subplots(figsize=(9.5, 0.27 * len(rows) + 1.1), layout="constrained")[1]
    low, high = limits
    middle = cell(reference, store).mean
    for y, (row, gap, error) in enumerate(judged([row for _, row in rows], reference, store)):
        if not gap.n:
            continue
        colour = VERDICTS.get(gap.verdict(error=error), "#6e6e6e")
        ends = gap.bounds(error) if gap.n > 2 else (gap.value, gap.value)
        ax.plot(np.clip(ends, low, high), [y, y], color=colour, lw=2)
        for end, edge, mark in ((ends[0], low, "<"), (ends[1], high, ">")):
            if not low <= end <= high:
                ax.plot(edge, y, mark, ms=5, color=colour, alpha=0.7)
        seeds = [value - middle for value in cell(row, store).values if low <= value - middle <= high]
        ax.scatter(seeds, [y] * len(seeds), s=16, color=colour, alpha=0.55, zorder=3)
        if low < gap.value < high:
            ax.plot(gap.value, y, "|", ms=13, mew=2.5, color=colour)
        else:
            edge, mark = (low, "<") if gap.value <= low else (high, ">")
            ax.plot(edge, y, mark, ms=9, color=colour)
            look = {"va": "center", "color": colour, "backgroundcolor": "white", "size": 9}
            note(ax, f"{gap.value:+.0f}", (edge, y), (12, 0), **look)
    ax.axvline(0, color="#999", lw=1, zorder=0)
    for y in [y for y, ((a, _), (b, _)) in enumerate(pairwise(rows)) if a != b]:
        ax.axhline(y + 0.5, color="#ddd", lw=0.8, zorder=0)
    ax.set_yticks(range(len(rows)), [row.method for _, row in rows], fontsize=9)
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlim=(low - 0.3, high + 0.3))
    split, n = reference.runs[0].recipe.holdout, len(reference.runs)
    ax.set_xlabel(f"{split} top-1 minus {reference.method}, points (n = {n})")
    return ax

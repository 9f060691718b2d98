"""The plot of one thing changed: rows held against a reference, with intervals."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from rdlib.experiments.rows import HEIR, Row
from rdlib.experiments.tables import cell
from rdlib.figures.style import BAD, CAPTION, COLOURS, GOOD, beside, on_error
from rdlib.paper.contrasts import judged
from rdlib.paper.statistics import NO, YES
from rdlib.runs.store import Store

VERDICTS = {YES: (GOOD, "^"), NO: (BAD, "v")}  # a colour, and a mark that is told in grey too
UNTOLD = ("#6e6e6e", "o")


def differences(groups: Mapping[str, Sequence[Row]], reference: Row, store: Store) -> Axes:
    """Accuracy of each row on an axis of the error: seeds as dots, their mean as a bar; the reference's mean is a line.

    The thin line is the interval of the difference, drawn from the reference's mean, within 0 and 100: where it does
    not meet the reference, the change is better (green, triangles up) or worse (orange, triangles down).
    """
    rows = [(question, row) for question, of in groups.items() for row in of]
    ax = plt.subplots(figsize=(8.6, 0.25 * len(rows) + 1.1), layout="constrained")[1]
    middle, drawn = cell(reference, store).mean, list(cell(reference, store).values)
    for y, (row, gap, error) in enumerate(judged([row for _, row in rows], reference, store)):
        if not gap.n:
            ax.text(50, y, "not run", va="center", color="#999", size=9)
            continue
        colour, mark = VERDICTS.get(gap.verdict(error=error), UNTOLD)
        ends = [min(max(middle + end, 0.0), 100.0) for end in (gap.bounds(error) if not gap.blind else ())]
        ax.plot(ends, [y] * len(ends), color=colour, lw=1, alpha=0.5)
        seeds = cell(row, store).values
        ax.plot(seeds, [y] * len(seeds), mark, ms=4.5, mew=0, color=colour, alpha=0.6, clip_on=False)
        ax.plot(middle + gap.value, y, "|", ms=11, mew=2.5, color=colour)
        drawn += [*ends, *seeds]
    ax.axvline(middle, color=COLOURS["plain, JointRD"], lw=1.2, zorder=0)
    on_error(ax, "x", drawn)
    for y, ((one, _), (above, _)) in enumerate(zip(rows, [("", None), *rows], strict=False)):
        if one != above:
            ax.axhline(y - 0.5, color="#ddd", lw=0.8, zorder=0)
            beside(ax, y, one, **CAPTION)
    ax.set_yticks(range(len(rows)), [row.method.replace(HEIR, "teacher's weights") for _, row in rows], fontsize=9)
    split, n = reference.runs[0].recipe.holdout, len(reference.runs)
    ax.set(xlabel=f"{split} top-1, last epoch (%), n = {n}", ylim=(len(rows) - 0.5, -0.5))
    ax.set_title(f"upright: {reference.method}; dots: seeds; bar: mean; thin line: interval", loc="left", **CAPTION)
    return ax

"""Over seeds: paired differences, the 95 % interval of a mean, and the words for the side of a bar that it lies on."""

import math
from collections.abc import Sequence

from rdlib.experiments.rows import Row, Teaching
from rdlib.experiments.tables import Cell
from rdlib.runs.store import Store

SAME_LEVEL = 1.0  # points of top-1: about two seed deviations of a CIFAR-100 ResNet
LEAST = 3  # pairs for an interval: two may agree by luck to the last digit, and would then claim certainty

HOLDS, IN_PART, FAILS = "holds", "holds in part", "does not hold"
UNDECIDED, NOT_RUN, NOT_TESTED = "cannot tell", "not run", "not tested"
BETTER, WORSE = "better", "worse"
ABOVE, BELOW, NOT_APART = "above", "below", "not told apart"


def find(rows: Sequence[Row], depth: int, teaching: Teaching, shortcuts: str) -> Row:
    """The first row of a depth, teaching and kind of shortcuts."""
    return next(row for row in rows if (row.depth, row.teaching, row.shortcuts) == (depth, teaching, shortcuts))


def difference(row: Row, other: Row, store: Store) -> Cell:
    """Paired over seeds: row minus other, in points of top-1; only seeds where both finished count."""
    pairs = [(store.record(a), store.record(b)) for a, b in zip(row.runs, other.runs, strict=True)]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    gaps = tuple(a.top1 - b.top1 for a, b in both if a.diverged is None and b.diverged is None)
    return Cell(gaps, len(row.runs), len(both) - len(gaps))


def bounds(of: Cell) -> tuple[float, float]:
    """95 % confidence interval of a mean, of a paired difference or any other (Student's t); infinite below LEAST."""
    from scipy.stats import t as student_t

    n = len(of.values)
    if n < LEAST:
        return -math.inf, math.inf
    half = float(student_t.ppf(0.975, n - 1)) * of.std / math.sqrt(n)
    return of.mean - half, of.mean + half


def side(of: Cell, words: tuple[str, str, str], bar: float = 0.0) -> str:
    """The first word where the whole 95 % interval lies below `bar`, the last where it lies above, else the second."""
    low, high = bounds(of)
    return words[1 + (low > bar) - (high < bar)]


def beyond(of: Cell, bar: float = 0.0) -> str:
    """The verdict on a claim that says more than `bar`."""
    return side(of, (FAILS, UNDECIDED, HOLDS), bar)


def better_or_worse(gap: Cell) -> str:
    """The verdict on a paired difference; empty without one."""
    return side(gap, (WORSE, UNDECIDED, BETTER)) if gap.values else ""


def signed(gap: Cell) -> str:
    return f"{gap.mean:+.1f}" + (f" ± {gap.std:.1f}" if len(gap.values) > 1 else "") if gap.values else ""


def interval(gap: Cell) -> str:
    return "{:+.1f} to {:+.1f}".format(*bounds(gap)) if len(gap.values) >= LEAST else ""

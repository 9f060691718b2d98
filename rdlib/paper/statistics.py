"""The one rule for all comparisons: Welch's interval of two means, Holm over a family, four verdicts.

A sample is the runs of one cell, which differ in their seed alone. Runs of equal seed are not paired: a seed says
little of how a ResNet and a plain network differ, so pairing would give up half of the degrees of freedom for nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rdlib.experiments.rows import Row, Teaching
from rdlib.experiments.tables import Cell, cell
from rdlib.runs.store import Store

YES, NO, UNDECIDED, NOT_RUN = VERDICTS = ("yes", "no", "undecided", "not run")
ERROR = 0.05  # of an interval, two-sided; of all of a family together
LEAST = 3  # runs of a cell for an interval: two may agree by luck to the last digit, and would then claim certainty
SAME_LEVEL = 1.0  # points of top-1: about two seed deviations of a CIFAR-100 ResNet
POINTS = (-100.0, 100.0)  # possible differences of percentages
MANY = 100  # seeds, more than which nobody will run


def find(rows: Sequence[Row], depth: int, teaching: Teaching, shortcuts: str) -> Row:
    """The first row of a depth, teaching and kind of shortcuts."""
    return next(row for row in rows if (row.depth, row.teaching, row.shortcuts) == (depth, teaching, shortcuts))


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two, with its standard error and degrees of freedom; NaN where nothing was run.

    n: runs in the smaller sample. possible: between what it must lie, -100 and 100 for a difference of percentages.
    diverged: whether a run did; then there is no interval, for a mean over those that did not flatters.
    """

    value: float = math.nan
    error: float = math.nan
    freedom: float = math.nan
    n: int = 0
    possible: tuple[float, float] = (-math.inf, math.inf)
    diverged: bool = False

    @property
    def blind(self) -> bool:
        """Whether there is no interval."""
        return self.n < LEAST or self.diverged

    def bounds(self, error: float = ERROR) -> tuple[float, float]:
        """Student's t interval that errs so often, within what is possible; all of that for fewer than LEAST runs."""
        from scipy.stats import t as student_t

        if self.blind:
            return self.possible
        half = float(student_t.ppf(1 - error / 2, self.freedom)) * self.error if self.error else 0.0
        return max(self.value - half, self.possible[0]), min(self.value + half, self.possible[1])

    def p(self, bar: float) -> float:
        """How often chance alone would go so far from `bar` on either side; 1 without an interval."""
        from scipy.stats import t as student_t

        if self.blind:
            return 1.0
        if not self.error:
            return float(self.value == bar)
        return 2 * float(student_t.sf(abs(self.value - bar) / self.error, self.freedom))

    def verdict(self, bar: float = 0.0, error: float = ERROR) -> str:
        """Is it more than `bar`? Yes or no where the whole interval says so."""
        if math.isnan(self.value) and not self.diverged:
            return NOT_RUN
        low, high = self.bounds(error)
        return YES if low > bar else NO if high < bar else UNDECIDED

    def needed(self, bar: float, error: float = ERROR) -> int | None:
        """Seeds that would decide, were the difference and the deviations as they seem; None for more than MANY."""
        from scipy.stats import t as student_t

        for n in range(self.n, MANY + 1) if not self.blind else ():
            quantile = float(student_t.ppf(1 - error / 2, self.freedom * (n - 1) / (self.n - 1)))
            if quantile * self.error * math.sqrt(self.n / n) < abs(self.value - bar):
                return n
        return None

    def text(self, form: str = "{:+.1f}", error: float = ERROR) -> str:
        """The number and its interval, as "value [least, most]"; without the interval where there is none."""
        if math.isnan(self.value):
            return ""
        ends = f" [{form}, {form}]".format(*self.bounds(error)) if not self.blind else ""
        return form.format(self.value) + ends


def mean(of: Cell, possible: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean of one sample that is no percentage of right images, such as a gain of each run."""
    n = len(of.values)
    return Estimate(of.mean, of.std / math.sqrt(n) if n > 1 else math.nan, n - 1, n, possible)


def minus(ours: Cell, theirs: Cell) -> Estimate:
    """The difference of two means in points of top-1, by Welch (1947), unpaired.

    Under each deviation is a floor: what as many test images leave open by chance, for three seeds may agree by luck.
    """
    n, diverged = min(len(ours.values), len(theirs.values)), bool(ours.diverged or theirs.diverged)
    value = round(ours.mean - theirs.mean, 9)  # so that rounding of means never decides a printed digit
    if n < 2:
        return Estimate(value, n=n, possible=POINTS, diverged=diverged)
    parts = [(variance(one) / len(one.values), len(one.values) - 1) for one in (ours, theirs)]
    total = sum(part for part, _ in parts)
    freedom = total**2 / sum(part**2 / free for part, free in parts) if total else n - 1
    return Estimate(value, math.sqrt(total), freedom, n, POINTS, diverged)


def variance(of: Cell) -> float:
    """Of one run, in points squared: its sample's, and at least the binomial one of its test images."""
    right = inside(of)
    return max(of.std**2, 1e4 * right * (1 - right) / of.images if of.images else 0.0)


def inside(of: Cell) -> float:
    """The mean share of right images, half an image from 0 and 1: nothing is certain because no image was wrong."""
    half = 0.5 / (of.images or 10_000)
    return min(max(of.mean / 100, half), 1 - half)


def difference(row: Row, other: Row, store: Store) -> Estimate:
    """`minus` of two rows' cells."""
    return minus(cell(row, store), cell(other, store))


def percent_bounds(of: Cell, error: float = ERROR) -> tuple[float, float]:
    """Interval of a mean percentage, on the logit of the error, so that it never leaves 0 to 100; all of that for fewer
    than LEAST runs, or where one diverged."""
    from scipy.stats import t as student_t

    n = len(of.values)
    if n < LEAST or of.diverged:
        return 0.0, 100.0
    right = inside(of)
    half = float(student_t.ppf(1 - error / 2, n - 1)) * math.sqrt(variance(of) / n) / 100 / (right * (1 - right))
    low, high = (100 / (1 + np.exp(-(math.log(right / (1 - right)) + end))) for end in (-half, half))
    return float(low), float(high)


def holm(asked: Iterable[tuple[Estimate, float]]) -> list[float]:
    """For each estimate and its bar of one family, how often its interval may err, so that the family errs in ERROR.

    Holm (1979): of m the smallest p is read at ERROR / m, the next at ERROR / (m - 1), and so on; from the first that
    decides nothing on, all are read as that one. What was not run counts.
    """
    chances = [estimate.p(bar) for estimate, bar in asked]
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    errors, stopped = [0.0] * len(chances), None
    for rank, index in enumerate(order):
        errors[index] = stopped or ERROR / (len(chances) - rank)
        if stopped is None and chances[index] >= errors[index]:
            stopped = errors[index]
    return errors

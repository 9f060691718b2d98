"""The rule for comparisons: Welch, a floor under each deviation, Holm, four verdicts; against scipy and by hand."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from rdlib.experiments.tables import Cell
from rdlib.paper import statistics
from rdlib.paper.statistics import ERROR, LEAST, NO, NOT_RUN, UNDECIDED, VERDICTS, YES, Estimate, holm, mean, minus

IMAGES = 10_000
ends = some.sampled_from([0.0, 0.2, 50.0, 99.8, 100.0]) | some.floats(0, 100).map(lambda value: round(value, 6))
cells = some.builds(
    lambda values, diverged, images: Cell(tuple(values), len(values) + diverged, diverged, images),
    some.lists(ends, max_size=6) | some.builds(lambda value, n: [value] * n, ends, some.integers(1, 4)),
    some.sampled_from([0, 0, 0, 1]),
    some.sampled_from([None, 129, 500, IMAGES]),
)


def cell(*values: float, images: int | None = None) -> Cell:
    return Cell(values, len(values), images=images)


def decided(p: float) -> Estimate:
    """An estimate that chance alone would give so often, against 0."""
    return Estimate(float(stats.t.isf(p / 2, 9)), 1.0, 9.0, 10)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (10, 5), (3, 10)])
def test_the_difference_is_welchs_as_scipy_has_it(sizes):
    """The samples scatter more than any floor."""
    draw = np.random.default_rng(sum(sizes))
    for _ in range(20):
        one, other = (draw.normal(draw.uniform(40, 60), draw.uniform(5, 9), n).clip(1, 99) for n in sizes)
        gap, theirs = minus(cell(*one, images=IMAGES), cell(*other)), stats.ttest_ind(one, other, equal_var=False)
        assert gap.value == pytest.approx(one.mean() - other.mean())
        assert (gap.n, gap.freedom) == (min(sizes), pytest.approx(theirs.df))
        for error in (0.05, 0.01):
            interval = theirs.confidence_interval(1 - error)
            assert gap.bounds(error) == pytest.approx(np.clip([interval.low, interval.high], -100, 100))
        for bar in (0.0, -1.0):
            assert gap.p(bar) == pytest.approx(stats.ttest_ind(one - bar, other, equal_var=False).pvalue)


def test_pairs_of_seeds_are_no_pairs():
    """Differences of 1 and 1 and 1 that pairing would take for certain."""
    gap = minus(cell(91.0, 81.0, 71.0), cell(90.0, 80.0, 70.0))
    assert (gap.value, gap.verdict()) == (pytest.approx(1.0), UNDECIDED)


def test_equal_seeds_have_the_error_of_their_test_images():
    """By hand: 90 % of 500 images, variance 90 * 10 / 500 = 1.8; of a difference 2 * 1.8 / 3, with 4 degrees."""
    equal = cell(90.0, 90.0, 90.0, images=500)
    half = 2.776445 * math.sqrt(2 * 1.8 / 3)
    assert minus(equal, equal).bounds() == pytest.approx((-half, half), rel=1e-6)
    assert minus(equal, equal).text() == f"+0.0 [{-half:+.1f}, {half:+.1f}]"
    assert minus(cell(90.0, 90.0, 90.0), cell(89.0, 89.0, 89.0)).verdict() == YES, "without images there is no floor"


@pytest.mark.parametrize("value", [0.0, 1e-9, 50.0, 99.9, 100.0])
@pytest.mark.parametrize("images", [129, 500, IMAGES])
def test_no_interval_of_equal_seeds_is_without_width(value, images):
    equal = cell(value, value, value, images=images)
    for low, high in (minus(equal, equal).bounds(), statistics.percent_bounds(equal)):
        assert high - low > 20 / images


@settings(max_examples=300, deadline=None)
@given(cells, cells, some.sampled_from([0.05, 0.05 / 30, 1.0]), some.sampled_from([0.0, -1.0]))
def test_nothing_leaves_what_is_possible_and_a_verdict_is_one_of_four(one, other, error, bar):
    gap = minus(one, other)
    low, high = gap.bounds(error)
    assert -100 <= low <= high <= 100
    verdict = gap.verdict(bar, error)
    assert verdict in VERDICTS
    assert (not one.values or not other.values) == math.isnan(gap.value)
    assert (verdict == NOT_RUN) == (math.isnan(gap.value) and not one.diverged and not other.diverged)
    assert ("[" in gap.text(error=error)) == (not gap.blind)
    if one.values and other.values:
        assert low - 1e-9 <= gap.value <= high + 1e-9
        assert minus(other, one).bounds(error) == pytest.approx((-high, -low))
        certain = len(one.values) >= LEAST <= len(other.values) and not one.diverged and not other.diverged
        assert certain == (not gap.blind)
        assert certain or (verdict, low, high, gap.p(bar)) == (UNDECIDED, -100, 100, 1.0)
        if certain and abs(gap.p(bar) - error) > 1e-9:
            assert (verdict != UNDECIDED) == (gap.p(bar) < error)
    low, high = statistics.percent_bounds(one, error)
    assert 0 <= low <= high <= 100
    if len(one.values) >= LEAST:
        assert low - 50 / (one.images or IMAGES) - 1e-9 <= one.mean <= high + 50 / (one.images or IMAGES) + 1e-9


@pytest.mark.parametrize("diverged", [1, 2])
def test_where_a_run_diverged_there_is_a_mean_and_no_interval(diverged):
    ours = Cell((97.0, 97.1, 97.2, 97.3), 4 + diverged, diverged, 500)
    for gap in (minus(ours, cell(50.0, 51.0, 52.0)), minus(cell(50.0, 51.0, 52.0), ours)):
        assert (abs(gap.value), gap.verdict(), gap.needed(0.0)) == (pytest.approx(46.15), UNDECIDED, None)
        assert "[" not in gap.text()
    assert statistics.percent_bounds(ours) == (0.0, 100.0)


def test_fewer_than_three_runs_decide_nothing():
    for n in range(1, LEAST):
        gap = minus(cell(*[90.0] * n), cell(*[10.0] * 5))
        assert (gap.verdict(), gap.text(), gap.needed(0.0)) == (UNDECIDED, "+80.0", None)
    assert minus(cell(), cell(1.0, 2.0, 3.0)).verdict() == NOT_RUN
    assert minus(cell(*[90.0] * LEAST), cell(*[10.0] * LEAST)).verdict() == YES
    assert minus(cell(*[10.0] * LEAST), cell(*[90.0] * LEAST)).verdict() == NO


def test_percentages_are_bounded_on_the_logit():
    """By hand: 80, 90 and 94 %: the interval of log(p / (1 - p)), whose deviation is that of p over p (1 - p)."""
    right, deviation = 0.88, np.std([0.80, 0.90, 0.94], ddof=1)
    half = 4.302653 * deviation / math.sqrt(3) / (right * (1 - right))
    expected = [100 / (1 + math.exp(-(math.log(right / (1 - right)) + end))) for end in (-half, half)]
    assert statistics.percent_bounds(cell(80.0, 90.0, 94.0, images=500)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("values", [(0.3, 0.5, 0.9), (0.1, 0.1, 0.2, 0.4), (-1.0, 0.0, 1.0)])
def test_a_mean_of_one_sample_is_students(values):
    theirs = stats.ttest_1samp(values, 0.0)
    assert mean(cell(*values)).bounds() == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert mean(cell(*values)).p(0.0) == pytest.approx(theirs.pvalue)
    low, high = mean(cell(*values), (0.0, 1.0)).bounds()
    assert 0 <= low <= high <= 1
    assert mean(cell(*values[:2])).verdict() == UNDECIDED


def test_holm_by_hand():
    """Four of a family: 0.005 is read at 0.05 / 4, 0.01 at 0.05 / 3, 0.03 at 0.05 / 2 and decides nothing, nor 0.04."""
    family = [decided(p) for p in (0.01, 0.04, 0.03, 0.005)]
    errors = holm((one, 0.0) for one in family)
    assert errors == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert [one.verdict(0.0, error) for one, error in zip(family, errors, strict=True)] == [
        *(YES, UNDECIDED, UNDECIDED, YES)
    ]


def test_what_is_not_run_counts_in_its_family():
    assert holm([(decided(0.03), 0.0)]) == [0.05]
    assert holm([(decided(0.03), 0.0), (Estimate(), 0.0)]) == [0.025, 0.025]
    assert holm([]) == []


def test_holm_decides_what_the_closed_test_decides():
    """Brute force: one is decided where every part of the family that has it has some p below ERROR over its size."""
    draw = np.random.default_rng(0)
    for _ in range(60):
        chances = draw.choice([1e-4, 0.004, 0.0101, 0.013, 0.016, 0.02, 0.04, 0.2], draw.integers(1, 7)).tolist()
        errors = holm((decided(p), 0.0) for p in chances)
        for index, p in enumerate(chances):
            parts = [part for n in range(1, len(chances) + 1) for part in combinations(range(len(chances)), n)]
            closed = all(min(chances[i] for i in part) < ERROR / len(part) for part in parts if index in part)
            assert (decided(p).verdict(0.0, errors[index]) != UNDECIDED) == (p < errors[index]) == closed


def test_so_many_seeds_decide_and_one_less_does_not():
    draw, found = np.random.default_rng(1), []
    for _ in range(300):
        n, bar, error = int(draw.integers(3, 11)), float(draw.choice([0.0, -1.0])), float(draw.choice([0.05, 0.01]))
        one, other = (cell(*draw.normal(50 + draw.uniform(0, 4), 3, n), images=IMAGES) for _ in range(2))
        gap = minus(one, other)

        def with_seeds(many: int, gap: Estimate = gap) -> Estimate:
            freedom = gap.freedom * (many - 1) / (gap.n - 1)
            return replace(gap, n=many, error=gap.error * math.sqrt(gap.n / many), freedom=freedom)

        needed = gap.needed(bar, error)
        found.append(needed)
        if needed is None:
            assert with_seeds(statistics.MANY).verdict(bar, error) == UNDECIDED
        else:
            assert with_seeds(needed).verdict(bar, error) != UNDECIDED
            assert needed == gap.n or with_seeds(needed - 1).verdict(bar, error) == UNDECIDED
        assert (needed == gap.n) == (gap.verdict(bar, error) != UNDECIDED)
    assert None in found
    assert len(set(found)) > 20

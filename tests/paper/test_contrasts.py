"""Comparisons of one thing changed: paired, on one split, with verdicts that follow the stated rule."""

import pytest
from records import JOINTRD, PLAIN, RESNET, fill, put_row

from rdlib.experiments import rows as taught
from rdlib.experiments.comparisons import ABLATIONS, WAYS, ablations, by_question, depths, rivals
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import COMPARISONS, TABLES, Cell, rows_of, table3
from rdlib.figures.contrasts import differences
from rdlib.paper.contrasts import compared_to_baselines, contrasts, sentence
from rdlib.paper.rivals import says
from rdlib.paper.statistics import (
    ABOVE,
    BELOW,
    BETTER,
    FAILS,
    HOLDS,
    NOT_APART,
    UNDECIDED,
    WORSE,
    better_or_worse,
    beyond,
    difference,
    find,
)

QUICK = PROFILES["quick"]


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ((1.0, 1.2, 0.8), (BETTER, HOLDS, ABOVE)),
        ((-1.0, -1.2, -0.8), (WORSE, FAILS, BELOW)),
        ((1.0, -1.0, 0.5), (UNDECIDED, UNDECIDED, NOT_APART)),
        ((5.0, 5.0), (UNDECIDED, UNDECIDED, NOT_APART)),  # two seeds may agree by luck
        ((), ("", UNDECIDED, NOT_APART)),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(gaps, expected):
    assert tuple(verdict(Cell(gaps, 3)) for verdict in (better_or_worse, beyond, says)) == expected


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", COMPARISONS)
def test_rows_are_paired_and_their_teachers_are_rows_of_the_same_table(name, table):
    rows = COMPARISONS[table](PROFILES[name])
    runs = {run.id: run for row in rows for run in row.runs}
    for row in rows:
        assert [run.seed for run in row.runs] == list(PROFILES[name].seeds)
        for run in row.runs:
            assert run.recipe == row.runs[0].recipe
            if run.teacher is not None:
                teacher = runs[run.teacher]
                assert (teacher.seed, teacher.shortcuts, teacher.recipe) == (run.seed, "all", run.recipe)
    assert len({row.name for row in rows}) == len(rows), "two cells of one name could not be told apart"
    assert len(runs) == sum(len(row.runs) for row in rows), "two cells of one run would be no comparison"


def test_whatever_is_chosen_from_is_measured_on_the_tune_split_and_whatever_is_claimed_on_the_test_split():
    assert {run.recipe.holdout for row in ablations(QUICK) for run in row.runs} == {"tune"}
    assert {run.recipe.holdout for row in [*rivals(QUICK), *depths(QUICK)] for run in row.runs} == {"test"}


def test_every_way_is_shown_from_scratch_and_from_the_teachers_weights():
    shown = [(row.method, row.setting) for row in rivals(PROFILES["cifar100"]) if row.shortcuts == "none"]
    for way in WAYS:
        starts = [setting for name, setting in shown if name == way.name]
        assert starts == (["", "from the teacher's weights"] if way.both else [""])


def test_every_ablation_stands_under_its_question():
    groups = by_question(QUICK)
    assert {row.method for of in groups.values() for row in of} >= {one.name for one in ABLATIONS}
    for one in ABLATIONS:
        assert one.name in [row.method for row in groups[one.question]]


def test_comparisons_are_trained_only_where_asked_for_by_name():
    """`make reproduce` trains the paper's tables; it would take thrice as long with these."""
    assert not TABLES.keys() & COMPARISONS.keys()
    paper = {run.id for row in rows_of(QUICK) for run in row.runs}
    assert not {run.id for row in rows_of(QUICK, "ablations") for run in row.runs} <= paper


@pytest.fixture
def reference():
    return next(row for row in ablations(QUICK) if row.teaching == taught.JOINTRD)


def test_a_contrast_pairs_the_seeds_and_says_what_is_missing(store, reference):
    changed, absent = by_question(QUICK)["m(t)"][:2]
    put_row(store, reference, 90.0, 80.0, 70.0)
    put_row(store, changed, 91.0, 81.2, 70.8)
    table = contrasts(QUICK, "ablations", {"m(t)": [changed, absent]}, reference, store).set_index("change")
    line = table.loc[changed.method]
    assert (line["tune top-1 (%)"], line["n"]) == ("81.0 ± 10.1", "3/3")
    assert (line["difference"], line["95 %"], line["verdict"]) == ("+1.0 ± 0.2", "+0.5 to +1.5", BETTER)
    assert table.loc[absent.method]["to fill"] == f"python -m rdlib sweep quick --table ablations --store {store.root}"
    assert "is better (+1.0 ± 0.2 points, 95 % +0.5 to +1.5, n = 3)" in sentence(changed, reference, store)
    assert sentence(absent, reference, store).endswith("has no record yet")


def test_the_figure_draws_every_seed_and_points_at_what_lies_outside(store, reference):
    inside, outside = by_question(QUICK)["m(t)"][:2]
    for row, top1 in ((reference, 90.0), (inside, 91.0), (outside, 7.0)):
        put_row(store, row, *(top1 + seed / 10 * (row is not reference) for seed in QUICK.seeds))
    ax = differences({"m(t)": [inside, outside]}, reference, store, (-20, 5))
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 6
    assert [text.get_text() for text in ax.texts] == ["-83"]


def test_differences_are_paired_over_seeds(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.0, 97.0, 96.0), PLAIN: (90.0, 88.0)})
    gap = difference(find(rows, 34, *RESNET), find(rows, 34, *PLAIN), store)
    assert (gap.values, gap.wanted) == ((8.0, 9.0), 3)


def test_baselines_are_compared_by_paired_differences_and_their_interval(store):
    """Differences 15, 16, 14: mean 15, deviation 1; t(0.975, 2) / sqrt(3) = 2.48."""
    rows = table3(QUICK)
    fill(store, rows, {PLAIN: (80.0, 81.0, 82.0), JOINTRD: (95.0, 97.0, 96.0)})
    lines = compared_to_baselines(rows, store).set_index("cell")
    line = lines.loc[find(rows, 34, *JOINTRD).name]
    assert (line["minus plain"], line["95 % (plain)"]) == ("+15.0 ± 1.0", "+12.5 to +17.5")
    assert (line["minus ResNet"], line["95 % (ResNet)"]) == ("", "")
    assert len(lines) == 8

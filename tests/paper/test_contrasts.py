"""Comparisons of one thing changed: unpaired, on one split, a table a family."""

from dataclasses import replace

import numpy as np
import pytest
from records import JOINTRD, PLAIN, RESNET, fill, put_row
from scipy import stats

from rdlib.experiments import rows as taught
from rdlib.experiments.comparisons import ABLATIONS, WAYS, ablations, by_question, depths, rivals
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import COMPARISONS, TABLES, rows_of, table3
from rdlib.figures.contrasts import differences
from rdlib.paper.contrasts import against_baselines, contrasts, judged
from rdlib.paper.statistics import find

QUICK = PROFILES["quick"]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", COMPARISONS)
def test_teachers_are_rows_of_the_same_table_of_the_same_seed_trained_alike(name, table):
    """But in the grid of rivals, whose teachers keep the paper's rate."""
    rows = COMPARISONS[table](PROFILES[name])
    runs = {run.id: run for row in rows for run in row.runs}
    for row in rows:
        assert [run.seed for run in row.runs] == [run.seed for run in rows[0].runs]
        for run in row.runs:
            assert run.recipe == row.runs[0].recipe
            if run.teacher is not None:
                teacher = runs[run.teacher]
                recipe = run.recipe
                if table.startswith("rivals-tune"):
                    paper = teacher.recipe
                    recipe = replace(recipe, learning_rate=paper.learning_rate, weight_decay=paper.weight_decay)
                if table == "deeper":  # a student that trains longer has the others' teacher
                    recipe = replace(recipe, epochs=teacher.recipe.epochs)
                assert (teacher.seed, teacher.shortcuts, teacher.recipe) == (run.seed, "all", recipe)
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


def test_a_contrast_is_welchs_at_the_level_of_its_table_and_says_what_is_missing(store, reference):
    """Two of a family, one not run: at half of 5 %. The seeds scatter more than 129 images alone would."""
    better, worse, absent = by_question(QUICK)["m(t)"][:3]
    samples = {reference: (40.0, 50.0, 60.0), better: (90.0, 99.0, 99.0), worse: (30.0, 45.0, 60.0)}
    for row, values in samples.items():
        put_row(store, row, *values)
    table = contrasts(QUICK, "ablations", {"m(t)": [better, worse, absent]}, reference, store).set_index("change")
    theirs = stats.ttest_ind(samples[better], samples[reference], equal_var=False)
    low, high = theirs.confidence_interval(1 - 0.05 / 3)
    line = table.loc[better.method]
    assert (line["tune top-1 (%)"], line["n"], line["better?"]) == ("96.0 ± 5.2", "3/3", "yes")
    assert line["difference"] == f"+46.0 [{low:+.1f}, {high:+.1f}]"
    assert table.loc[worse.method]["better?"] == "undecided"
    assert (table.loc[absent.method]["better?"], table.loc[absent.method]["difference"]) == ("not run", "")
    assert table.loc[absent.method]["to fill"] == f"python -m rdlib sweep quick --table ablations --store {store.root}"
    alone = contrasts(QUICK, "ablations", {"m(t)": [better]}, reference, store)["difference"][0]
    low, high = theirs.confidence_interval(0.95)
    assert alone == f"+46.0 [{low:+.1f}, {high:+.1f}]", "another family, another level"


def test_the_figure_draws_every_seed_in_its_place_and_intervals_to_the_end(store, reference):
    near, far, absent = by_question(QUICK)["m(t)"][:3]
    for row, top1 in ((reference, 90.0), (near, 91.0), (far, 7.0)):
        put_row(store, row, *(top1 + seed / 10 * (row is not reference) for seed in QUICK.seeds))
    ax = differences({"m(t)": [near, far, absent]}, reference, store)
    flat = [line for line in ax.lines if len({*line.get_ydata()}) == 1]
    drawn = {(line.get_marker(), line.get_ydata()[0]): list(line.get_xdata()) for line in flat}
    assert drawn["o", 0] == [91.0, 91.1, 91.2]
    assert drawn["v", 1] == [7.0, 7.1, 7.2], "worse, told by its mark too"
    assert [text.get_text() for text in ax.texts] == ["not run", "m(t)"]
    low, high = ax.get_xlim()
    assert all(low <= x <= high for line in ax.lines for x in line.get_xdata())
    gap, error = next((gap, error) for row, gap, error in judged([near, far, absent], reference, store) if row is near)
    ends = [90 + end for end in gap.bounds(error)]
    assert drawn["None", 0] == pytest.approx([ends[0], min(ends[1], 100.0)])


def test_baselines_are_a_family_a_column(store):
    """Eight cells are taught; what was not run counts, so the only one is read at 5 % / 8."""
    rows = table3(QUICK)
    plain, jointrd = (50.0, 60.0, 70.0), (95.0, 97.0, 99.0)
    fill(store, rows, {PLAIN: plain, JOINTRD: jointrd})
    lines = against_baselines(rows, store).set_index("cell")
    assert len(lines) == 8
    line = lines.loc[find(rows, 34, *JOINTRD).name]
    low, high = stats.ttest_ind(jointrd, plain, equal_var=False).confidence_interval(1 - 0.05 / 8)
    low, high = np.clip([low, high], -100, 100)
    assert line["minus plain"] == f"+37.0 [{low:+.1f}, {high:+.1f}]"
    assert (line["above plain?"], line["minus ResNet"], line["above ResNet?"]) == ("undecided", "", "not run")
    fill(store, rows, {RESNET: (98.0, 98.2, 98.4), PLAIN: (10.0, 11.0, 12.0)})
    line = against_baselines(rows, store).set_index("cell").loc[find(rows, 34, *JOINTRD).name]
    assert (line["above plain?"], line["above ResNet?"]) == ("yes", "undecided")

"""Fair rivals: as many settings for every way, the published one among them, a choice by rule, and no run twice."""

import pytest
from records import put_diverged, put_row

from rdlib.experiments.fair import (
    CHOSEN,
    RATES,
    TEST_SEEDS,
    TUNE_SEEDS,
    Setting,
    grid,
    published,
    resnet,
    row,
    settings,
    tune_rows,
    tuned_rows,
)
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import rows_of
from rdlib.paper.fair import best, choices, tried
from rdlib.recipe import PAPER_RECIPE
from rdlib.rivals.register import WAYS
from rdlib.runs.run import defaults_of
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]
TRIED = [way for way in WAYS if way.tried]
WAY = next(way for way in WAYS if way.name == "JointRD")


def test_every_way_has_as_many_settings_and_the_published_one_among_them():
    assert {len(settings(way)) for way in TRIED} == {9}
    for way in TRIED:
        assert len(set(way.tried)) == len(set(RATES)) == 3
        assert published(way) in settings(way)
        assert published(way).rate == PAPER_RECIPE.learning_rate
        assert way.weight == "weight_decay" or published(way).value == defaults_of(way.method)[way.weight]
    mixtures = {way.name for way in WAYS if not way.tried}
    assert mixtures == {"JointRD and logit distillation", "Dirac weights, JointRD", "RepVGG, JointRD"}


def test_the_grid_is_tried_on_the_tune_split_and_the_choice_tested_on_more_seeds():
    rows = tune_rows(QUICK)
    assert {run.recipe.holdout for one in rows for run in one.runs} == {"tune"}
    assert {tuple(run.seed for run in one.runs) for one in rows} == {TUNE_SEEDS}
    assert len(rows) == 1 + 9 * len(TRIED)
    tested = tuned_rows(QUICK)
    assert {run.recipe.holdout for one in tested for run in one.runs} == {"test"}
    assert {tuple(run.seed for run in one.runs) for one in tested} == {TEST_SEEDS}
    assert [one.teaching.name for one in tested[1:]] == [way.name for way in WAYS if way.name in CHOSEN]
    assert all(not make(PROFILES["cifar10"]) for make in (tune_rows, tuned_rows))


@pytest.mark.parametrize("way", TRIED, ids=lambda way: way.name)
def test_the_published_setting_is_the_run_that_other_tables_have(way):
    """So that nothing is trained twice: the rivals' on the test split; JointRD and cross-entropy on the tune split."""
    test, tune = QUICK.seeded(*TEST_SEEDS), QUICK.seeded(*TUNE_SEEDS).trained(holdout="tune")
    ours = row(test, way, published(way), resnet(test))
    same = [one for one in rows_of(QUICK, "rivals") if one.teaching.name == way.name and one.shortcuts == "none"]
    assert [run.id for run in ours.runs[:3]] in [[run.id for run in one.runs] for one in same]
    ours = row(tune, way, published(way), resnet(tune))
    known = {run.id for one in rows_of(QUICK, "learning-rate") for run in one.runs}
    assert {run.id in known for run in ours.runs} == {way.name in ("cross-entropy", "JointRD")}
    assert {run.id for run in resnet(tune).runs} <= known


def test_of_jointrd_the_whole_of_m_is_scaled():
    (run, _) = row(QUICK.seeded(0, 1), WAY, Setting(0.3, 2.0), resnet(QUICK.seeded(0, 1))).runs
    assert (run.recipe.learning_rate, run.options["m_start"], run.options["m_min"]) == (0.3, 2.0, 1.0)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({(0.02, 0.5): 90.0, (0.3, 2.0): 91.0}, (0.3, 2.0)),
        ({(0.1, 1.0): 90.0, (0.1, 2.0): 90.0, (0.3, 1.0): 90.0}, (0.1, 1.0)),  # of equals the published
        ({(0.1, 2.0): 90.0, (0.02, 2.0): 90.0}, (0.1, 2.0)),  # else fewest steps from it
        ({(0.3, 1.0): 90.0, (0.02, 1.0): 90.0}, (0.02, 1.0)),  # then the lower rate
        ({(0.1, 2.0): 90.0, (0.1, 0.5): 90.0}, (0.1, 0.5)),
        ({(0.3, 2.0): 90.1, (0.1, 1.0): 90.0}, (0.3, 2.0)),
    ],
)
def test_the_best_is_the_highest_mean_and_of_equals_the_nearest_to_the_published(means, expected):
    for order in (1, -1):
        given = {Setting(*point): mean for point, mean in [*means.items()][::order]}
        assert best(WAY, given) == Setting(*expected)


def test_only_a_whole_grid_chooses_and_what_diverged_is_not_chosen(store):
    points = [(setting, one) for way, setting, one in grid(QUICK) if way == WAY]
    for place, (_, one) in enumerate(points[1:]):
        put_row(store, one, 80.0 + place, 81.0 + place)
    assert choices(QUICK, store) == {}
    for run in points[0][1].runs:
        put_diverged(store, run)
    assert choices(QUICK, store) == {WAY.name: points[-1][0]}
    put_diverged(store, points[-1][1].runs[0])
    assert choices(QUICK, store) == {WAY.name: points[-2][0]}
    assert len(tried(QUICK, store)[WAY]) == 7


def test_what_is_chosen_is_what_the_published_records_say():
    assert choices(QUICK, Store()) == CHOSEN

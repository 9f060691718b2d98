"""What trainings beyond the paper cost is what torch counts; their figures draw whatever records there are."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from records import put_row

from rdlib.experiments.beyond import DEEP, EQUAL_EPOCHS, MANY, SAMPLED, alone, at_blocks, deeper, sampled
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, FEATURES, JOINTRD, make_row
from rdlib.figures import beyond as figures
from rdlib.paper import questions
from rdlib.paper.beyond import arithmetic, begun, cuts, table
from rdlib.runs.flops import step_flops

QUICK = PROFILES["quick"]
SMALL = replace(QUICK, depths=(18,), seeds=(0,))


@pytest.mark.parametrize("teaching", [JOINTRD, SAMPLED, FEATURES, at_blocks(3), at_blocks(6)], ids=lambda of: of.name)
def test_the_arithmetic_of_a_training_is_what_torch_counts(teaching):
    ours, plain = (
        replace(make_row(SMALL, 34, how, teachers=make_row(SMALL, 34, CROSS_ENTROPY, "all")).runs[0], seed=0)
        for how in (teaching, CROSS_ENTROPY)
    )
    counted = step_flops(replace(ours, teacher="0" * 12), 16, 10) / step_flops(plain, 16, 10)
    assert arithmetic(ours, QUICK.recipe.epochs) == pytest.approx(counted, rel=0.015)
    assert arithmetic(plain, QUICK.recipe.epochs) == 1


def test_the_control_of_equal_arithmetic_trains_as_long_as_the_many_paths_cost():
    many, three, *_ = (
        row.runs[0] for row in deeper(QUICK) if row.depth == DEEP[0] and len(cuts(row.runs[0])) in (3, MANY)
    )
    if len(cuts(many)) < MANY:
        many, three = three, many
    epochs = QUICK.recipe.epochs
    assert round(epochs * arithmetic(many, epochs) / arithmetic(three, epochs)) == pytest.approx(EQUAL_EPOCHS, abs=1)


def test_the_cuts_of_jointrd_lie_where_stages_end():
    rows = [row for row in deeper(QUICK) if row.depth == 98]
    found = {(row.runs[0].method, len(ends)): ends for row in rows if (ends := cuts(row.runs[0]))}
    assert found["JointRD", 3] == [9, 21, 39]
    assert found["JointRDAtBlocks", 3] == [12, 24, 36]
    (ax,) = figures.where(rows).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        *("3, as JointRD", "3, evenly spaced", "6, evenly spaced", "12, evenly spaced")
    ]
    assert sorted(line.get_xdata()[0] for line in ax.lines[:3]) == [9, 21, 39]
    plt.close("all")


@pytest.mark.parametrize("known", [1, 7, 14])
def test_accuracy_over_the_cuts_draws_every_cell_that_has_a_record(store, known):
    rows = deeper(QUICK)
    for place, row in enumerate(rows[:known]):
        put_row(store, row, *[20.0 + place + seed for seed in range(5)])
    panels = figures.over_cuts(rows, store).axes
    means = sorted(
        float(line.get_ydata()[0])
        for ax in panels
        for line in ax.lines
        if line.get_label() != "guessing" and at_a_mean(line)
    )
    assert means == [22.0 + place for place in range(known)]
    assert [ax.get_title() for ax in panels] == ["66 layers", "98 layers"]
    plt.close("all")


def at_a_mean(line):
    return len(line.get_xdata()) == 1 or not str(line.get_label()).startswith("_")


@pytest.mark.parametrize("known", [3, 28])
def test_accuracy_over_depth_names_every_line_once(store, known):
    rows = alone(QUICK)
    for row in rows[:known]:
        put_row(store, row, *[50.0 + seed for seed in range(5)])
    (ax,) = figures.over_depth(rows, store).axes
    names = [text.get_text() for text in ax.texts[1:]]  # the first says where guessing is
    assert len(names) == len(set(names)) == len({row.method + row.network for row in rows[:known]})
    plt.close("all")


@pytest.mark.parametrize("rows", [deeper(QUICK), alone(QUICK)], ids=("deeper", "alone"))
def test_a_section_has_begun_with_its_first_run_that_is_not_the_papers(rows, store):
    known = [row for row in rows if row.teaching.name in ("cross-entropy", "JointRD") and not row.setting]
    assert len(known) % 3 == 0
    for row in known:
        put_row(store, row, 90.0)
    assert not begun(rows, store)
    put_row(store, next(row for row in rows if row not in known), 90.0)
    assert begun(rows, store)


def test_without_any_run_there_is_no_figure(store):
    assert figures.over_cuts(deeper(QUICK), store) is None
    assert figures.over_depth(alone(QUICK), store) is None


def test_a_table_has_its_cost_and_a_question_its_verdict(store):
    shown = table(QUICK, "deeper", store)
    assert list(shown["arithmetic (x plain)"])[:4] == ["1.0", "1.0", "2.4 + 1", "5.3 + 1"]
    assert len(shown) == len(deeper(QUICK))
    assert table(QUICK, "sampled", store).empty
    assert len(table(PROFILES["cifar10-small"], "sampled", store)) == len(sampled(PROFILES["cifar10-small"]))
    said = questions.verdicts(store, "cuts", "cuts-level")
    assert list(said.table["verdict"]) == ["not run", "not run"]
    assert any("--table deeper" in line for line in said.lines)

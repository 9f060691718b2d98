"""Tables and verdicts: every number comes from a record or from paper.csv, and an empty cell says how to fill it."""

import math
import shlex
import statistics
from dataclasses import replace

import pytest
from records import JOINTRD, PLAIN, RESNET, fill, put, put_diverged, put_row

from rdlib.commands.publish import filled, of_processors, processors
from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.profiles import PROFILES, profile
from rdlib.experiments.rows import CROSS_ENTROPY, JOINT_TEACHER, SETS, only
from rdlib.experiments.tables import (
    TABLES,
    accuracies,
    as_markdown,
    as_text,
    cell,
    fill_command,
    frame,
    in_store,
    paper,
    per_seed,
    records_of,
    reported,
    rows_of,
    runs_of,
    table3,
)
from rdlib.files import RESULTS, ROOT
from rdlib.paper.rendering import linked
from rdlib.paper.statistics import difference, find
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]


def test_every_reported_value_has_a_source_and_an_id_of_its_own():
    table = paper()
    assert len(table) > 10
    assert table.index.is_unique
    assert (table["source"].str.len() > 4).all()
    assert table["value"].notna().sum() + (table["comparison"].str.len() > 0).sum() >= len(table)


def test_reported_values_are_the_known_ones():
    """Typed again from their sources, so that no hand slips in paper.csv unseen."""
    known = {
        ("cifar10", 18): (None, None, 95.36),  # the released model
        ("cifar10", 34): (95.39, 93.73, 94.78),  # the survey's, not the released model's 94.96
        ("cifar10", 50): (None, None, 94.46),
        ("cifar100", 18): (77.92, 77.44, 78.24),
    }
    for name in ("cifar10", "cifar100"):
        for row in table3(PROFILES[name]):
            resnet, plain, jointrd = known.get((name, row.depth), (None, None, None))
            own = resnet if row.shortcuts == "all" else plain
            expected = {"cross-entropy": own, "JointRD": jointrd}.get(row.method)
            assert reported(row) == expected, row.name
    for name, of in PROFILES.items():  # other networks and recipes: nothing to hold them against
        assert of.full or all(reported(row) is None for row in rows_of(of)), name


def test_between_a_laptop_and_the_paper():
    """Short: the paper's protocol in a fifth of its epochs. Small: the paper's rate and batch, on small images."""
    for name in ("cifar10", "cifar100"):
        whole, short, small = (PROFILES[f"{name}{more}"] for more in ("", "-short", "-small"))
        assert short.trained(epochs=200) == replace(whole, name=short.name, note=short.note)
        assert 5 * short.recipe.epochs == whole.recipe.epochs
        assert (small.dataset, small.depths[0], small.width, len(small.seeds)) == (f"{name}-small", 34, 16, 5)
        assert (small.recipe.learning_rate, small.recipe.batch_size) == (0.1, 128)
        assert whole.full
        assert not short.full
        assert not small.full


@pytest.mark.parametrize("name", PROFILES)
def test_students_are_taught_by_the_resnet_of_their_seed_and_depth(name):
    rows = accuracies(PROFILES[name])
    assert {row.depth for row in rows} == set(PROFILES[name].depths)
    for row in rows:
        teachers = find(rows, row.depth, *RESNET)
        for student, teacher in zip(row.runs, teachers.runs, strict=True):
            assert (student.seed, student.depth) == (teacher.seed, teacher.depth)
            alone = row.teaching in (CROSS_ENTROPY, JOINT_TEACHER)
            assert student.teacher == (None if alone else teacher.id)
            assert teacher.shortcuts == "all"


def test_learning_rate_runs_use_the_tune_split_and_teachers_of_their_own_rate():
    rows = rows_of(QUICK, "learning-rate")
    assert len({row.runs[0].recipe.learning_rate for row in rows}) == 4
    by_id = {run.id: run for row in rows for run in row.runs}
    for run in by_id.values():
        assert run.recipe.holdout == "tune"
        assert run.teacher is None or by_id[run.teacher].recipe == run.recipe
    assert rows_of(PROFILES["cifar10"], "learning-rate") == []


@pytest.mark.parametrize("name", PROFILES)
def test_no_two_cells_share_a_run_and_no_name_is_used_twice(name):
    for table in TABLES:
        rows = rows_of(PROFILES[name], table)
        assert len({row.name for row in rows}) == len(rows)
        assert len({run.id for row in rows for run in row.runs}) == sum(len(row.runs) for row in rows)


def test_runs_come_once_each_seed_by_seed():
    runs = runs_of([*rows_of(QUICK), *rows_of(QUICK, "3")])
    shared = 3 * 3  # the three networks of depth 34 are in table 3 and in the first seeds of the depths
    assert len({run.id for run in runs}) == len(runs) == sum(len(row.runs) for row in rows_of(QUICK)) - shared
    order = [(run.depth != 34, run.seed) for run in runs]
    assert order == sorted(order)


@pytest.mark.parametrize(("name", "first"), [("cifar100", 18), ("cifar10", 34), ("imagenet", 50)])
def test_the_cells_worth_most_come_first(name, first):
    """The depth with reported values, and of it one seed of every cell before a second seed of any."""
    runs = runs_of(rows_of(PROFILES[name]))
    cells = len([row for row in rows_of(PROFILES[name]) if row.depth == first])
    assert {(run.depth, run.seed) for run in runs[:cells]} == {(first, 0)}
    assert len({(run.shortcuts, run.method, str(run.options)) for run in runs[:cells]}) == cells == 11
    order = [(run.depth, run.seed) for run in runs]
    assert order == sorted(order, key=lambda pair: (PROFILES[name].depths.index(pair[0]), pair[1]))


@pytest.mark.parametrize(
    ("profile_name", "table"),
    [("cifar100", "3"), ("imagenet", "4"), ("cifar100", "rivals"), ("quick", "ablations"), ("quick", "transfer")],
)
def test_the_named_sets_are_the_three_networks_trained_from_scratch_as_usual(profile_name, table):
    """Told from the runs: no rival, ablation, pruned, narrowed or transferred network, and no other start."""
    rows = rows_of(PROFILES[profile_name], table)
    wanted = {"resnet": ("all", "Supervised"), "plain": ("none", "Supervised"), "jointrd": ("none", "JointRD")}
    usual = {PROFILES[profile_name].width}
    for name, (shortcuts, method) in wanted.items():
        found = [row for row in rows if SETS[name](row)]
        assert found
        for run in (run for row in found for run in row.runs):
            assert (run.shortcuts, run.method, run.conv) == (shortcuts, method, "plain")
            assert {run.width} == usual
            assert run.options == found[0].runs[0].options
            assert run.options.get("init", "scratch") == "scratch"
    assert [row for row in rows if SETS["three"](row)] == only(rows, "three") == only(rows, "jointrd, Plain,RESNET")


def test_a_named_set_comes_with_its_teachers_and_keeps_the_order_of_worth():
    rows = rows_of(PROFILES["cifar100"])
    runs, three = runs_of(only(rows, "jointrd")), runs_of(only(rows, "three"))
    assert {run.teacher for run in runs} - {None} == {run.id for run in runs if run.method == "Supervised"}
    assert [run for run in runs_of(rows) if run in three] == three
    assert [(run.depth, run.seed) for run in three[:9]] == [(18, seed) for seed in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    transferred = only(rows_of(QUICK, "transfer"), "jointrd")
    assert {row.teaching.name for row in transferred} == {"cross-entropy", "JointRD"}


def test_a_named_set_without_rows_is_one_sentence():
    with pytest.raises(ConfigError, match="--only plain: this table has no such row, choose another of resnet, plain"):
        only(rows_of(QUICK)[:1], "resnet,plain")


@pytest.mark.parametrize("name", PROFILES)
def test_an_empty_store_gives_empty_cells_and_the_command_that_fills_them(name, store):
    number = "4" if name == "imagenet" else "3"
    table = frame(PROFILES[name], number, store)
    assert len(table) == 11 * len(PROFILES[name].depths)
    assert set(table["test top-1 (%)"]) == {""}
    assert set(table["n"]) == {f"0/{len(PROFILES[name].seeds)}"}
    assert set(table["to fill"]) == {f"python -m rdlib sweep {name} --table {number} --store {store.root}"}
    assert "ours - reported" not in table


def test_a_command_names_the_store_that_it_fills_unless_it_is_the_published_one(tmp_path):
    command = "python -m rdlib sweep quick"
    assert in_store(command, Store()) == in_store(command, Store(ROOT / "notebooks" / ".." / "results")) == command
    assert in_store(command, Store(RESULTS / "reproduced")) == f"{command} --store results/reproduced"
    named = in_store(command, Store(tmp_path / "two words"))
    assert shlex.split(named)[-2:] == ["--store", str(tmp_path / "two words")]
    for whole in (f"{command} --store results/reproduced", named):
        assert linked(f"to fill: {whole}", "") == f"to fill: `{whole}`", "the whole of it is code"


def test_cells_hold_mean_and_sample_deviation_of_the_seeds_that_have_a_record(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.0, 97.0, 99.6), PLAIN: (80.0, 90.0), JOINTRD: (95.26,)})
    resnet, plain, jointrd = (cell(find(rows, 34, *key), store) for key in (RESNET, PLAIN, JOINTRD))
    assert resnet.values == (98.0, 97.0, 99.6)
    assert resnet.mean == pytest.approx(98.2)
    assert resnet.std == pytest.approx(statistics.stdev([98.0, 97.0, 99.6]))
    assert (str(resnet), str(plain), str(jointrd)) == ("98.2 ± 1.3", "85.0 ± 7.1", "95.3")
    assert math.isnan(jointrd.std)
    table = frame(QUICK, "3", store)
    assert list(table["n"]) == ["3/3", "2/3", "0/3", "0/3", "1/3", *["0/3"] * 6]
    assert list(table["test top-1 (%)"])[:5] == ["98.2 ± 1.3", "85.0 ± 7.1", "", "", "95.3"]
    assert list(table["to fill"])[:2] == ["", fill_command(QUICK, "3", store)]


def test_ours_minus_reported_is_their_difference(store):
    ten = PROFILES["cifar10"]
    rows = table3(ten)
    put_row(store, find(rows, 34, *RESNET), 95.0, 95.0, 95.0)
    line = frame(ten, "3", store).set_index(["depth", "shortcuts", "taught by"]).loc[(34, "all", "cross-entropy")]
    assert (line["reported (%)"], line["ours - reported"]) == ("95.39", "-0.39")


def test_per_seed_shows_every_value_behind_a_cell(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.0, 97.123)})
    lines = per_seed(QUICK, "3", store)
    assert lines.loc[0, ["seed 0", "seed 1", "seed 2"]].tolist() == ["98.00", "97.12", ""]
    assert list(lines["cell"]) == [row.name for row in rows]


def test_tune_runs_are_shown_by_their_tune_accuracy(store):
    rows = rows_of(QUICK, "learning-rate")
    put(store, rows[0].runs[0], 77.7)
    table = frame(QUICK, "learning-rate", store)
    assert table["tune top-1 (%)"][0] == "77.7"


def test_text_and_markdown_print_the_rounded_cells(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.04, 97.0, 99.0)})
    table = frame(QUICK, "3", store)
    text, markdown = as_text(table), as_markdown(table)
    for printed in (text, markdown):
        assert ("98.0 ± 1.0" in printed, "98.04" in printed, "98.01" in printed) == (True, False, False)
    header, rule, *lines, empty, command = text.splitlines()
    assert (len(lines), empty, command) == (len(rows), "", f"to fill: {fill_command(QUICK, '3', store)}")
    assert set(rule) == {"-", " "}
    column = header.index("taught by")
    assert all(line[column:].startswith(row.method) for line, row in zip(lines, rows, strict=True))
    assert markdown.splitlines()[2].startswith("| 34 | ResNet | all | cross-entropy | 98.0 ± 1.0 | 3/3 |")
    *shown, empty, command = markdown.splitlines()
    assert (empty, command) == ("", f"to fill: `{fill_command(QUICK, '3', store)}`"), "once, not in every line"
    assert {line.count("|") for line in shown} == {len(table.columns)}
    assert as_text(frame(PROFILES["cifar10"], "learning-rate", store)) == "(no rows)"


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda: profile("mnist"), "quick, cifar10-small, cifar100-small, cifar100-2-epochs, cifar10-short"),
        (lambda: rows_of(QUICK, "9"), "3, 4, depth, 3-high-rate, learning-rate"),
        (lambda: profile("quick", 4), "seeds 1 to 3, not 4"),
        (lambda: profile("quick", 0), "seeds 1 to 3, not 0"),
    ],
)
def test_unknown_names_list_the_choices(act, named):
    with pytest.raises(ConfigError, match=named):
        act()


def test_a_profile_takes_its_first_seeds():
    assert (profile("quick", 2).seeds, profile("quick").seeds) == ((0, 1), (0, 1, 2))


def test_a_paper_csv_that_is_gone_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"paper\.csv"):
        paper(tmp_path / "paper.csv")


def test_tables_are_those_the_command_line_names():
    assert set(TABLES) == {"3", "4", "depth"}


def test_words_are_made_of_what_a_row_is_and_two_rows_of_one_value_are_equal():
    """Renaming a teaching changes what is printed alone."""
    row = find(table3(QUICK), 34, *JOINTRD)
    assert row == find(table3(QUICK), 34, *JOINTRD)
    assert row.name == "plain-34, strictly plain, JointRD"
    renamed = replace(row, teaching=replace(row.teaching, name="joint"), cut="cut", conditions="here", heir=True)
    assert renamed.name == "plain-34, strictly plain, cut, joint, from the teacher's weights, here"
    assert renamed.runs == row.runs
    assert rows_of(QUICK, "ablations")[0].name == f"{rows_of(QUICK, 'ablations')[0].title}, tune split"


def test_a_cell_shows_and_counts_the_runs_that_diverged_and_averages_the_others(store):
    """Nothing is left to train in it, and no mean, difference or figure meets them."""
    resnet, plain = (find(table3(QUICK), 34, *which) for which in (RESNET, PLAIN))
    put_row(store, resnet, 97.0, 98.0, 99.0)
    put_row(store, plain, 95.6, 97.0)
    put_diverged(store, plain.runs[0])
    assert (str(cell(plain, store)), cell(plain, store).count) == ("97.0, 1 diverged", "2/3")
    put(store, plain.runs[2], 98.0)
    ours = cell(plain, store)
    assert (str(ours), ours.count, ours.whole, ours.finished) == ("97.5 ± 0.7, 1 diverged", "3/3", True, False)
    assert [record.top1 for record in records_of(plain, store)] == [97.0, 98.0]
    gap = difference(plain, resnet, store)
    assert (gap.value, gap.verdict(), gap.text()) == (pytest.approx(-0.5), "undecided", "-0.5")
    line = frame(QUICK, "3", store).set_index(["network", "shortcuts", "taught by"])
    assert line.loc[("plain", "strictly plain", "cross-entropy"), "to fill"] == ""
    seeds = per_seed(QUICK, "3", store).set_index("cell").loc[plain.name]
    assert list(seeds) == ["diverged", "97.00", "98.00"]
    for run in plain.runs:
        put_diverged(store, run)
    ours = cell(plain, store)
    assert (str(ours), ours.count, ours.whole, ours.values) == ("diverged", "3/3", True, ())
    assert difference(plain, resnet, store).text() == ""


def test_a_table_of_several_processors_says_so(store):
    """A GPU is the processor of its runs; the oldest records of CPUs name no model."""
    old, new = {"device": "cpu (x86_64, AVX512)"}, {"device": "cpu (x86_64, AVX2)", "processor": "AMD EPYC"}
    gpu = {"device": "NVIDIA H200", "processor": "Intel(R) Xeon(R) Processor"}
    row, other = table3(QUICK)[:2]
    assert of_processors([row, other], store) == ""
    for run in row.runs:
        put(store, run, 90.0, new)
    assert processors([row, row, other], store) == {"AMD EPYC": 3}, "a run that stands in two tables counts once"
    assert of_processors([row, other], store) == ""
    put(store, other.runs[0], 90.0, gpu)
    put(store, other.runs[1], 90.0, old)
    put_diverged(store, other.runs[2], origin=old)
    said = "Runs of several processors: AMD EPYC (3), NVIDIA H200 (1), cpu (x86_64, AVX512) (2)."
    assert of_processors([row, other], store) == said
    page = filled("<!-- table 3 quick -->\n<!-- end -->", store)
    assert page.endswith(f"`\n\n{said}\n<!-- end -->")

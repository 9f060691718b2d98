"""Tables of transfers: what is trained and fine-tuned, how rates are chosen, and what the tables say."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from records import put, put_row

from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.profiles import PROFILES, profile
from rdlib.experiments.tables import TRANSFERS, fill_command, rows_of
from rdlib.experiments.transfers import ALL, FROZEN, FULL, JOINTRD, PLAIN, RELEASED, RESNET, SCRATCH, Line
from rdlib.figures import transfers as transfer_figures
from rdlib.paper import transfers as transfer_table
from rdlib.paper.statistics import difference
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]


def at(lines: list[Line], start: str, network: str, shots: int | None = ALL) -> Line:
    return next(one for one in lines if (one.start, one.network, one.shots) == (start, network, shots))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", TRANSFERS)
def test_every_teacher_is_a_row_of_the_same_table_and_trained_elsewhere(name: str, table: str) -> None:
    rows = rows_of(PROFILES[name], table)
    runs = {run.id: run for row in rows for run in row.runs}
    assert len(runs) == sum(len(row.runs) for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    for run in runs.values():
        if run.method == "Transfer":
            assert run.teacher is not None
            source = runs[run.teacher]
            assert source.dataset != run.dataset
            assert (source.depth, source.width, source.shortcuts) == (run.depth, run.width, run.shortcuts)
            assert source.seed == run.seed or name == "imagenet"


def test_of_imagenet_the_networks_of_table_4_are_transferred_to_both_targets() -> None:
    imagenet = PROFILES["imagenet"]
    table4 = {run.id for row in rows_of(imagenet, "4") for run in row.runs}
    transferred = [run for row in rows_of(imagenet, "transfer") for run in row.runs if run.method == "Transfer"]
    assert {run.teacher for run in transferred} < table4
    assert {run.dataset for run in transferred} == {"mit67", "caltech101"}
    assert {run.seed for run in transferred} == {0, 1, 2}
    assert {run.stem for run in transferred} == {"imagenet"}


def test_rates_are_tried_on_the_tune_split_and_results_come_from_the_test_split() -> None:
    for name, tasks in transfer_rows.TASKS.items():
        tried, lines = transfer_rows.tune_lines(PROFILES[name]), transfer_rows.lines(PROFILES[name])
        assert {run.recipe.holdout for one in tried for run in one.row.runs} == {"tune"}
        assert {run.recipe.holdout for one in lines for run in one.row.runs} == {"test"}
        for task in (task for task in tasks if task.tuned):
            for rates in (task.rates[start] for start in (FROZEN, FULL)):
                assert {0.03, 0.1} <= set(rates), "the same rates are tried with every network"


def test_frozen_full_and_scratch_see_the_same_images_for_as_many_steps() -> None:
    lines = transfer_rows.lines(QUICK)
    for shots in (1, 25, ALL):
        recipes = {
            replace(run.recipe, learning_rate=1.0)
            for start in (FROZEN, FULL, SCRATCH)
            for run in at(lines, start, RESNET, shots).row.runs
        }
        assert len(recipes) == 1
    few = {one.row.runs[0].recipe for one in lines if one.shots is not ALL}
    assert {recipe.epochs * (5 * (recipe.shots or 0) // recipe.batch_size) for recipe in few} == {40}


def test_one_seed_of_a_profile_is_part_of_all(store: Store) -> None:
    for table in TRANSFERS:
        one, every = (
            {run.id for row in rows_of(profile("quick", seeds), table) for run in row.runs} for seeds in (1, None)
        )
        assert one < every


def test_tables_say_what_the_records_say(store: Store) -> None:
    values = {RESNET: (90.0, 91.0, 92.0), PLAIN: (70.0, 80.0, 75.0), JOINTRD: (93.0, 93.5, 95.0)}
    lines = transfer_rows.lines(QUICK)
    for network, given in values.items():
        put_row(store, at(lines, FULL, network).row, *given)
    put_row(store, at(lines, SCRATCH, RESNET).row, 95.0, 95.0, 95.0)
    table = (
        transfer_table.accuracies(QUICK, store).set_index(["task", "start", "network"]).loc["digits-low to digits-high"]
    )
    assert table.loc[("everything learns", "plain"), "all"] == "75.0 ± 5.0"
    assert table.loc[("everything learns", "plain"), "n"] == "3/18"
    assert table.loc[("backbone frozen", "plain"), "all"] == ""
    assert table.loc[("backbone frozen", "plain"), "to fill"] == fill_command(QUICK, "transfer", store)
    gaps = transfer_table.gaps(QUICK, store).set_index(["task", "difference", "start", "images"])
    gaps = gaps.loc["digits-low to digits-high"]
    ours = gaps.loc[("plain, JointRD - ResNet", "everything learns", "all")]
    family = len(transfer_table.gaps(QUICK, store))
    gap = difference(at(lines, FULL, JOINTRD).row, at(lines, FULL, RESNET).row, store)
    assert (ours["points"], ours["n"]) == (gap.text(error=0.05 / family), "3/3"), "all lines are one family"
    assert ours["above?"] == "undecided"
    missing = gaps.loc[("plain, JointRD - ResNet", "everything learns", "5")]
    assert (missing["points"], missing["above?"]) == ("", "not run")
    parts = transfer_table.by_task(transfer_table.accuracies(QUICK, store))
    assert list(parts) == ["digits-low to digits-high", "digits-low to digits-high, 20 epochs"]
    assert " ".join(parts["digits-low to digits-high"]) == "start network 1 2 5 10 25 all n to fill"
    assert len(parts["digits-low to digits-high"]) == 8
    long = parts["digits-low to digits-high, 20 epochs"]
    assert list(long) == ["start", "network", "all", "n", "to fill"]
    assert set(long["all"]) == {""}, "an empty cell is seen"
    (head,) = transfer_table.headline(transfer_table.gaps(QUICK, store)).query("n == '3/3'").to_dict("records")
    assert head == {"task": "digits-low to digits-high", "start": "everything learns"} | ours.to_dict()
    worth = transfer_table.worth(QUICK, store).set_index(["task", "start", "network", "images"])
    worth = worth.loc["digits-low to digits-high"]
    assert worth.loc[("everything learns", "ResNet", "all"), "points"].startswith("-4.0 [")


def test_of_the_small_transfers_only_strictly_plain_networks_are_trained() -> None:
    for name in ("quick", "cifar100-2-epochs"):
        assert {one.row.shortcuts for one in transfer_rows.lines(PROFILES[name])} == {"all", "none"}


def test_one_network_fine_tuned_three_times_says_nothing_of_others(store: Store) -> None:
    photographs = PROFILES["imagenet"]
    lines = [one for one in transfer_rows.lines(photographs) if one.task.target == "mit67"]
    for network, value in ((JOINTRD, 95.0), (RELEASED, 95.0), (RESNET, 60.0)):
        put_row(store, at(lines, FROZEN, network).row, value, value, value)
    gaps = transfer_table.gaps(photographs, store)
    ran = gaps[gaps["points"] != ""]
    assert ran[["points", "above?"]].to_numpy().tolist() == [["+35.0", "undecided"]] * 2


def test_the_best_rate_on_the_tune_split_is_chosen_of_equals_the_lower(store: Store) -> None:
    task = transfer_rows.TASKS["quick"][0]
    top = {0.01: 80.0, 0.03: 90.0, 0.1: 90.0, 0.3: 20.0, 1.0: 20.0}
    tried = [one for one in transfer_rows.tune_lines(QUICK) if (one.start, one.network) == (FULL, RESNET)]
    for one in tried:
        for run in one.row.runs:
            put(store, run, top[one.rate] if one.shots is ALL else 100 - top[one.rate])
    assert transfer_table.chosen(QUICK, task, store) == {(FULL, RESNET): (0.3, 0.03)}
    shown = transfer_table.tuning(QUICK, store).set_index(["start", "network", "images"])
    assert shown.loc[("everything learns", "ResNet", "all"), "0.03"] == "90.0 *"
    rates = list(transfer_table.by_task(transfer_table.tuning(QUICK, store))["digits-low to digits-high"])[3:-2]
    assert rates == ["0.01", "0.03", "0.1", "0.3", "1", "3"], "3 is for frozen backbones alone"
    store.record_path(tried[0].row.runs[0]).unlink()
    assert transfer_table.chosen(QUICK, task, store) == {}


@pytest.mark.parametrize("name", PROFILES)
def test_without_records_every_table_and_figure_is_empty_but_whole(name: str, store: Store) -> None:
    for make in (transfer_table.accuracies, transfer_table.tuning, transfer_table.gaps, transfer_table.worth):
        found = make(PROFILES[name], store)
        assert not any(part.isna().any(axis=None) for part in transfer_table.by_task(found).values())
        assert (len(found) > 0) == (name in transfer_rows.TASKS)
    tasks = [(PROFILES[name], task) for task in transfer_rows.TASKS.get(name, ())]
    plt.close(transfer_figures.at_a_glance(tasks, store))
    headline = transfer_table.headline(transfer_table.gaps(PROFILES[name], store))
    assert len(headline) == 2 * len(tasks)
    for task in transfer_rows.TASKS.get(name, ()):
        figure = transfer_figures.few_shot(PROFILES[name], task, store)
        assert not any(ax.containers for ax in figure.axes)
        plt.close(figure)


def test_at_a_glance_every_seed_of_all_images_is_a_dot_and_every_mean_a_number(store: Store) -> None:
    tasks = [(QUICK, task) for task in transfer_rows.TASKS["quick"]]
    lines = transfer_rows.lines(QUICK)
    put_row(store, at(lines, FULL, JOINTRD).row, 80.0, 90.0, 94.0)
    put_row(store, at(lines, FULL, JOINTRD, 5).row, 10.0, 10.0, 10.0)  # few images: not at a glance
    figure = transfer_figures.at_a_glance(tasks, store)
    first, long = figure.axes
    seeds, mean = first.lines
    assert (seeds.get_xdata().tolist(), mean.get_xdata()[0]) == ([80.0, 90.0, 94.0], 88.0)
    assert first.get_yticklabels()[round(seeds.get_ydata()[0]) - 1].get_text() == JOINTRD
    assert {"88.0", "backbone frozen", "everything learns", "from scratch"} == {t.get_text() for t in first.texts}
    assert not long.lines
    plt.close(figure)


def test_the_few_shot_curve_draws_the_means_and_all_stands_apart(store: Store) -> None:
    lines = transfer_rows.lines(QUICK)
    for shots, values in {1: (10.0, 20.0, 30.0), ALL: (90.0, 90.0, 96.0)}.items():
        put_row(store, at(lines, FROZEN, PLAIN, shots).row, *values)
    figure = transfer_figures.few_shot(QUICK, transfer_rows.TASKS["quick"][0], store)
    frozen, full = figure.axes
    few, every = (drawn.lines[0] for drawn in frozen.containers)
    assert (few.get_ydata().tolist(), every.get_ydata().tolist()) == ([20.0], [92.0])
    assert few.get_xdata()[0] == pytest.approx(1, rel=0.1)
    assert every.get_xdata()[0] > 50
    assert not full.containers
    assert [text.get_text() for text in frozen.get_xticklabels()] == ["1", "2", "5", "10", "25", "all"]
    plt.close(figure)


@pytest.mark.parametrize("name", ["quick", "cifar100-2-epochs"])
def test_the_rates_in_use_are_those_that_the_published_records_chose(name: str) -> None:
    for task in (task for task in transfer_rows.TASKS[name] if task.tuned):
        assert task.chosen == transfer_table.chosen(PROFILES[name], task, Store())

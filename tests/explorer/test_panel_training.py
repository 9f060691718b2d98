"""Panel (b): recorded curves are the records', a live training can be watched and stopped, and leaves nothing."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from rdlib.errors import NonFiniteLossError
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import fill_command, rows_of
from rdlib.explorer import background
from rdlib.explorer.background import rows_for
from rdlib.explorer.panel import BREAK
from rdlib.explorer.training import LIVE, RECORDED, TrainingPanel
from rdlib.figures.curves import heading, looks
from rdlib.recipe import Recipe
from rdlib.runs.execute import train

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.2, schedule="one-cycle", crop_padding=1, flip=False)
TINY = replace(PROFILES["quick"], dataset="tiny", depths=(18,), width=4, recipe=RECIPE, seeds=(0, 1))
PLAIN, JOINTRD = (
    next(row for row in rows_of(TINY, "3") if (row.shortcuts, row.method) == ("none", how))
    for how in ("cross-entropy", "JointRD")
)


def curve(seed):
    """A history of its own for each seed."""
    told = {"seconds": 1.0, "losses": {"cross_entropy": 1.0 + seed, "distance": 0.5}, "learning_rate": 0.1}
    return [{"epoch": e, "train_top1": 10.0 * e + seed, **told} for e in (1, 2, 3)]


@pytest.fixture
def panel(store, put, tiny_runs):
    """Records of both seeds of the plain network and of one of JointRD."""
    for row, seed, top1 in ((PLAIN, 0, 50.0), (PLAIN, 1, 60.0), (JOINTRD, 0, 90.0)):
        put(row.runs[seed], top1, curve(seed))
    return TrainingPanel(store, TINY)


def files(store):
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


# --- recorded


def test_the_curves_are_those_of_the_records_with_n_and_the_tables_accuracy(panel):
    plain, jointrd = panel.recorded()[0]
    assert plain.name == "plain-18, strictly plain, cross-entropy"
    np.testing.assert_array_equal(plain.top1, [[10, 20, 30], [11, 21, 31]])
    np.testing.assert_array_equal(plain.loss, [[1.5] * 3, [2.5] * 3])
    assert plain.legend == "test top-1 55.0 ± 7.1 % (n = 2)"
    assert jointrd.legend == "test top-1 90.0 % (n = 1)"
    assert f"{plain.name}: {plain.legend}; {jointrd.name}: {jointrd.legend}" in panel.picture.alt
    assert "on tiny, learning rate (peak) 0.2. " in panel.picture.alt
    assert panel.message.value == (
        f"plain-18, strictly plain, JointRD: 1 of 2 recorded, fill it with `{fill_command(TINY, '3', panel.store)}`."
    )


def test_one_seed_is_shown_alone(panel):
    before = panel.picture.png
    panel.seed.value = 0
    assert panel.picture.png != before
    assert [one.legend for one in panel.recorded()[0]] == ["test top-1 50.0 % (seed 0)", "test top-1 90.0 % (seed 0)"]
    assert [one.top1.tolist() for one in panel.recorded()[0]] == [[[10, 20, 30]]] * 2
    assert "test top-1 50.0 % (seed 0)" in panel.picture.alt
    assert panel.message.value == ""
    panel.seed.value = 1
    assert "JointRD: 0 of 1 recorded" in panel.message.value
    assert len(panel.recorded()[0]) == 1


def test_another_row_is_drawn_and_another_table_lists_its_rows_with_the_same_network(panel, put):
    before = panel.picture.png
    panel.cells[0].value = JOINTRD
    assert panel.picture.png != before
    assert "cross-entropy" not in panel.picture.alt
    (low,) = (row for row in rows_of(TINY, "3-high-rate") if (row.shortcuts, row.method) == ("none", "JointRD"))
    put(low.runs[0], 77.0, curve(0))
    panel.tables[1].value = "3-high-rate"
    assert panel.cells[1].value == low
    assert [name.replace(BREAK, "") for name, _ in panel.cells[1].options] == [
        row.name for row in rows_of(TINY, "3-high-rate")
    ]
    assert "JointRD, learning rate 0.9: test top-1 77.0 % (n = 1)" in panel.picture.alt
    assert f"`{fill_command(TINY, '3-high-rate', panel.store)}`" in panel.message.value
    assert panel.cells[0].value == JOINTRD
    panel.cells[1].value = rows_of(TINY, "3-high-rate")[0]
    assert "77.0" not in panel.picture.alt


def test_every_table_with_rows_is_offered(panel):
    wanted = {"3", "depth", "3-high-rate", "learning-rate", "rivals", "rivals-tune", "rivals-tuned", "ablations"}
    assert {value for _, value in panel.tables[0].options} == wanted | {
        *("tuned", "tuned-high-rate", "deeper", "alone", "alone-tune", "bits")
    }


def test_an_empty_store_names_the_commands_and_still_draws(store, tiny_runs):
    panel = TrainingPanel(store, TINY)
    command = fill_command(TINY, "3", store)
    assert panel.message.value.count(f"0 of 2 recorded, fill it with `{command}`") == 2
    assert panel.picture.png
    assert "none yet" in panel.picture.alt


def test_an_edited_record_is_told(panel, store):
    path = store.record_path(PLAIN.runs[0])
    path.write_text(path.read_text().replace("50.0", "99.0"))
    panel.seed.value = 0
    assert "does not match its own digest" in panel.message.value


def test_no_two_curves_look_alike():
    rivals = rows_of(PROFILES["quick"], "rivals")
    assert looks([PLAIN, PLAIN])[0] != looks([PLAIN, PLAIN])[1]
    for a in rivals:
        for b in rivals:
            assert len(set(looks([a, b]))) == 2


def test_the_heading_names_the_data_set_and_each_learning_rate_once():
    slow = replace(PLAIN.runs[0], recipe=replace(RECIPE, learning_rate=0.1))
    assert heading("tiny", [PLAIN.runs[0], PLAIN.runs[1], slow]) == "tiny, learning rate (peak) 0.2 and 0.1"
    assert heading("tiny", []) == "tiny"


# --- live


@pytest.fixture
def ready(store, tiny_runs):
    """A panel on an empty store, set to train two small networks for two epochs."""
    panel = TrainingPanel(store, TINY)
    panel.source.value = LIVE
    panel.depth.value, panel.rate.value, panel.epochs.value = 18, 0.1, 2
    return panel


def trained(panel, *networks, epochs=None):
    """Choose networks and epochs, where they are given, and train to the end."""
    for control, value in zip((panel.epochs, *panel.networks), (epochs, *networks), strict=False):
        control.value = value or control.value
    panel.train.click()
    panel.live.join(60)
    assert not panel.live.is_alive()
    assert (panel.train.disabled, panel.stop.disabled) == (False, True)


def during(monkeypatch, at, act):
    """Have something done in the middle of a training: right before the `at`-th of all epochs is told."""
    original, count = background.fit, iter(range(1, 1000))

    def fit(*args, **kwargs):
        for epoch in original(*args, **kwargs):
            if next(count) == at:
                act()
            yield epoch

    monkeypatch.setattr(background, "fit", fit)


def test_the_source_decides_which_controls_are_shown(panel):
    shown = lambda: (panel.recorded_box.layout.display, panel.live_box.layout.display)  # noqa: E731
    before = panel.picture.png
    assert shown() == ("flex", "none")
    panel.source.value = LIVE
    assert shown() == ("none", "flex")
    assert panel.picture.png != before
    assert panel.message.value.startswith("Choose networks and press Train.")
    panel.source.value = RECORDED
    assert shown() == ("flex", "none")
    assert panel.picture.png == before


def test_a_live_training_is_the_recorded_one_and_writes_nothing(ready, store):
    heard = []
    ready.on_observation = lambda observed: heard.append((observed, len(observed.observations)))
    assert ready.observations == []
    trained(ready)
    assert files(store) == {}
    teacher, plain, jointrd = ready.live.curves
    assert [len(curve.epochs) for curve in ready.live.curves] == [3, 2, 2]  # the teacher as long as the profile says
    assert ready.message.value.startswith("Trained in")
    assert (ready.progress.value, ready.progress.max) == (7, 7)
    for curve in (teacher, plain, jointrd):
        record = train(curve.run, store, "cpu", progress=False)
        assert record.top1 == curve.test
        for written, shown in zip(record.history, curve.epochs, strict=True):
            assert written["train_top1"] == pytest.approx(shown.train_top1, rel=1e-5)
            assert sum(written["losses"].values()) == pytest.approx(sum(shown.losses.values()), rel=1e-5)
        assert f"{curve.row.name}: test top-1 {curve.test:.1f} % (n = 1, seed 0)" in ready.picture.alt
    assert [observed for observed, _ in heard] == ready.observations * len(heard)
    assert [seen.epoch for seen in ready.observations[0].observations] == [0, 1, 2]
    assert {n for _, n in heard} == {2, 3}  # before training, and after one and two epochs
    assert ready.observations[0].name.startswith("tiny, live: plain-18, strictly plain, JointRD, learning rate 0.1")
    assert "on tiny, learning rate (peak) 0.1. ResNet-18" in ready.picture.alt


def test_a_teacher_that_is_here_is_not_trained_again(ready, store, monkeypatch):
    told = []
    during(monkeypatch, 1, lambda: told.append(ready.status.value))
    trained(ready, "plain, JointRD")  # both are one network then
    assert "the teacher, whose weights are not here (1 of 2): preparing" in told[0]
    assert [curve.row.network for curve in ready.live.curves] == ["ResNet", "plain"]
    first = ready.live.curves[-1]
    trained(ready)
    assert [curve.row.network for curve in ready.live.curves] == ["plain"]
    assert ready.live.curves[0].test == first.test
    other = TrainingPanel(store, TINY)
    other.source.value, other.depth.value, other.rate.value = LIVE, 18, 0.1
    teacher, *_ = rows_for(TINY, [], 18, 0.1, 2, 0)
    train(teacher.runs[0], store, "cpu", progress=False)
    before = files(store)
    trained(other, "plain, JointRD", epochs=2)
    assert [curve.row.network for curve in other.live.curves] == ["plain"]
    assert other.live.curves[0].epochs[-1].losses == first.epochs[-1].losses
    assert files(store) == before


def test_a_resnet_trained_to_the_full_length_teaches_too_and_is_trained_once(ready):
    trained(ready, "ResNet, cross-entropy", epochs=3)
    assert [curve.row.network for curve in ready.live.curves] == ["ResNet", "plain"]


@pytest.mark.parametrize(
    ("second", "epochs", "lengths", "where"),
    [
        (
            "ResNet, cross-entropy",
            9,
            [2, 0],
            "2 of 9 of plain-18, strictly plain, cross-entropy, learning rate 0.1, 9 epochs",
        ),
        (
            *("plain, JointRD", 2, [2, 0, 0]),
            "2 of 3 of ResNet-18, cross-entropy, learning rate 0.1, 3 epochs, the teacher; the networks after it have "
            "not begun",
        ),
    ],
)
def test_stop_ends_it_with_the_epoch_and_keeps_the_curves(ready, store, monkeypatch, second, epochs, lengths, where):
    during(monkeypatch, 2, ready.stop.click)
    trained(ready, None, second, epochs=epochs)
    assert [len(curve.epochs) for curve in ready.live.curves] == lengths
    assert ready.message.value == f"Stopped after epoch {where}; the curves are kept."
    assert f"epoch {where[:6]}" in ready.picture.alt
    assert ready.status.value == ""
    assert ready.teachers == {}  # what is half trained teaches nobody
    assert files(store) == {}


def test_a_new_panel_stops_the_training_of_the_one_before(ready, store, monkeypatch):
    """As when all cells are run again: the first panel's Stop is gone."""
    made = []
    during(monkeypatch, 2, lambda: made.append(TrainingPanel(store, TINY)))
    trained(ready, None, "ResNet, cross-entropy", epochs=9)
    assert [len(curve.epochs) for curve in ready.live.curves] == [2, 0]
    assert ready.message.value.startswith("Stopped after epoch 2 of 9")
    trained(made[0], "ResNet, cross-entropy", "plain, cross-entropy", epochs=1)
    assert made[0].live.outcome.startswith("Trained in")


def test_while_it_trains_no_second_one_starts_and_controls_do_no_harm(ready, monkeypatch):
    seen = {}

    def meddle():
        seen["live"], seen["buttons"] = ready.live, (ready.train.disabled, ready.stop.disabled)
        seen["status"], seen["progress"] = ready.status.value, ready.progress.value
        ready.train.click()
        ready.epochs.value, ready.depth.value, ready.rate.value, ready.live_seed.value = 30, 34, 0.9, 7
        ready.networks[0].value = "plain, JointRD"
        ready.source.value = RECORDED
        seen["recorded"] = ready.message.value

    during(monkeypatch, 2, meddle)
    trained(ready, None, "ResNet, cross-entropy")
    assert seen["live"] is ready.live
    assert seen["buttons"] == (True, False)
    assert "(1 of 2): epoch 1 of 2; about" in seen["status"]
    assert seen["progress"] == 1
    assert [(curve.row.depth, len(curve.epochs)) for curve in ready.live.curves] == [(18, 2), (18, 2)]
    assert ready.message.value == seen["recorded"]  # a source that is not shown is not drawn over
    assert "0 of 2 recorded" in seen["recorded"]
    ready.source.value = LIVE
    assert ready.message.value.startswith("Trained in")


def test_a_second_training_begins_with_an_empty_bar_and_no_curves(ready, monkeypatch):
    trained(ready, None, "ResNet, cross-entropy", epochs=1)
    assert (ready.progress.value, "none yet" in ready.picture.alt) == (2, False)
    seen = []
    during(monkeypatch, 1, lambda: seen.append((ready.progress.value, "none yet" in ready.picture.alt)))
    trained(ready)
    assert seen == [(0, True)]


def test_as_soon_as_it_is_over_the_button_trains_again(ready):
    ready.networks[0].value, ready.epochs.value = "plain, JointRD", 1
    trainings = []

    def again(observed):
        if not ready.train.disabled and not trainings:
            trainings.append(ready.live)
            ready.train.click()

    ready.on_observation = again
    ready.train.click()
    ready.live.join(60)
    ready.live.join(60)  # by now the second one
    assert trainings != [ready.live]
    assert len(ready.live.curves[-1].epochs) == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NonFiniteLossError("the loss term x became nan"), "The training ended: the loss term x became nan."),
        (RuntimeError("boom"), "The training ended with RuntimeError (boom): choose other settings and train."),
    ],
)
def test_an_error_in_the_thread_becomes_the_message(ready, monkeypatch, error, sentence):
    def fail():
        raise error

    during(monkeypatch, 2, fail)
    trained(ready, None, "ResNet, cross-entropy")
    assert ready.message.value == sentence
    assert [len(curve.epochs) for curve in ready.live.curves] == [1, 0]


def test_it_trains_on_one_thread_and_leaves_the_others_theirs(ready, monkeypatch):
    seen = []
    during(monkeypatch, 1, lambda: seen.append((torch.get_num_threads(), threading.current_thread())))
    torch.set_num_threads(2)
    try:
        trained(ready, None, "plain, cross-entropy", epochs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [(1, ready.live)]
    assert ready.live.daemon

"""Panel (c): what is drawn is what was observed, every control changes it, and a live training is followed."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from rdlib.deploy.hub import names
from rdlib.errors import DeployError
from rdlib.experiments.profiles import PROFILES
from rdlib.explorer.panel import BREAK
from rdlib.explorer.paths import LIVE, PUBLISHED, RECORDED, STUDENT, TEACHER, PathsPanel
from rdlib.figures.paths import (
    DOTS,
    GAP,
    alternative,
    answers,
    by_variance,
    maps,
    paths_of_an_image,
    probabilities,
    tiled,
)
from rdlib.figures.style import GOOD
from rdlib.images import load
from rdlib.images.dataset import Split
from rdlib.measure import paths_record as observation_record
from rdlib.measure.paths import Observation, Observed, parting
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs.run import Run

QUICK = PROFILES["quick"]
SHAPES = ((4, 16), (16, 8), (32, 4), (64, 2))  # channels and side after each stage
VALUE = {"dataset": "digits", "recipe": {"learning_rate": 0.9}, "seed": 0}
ABOUT = {"run": "0", "name": "a plain network", "value": VALUE}


def observation(epoch, teacher):
    generator = torch.Generator().manual_seed(epoch + 1)
    student = tuple(torch.randn(20, c, n, n, generator=generator) for c, n in SHAPES)
    return Observation(epoch, student, teacher, 3 * torch.randn(5, 20, 10, generator=generator))


def observed(epochs, name="a training", seed=0):
    generator = torch.Generator().manual_seed(seed)
    teacher = tuple(torch.randn(20, c, n, n, generator=generator) for c, n in SHAPES)
    pixels = torch.randint(256, (20, 3, 16, 16), generator=generator, dtype=torch.uint8)
    images = Split(pixels, torch.arange(20) // 2)
    return Observed(name, images, [str(i) for i in range(10)], [observation(e, teacher) for e in epochs])


@pytest.fixture
def recorded(store):
    """A store with a record of epochs 0, 1, 3 and 8, whose paths differ most after the third, and on image 0."""
    whole = observed((0, 1, 3, 8))
    for seen in whole.observations:
        seen.logits[:] = torch.nn.functional.one_hot(whole.images.labels, 10) * 9.0  # all are right
    whole.observations[2].logits[1:3, ::2] *= -1
    observation_record.write(observation_record.RECORD.path(QUICK, store), whole, ABOUT)
    return store


@pytest.fixture
def panel(recorded):
    return PathsPanel(recorded)


# --- the figure


def test_probabilities_are_the_softmax_and_answers_name_its_largest():
    seen = observed((0,)).observations[0]
    found = probabilities(seen, 3)
    torch.testing.assert_close(torch.from_numpy(found), seen.logits[:, 3].softmax(-1))
    classes = [f"c{i}" for i in range(10)]
    for path, answer in enumerate(answers(seen, 3, classes)):
        best = int(seen.logits[path, 3].argmax())
        assert answer == f"c{best} ({100 * found[path, best]:.0f} %)"
    seen.logits[2, 3, 4] = float("nan")
    assert answers(seen, 3, classes)[2] == "no number"


def test_channels_come_in_the_order_of_the_teachers_variance():
    whole = observed((0,))
    teacher = whole.observations[-1].teacher[1]
    teacher[:, 5] *= 9
    teacher[:, 11] = 2.0
    order = by_variance(whole, 2)
    assert (order[0], order[-1]) == (5, 11)
    assert sorted(order) == list(range(16))


def test_student_and_teacher_stand_one_above_the_other_in_the_same_order():
    seen = observed((0,)).observations[0]
    shown = maps(seen, 4, 2, [7, 3])
    np.testing.assert_array_equal(shown[0, 0], seen.student[1][4, 7].numpy())
    np.testing.assert_array_equal(shown[1, 1], seen.teacher[1][4, 3].numpy())
    whole = tiled(shown)
    step = DOTS + GAP
    assert whole.shape == (2 * step - GAP, 2 * step - GAP)
    for i in range(2):
        for j in range(2):
            tile = whole[i * step : i * step + DOTS, j * step : j * step + DOTS]
            np.testing.assert_array_equal(tile[:: DOTS // 8, :: DOTS // 8], shown[i, j])
            np.testing.assert_array_equal(tile[DOTS // 8 - 1 :: DOTS // 8, DOTS // 8 - 1 :: DOTS // 8], shown[i, j])
    assert np.isnan(whole).sum() == whole.size - 4 * DOTS**2


def test_one_colour_scale_centred_on_zero_reaches_as_far_as_the_teacher():
    whole = observed((0, 1))
    whole.observations[1].student[1].mul_(100)  # far beyond the teacher, as early in training
    (ax,) = paths_of_an_image(whole, 1, 4, 2, [7, 3]).axes
    digit, tiles, bar, heat = ax.images
    limit = float(np.abs(maps(whole.observations[1], 4, 2, [7, 3])[1]).max())
    assert tiles.get_clim() == bar.get_clim() == pytest.approx((-limit, limit))
    np.testing.assert_array_equal(digit.get_array(), whole.images.images[4].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(heat.get_array(), probabilities(whole.observations[1], 4))
    assert heat.get_clim() == (0, 1)
    frame = next(one for one in ax.patches if to_hex(one.get_edgecolor()) == GOOD)
    left, right = heat.get_extent()[:2]
    assert frame.get_x() == pytest.approx(left + (right - left) * 2 / 10)  # image 4 is a 2
    texts = [text.get_text() for text in ax.texts]
    told = {"a training", "after epoch 1", "test image 4: 2", "7", "3"}
    assert told | {*answers(whole.observations[1], 4, whole.classes)} <= {*texts}


def test_maps_that_are_all_zero_are_drawn():
    whole = observed((0,))
    whole.observations[0].teacher[0].zero_()
    assert paths_of_an_image(whole, 0, 0, 1, [0, 1]).axes


def test_the_paths_part_where_most_images_have_right_and_wrong_ones():
    whole = observed((0, 1, 2))
    labels = whole.images.labels
    right = torch.nn.functional.one_hot(labels, 10) * 9.0
    for seen, wrong in zip(whole.observations, (0, 3, 1), strict=True):  # of how many images one path is wrong
        seen.logits[:] = right
        seen.logits[2, 4 : 4 + wrong] = -right[4 : 4 + wrong]
    whole.observations[1].logits[3, 5] = -right[5]
    assert parting(whole) == (1, 4)  # at image 5 two are wrong, elsewhere one
    whole.observations[1].logits[:-1] = -right  # the teacher's, which is always right, counts for nothing
    assert parting(whole) == (2, 4)


def test_the_published_record_opens_with_paths_that_differ_and_some_of_them_right():
    panel = PathsPanel()
    seen = panel.observed().observations[panel.epoch.value]
    hits = seen.logits[:-1, panel.image.value].argmax(-1) == panel.observed().images.labels[panel.image.value]
    assert 0 < int(hits.sum()) < len(hits)


# --- the controls


def expected(panel, moment, image, stage, first=1):
    whole = panel.observed()
    channels = by_variance(whole, stage)[first - 1 : first + 7]
    assert panel.picture.alt == alternative(whole, moment, image, stage, channels)
    assert (panel.epoch.value, panel.image.value, panel.stage.value, panel.first.value) == (moment, image, stage, first)


def names_of(panel):
    """The trainings that can be chosen, as a reader reads them."""
    return [(name.replace(BREAK, ""), source) for name, source in panel.source.options]


def test_it_begins_where_the_paths_differ_most_and_reaches_all_that_was_recorded(panel):
    expected(panel, 2, 0, 1)
    recorded = ("digits, recorded: a plain network, learning rate 0.9, seed 0", RECORDED)
    assert names_of(panel) == [recorded, (f"published: {STUDENT}", PUBLISHED)]
    assert panel.epoch.options == (("0", 0), ("1", 1), ("3", 2), ("8", 3))
    assert (panel.image.min, panel.image.max, panel.stage.min, panel.stage.max) == (0, 19, 1, 4)
    assert panel.message.value == ""


@pytest.mark.parametrize(("control", "value"), [("epoch", 3), ("image", 7), ("stage", 2)])
def test_each_control_changes_the_picture_and_its_text(panel, control, value):
    before = panel.picture.png
    getattr(panel, control).value = value
    assert panel.picture.png != before
    expected(panel, *({"epoch": 2, "image": 0, "stage": 1} | {control: value}).values())
    getattr(panel, control).value = {"epoch": 2, "image": 0, "stage": 1}[control]
    assert panel.picture.png == before


def test_the_channels_follow_their_rank_within_what_a_stage_has(panel):
    assert panel.first.max == 1  # four channels, all shown
    panel.stage.value = 4
    assert panel.first.max == 57
    before = panel.picture.png
    panel.first.value = 57
    assert panel.picture.png != before
    expected(panel, 2, 0, 4, first=57)
    panel.stage.value = 2
    expected(panel, 2, 0, 2, first=9)
    assert panel.first.max == 9


def test_without_a_record_the_command_is_named_and_nothing_breaks(store):
    panel = PathsPanel(store)
    assert "there is no paths-quick.safetensors: restore it from git" in panel.message.value
    assert f"`python -m rdlib measure paths quick --store {store.root}`" in panel.message.value
    for control, value in ((panel.stage, 3), (panel.first, 1), (panel.image, 0)):
        control.value = value
    assert panel.picture.png == b""
    observation_record.write(observation_record.RECORD.path(panel.profile, store), observed((0, 1)), ABOUT)
    panel.stage.value = 2
    assert panel.picture.png


def test_a_damaged_record_is_told(recorded):
    path = observation_record.RECORD.path(QUICK, recorded)
    path.write_bytes(path.read_bytes()[:-5])
    panel = PathsPanel(recorded)
    assert "paths-quick.safetensors cannot be read" in panel.message.value


# --- the published networks


@pytest.fixture
def untrained(monkeypatch):
    """Networks to stand for the published ones: loading those is tested where they are published."""
    made = {}
    for name, shortcuts in ((STUDENT, "none"), (TEACHER, "all")):
        made[name] = resnet(18, 10, shortcuts, width=4).eval()
        made[name].about = {"dataset": "digits"}
        made[name].trained = SimpleNamespace(run=Run("digits", "Supervised", 18, 4, shortcuts, 0, Recipe(epochs=7)))
    monkeypatch.setattr("rdlib.deploy.hub.from_pretrained", made.__getitem__)
    return made


def test_the_published_networks_are_seen_after_their_last_epoch(panel, untrained):
    before, state = panel.picture.png, torch.random.get_rng_state()
    panel.source.value = PUBLISHED
    expected(panel, 0, 0, 1)
    assert panel.epoch.options == (("7", 0),)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert names_of(panel)[1] == (f"digits, published: {STUDENT}, learning rate 0.1, seed 0", PUBLISHED)
    seen = panel.observed()
    images = load("digits").normalise(seen.images.images)
    (last,) = seen.observations
    with torch.no_grad():
        for path, network in ((0, untrained[STUDENT]), (4, untrained[TEACHER])):
            torch.testing.assert_close(last.logits[path], network.eval()(images))
        mixed = untrained[TEACHER].tail(untrained[STUDENT].head(images, 1), 1)[0]
        torch.testing.assert_close(last.logits[1], mixed)
    panel.source.value = RECORDED
    assert panel.picture.png == before


def test_published_networks_that_are_not_there_are_told(panel, monkeypatch):
    def none(name):
        raise DeployError(f"no published network is called {name!r}")

    monkeypatch.setattr("rdlib.deploy.hub.from_pretrained", none)
    panel.source.value = PUBLISHED
    assert panel.message.value == "no published network is called &#x27;digits-plain-50-jointrd&#x27;"
    assert panel.picture.png == b""
    panel.source.value = RECORDED
    assert panel.picture.png


def test_they_are_among_those_that_come_with_rdlib():
    assert {STUDENT, TEACHER} <= {*names()}


# --- a live training


def watched(store):
    """A panel that follows a training, and that training."""
    training = SimpleNamespace(observations=[], on_observation=None)
    return PathsPanel(store, training), training


def test_a_live_training_is_offered_and_followed_from_its_thread(recorded):
    panel, training = watched(recorded)
    live, before = observed((0, 1), "live: mine", seed=5), panel.picture.png
    thread = threading.Thread(target=training.on_observation, args=(live,))
    thread.start()
    thread.join()
    assert names_of(panel)[1] == ("live: mine", LIVE)
    assert panel.picture.png == before  # nobody is torn from what he looks at
    assert "Your live training can be followed here" in panel.message.value
    panel.source.value = LIVE
    expected(panel, 1, 0, 1)
    assert panel.picture.png != before
    grow(live, 2)
    training.on_observation(live)
    expected(panel, 2, 0, 1)  # it was at the end, and goes on with it
    panel.epoch.value = 1
    grow(live, 3)
    training.on_observation(live)
    expected(panel, 1, 0, 1)  # it was not, and stays
    assert [label for label, _ in panel.epoch.options] == ["0", "1", "2", "3"]
    panel.source.value = RECORDED
    assert panel.picture.png == before


@pytest.fixture
def following(recorded):
    """A panel that shows a live training of epochs 0, 1, 2, that training, and what is called when it has grown."""
    panel, training = watched(recorded)
    live = observed((0, 1, 2), "live: mine", seed=5)
    training.on_observation(live)
    panel.source.value = LIVE
    return panel, live, training.on_observation


def grow(live, epoch):
    live.observations.append(observation(epoch, live.observations[0].teacher))


def amid(following, change):
    """Have a change made in another thread in the midst of the panel's own settings for an epoch that arrives."""
    panel, live, on_observation = following
    grow(live, 3)
    reader = threading.Thread(target=change)

    def halfway(_):
        if not reader.ident:
            reader.start()
            reader.join(0.5)  # it may have to wait for the panel

    panel.epoch.observe(halfway, "options")
    on_observation(live)
    reader.join(60)
    assert reader.ident
    assert not reader.is_alive()


@pytest.mark.parametrize(
    ("control", "sent"), [("epoch", {"index": 1}), ("image", {"value": 7}), ("stage", {"value": 3})]
)
def test_what_the_reader_moves_while_an_epoch_arrives_is_answered(following, control, sent):
    """As the browser sends it. The epoch alone is set by both: the reader's word is the last."""
    panel = following[0]
    amid(following, lambda: getattr(panel, control).set_state(sent))
    assert [label for label, _ in panel.epoch.options] == ["0", "1", "2", "3"]
    expected(panel, *({"epoch": 3, "image": 0, "stage": 1} | {control: next(iter(sent.values()))}).values())


def test_what_a_cell_sets_while_an_epoch_arrives_is_answered(following):
    panel = following[0]
    panel.epoch.value = 0
    amid(following, lambda: setattr(panel.image, "value", 7))
    expected(panel, 0, 7, 1)


def test_the_panel_does_not_answer_to_itself(following, monkeypatch):
    """One picture an epoch, though the slider is set several times for it."""
    (panel, live, on_observation), drawn = following, []
    monkeypatch.setattr(panel.picture, "show", lambda figure, alt: drawn.append(alt))
    grow(live, 3)
    on_observation(live)
    assert [alt.split(":")[1] for alt in drawn] == [" mine, after epoch 3"]


def test_what_was_observed_while_the_record_was_shown_can_be_reached(recorded):
    panel, training = watched(recorded)
    live = observed((0,), "live: mine")
    training.on_observation(live)
    for epoch in (1, 2):
        grow(live, epoch)
        training.on_observation(live)
    panel.source.value = LIVE
    assert [label for label, _ in panel.epoch.options] == ["0", "1", "2"]


def test_a_second_training_takes_the_place_of_the_first(recorded):
    panel, training = watched(recorded)
    training.on_observation(observed((0, 1, 2), "live: first", seed=5))
    panel.source.value = LIVE
    training.on_observation(observed((0, 1), "live: second", seed=6))
    assert names_of(panel)[1] == ("live: second", LIVE)
    expected(panel, 1, 0, 1)
    assert panel.picture.alt.startswith("live: second, after epoch 1")


def test_without_a_record_a_live_training_is_shown_at_once(store):
    panel, training = watched(store)
    training.on_observation(observed((0, 1), "live: mine"))
    assert panel.source.value == LIVE
    expected(panel, 1, 0, 1)
    panel.source.value = RECORDED
    assert "there is no paths-quick.safetensors" in panel.message.value
    assert (panel.picture.png, panel.picture.value) == (b"", "")


def test_a_training_that_has_begun_before_the_panel_is_offered_too(recorded):
    training = SimpleNamespace(observations=[observed((0,), "live: mine")], on_observation=None)
    assert names_of(PathsPanel(recorded, training))[1] == ("live: mine", LIVE)

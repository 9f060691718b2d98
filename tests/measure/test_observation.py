"""What the paths see: true to the networks, without a trace in the training, whole or absent as a record."""

import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import JOINTRD, Row
from rdlib.files import sha256_of
from rdlib.images.dataset import Split
from rdlib.measure import paths_record as observation_record
from rdlib.measure.paths import PATHS, Observation, Observed, chosen, observe, right
from rdlib.measure.paths_record import RECORD
from rdlib.methods import JointRD
from rdlib.models import fingerprint, plain, resnet
from rdlib.recipe import Recipe
from rdlib.runs.execute import build, train
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import fit

QUICK = PROFILES["quick"]
RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.05, crop_padding=1)
TEACHER = Run("tiny", "Supervised", 18, 4, "all", 0, RECIPE)
RUN = Run("tiny", "JointRD", 18, 4, "none", 0, RECIPE, teacher=TEACHER.id)
ROW = Row(18, "none", JOINTRD, (RUN,))


@pytest.fixture
def joint(dataset):
    """JointRD of a plain-18 after an epoch, so that BatchNorm has statistics that differ from a batch's."""
    method = JointRD(plain(18, 10, 4), resnet(18, 10, width=4))
    next(fit(method, dataset, RECIPE, progress=False))
    return method


def test_every_path_is_what_its_networks_compute_in_eval_mode(joint, dataset):
    images = dataset.normalise(dataset.test.images[:6])
    seen = observe(joint, images, 7)
    student, teacher = joint.student.eval(), joint.teacher
    wanted = [student(images), *(teacher.tail(student.head(images, k), k)[0] for k in (1, 2, 3)), teacher(images)]
    assert seen.epoch == 7
    assert len(PATHS) == len(wanted) == 5
    torch.testing.assert_close(seen.logits, torch.stack(wanted))
    for k in range(1, 5):
        torch.testing.assert_close(seen.student[k - 1], student.head(images, k))
        torch.testing.assert_close(seen.teacher[k - 1], teacher.head(images, k))
    assert not any(one.requires_grad for one in (*seen.student, *seen.teacher, seen.logits))


def test_right_answers_are_counted_for_each_path_and_epoch():
    labels = torch.tensor([2, 0, 1])
    logits = torch.zeros(5, 3, 3)
    for path, answers in enumerate(([2, 0, 1], [2, 0, 0], [0, 1, 2], [1, 0, 1], [0, 0, 0])):
        logits[path, torch.arange(3), torch.tensor(answers)] = 1.0
    images = Split(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), labels)
    seen = [Observation(0, (), (), torch.eye(3)[[0, 0, 0]].expand(5, 3, 3)), Observation(4, (), (), logits)]
    table = right(Observed("tiny", images, "abc", seen))
    assert table.to_numpy().tolist() == [[0, 1, 1, 1, 1, 1], [4, 3, 2, 0, 2, 1]]
    assert list(table.columns) == ["epoch", *PATHS]


@pytest.mark.parametrize("regime", ["frozen", "beside"])
def test_an_observed_training_gives_the_bytes_of_one_that_is_not(dataset, regime):
    def trained(observing):
        torch.manual_seed(3)
        method = JointRD(plain(18, 10, 4), resnet(18, 10, width=4), regime=regime)
        for epoch in fit(method, dataset, RECIPE, progress=False):
            if observing:
                before = [module.training for module in method.modules()], torch.get_rng_state()
                observe(method, dataset.normalise(dataset.test.images[:6]), epoch.epoch)
                assert [module.training for module in method.modules()] == before[0]
                assert torch.equal(torch.get_rng_state(), before[1])
        return fingerprint(method)

    assert trained(observing=True) == trained(observing=False)


def test_the_images_are_two_test_images_of_each_class_by_a_rule(dataset, make_dataset):
    index = chosen(dataset)
    assert dataset.test.labels[index].tolist() == [label for label in range(10) for _ in range(2)]
    assert len(set(index.tolist())) == 20
    assert index[:2].tolist() == [10, 20]  # the class has images 0, 10 and 20, which 1/3 and 2/3 of the way are these
    with pytest.raises(ConfigError, match="class 0 of tiny has 2 test images: 3 are needed here"):
        chosen(make_dataset(test=20))


# --- the record


def patch(monkeypatch, dataset):
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": dataset)
    monkeypatch.setattr(observation_record, "EPOCHS", (0, 1, 3))
    monkeypatch.setattr(observation_record, "row_of", lambda profile: ROW)


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_dataset):
    """A store in which teacher and student are trained, and the record of the student's training."""
    made = Store(tmp_path_factory.mktemp("observation"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch, make_dataset())
        for run in (TEACHER, RUN):
            train(run, made, "cpu", progress=False)
        before, path = set(made.root.rglob("*")), RECORD.path(QUICK, made)
        observation_record.measure(QUICK, made, path)
        assert set(made.root.rglob("*")) - before == {path, path.parent}
    return made


@pytest.fixture
def trained(made, store, dataset, monkeypatch):
    """A copy of that store."""
    patch(monkeypatch, dataset)
    shutil.copytree(made.root, store.root)
    return store


def test_the_record_reads_back_what_was_seen_and_ends_as_the_published_run(trained, dataset):
    found, store = observation_record.recorded(QUICK, trained), trained
    assert [seen.epoch for seen in found.observations] == [0, 1, 3, 4]  # the last epoch always
    assert found.images.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert found.classes == dataset.classes
    assert found.name == f"{RUN.dataset}, recorded: plain-18, strictly plain, JointRD, learning rate 0.05, seed 0"
    pixels, teacher = dataset.normalise(found.images.images), store.network(TEACHER)
    students = build(RUN, store, 10).student.eval(), store.network(RUN)
    for seen, student in zip((found.observations[0], found.observations[-1]), students, strict=True):
        torch.testing.assert_close(seen.logits[[0, 4]], torch.stack([student(pixels), teacher(pixels)]))
        for k in range(1, 5):
            torch.testing.assert_close(seen.student[k - 1], student.head(pixels, k), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(seen.teacher[k - 1], teacher.head(pixels, k), rtol=1e-3, atol=1e-3)
    about, _ = observation_record.contents(QUICK, store)
    assert about["weights_equal"] is True
    assert (about["run"], Run.from_value(about["value"])) == (RUN.id, RUN)
    assert set(about["provenance"]) >= {"commit", "dirty", "code_sha256", "cpu", "versions"}


def test_a_training_that_ends_elsewhere_says_so(trained):
    record = trained.record(RUN)
    other = replace(record, provenance=record.provenance | {"weights_sha256": "0" * 64})
    trained.record_path(RUN).write_text(other.to_json())
    observation_record.measure(QUICK, trained, RECORD.path(QUICK, trained))
    assert observation_record.contents(QUICK, trained)[0]["weights_equal"] is False


def test_a_teacher_without_weights_is_trained_first_and_the_student_leaves_nothing(trained):
    store, told = trained, []
    for run in (TEACHER, RUN):
        store.weights_path(run).unlink()
    observation_record.measure(QUICK, store, RECORD.path(QUICK, store), told.append)
    assert told[0].startswith(f"the weights of {TEACHER.id} are not here, training them again")
    assert told[-1] == f"{RUN.label}: weights as published: True"
    assert sha256_of(store.weights_path(TEACHER)) == store.record(TEACHER).provenance["weights_sha256"]
    assert not store.has_weights(RUN)


def rewritten(change):
    """The file with one thing changed and the digest as it was."""

    def damage(path):
        with safe_open(path, "pt") as file:
            about = file.metadata()["record"]
        tensors, about = change(safetensors.torch.load_file(path), about)
        safetensors.torch.save_file(tensors, path, {"record": about})

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        rewritten(lambda tensors, about: (tensors | {"logits.1": tensors["logits.1"] + 1}, about)),
        rewritten(lambda tensors, about: (tensors | {"labels": tensors["labels"].flip(0)}, about)),
        rewritten(lambda tensors, about: ({k: v for k, v in tensors.items() if k != "teacher.2"}, about)),
        rewritten(lambda tensors, about: (tensors, about.replace('"weights_equal": true', '"weights_equal": false'))),
        rewritten(lambda tensors, about: (tensors, about.replace('"schema": 1', '"schema": 2'))),
        rewritten(lambda tensors, about: (tensors, "[]")),
        rewritten(lambda tensors, about: (tensors, "{")),
        lambda path: safetensors.torch.save_file({"a": torch.zeros(1)}, path),
    ],
)
def test_a_record_that_was_edited_or_damaged_is_refused(damage, trained):
    damage(RECORD.path(QUICK, trained))
    again = r"paths-quick\.safetensors cannot be read .*`python -m rdlib measure paths quick"
    with pytest.raises(RecordError, match=again):
        observation_record.recorded(QUICK, trained)


def test_a_missing_record_names_the_command_of_its_store(store):
    again = rf"no paths-quick\.safetensors: restore it .* `python -m rdlib measure paths quick --store {store.root}`$"
    with pytest.raises(RecordError, match=again):
        observation_record.recorded(QUICK, store)


def test_the_run_is_the_published_jointrd_and_other_profiles_are_refused():
    row = observation_record.row_of(QUICK)
    assert row.name == "plain-34, strictly plain, JointRD, learning rate 0.9"
    assert (row.runs[0].seed, row.runs[0].recipe.learning_rate, row.runs[0].trains_teacher) == (0, 0.9, False)
    with pytest.raises(ConfigError, match="profile imagenet has no networks of table 3"):
        observation_record.row_of(PROFILES["imagenet"])


def test_numbers_too_large_for_float16_are_kept_as_its_largest():
    assert observation_record.halved(torch.tensor([1e9, -1e9, 0.5])).tolist() == [65504.0, -65504.0, 0.5]


def test_the_published_record_is_whole_and_was_made_from_committed_code():
    about, _ = observation_record.contents(QUICK, Store())
    assert about["run"] == observation_record.row_of(QUICK).runs[0].id
    assert about["epochs"] == list(observation_record.EPOCHS)
    assert about["weights_equal"] is True
    assert about["provenance"]["commit"]
    assert not about["provenance"]["dirty"]

"""Transfer: what is carried over, what stays, which images are seen, what the tables say of it, and bad input."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from safetensors import safe_open

from rdlib.errors import ConfigError, DataError, RecordError
from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.profiles import PROFILES, profile
from rdlib.experiments.tables import TRANSFERS, fill_command, rows_of
from rdlib.experiments.transfers import ALL, FROZEN, FULL, JOINTRD, PLAIN, RELEASED, RESNET, SCRATCH, Line
from rdlib.figures import transfers as transfer_figures
from rdlib.images import dataset as data
from rdlib.images.dataset import Dataset, load
from rdlib.images.parts import COARSE, PARTS, Part, few_of_each
from rdlib.images.photographs import Files, Photographs, prepare_images
from rdlib.methods import Supervised
from rdlib.models import StagedResNet, plain, resnet
from rdlib.paper import transfers as transfer_table
from rdlib.recipe import Recipe
from rdlib.rivals.inherited import Transfer
from rdlib.runs.execute import build, train, with_weights
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import missing
from rdlib.train import fit

QUICK = PROFILES["quick"]
RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.05, crop_padding=1)


def put(store: Store, run: Run, top1: float) -> None:
    """A record by hand: only the accuracy matters here."""
    path = store.record_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Record(run, {f"{run.recipe.holdout}_top1": top1}, [], {"protocol": "reduced"}).to_json())


def weights(network: StagedResNet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def trained(seed: int = 3, classes: int = 7) -> StagedResNet:
    """A source: its BatchNorm statistics are not those of a new network."""
    torch.manual_seed(seed)
    network = plain(18, classes, width=4)
    network.train()(torch.randn(8, 3, 8, 8))
    return network.eval()


# The method


@pytest.mark.parametrize("backbone", ["full", "frozen"])
def test_all_is_carried_over_but_the_classifier(backbone: str) -> None:
    source, student = trained(), plain(18, 10, width=4)
    new = weights(student)
    kept = weights(source)
    method = Transfer(student, source, backbone=backbone)
    found = weights(method.student)
    assert any("running_var" in name for name in found)
    for name, value in found.items():
        assert torch.equal(value, new[name] if name.startswith("fc.") else kept[name]), name
    assert differing(kept, source.state_dict()) == set()


def test_a_frozen_backbone_stays_byte_for_byte_while_the_classifier_learns(dataset: Dataset, recipe: Recipe) -> None:
    method = Transfer(plain(18, 10, width=4), trained(), backbone="frozen")
    before = weights(method.student)
    list(fit(method, dataset, recipe, progress=False))
    assert differing(before, method.student.state_dict()) == {"fc.weight", "fc.bias"}
    assert not any(part.training for part in method.train().student.modules())


def test_in_full_everything_learns(dataset: Dataset, recipe: Recipe) -> None:
    method = Transfer(plain(18, 10, width=4), trained())
    before = weights(method.student)
    list(fit(method, dataset, recipe, progress=False))
    assert differing(before, method.student.state_dict()) == before.keys()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (plain(18, 7, width=8), "width is 8, this run's 4"),
        (plain(34, 7, width=4), "counts is"),
        (resnet(18, 7, width=4), "shortcuts is all, this run's none"),
        (plain(18, 7, width=4, stem="imagenet"), "stem is imagenet"),
    ],
)
def test_the_networks_must_be_the_same(source: StagedResNet, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        Transfer(plain(18, 10, width=4), source)
    assert "\n" not in str(caught.value)


def test_the_backbone_is_full_or_frozen() -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'half'"):
        Transfer(plain(18, 10, width=4), trained(), backbone="half")  # type: ignore[arg-type]


# Runs


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, make_dataset: Callable[..., Dataset]) -> dict[str, Dataset]:
    """Two data sets of other images and other numbers of classes."""
    found = {
        "here": replace(make_dataset(classes=4, seed=1), name="here"),
        "there": replace(make_dataset(classes=6, seed=2), name="there"),
    }
    monkeypatch.setattr("rdlib.images.dataset.load", lambda name, root=None, device="cpu": found[name])
    return found


def run_on(dataset: str, method: str = "Supervised", teacher: Run | None = None, **fields: object) -> Run:
    given = {"shortcuts": "none", "seed": 0, "recipe": RECIPE} | fields
    return Run(dataset, method, 18, 4, teacher=teacher and teacher.id, **given)  # type: ignore[arg-type]


def test_a_transfer_is_a_run_whose_teacher_was_trained_on_other_images(two: dict[str, Dataset], store: Store) -> None:
    source = run_on("here")
    train(source, store, "cpu", progress=False)
    run = run_on("there", "Transfer", source, options={"backbone": "frozen"})
    record = train(run, store, "cpu", progress=False)
    ours, theirs = store.network(run), store.network(source)
    same = {name for name in ours.state_dict() if not name.startswith("fc.")}
    assert differing({n: ours.state_dict()[n] for n in same}, {n: theirs.state_dict()[n] for n in same}) == set()
    assert (ours.fc.out_features, theirs.fc.out_features) == (6, 4)
    source_record = store.record(source)
    assert source_record is not None
    assert record.provenance["teacher_weights_sha256"] == source_record.provenance["weights_sha256"]
    assert record.provenance["data_sha256"] == two["there"].sha256
    assert record.provenance["protocol"] == "reduced"
    for gone in (run, source):
        store.weights_path(gone).unlink()
    told: list[str] = []
    again = with_weights(run, store, told.append)
    assert differing(ours.state_dict(), again.state_dict()) == set()
    assert len(told) == 2, "the source is trained again first"


def test_the_new_classifier_is_that_of_the_seed_alone(two: dict[str, Dataset], store: Store) -> None:
    source = run_on("here")
    train(source, store, "cpu", progress=False)
    fresh = build(run_on("there"), store, 6).student.fc.weight
    first, same, other = (
        build(run_on("there", "Transfer", source, seed=seed), store, 6).student.fc.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, fresh)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_transfer_to_the_same_data_set_and_a_teacher_from_another_one_are_refused(
    two: dict[str, Dataset], store: Store
) -> None:
    source = run_on("here")
    train(source, store, "cpu", progress=False)
    with pytest.raises(ConfigError, match=rf"leads to another data set, and {source.id} was trained on here too"):
        train(run_on("here", "Transfer", source), store, "cpu", progress=False)
    with pytest.raises(ConfigError, match=f"no run {source.id} on there"):
        train(run_on("there", "JointRD", source), store, "cpu", progress=False)
    with pytest.raises(ConfigError, match="no run 0123456789ab on any"):
        train(replace(run_on("there", "Transfer", source), teacher="0123456789ab"), store, "cpu", progress=False)
    with pytest.raises(ConfigError, match="Transfer needs a trained teacher"):
        run_on("there", "Transfer")


def test_a_target_of_other_images_than_the_records_is_still_refused(two: dict[str, Dataset], store: Store) -> None:
    source = run_on("here")
    train(source, store, "cpu", progress=False)
    run = run_on("there", "Transfer", source)
    train(run, store, "cpu", progress=False)
    two["there"] = replace(two["there"], sha256="other")
    with pytest.raises(RecordError, match=f"run {run.id} was trained on other images than the present there"):
        train(run, store, "cpu", progress=False)


def test_a_sweep_trains_the_teacher_of_the_source_again_where_its_weights_have_gone(store: Store) -> None:
    resnets = run_on("here", shortcuts="all")
    source = run_on("here", "JointRD", resnets)
    target = run_on("there", "Transfer", source)
    for run in (resnets, source):
        put(store, run, 50.0)
    assert missing([resnets, source, target], store) == [resnets, source, target]
    store.weights_path(source).parent.mkdir(parents=True)
    store.weights_path(source).touch()
    assert missing([resnets, source, target], store) == [target]


# Few images


def labels_of(counts: dict[int, int]) -> torch.Tensor:
    return torch.cat([torch.full((n,), label) for label, n in counts.items()])


def test_a_few_of_each_class_are_nested_and_follow_the_seed() -> None:
    labels, names = labels_of({0: 9, 1: 30, 2: 14}), ["a", "b", "c"]
    chosen = {n: few_of_each(labels, names, n, seed=5) for n in (1, 2, 5, 9)}
    for n, index in chosen.items():
        assert labels[index].bincount().tolist() == [n] * 3
        assert len(set(index.tolist())) == 3 * n
        assert index.tolist() == sorted(index.tolist())
    assert set(chosen[1].tolist()) < set(chosen[2].tolist()) < set(chosen[5].tolist()) < set(chosen[9].tolist())
    assert torch.equal(chosen[5], few_of_each(labels, names, 5, seed=5))
    others = [few_of_each(labels, names, 5, seed) for seed in range(6, 12)]
    assert not any(torch.equal(chosen[5], other) for other in others)


def test_too_many_shots_name_the_class() -> None:
    with pytest.raises(ConfigError, match="class 'c' has 4 training images, 5 were asked for: lower shots"):
        few_of_each(labels_of({0: 9, 1: 9, 2: 4}), ["a", "b", "c"], 5, seed=0)


def test_a_few_images_never_come_from_the_tune_split() -> None:
    digits = load("digits")
    held_out = {image.numpy().tobytes() for image in digits.tune.images}
    for seed in range(3):
        few = digits.trained_on(Recipe(holdout="tune", shots=20), seed)
        assert few.labels.bincount().tolist() == [20] * 10
        assert not held_out & {image.numpy().tobytes() for image in few.images}
    few, other = (digits.trained_on(Recipe(shots=20), seed).images for seed in (0, 1))
    assert not torch.equal(few, other), "another seed sees other images"
    assert digits.trained_on(Recipe(), 0) is digits.train
    assert len(digits.trained_on(Recipe(holdout="tune"), 0)) == len(digits.train) - len(digits.tune)


def test_training_sees_those_images_alone(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def watched(self: Dataset, split: data.Split, *rest: object) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        seen.append(split.images)
        return original(self, split, *rest)  # type: ignore[arg-type]

    original = Dataset.training_batches
    monkeypatch.setattr(Dataset, "training_batches", watched)
    recipe = replace(RECIPE, shots=3, batch_size=15, epochs=2)
    list(fit(Supervised(plain(18, 10, width=4)), dataset, recipe, seed=4, progress=False))
    assert len(seen) == 2
    assert all(torch.equal(images, dataset.trained_on(recipe, 4).images) for images in seen)
    with pytest.raises(ConfigError, match="batch_size 16 is more than the 10 training images"):
        list(fit(Supervised(plain(18, 10, width=4)), dataset, replace(RECIPE, shots=1), progress=False))


def test_photographs_give_few_images_too(tmp_path) -> None:
    labels = np.repeat(np.arange(3, dtype=np.int64), 8)
    files = Files(np.array([f"{i}.jpg".encode() for i in range(24)]), labels)
    images = Photographs("own", ["a", "b", "c"], files, files, "", tmp_path, 32, torch.device("cpu"), 0)
    few = images.trained_on(Recipe(crop_padding=0, image_size=32, shots=2), 1)
    assert np.bincount(few.labels).tolist() == [2, 2, 2]
    assert [labels[int(path.split(b".")[0])] for path in few.paths] == few.labels.tolist()
    with pytest.raises(ConfigError, match="class 'a' has 8 training images, 9"):
        images.trained_on(Recipe(crop_padding=0, image_size=32, shots=9), 1)


def test_without_shots_a_recipe_is_what_it_was() -> None:
    run = run_on("here")
    assert "shots" not in run.value["recipe"]
    few = replace(run, recipe=replace(RECIPE, shots=4))
    assert few.id != run.id
    assert Run.from_value(few.value) == few
    assert "shots 4" in few.label
    for wrong in (0, 2.5, "5"):
        with pytest.raises(ConfigError, match="whole number of images of a class as shots"):
            Recipe(shots=wrong)  # type: ignore[arg-type]


# Parts of data sets


def test_the_two_parts_of_digits_are_all_digits_with_their_names() -> None:
    whole, low, high = (load(name) for name in ("digits", "digits-low", "digits-high"))
    assert (low.classes, high.classes) == (list("01234"), list("56789"))
    for split in ("train", "test"):
        every, first, second = (getattr(images, split) for images in (whole, low, high))
        assert torch.equal(torch.cat([first.images, second.images]), every.images), "digits are sorted by class"
        assert torch.equal(torch.cat([first.labels, second.labels + 5]), every.labels)
    assert len({whole.sha256, low.sha256, high.sha256}) == 3
    assert not torch.equal(low.mean, high.mean)


def test_cifar100_has_twenty_coarse_classes_of_five() -> None:
    names = [name for group in COARSE.values() for name in group.split()]
    assert (len(COARSE), len(names), len(set(names))) == (20, 100, 100)
    assert {len(group.split()) for group in COARSE.values()} == {5}
    first, second = PARTS["cifar100-first"].classes, PARTS["cifar100-second"].classes
    assert sorted([*first, *second]) == sorted(names)
    assert {"apple", "wolf", "bridge"} <= set(first)
    assert {"cloud", "tractor", "baby"} <= set(second)
    path = data.ROOT / "cifar100.safetensors"
    if path.exists():
        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["classes"]) == sorted(names)


def test_a_part_keeps_the_order_and_needs_its_classes() -> None:
    tensors = {}
    for split in ("train", "test"):
        tensors[f"{split}_labels"] = torch.tensor([0, 0, 1, 2, 2, 3])
        tensors[f"{split}_images"] = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    found, classes = Part("x", ("d", "b")).of(tensors, list("abcd"))
    assert classes == ["b", "d"]
    assert found["train_images"].flatten().tolist() == [2, 5]
    assert found["train_labels"].tolist() == [0, 1]
    with pytest.raises(DataError, match="x has no class 'e' here"):
        Part("x", ("a", "e")).of(tensors, list("abcd"))


def test_a_part_is_not_prepared_itself(tmp_path) -> None:
    with pytest.raises(ConfigError, match="digits-low is a part of digits"):
        prepare_images("digits-low", tmp_path, tmp_path / "data")
    with pytest.raises(DataError, match="data prepare cifar100"):
        load("cifar100-first", tmp_path)


# Rows and tables


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
        for run, value in zip(at(lines, FULL, network).row.runs, given, strict=True):
            put(store, run, value)
    for run in at(lines, SCRATCH, RESNET).row.runs:
        put(store, run, 95.0)
    table = transfer_table.table(QUICK, store).set_index(["task", "start", "network"]).loc["digits-low to digits-high"]
    assert table.loc[("everything learns", "plain"), "all"] == "75.0 ± 5.0"
    assert table.loc[("everything learns", "plain"), "n"] == "3/18"
    assert table.loc[("backbone frozen", "plain"), "all"] == ""
    assert table.loc[("backbone frozen", "plain"), "to fill"] == fill_command(QUICK, "transfer", store)
    gaps = transfer_table.gaps(QUICK, store).set_index(["task", "difference", "start", "images"])
    gaps = gaps.loc["digits-low to digits-high"]
    ours = gaps.loc[("plain, JointRD - ResNet", "everything learns", "all")]
    assert (ours["points"], ours["verdict"], ours["n"]) == ("+2.8 ± 0.3", "better", "3/3")
    assert gaps.loc[("plain, JointRD - ResNet", "everything learns", "5"), "verdict"] == ""
    parts = transfer_table.by_task(transfer_table.table(QUICK, store))
    assert list(parts) == ["digits-low to digits-high", "digits-low to digits-high, 20 epochs"]
    assert list(parts["digits-low to digits-high"]) == [
        "start",
        "network",
        "1",
        "2",
        "5",
        "10",
        "25",
        "all",
        "n",
        "to fill",
    ]
    assert len(parts["digits-low to digits-high"]) == 8
    long = parts["digits-low to digits-high, 20 epochs"]
    assert list(long) == ["start", "network", "all", "n", "to fill"]
    assert set(long["all"]) == {""}, "an empty cell is seen"
    worth = transfer_table.worth(QUICK, store).set_index(["task", "start", "network", "images"])
    worth = worth.loc["digits-low to digits-high"]
    assert worth.loc[("everything learns", "ResNet", "all"), "points"] == "-4.0 ± 1.0"


def test_the_verdict_needs_the_whole_interval_and_names_what_was_not_run(store: Store) -> None:
    lines = transfer_rows.lines(QUICK)
    cases = {FULL: ((93.5, 94.0, 94.0), "holds"), FROZEN: ((90.0, 90.5, 90.0), "does not hold")}
    for start, (values, _) in cases.items():
        for run, value in zip(at(lines, start, JOINTRD).row.runs, values, strict=True):
            put(store, run, value)
        for run, value in zip(at(lines, start, RESNET).row.runs, (92.0, 92.5, 92.0), strict=True):
            put(store, run, value)
    found = {one.reading: one for one in transfer_table.verdict(store)}
    for start, (_, expected) in cases.items():
        one = found[f"digits-low to digits-high, strictly plain, {transfer_rows.START[start]}"]
        assert (one.verdict, one.protocol, one.n, one.fill) == (expected, "reduced", 3, "")
    assert found["digits-low to digits-high, strictly plain, everything learns"].value == pytest.approx(5.0 / 3)
    for kept in ("strictly plain", "downsampling kept"):
        absent = found[f"imagenet to mit67, {kept}, backbone frozen"]
        command = fill_command(PROFILES["imagenet"], "transfer", store)
        assert (absent.verdict, absent.fill) == ("not run", command)
        assert absent.paper.startswith("slightly above")
    shown = transfer_table.judged(store)
    assert list(shown.table["verdict"]) == [one.verdict for one in transfer_table.verdict(store)]
    assert " ".join(str(shown).split()).endswith(transfer_table.RULE), "the rule stands under the table"


def test_of_the_small_transfers_only_strictly_plain_networks_are_trained_as_the_rule_says() -> None:
    assert "In the small transfers only strictly plain networks are trained." in transfer_table.RULE
    for name in ("quick", "cifar100-small"):
        assert {one.row.shortcuts for one in transfer_rows.lines(PROFILES[name])} == {"all", "none"}


def test_one_network_fine_tuned_three_times_says_nothing_of_others(store: Store) -> None:
    photographs = PROFILES["imagenet"]
    lines = [one for one in transfer_rows.lines(photographs) if one.task.target == "mit67"]
    for network, value in ((JOINTRD, 95.0), (RELEASED, 95.0), (RESNET, 60.0)):
        for run in at(lines, FROZEN, network).row.runs:
            put(store, run, value)
    ran = [one for one in transfer_table.verdict(store) if one.n]
    assert [(one.verdict, one.n) for one in ran] == [("cannot tell", 3)] * 2
    gaps = transfer_table.gaps(photographs, store)
    assert set(gaps.loc[gaps["points"] != "", "verdict"]) == {"cannot tell"}


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
    for make in (transfer_table.table, transfer_table.tuning, transfer_table.gaps, transfer_table.worth):
        found = make(PROFILES[name], store)
        assert not any(part.isna().any(axis=None) for part in transfer_table.by_task(found).values())
        assert len(found) > 0 or name in ("cifar10", "cifar100")
    for task in transfer_rows.TASKS.get(name, ()):
        figure = transfer_figures.few_shot(PROFILES[name], task, store)
        assert not any(ax.containers for ax in figure.axes)
        plt.close(figure)


def test_the_few_shot_curve_draws_the_means_and_all_stands_apart(store: Store) -> None:
    lines = transfer_rows.lines(QUICK)
    for shots, values in {1: (10.0, 20.0, 30.0), ALL: (90.0, 90.0, 96.0)}.items():
        for run, value in zip(at(lines, FROZEN, PLAIN, shots).row.runs, values, strict=True):
            put(store, run, value)
    figure = transfer_figures.few_shot(QUICK, transfer_rows.TASKS["quick"][0], store)
    frozen, full = figure.axes
    few, every = (drawn.lines[0] for drawn in frozen.containers)
    assert (few.get_ydata().tolist(), every.get_ydata().tolist()) == ([20.0], [92.0])
    assert few.get_xdata()[0] == pytest.approx(1, rel=0.1)
    assert every.get_xdata()[0] > 50
    assert not full.containers
    assert [text.get_text() for text in frozen.get_xticklabels()] == ["1", "2", "5", "10", "25", "all"]
    plt.close(figure)


@pytest.mark.parametrize(("name", "chance"), [("quick", 20.0), ("cifar100-small", 2.0)])
def test_points_of_a_place_stay_together_and_chance_is_drawn(name: str, chance: float) -> None:
    figure = transfer_figures.few_shot(PROFILES[name], transfer_rows.TASKS[name][0], Store())
    for ax in figure.axes:
        ticks = np.log(ax.get_xticks())
        drawn = [np.log(np.asarray(one.lines[0].get_xdata(), float)) for one in ax.containers]
        assert len(drawn) == 2 * 5, "ResNet and plain from scratch, and three networks from the source"
        off = max(np.abs(ticks - x).min() for x in np.concatenate(drawn))
        assert 0 < off < np.diff(ticks).min() / 5
        assert [line.get_ydata()[0] for line in ax.lines if line.get_label() == f"chance, {chance:g} %"] == [chance]
        assert ax.get_ylim()[0] <= chance
    assert f"chance, {chance:g} %" in [text.get_text() for text in figure.legends[0].get_texts()]
    plt.close(figure)


@pytest.mark.parametrize("name", ["quick", "cifar100-small"])
def test_the_rates_in_use_are_those_that_the_published_records_chose(name: str) -> None:
    for task in (task for task in transfer_rows.TASKS[name] if task.tuned):
        assert task.chosen == transfer_table.chosen(PROFILES[name], task, Store())

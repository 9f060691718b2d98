"""Transfer: what is carried over, what stays, and bad input."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from records import put

from rdlib.errors import ConfigError, RecordError
from rdlib.images.dataset import Dataset
from rdlib.models import StagedResNet, plain, resnet
from rdlib.recipe import Recipe
from rdlib.rivals.inherited import Transfer
from rdlib.runs.execute import build, train, with_weights
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import missing
from rdlib.train import fit

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.05, crop_padding=1)


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


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, make_dataset: Callable[..., Dataset]) -> dict[str, Dataset]:
    """Two data sets of other images and other numbers of classes."""
    found = {
        "here": replace(make_dataset(classes=4, seed=1), name="here"),
        "there": replace(make_dataset(classes=6, seed=2), name="there"),
    }
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": found[name])
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

"""Adopted networks compute what their file computes, misfits are named, and the record says where it came from."""

import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from rdlib.errors import CheckpointError, ConfigError
from rdlib.files import sha256_of
from rdlib.images import prepare
from rdlib.images.dataset import Dataset
from rdlib.methods import JointRD
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs import execute as experiment
from rdlib.runs.adopt import adopt
from rdlib.runs.execute import train
from rdlib.runs.run import Record, Run
from rdlib.train import evaluate

CLASSES = 3


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of three classes of photographs, prepared where `load` looks for them."""
    for split, n in (("train", 2), ("test", 3)):
        for label in range(CLASSES):
            place = tmp_path / "images" / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(n):
                Image.effect_noise((40 + 9 * i, 50 - 7 * i), 80).convert("RGB").save(place / f"{i}.jpeg")
    monkeypatch.setattr("rdlib.images.load.__defaults__", (tmp_path / "data", "cpu", None))
    monkeypatch.setenv("RDLIB_WORKERS", "0")
    prepare("pets", tmp_path / "images", tmp_path / "data", in_place=True)
    return "pets"


@pytest.fixture
def torchvisions() -> nn.Module:
    """A ResNet-18 whose batch normalisations do something."""
    network = torchvision.models.resnet18(num_classes=CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return network.eval()


@pytest.fixture(autouse=True)
def chance_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """These networks are untrained; `test_own.py` asks whether such a one is stopped."""
    from rdlib.runs import adopt as module

    monkeypatch.setattr(
        module, "accuracy_of_teacher", lambda network, images, _: evaluate(network, images, images.test)
    )


@pytest.fixture
def file(tmp_path: Path, torchvisions: nn.Module) -> Path:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvisions.state_dict(), path)
    return path


def test_an_adopted_network_gives_torchvisions_logits_and_its_accuracy(pets, file, torchvisions, store):
    record = adopt(file, pets, 18, image_size=32, store=store, device="cpu")
    network = store.network(record.run)
    found, expected = network.state_dict(), torchvisions.state_dict()
    assert {name: torch.equal(found[name], expected[name]) for name in expected} == dict.fromkeys(found, True)
    x = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), torchvisions(x))
    images = experiment.load(pets, image_size=32)
    assert record.top1 == evaluate(network, images, images.test).top1
    assert record.metrics["test_top5"] == 100  # of three classes


def test_the_record_says_what_it_is(pets, file, store):
    record = adopt(file, pets, 18, image_size=32, store=store, device="cpu")
    assert Record.read(store.record_path(record.run)) == record
    source = sha256_of(file)
    assert record.run == Run(
        "pets", "Adopted", 18, 64, "all", 0, Recipe(image_size=32, crop_padding=0), {"weights": source[:12]}
    )
    assert record.history == []
    assert record.metrics["train_loss"] is None
    found = record.provenance
    assert (found["protocol"], found["source_sha256"]) == ("adopted", source)
    assert found["data_sha256"] == experiment.load(pets).sha256
    assert found["images_per_second"] == pytest.approx(9 / found["seconds"], rel=0.05)


def test_other_weights_are_another_run_and_the_same_weights_the_same(pets, file, torchvisions, store, tmp_path):
    first = adopt(file, pets, 18, image_size=32, store=store, device="cpu")
    assert adopt(file, pets, 18, image_size=32, store=store, device="cpu") == first
    nn.init.normal_(torchvisions.fc.weight)
    torch.save(torchvisions.state_dict(), tmp_path / "other.pth")
    other = adopt(tmp_path / "other.pth", pets, 18, image_size=32, store=store, device="cpu")
    assert {record.run.id for record in store.records()} == {first.run.id, other.run.id}
    assert first.run.id != other.run.id


def test_an_adopted_network_teaches(pets, file, store):
    teacher = adopt(file, pets, 18, image_size=32, store=store, device="cpu").run
    recipe = Recipe(epochs=1, batch_size=6, image_size=32, crop_padding=0)
    run = Run(pets, "JointRD", 18, 64, "none", 0, recipe, teacher=teacher.id)
    method = experiment.build(run, store, CLASSES)
    assert isinstance(method, JointRD)
    assert torch.equal(method.teacher.fc.weight, torch.load(file)["fc.weight"])


def test_it_is_never_trained_again(pets, file, store):
    record = adopt(file, pets, 18, image_size=32, store=store, device="cpu")
    with pytest.raises(ConfigError, match=f"adopted from a file .*{record.run.options['weights']}") as caught:
        train(record.run, store, "cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert store.record(record.run) == record


def test_train_again_ends_in_the_same_sentence(pets, file, store, monkeypatch, capsys):
    from rdlib.__main__ import main

    run = adopt(file, pets, 18, image_size=32, store=store, device="cpu").run
    command = ["rdlib", "train", "--again", run.id, "--store", str(store.root), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: this network was adopted from a file")


def test_small_images_in_memory_take_the_small_stem(store, tmp_path, dataset: Dataset, monkeypatch):
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": dataset)
    network = resnet(18, 10, "all", 4)
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    record = adopt(tmp_path / "own.safetensors", "tiny", 18, 4, store=store, device="cpu")
    assert record.run.recipe == Recipe()
    assert record.top1 == evaluate(network, dataset, dataset.test).top1
    with pytest.raises(ConfigError, match="image_size is for folders of photographs"):
        adopt(tmp_path / "own.safetensors", "tiny", 18, 4, image_size=32, store=store, device="cpu")


def test_a_file_without_counts_of_batches_is_adopted_as_well(pets, torchvisions, store, tmp_path):
    """As torchvision's oldest releases, whose BatchNorm did not count."""
    old = OrderedDict((k, v) for k, v in torchvisions.state_dict().items() if "num_batches" not in k)
    torch.save(old, tmp_path / "old.pth")
    network = store.network(adopt(tmp_path / "old.pth", pets, 18, image_size=32, store=store, device="cpu").run)
    assert torch.equal(network.conv1.weight, old["conv1.weight"])


@pytest.mark.parametrize(
    ("make", "told", "named"),
    [
        (lambda: torchvision.models.resnet18(num_classes=7).state_dict(), {}, "tells 7 classes apart .* has 3"),
        (lambda: torchvision.models.resnet34(num_classes=3).state_dict(), {"depth": 18}, "ResNet-34, width 64, .* 18"),
        (lambda: torchvision.models.resnet50(num_classes=3).state_dict(), {"depth": 34}, "ResNet-50, width 64, .* 34"),
        (lambda: resnet(18, 3, "all", 4, "imagenet").state_dict(), {"width": 64}, "ResNet-18, width 4, .* width 64"),
        (lambda: resnet(18, 3, "none", 64, "imagenet").state_dict(), {}, "has no shortcuts"),
    ],
)
def test_a_misfit_is_named_in_one_sentence_and_nothing_is_stored(pets, store, tmp_path, make, told, named):
    torch.save(make(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=rf"weights\.pth.*{named}") as caught:
        adopt(tmp_path / "weights.pth", pets, image_size=32, store=store, device="cpu", **told)
    assert "\n" not in str(caught.value)
    assert store.records() == []


@pytest.mark.parametrize(
    "options", [{"groups": 8, "width_per_group": 4}, {"width_per_group": 128}, {}], ids=["next", "wide", "short"]
)
def test_what_no_run_describes_is_sent_to_the_notebook(pets, store, tmp_path, options):
    counts = [3, 4, 6, 3] if options else [1, 1, 1, 1]
    network = torchvision.models.resnet.ResNet(torchvision.models.resnet.Bottleneck, counts, CLASSES, **options)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=r"bottleneck blocks.* which a run cannot describe: the notebook 11_"):
        adopt(tmp_path / "weights.pth", pets, image_size=32, store=store, device="cpu")


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", ["tiny", "pets"])
def test_either_stem_is_adopted_on_either_kind_of_images_and_teaches(
    pets, store, tmp_path, make_dataset, monkeypatch, name, stem
):
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda *_: make_dataset(classes=CLASSES))
    teacher = resnet(18, CLASSES, "all", 4, stem)
    torch.save(teacher.state_dict(), tmp_path / "weights.pth")
    side = 32 if name == "pets" else None
    record = adopt(tmp_path / "weights.pth", name, image_size=side, store=store, device="cpu")
    assert store.network(Record.read(store.record_path(record.run)).run).architecture == teacher.architecture
    recipe = Recipe(epochs=1, batch_size=6, image_size=side, crop_padding=0)
    run = partial(Run, name, "JointRD", 18, 4, "none", 0, recipe, teacher=record.run.id)
    assert store.network(train(run(other_stem=stem), store, "cpu", progress=False).run).architecture.stem == stem
    if stem != run().stem:
        with pytest.raises(ConfigError, match=f"give the run other_stem='{stem}'"):
            train(run(), store, "cpu", progress=False)
    else:
        assert run(other_stem=stem).id == run().id

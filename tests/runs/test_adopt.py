"""Adopted networks compute what their file computes, misfits are named, and the record says where it came from."""

import re
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from rdlib.errors import CheckpointError, ConfigError, RdlibError
from rdlib.files import sha256_of
from rdlib.images import prepare
from rdlib.images.dataset import Dataset
from rdlib.methods import JointRD
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs import execute as experiment
from rdlib.runs.adopt import adopt
from rdlib.runs.execute import train
from rdlib.runs.layout import read_weights
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
    ("make", "named"),
    [
        (lambda: torchvision.models.resnet18(num_classes=7).state_dict(), "it tells 7 classes apart .* has 3"),
        (lambda: torchvision.models.resnet34(num_classes=3).state_dict(), "no place for its layer1.2.conv1.weight"),
        (lambda: torchvision.models.resnet50(num_classes=3).state_dict(), r"layer1.0.conv1.weight is \[64, 64, 1, 1\]"),
        (lambda: resnet(18, 3, "all", 4, "imagenet").state_dict(), r"conv1.weight is \[4, 3, 7, 7\] where \[64, 3"),
        (lambda: resnet(18, 3, "none", 64, "imagenet").state_dict(), "it has no layer2.0.downsample.0.weight"),
        (dict, "it has no conv1.weight"),
        (lambda: {"state_dict": {}}, "holds no state dict"),
        (lambda: torch.zeros(3), "holds no state dict"),
        (lambda: Path, "is damaged or holds more than weights"),
    ],
)
def test_a_misfit_is_named_in_one_sentence_and_nothing_is_stored(pets, store, tmp_path, make, named):
    torch.save(make(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=named) as caught:
        adopt(tmp_path / "weights.pth", pets, 18, image_size=32, store=store, device="cpu")
    assert re.match(r"weights\.pth (does not fit ResNet-18 of width 64 for pets|holds|is)", str(caught.value))
    assert "\n" not in str(caught.value)
    assert store.records() == []


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_absent_or_damaged_are_named(tmp_path, name):
    with pytest.raises(ConfigError, match="there is no file"):
        read_weights(tmp_path / name)
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(RdlibError, match=f"{name} is damaged") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)

"""A teacher from elsewhere is shown to be one before it teaches, sees its images as it was trained, and so do its
students and the file that is delivered; the notebook and `adopt` say the same of the same file.

The teacher is trained with nothing of ours but the architecture, on pixels of [0, 1] (ToTensor alone).
"""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import onnx
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import rdlib
from rdlib.errors import ConfigError, RdlibError
from rdlib.files import NOTEBOOKS
from rdlib.images import load, prepare
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs.adopt import adopt
from rdlib.runs.execute import images_of, train
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import evaluate

WIDTH, EPOCHS = 8, 6
RECIPE = Recipe(EPOCHS, 64, learning_rate=0.02, schedule="one-cycle", crop_padding=2, flip=False)


def pixels(split: Any) -> torch.Tensor:
    return split.images / 255


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The file of a ResNet-18, and its accuracy as its owner measured it."""
    torch.manual_seed(0)
    digits, network = load("digits"), resnet(18, 10, "all", WIDTH)
    batches = DataLoader(TensorDataset(pixels(digits.train), digits.train.labels), 64, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, EPOCHS * len(batches))
    for images, labels in (batch for _ in range(EPOCHS) for batch in batches):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        rates.step()
    with torch.no_grad():
        right = network.eval()(pixels(digits.test)).argmax(1) == digits.test.labels
    file = tmp_path_factory.mktemp("own") / "own.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}}, file)
    return file, 100 * float(right.float().mean())


@pytest.fixture(scope="module")
def adopted(own: tuple[Path, float], tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Store]:
    store, said = Store(tmp_path_factory.mktemp("store")), []
    record = adopt(own[0], "digits", store=store, device="cpu", mean="none", expected=own[1], tell=said.append)
    what = "own.pth: ResNet-18, width 8, first convolution 3x3 (unwrapped 'state_dict', stripped 'module.')"
    assert said == [what]
    return record, store


def test_it_is_as_accurate_as_its_owner_says_and_the_record_tells_how_it_saw(own, adopted):
    record, store = adopted
    assert record.top1 == pytest.approx(own[1], abs=1)
    seen = {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert {name: record.run.options[name] for name in seen} == seen
    assert record.provenance | seen | {"resize": 1.0} == record.provenance
    assert Record.read(store.record_path(record.run)) == record


def test_its_students_and_their_files_see_images_as_it_does_and_are_as_good(adopted, tmp_path, monkeypatch):
    from rdlib.__main__ import main

    teacher, store = adopted
    run = Run("digits", "JointRD", 18, WIDTH, "none", 0, RECIPE, {"init": "teacher"}, teacher.run.id)
    record = train(run, store, "cpu", progress=False)
    assert record.top1 == pytest.approx(teacher.top1, abs=2)
    images = images_of(run, store)
    assert images.mean.tolist() == [0.0] * 3
    assert evaluate(store.network(run), images, images.test).top1 == record.top1
    again = Run("digits", "JointRD", 18, WIDTH, "none", 0, RECIPE, teacher=run.id)  # taught by that student
    assert images_of(again, store).std.tolist() == [1.0] * 3
    to = tmp_path / "plain.onnx"
    monkeypatch.setattr(sys, "argv", ["rdlib", "export", run.id, "--to", str(to), "--store", str(store.root)])
    with pytest.raises(SystemExit, match="0"):
        main()
    facts = {entry.key: entry.value for entry in onnx.load(to).metadata_props}
    assert (facts["rdlib.mean"], facts["rdlib.std"]) == ("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]")


def test_told_nothing_it_is_another_run_and_stopped_where_its_accuracy_is_known(own, store):
    with pytest.raises(ConfigError, match=r"were expected: .* normalised otherwise \(with mean and std 'none' it has"):
        adopt(own[0], "digits", store=store, device="cpu", expected=own[1])
    assert store.records() == []


@pytest.mark.parametrize("expected", [0, 0.98, 101, float("nan"), "98"])
def test_an_accuracy_is_expected_in_percent(own, store, expected):
    with pytest.raises(ConfigError, match=r"in percent, such as 75\.5, not"):
        adopt(own[0], "digits", store=store, device="cpu", mean="none", expected=expected)


def two_greys(root: Path) -> Path:
    """A folder of two classes: 16 dark and 16 bright images of each split."""
    for split in ("train", "test"):
        for name, level in (("bright", 200), ("dark", 40)):
            (root / split / name).mkdir(parents=True)
            for i in range(16):
                Image.new("RGB", (32, 32), (level + i,) * 3).save(root / split / name / f"{i}.png")
    return root


def by_notebook(place: Path, **parameters: Any) -> tuple[str, float]:
    """What notebook 11 says of a file up to its evaluation, the sentence or the accuracy."""
    cells = {cell.id: cell for cell in nbformat.read(NOTEBOOKS / "11_take_your_own_resnet.ipynb", 4).cells}
    names: dict[str, Any] = {"rdlib": rdlib, "torch": torch, "torchvision": torchvision}
    exec(cells["cell-03"].source, names)
    names |= {"pd": None, "here": str(place), **parameters}
    for cell in ("cell-04", "cell-06", "cell-08", "cell-10", "cell-10a"):
        exec(cells[cell].source, names)
    return "", names["taught_by"]


def of_two(stem: Any = "imagenet", classes: int = 2) -> dict[str, torch.Tensor]:
    """An untrained network that always says the same."""
    network = resnet(18, classes, "all", 4, stem)
    nn.init.zeros_(network.fc.weight)
    return network.state_dict()


@pytest.mark.parametrize(
    ("weights", "told", "said"),
    [
        (of_two(), {}, "has 50.0 % test top-1 on mine, and always .* 50.0 %, from which"),
        (of_two("cifar"), {"mean": "imagenet"}, "images cannot tell it"),
        (of_two(), {"expected": 98}, "and 98 % were expected"),
        (of_two(), {"expected": 50}, ""),
        (of_two("cifar"), {"mean": "0.5,0.5,0.5", "std": "0.2,0.2,0.2", "expected": 51}, ""),
        (of_two() | {"fc.bias": torch.tensor([0.0, torch.nan])}, {}, "values of its fc.bias are NaN"),
        (of_two(classes=4), {}, "tells 4 classes apart where the data set has 2"),
        (of_two(), {"resize": 256}, "resize is for photographs"),
        (of_two(), {"mean": "0.5,0.5,0.5"}, "there is mean without its std"),
    ],
)
def test_the_notebook_and_adopt_say_the_same_of_the_same_file(weights, told, said, tmp_path, store, monkeypatch):
    torch.save([weights], tmp_path / "two.pth")
    folder = two_greys(tmp_path / "greys")
    prepare("mine", folder, root=tmp_path / "data")
    monkeypatch.setattr("rdlib.images.load.__defaults__", (tmp_path / "data", "cpu", None))

    def by_adopt() -> tuple[str, float]:
        return "", adopt(tmp_path / "two.pth", "mine", store=store, device="cpu", **told).top1

    answers = []
    for way in (by_adopt, lambda: by_notebook(tmp_path, folder=folder, weights=tmp_path / "two.pth", **told)):
        try:
            answers.append(way())
        except RdlibError as error:
            answers.append((str(error), 0.0))
    assert answers[0] == answers[1]
    sentence, top1 = answers[0]
    assert "\n" not in sentence
    assert re.search(said, sentence)
    assert (top1, len(store.records())) == ((0, 0) if said else (50, 1))

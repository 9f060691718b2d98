"""Few images of each class, and parts of data sets: which images are seen, and bad input."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from safetensors import safe_open

from rdlib.errors import ConfigError, DataError
from rdlib.files import DATA
from rdlib.images import dataset as data
from rdlib.images import load, prepare
from rdlib.images.dataset import Dataset
from rdlib.images.photographs import Files, Photographs
from rdlib.images.subsets import COARSE, DERIVED, SUBSETS, few_of_each, halved
from rdlib.images.subsets import Subset as Part
from rdlib.methods import Supervised
from rdlib.models import plain
from rdlib.recipe import Recipe
from rdlib.runs.run import Run
from rdlib.train import fit

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.05, crop_padding=1)


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
    moments = torch.zeros(3), torch.ones(3)
    images = Photographs("own", ["a", "b", "c"], files, files, *moments, "", tmp_path, 32, 0)
    few = images.trained_on(Recipe(crop_padding=0, image_size=32, shots=2), 1)
    assert np.bincount(few.labels).tolist() == [2, 2, 2]
    assert [labels[int(path.split(b".")[0])] for path in few.paths] == few.labels.tolist()
    with pytest.raises(ConfigError, match="class 'a' has 8 training images, 9"):
        images.trained_on(Recipe(crop_padding=0, image_size=32, shots=9), 1)


def test_without_shots_a_recipe_is_what_it_was() -> None:
    run = Run("here", "Supervised", 18, 4, "none", 0, RECIPE)
    assert "shots" not in run.value["recipe"]
    few = replace(run, recipe=replace(RECIPE, shots=4))
    assert few.id != run.id
    assert Run.from_value(few.value) == few
    assert "shots 4" in few.label
    for wrong in (0, 2.5, "5"):
        with pytest.raises(ConfigError, match="whole number of images of a class as shots"):
            Recipe(shots=wrong)  # type: ignore[arg-type]


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
    first, second = SUBSETS["cifar100-first"].classes, SUBSETS["cifar100-second"].classes
    assert sorted([*first, *second]) == sorted(names)
    assert {"apple", "wolf", "bridge"} <= set(first)
    assert {"cloud", "tractor", "baby"} <= set(second)
    path = DATA / "cifar100.safetensors"
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


def test_halved_images_are_the_rounded_means_of_four_pixels() -> None:
    images = torch.randint(256, (1003, 3, 6, 8), dtype=torch.uint8)
    images[0, 0, :2, :8] = torch.tensor([[0, 0, 0, 0, 255, 255, 1, 1], [0, 1, 1, 1, 255, 254, 1, 2]])
    found = halved(images)
    assert found[0, 0, 0].tolist() == [0, 1, 255, 1], "a half is rounded up, less is not"
    for image, small in zip(images.tolist(), found.tolist(), strict=True):
        for plane, of in zip(image, small, strict=True):
            for i, j in product(range(3), range(4)):
                four = [plane[2 * i + a][2 * j + b] for a, b in product(range(2), range(2))]
                assert of[i][j] == (sum(four) + 2) // 4


def test_the_small_cifar_is_the_whole_one_halved(tmp_path) -> None:
    tensors = {}
    for split, count in (("train", 20), ("test", 10)):
        tensors[f"{split}_images"] = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        tensors[f"{split}_labels"] = torch.arange(count).sort().values % 10
    (tmp_path / "cifar10.safetensors").write_bytes(data.packed(tensors, [f"class{i}" for i in range(10)]))
    whole, small = (load(name, tmp_path) for name in ("cifar10", "cifar10-small"))
    assert (whole.side, small.side, small.name, small.classes) == (32, 16, "cifar10-small", whole.classes)
    for split in ("train", "test"):
        all_of_it, half = getattr(whole, split), getattr(small, split)
        assert torch.equal(half.images, halved(all_of_it.images))
        assert torch.equal(half.labels, all_of_it.labels)
    assert small.sha256 == load("cifar10-small", tmp_path).sha256 != whole.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.safetensors"], "no second file"
    assert len(small.tune) == len(whole.tune) == 2


def test_real_small_cifar_is_that_of_every_machine() -> None:
    for name, sha256 in (("cifar10-small", "4ab918eaefde"), ("cifar100-small", "32dd3cfa377d")):
        if not (DATA / f"{DERIVED[name].whole}.safetensors").exists():
            pytest.skip(f"{DERIVED[name].whole} is not prepared here")
        assert load(name).sha256.startswith(sha256)


def test_a_part_is_not_prepared_itself(tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"cifar10-small is cifar10 at half its side and needs no .*: prepare cifar10"
    ):
        prepare("cifar10-small", tmp_path, tmp_path / "data")
    with pytest.raises(DataError, match="data prepare cifar10`"):
        load("cifar10-small", tmp_path)
    with pytest.raises(ConfigError, match="digits-low is a part of digits"):
        prepare("digits-low", tmp_path, tmp_path / "data")
    with pytest.raises(DataError, match="data prepare cifar100"):
        load("cifar100-first", tmp_path)

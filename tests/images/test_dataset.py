"""Images in memory: fixed splits without a leak, exact normalisation, true augmentation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rdlib.distributed import Shard
from rdlib.files import DATA, RESULTS, ROOT
from rdlib.images import dataset as data
from rdlib.images import load
from rdlib.images.sources import EVALUATED
from rdlib.recipe import Recipe
from rdlib.runs.store import Store


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return load("digits")


def test_digits_split_is_fixed(digits):
    assert (len(digits.train), len(digits.test)) == (1297, 500)
    assert digits.train.images.shape[1:] == (3, 16, 16)
    assert digits.train.images.dtype == torch.uint8
    # Published records hold this checksum.
    assert digits.sha256 == "92cb71c2c01149f962561ff0d67db3bef4a4de72bad477699ad5eaf12557deed"


@pytest.mark.parametrize("name", EVALUATED)
def test_intervals_know_how_many_images_are_evaluated(name):
    """Of CIFAR where its files are; what is nowhere named has no floor, so every published data set is."""
    whole = name.partition("-")[0]
    if whole != "digits" and not (DATA / f"{whole}.safetensors").exists():
        pytest.skip(f"{whole} is not here")
    found = load(name)
    assert {"test": len(found.test), "tune": len(found.tune)} == EVALUATED[name]
    assert {path.name for path in (RESULTS / "runs").iterdir()} <= set(EVALUATED)


def test_published_records_on_digits_were_made_with_these_images(digits):
    made_with = {record.provenance["data_sha256"] for record in Store().records() if record.run.dataset == "digits"}
    assert made_with <= {digits.sha256}


def test_tune_split_is_a_fixed_tenth_of_the_training_images(digits):
    index = data.tune_mask(len(digits.train)).nonzero().flatten()
    assert (len(index), index[:4].tolist(), index.sum().item()) == (129, [1, 5, 14, 18], 91719)
    assert torch.equal(digits.tune.images, digits.train.images[index])
    assert len(digits.tune) + len(digits.train_without_tune) == len(digits.train)
    rest = [i for i in range(len(digits.train)) if i not in set(index.tolist())]
    assert torch.equal(digits.train_without_tune.images, digits.train.images[rest])
    assert torch.equal(digits.train_without_tune.labels, digits.train.labels[rest])


def test_no_digit_is_in_two_splits(digits):
    """scikit-learn has no two equal scans, so an image found twice would be a leak."""
    splits = (digits.train_without_tune, digits.tune, digits.test)
    images = [image.numpy().tobytes() for split in splits for image in split.images]
    assert len(set(images)) == len(images) == 1797


def test_normalise_gives_zero_mean_and_unit_deviation_over_the_training_set(digits, make_dataset):
    for dataset in (digits, make_dataset()):
        floats = dataset.normalise(dataset.train.images).double()
        torch.testing.assert_close(floats.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-5)
        torch.testing.assert_close(floats.std((0, 2, 3), correction=0), torch.ones(3).double(), rtol=0, atol=1e-4)


def test_normalise_leaves_the_stored_images_alone(dataset):
    before = dataset.train.images.clone()
    dataset.normalise(dataset.train.images)
    assert torch.equal(dataset.train.images, before)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_random_crop_is_a_window_of_its_own_padded_image():
    images = torch.randint(1, 256, (40, 3, 6, 6), dtype=torch.uint8)
    crops = data.random_crop(images, 2, generator())
    offsets = []
    for image, crop in zip(images, crops, strict=True):
        padded = np.zeros((3, 10, 10), np.uint8)
        padded[:, 2:8, 2:8] = image.numpy()
        places = [(i, j) for i in range(5) for j in range(5) if (padded[:, i : i + 6, j : j + 6] == crop.numpy()).all()]
        assert len(places) == 1
        offsets += places
    assert {i for i, _ in offsets} == {j for _, j in offsets} == set(range(5))
    assert len(set(offsets)) > 10  # rows and columns are drawn apart, for each image


def test_random_flip_mirrors_about_half_of_the_images_one_by_one():
    images = torch.randint(0, 256, (200, 3, 5, 4), dtype=torch.uint8)
    flipped = data.random_flip(images, generator())
    mirrored = [np.array_equal(new, old[:, :, ::-1]) for new, old in zip(flipped.numpy(), images.numpy(), strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_an_epoch_gives_each_image_at_most_once_with_its_label_in_an_order_of_its_own(make_dataset):
    split = make_dataset(train=50).train
    label_of = {image.numpy().tobytes(): int(label) for image, label in zip(split.images, split.labels, strict=True)}

    def epoch(seed: int) -> list[bytes]:
        seen = []
        for images, labels in data.batches(split, 16, 0, False, generator(seed)):
            assert len(images) == 16
            for image, label in zip(images, labels, strict=True):
                assert label_of[image.numpy().tobytes()] == label
                seen.append(image.numpy().tobytes())
        return seen

    first = epoch(0)
    assert len(first) == len(set(first)) == 48
    assert epoch(0) == first
    assert epoch(1) != first


def test_augmentation_follows_its_switches(dataset):
    def images(crop_padding: int, flip: bool) -> torch.Tensor:
        return torch.cat([x for x, _ in data.batches(dataset.train, 16, crop_padding, flip, generator())])

    plain = {image.numpy().tobytes() for image in dataset.train.images}

    def changed(crop_padding: int, flip: bool) -> float:
        found = images(crop_padding, flip)
        return sum(image.numpy().tobytes() not in plain for image in found) / len(found)

    assert changed(0, False) == 0
    assert 0.2 < changed(0, True) < 0.8
    assert changed(2, False) > 0.8


def test_cutout_blanks_one_square_of_each_image_at_a_place_of_its_own():
    images = torch.ones(200, 3, 16, 16)
    found = data.random_cutout(images, 5, generator())
    blank = found == 0
    assert torch.equal(blank[:, 0], blank[:, 2])
    rows, columns = blank[:, 0].any(2).sum(1), blank[:, 0].any(1).sum(1)
    assert torch.equal(blank[:, 0].sum((1, 2)), rows * columns)  # a rectangle
    assert rows.max() == columns.max() == 5
    assert rows.min() == columns.min() == 3  # cut by the border where its middle is a corner
    assert len({tuple(mask.flatten().tolist()) for mask in blank[:, 0]}) > 100
    assert blank[:, 0].any(0).all()  # every pixel can go


def test_cutout_is_part_of_the_recipe(dataset):
    plain = Recipe(1, 48, crop_padding=0, flip=False)
    with_hole = replace(plain, cutout=4)
    (a, labels), (b, same) = (
        next(dataset.training_batches(dataset.train, recipe, 0, 0, Shard())) for recipe in (plain, with_hole)
    )
    assert torch.equal(labels, same)
    assert torch.equal(a[b != 0], b[b != 0])
    assert 0.05 < (b == 0).float().mean() < 0.3


def test_the_nearest_neighbour_in_pixels_knows_the_digits_as_the_pages_say():
    """Why digits cannot rank methods: README and notebook 05 name this number."""
    digits = load("digits")
    known, asked = (split.images.float().flatten(1) for split in (digits.train, digits.test))
    right = digits.train.labels[torch.cdist(asked, known).argmin(1)] == digits.test.labels
    said = f"{100 * right.float().mean():.1f} %"
    for page in ("README.md", "notebooks/05_rivals.ipynb"):
        assert said in (ROOT / page).read_text()

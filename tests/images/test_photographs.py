"""Folders of photographs: batches that depend on seed, epoch and image alone, and errors that name the file."""

import multiprocessing
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError
from rdlib.images import dataset as data
from rdlib.images import load, photographs, prepare
from rdlib.images.photographs import MEAN, STD, Files, Photographs, default_workers
from rdlib.methods import Supervised
from rdlib.models import resnet
from rdlib.train import Recipe, evaluate, fit

CLASSES = ("cat", "dog", "newt")
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.01, image_size=32, crop_padding=0)
COUNTS = {"train": (5, 6, 7), "val": (3, 4, 4)}
WHOLE = Shard()


def make_folder(folder: Path, solid: bool = False) -> Path:
    """JPEGs of random sizes and random pixels; or PNGs, each of one colour that no other has."""
    random, colour = np.random.RandomState(0), 0
    for split, numbers in COUNTS.items():
        for class_name, n in zip(CLASSES, numbers, strict=True):
            (folder / split / class_name).mkdir(parents=True)
            for i in range(n):
                size = (*random.randint(33, 90, 2), 3)
                pixels = np.full(size, 5 * colour, np.uint8) if solid else random.randint(0, 256, size).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / class_name / f"{i}.{'png' if solid else 'jpeg'}")
                colour += 1
    return folder


def open_folder(folder: Path, root: Path) -> Photographs:
    prepare("pets", folder, root, in_place=True)
    found = load("pets", root, image_size=32)
    assert isinstance(found, Photographs)
    return replace(found, workers=0)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Read only."""
    place = tmp_path_factory.mktemp("pets")
    return open_folder(make_folder(place / "images"), place / "data")


@pytest.fixture(scope="module")
def solid(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Read only; a crop of an image still says which image it is."""
    place = tmp_path_factory.mktemp("solid")
    return open_folder(make_folder(place / "images", solid=True), place / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "images")


def training(images: Photographs, seed: int = 0, epoch: int = 0, shard: Shard = WHOLE, recipe: Recipe = RECIPE):
    return list(images.training_batches(images.train, recipe, seed, epoch, shard))


def evaluation(images: Photographs, batch_size: int = 4, shard: Shard = WHOLE):
    return list(images.evaluation_batches(images.test, batch_size, shard))


def assert_same(found, expected) -> None:
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def colours(batches) -> list[tuple[int, int]]:
    """Of solid images: the colour and the label of each, checked to be one colour throughout."""
    found = []
    for images, labels in batches:
        pixels = (images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
        assert (pixels - pixels[:, :1, :1, :1]).abs().max() < 1e-3
        found += zip(pixels[:, 0, 0, 0].round().int().tolist(), labels.tolist(), strict=True)
    return found


def on_disk(images: Photographs, split: Files) -> list[tuple[int, int]]:
    """Of solid images: the colour and the label of each file, the label from its folder's name."""
    paths = [os.fsdecode(path) for path in split.paths]
    return [(np.asarray(Image.open(images.folder / p))[0, 0, 0].item(), CLASSES.index(p.split("/")[1])) for p in paths]


def test_batches_are_normalised_floats_and_labels_as_training_wants_them(pets):
    for images, labels in training(pets) + evaluation(pets):
        assert images.shape[1:] == (3, 32, 32)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64
    assert pets.side == 32
    assert pets.classes == list(CLASSES)


def test_batches_do_not_depend_on_the_number_of_workers(pets):
    two = replace(pets, workers=2)
    assert_same(training(two), training(pets))
    assert_same(evaluation(two), evaluation(pets))


def test_shares_of_all_ranks_join_to_what_one_process_sees(pets):
    recipe = replace(RECIPE, batch_size=6)
    whole = training(pets, recipe=recipe)
    for size in (2, 3):
        ranks = [training(pets, shard=Shard(rank, size), recipe=recipe) for rank in range(size)]
        assert all(len(labels) == 6 // size for rank in ranks for _, labels in rank)
        joined = [tuple(map(torch.cat, zip(*batch, strict=True))) for batch in zip(*ranks, strict=True)]
        assert_same(joined, whole)


def test_batches_follow_from_seed_and_epoch_alone_and_leave_the_global_generator_alone(pets):
    before = torch.get_rng_state()
    first = training(pets)
    training(replace(pets, workers=2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert_same(training(pets), first)
    for other in (training(pets, seed=1), training(pets, epoch=1)):
        assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(other, first, strict=True))


def test_an_epoch_gives_each_image_at_most_once_with_its_label_in_an_order_of_its_own(solid):
    expected, epochs = on_disk(solid, solid.train), [colours(training(solid, epoch=epoch)) for epoch in range(2)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == 16  # the last, incomplete batch of 18 images is dropped
        assert set(epoch) <= set(expected)
        assert epoch != sorted(epoch)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_evaluation_counts_every_image_once_on_any_number_of_ranks(solid, size):
    ranks = [evaluation(solid, shard=Shard(rank, size)) for rank in range(size)]
    assert [image for rank in ranks for image in colours(rank)] == on_disk(solid, solid.test)
    assert len(solid.test) == 11


@pytest.mark.parametrize(("image_size", "resized"), [(32, 37), (224, 256)])
def test_evaluation_is_torchvisions_resize_and_centre_crop(pets, image_size, resized):
    found = torch.cat([images for images, _ in evaluation(replace(pets, image_size=image_size))])
    assert len(found) == len(pets.test)
    for path, image in zip(pets.test.paths, found, strict=True):
        pixels = F.pil_to_tensor(Image.open(pets.folder / os.fsdecode(path)).convert("RGB"))
        pixels = F.center_crop(F.resize(pixels, [resized], antialias=True), [image_size])
        torch.testing.assert_close(image, F.normalize(F.to_dtype(pixels, torch.float32, scale=True), MEAN, STD))


def copies(path: Path, n: int = 40) -> Photographs:
    """A data set of one photograph n times, so that whatever differs is augmentation."""
    paths = np.array([os.fsencode(path.name)] * n)
    files = Files(paths, np.zeros(n, np.int64))
    return Photographs(
        "copies", ["a", "b"], files, files, torch.tensor(MEAN), torch.tensor(STD), "", path.parent, 32, 0
    )


def test_every_image_is_cropped_and_mirrored_on_its_own(tmp_path):
    """The picture brightens to the right and to the bottom: a crop keeps that, a flip turns the former round."""
    ramp = np.add.outer(np.arange(60), 2 * np.arange(80)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    one = copies(tmp_path / "ramp.png")
    plain, flipped = (
        torch.cat([x for x, _ in training(one, recipe=replace(RECIPE, flip=flip))]) for flip in (False, True)
    )
    assert len({image.numpy().tobytes() for image in plain}) == len(plain) == 40
    for other in ({"epoch": 1}, {"seed": 1}):
        again = torch.cat([x for x, _ in training(one, **other, recipe=replace(RECIPE, flip=False))])
        assert not {image.numpy().tobytes() for image in again} & {image.numpy().tobytes() for image in plain}
    assert (plain[..., -1].mean((1, 2)) > plain[..., 0].mean((1, 2))).all()
    assert (flipped[:, :, -1].mean((1, 2)) > flipped[:, :, 0].mean((1, 2))).all()
    assert 8 < (flipped[..., -1].mean((1, 2)) > flipped[..., 0].mean((1, 2))).sum() < 32
    scale = plain[:, 0, 16, -1] - plain[:, 0, 16, 0]  # in units of the crop's width
    assert scale.max() > 1.5 * scale.min()


def test_images_of_every_colour_mode_arrive_as_three_channels(tmp_path):
    place = make_folder(tmp_path / "images") / "val" / "newt"
    for i, mode in enumerate(("L", "CMYK", "P", "RGBA")):
        file = place / f"{i}.jpeg"
        Image.new("RGB", (40, 50), (200, 30, 90)).convert(mode).save(file, "PNG" if mode in ("P", "RGBA") else "JPEG")
    found = torch.cat([images for images, _ in evaluation(open_folder(tmp_path / "images", tmp_path / "data"))])
    assert found.shape == (11, 3, 32, 32)
    pixels = (found[-4:] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
    assert pixels[0].std(0).max() < 1e-4
    assert (pixels[1:] - torch.tensor([200.0, 30.0, 90.0]).view(3, 1, 1)).abs().max() < 40  # the palette's steps


def test_tune_split_is_the_fixed_tenth(pets):
    mask = data.tune_mask(18).numpy()
    assert pets.tune.paths.tolist() == pets.train.paths[mask].tolist()
    assert pets.train_without_tune.paths.tolist() == pets.train.paths[~mask].tolist()
    assert pets.train_without_tune.labels.tolist() == pets.train.labels[~mask].tolist()
    assert (len(pets.tune), len(pets.train_without_tune)) == (1, 17)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-400])


def garbage(file: Path) -> None:
    file.write_bytes(b"no photograph at all")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (truncated, "train/dog/3.jpeg cannot be read as an image .image file is truncated"),
        (garbage, "train/dog/3.jpeg cannot be read as an image .of no known format"),
        (Path.unlink, "train/dog/3.jpeg is no longer in the folder it was in: put it back"),
    ],
)
def test_a_damaged_or_missing_file_is_named_in_one_sentence(folder, root, workers, damage, named, capfd):
    images = replace(open_folder(folder, root), workers=workers)
    damage(folder / "train" / "dog" / "3.jpeg")
    with pytest.raises(DataError) as caught:
        training(images, recipe=replace(RECIPE, batch_size=18))
    assert re.fullmatch(f"{named}.*, then run the same command again; finished epochs are kept", str(caught.value))
    assert multiprocessing.active_children() == []  # though the traceback is still held
    assert "Traceback" not in "".join(capfd.readouterr())
    evaluation(images)


def test_a_file_put_back_lets_training_go_on_as_if_nothing_had_been(folder, root, tmp_path):
    images, recipe = open_folder(folder, root), replace(RECIPE, batch_size=9)

    def train(checkpoint: Path | None):
        torch.manual_seed(0)
        method = Supervised(resnet(18, 3, "all", 4, "imagenet"))
        return fit(method, images, recipe, checkpoint=checkpoint, progress=False), method.student

    whole, expected = train(None)
    losses = [epoch.losses for epoch in whole]
    epochs, _ = train(tmp_path / "a.checkpoint")
    next(epochs)
    file = folder / "train" / "dog" / "3.jpeg"
    good = file.read_bytes()
    truncated(file)
    with pytest.raises(DataError, match=r"train/dog/3\.jpeg"):
        next(epochs)
    file.write_bytes(good)
    epochs, student = train(tmp_path / "a.checkpoint")
    assert [epoch.losses for epoch in epochs] == losses
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), expected.parameters(), strict=True))


class Dies(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return pixels


def test_a_worker_that_is_killed_says_what_to_lower(pets, refused):
    reader = photographs.Reader(pets.folder, pets.train, Dies(), "")
    with refused("RDLIB_WORKERS below 1"):
        list(photographs.read_ahead(reader, [[0, 1]], 1, False))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_size": None}, "photographs need image_size, e.g. 224"),
        ({"image_size": 64}, "image_size 32, the recipe has 64"),
        ({"cutout": 8}, "cutout"),
    ],
)
def test_recipes_that_photographs_cannot_follow_are_refused(pets, refused, change, named):
    pets.require_fits(RECIPE)
    with refused(named, ConfigError):
        pets.require_fits(replace(RECIPE, **change))


def test_number_of_workers_follows_cores_and_ranks_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("RDLIB_WORKERS", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    found = []
    for cores, ranks in ((2, 1), (64, 1), (64, 16), (1, 2)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=cores: set(range(n)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        found.append(default_workers())
    assert found == [2, 8, 4, 0]
    monkeypatch.setenv("RDLIB_WORKERS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("RDLIB_WORKERS", "many")
    with pytest.raises(ConfigError, match="RDLIB_WORKERS is a whole number"):
        default_workers()


def test_a_network_trains_and_is_evaluated_on_photographs(folder, root):
    images = open_folder(folder, root)
    method = Supervised(resnet(18, 3, "all", 4, "imagenet"))
    (epoch,) = fit(method, images, replace(RECIPE, epochs=1, holdout="tune"), progress=False)
    assert epoch.tune_top1 in (0.0, 100.0)  # of one image
    method.student.eval()
    with torch.inference_mode():
        hits = sum(
            (method.student(x).argmax(1) == y).sum().item()
            for x, y in images.evaluation_batches(images.test, 100, WHOLE)
        )
    assert evaluate(method.student, images, images.test, batch_size=3).top1 == pytest.approx(100 * hits / 11)

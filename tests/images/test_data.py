"""Data sets: one canonical, checksummed form whatever the source, true augmentation, errors that name the culprit."""

import json
import shutil
import sys
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import rdlib
from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError, RdlibError
from rdlib.images import dataset as data
from rdlib.recipe import Recipe
from rdlib.runs.store import Store

CIFAR100 = Path(rdlib.__file__).resolve().parents[2] / "shared" / "data" / "cifar100"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random 32x32 images: 3 a class in train, 2 in test, for ten classes."""
    random = np.random.RandomState(0)
    for split, n in (("train", 3), ("test", 2)):
        for label in range(10):
            place = tmp_path / "images" / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(random.randint(0, 256, (32, 32, 3), np.uint8)).save(place / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_digits_split_is_fixed(digits):
    assert (len(digits.train), len(digits.test)) == (1297, 500)
    assert digits.train.images.shape[1:] == (3, 16, 16)
    assert digits.train.images.dtype == torch.uint8
    # Published records hold this checksum.
    assert digits.sha256 == "92cb71c2c01149f962561ff0d67db3bef4a4de72bad477699ad5eaf12557deed"


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


def test_prepared_images_load_unchanged_in_canonical_order(folder, root):
    data.prepare("mine", folder, root)
    loaded = data.load("mine", root)
    assert loaded.classes == [f"class{i}" for i in range(10)]
    for name, split in (("train", loaded.train), ("test", loaded.test)):
        expected = []
        for label, class_name in enumerate(loaded.classes):
            images = [np.asarray(Image.open(p)).transpose(2, 0, 1) for p in (folder / name / class_name).iterdir()]
            expected += [(image.tobytes(), label) for image in sorted(images, key=lambda image: image.tobytes())]
        found = zip(split.images.numpy(), split.labels.tolist(), strict=True)
        assert [(image.tobytes(), label) for image, label in found] == expected


def test_checksum_does_not_depend_on_file_names(folder, root):
    before = data.load(data.prepare("mine", folder, root).stem, root).sha256
    for place in folder.glob("*/*"):
        for i, file in enumerate(sorted(place.iterdir(), reverse=True)):
            file.rename(place / f"renamed{i}.png")
    data.prepare("mine", folder, root)
    assert data.load("mine", root).sha256 == before


def test_checksum_depends_on_every_pixel_and_label(folder, root):
    def prepared() -> str:
        data.prepare("mine", folder, root)
        return data.load("mine", root).sha256

    found = {prepared()}
    file = folder / "test" / "class3" / "0.png"
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    found.add(prepared())
    file.rename(folder / "test" / "class4" / "moved.png")
    found.add(prepared())
    assert len(found) == 3


def missing_in_test(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "class7")


def missing_in_train(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "class7")


def missing_in_both(folder: Path) -> None:
    missing_in_test(folder)
    missing_in_train(folder)


def empty_class(folder: Path) -> None:
    for file in (folder / "test" / "class7").iterdir():
        file.unlink()


def text_file(folder: Path) -> None:
    (folder / "train" / "class7" / "notes.txt").write_text("hello")


def corrupt_image(folder: Path) -> None:
    (folder / "train" / "class7" / "1.png").write_bytes(b"\x89PNG and nothing more")


def truncated_image(folder: Path) -> None:
    file = folder / "train" / "class7" / "1.png"
    file.write_bytes(file.read_bytes()[:-400])


def narrow_image(folder: Path) -> None:
    Image.new("RGB", (31, 32)).save(folder / "train" / "class7" / "1.png")


def no_train(folder: Path) -> None:
    shutil.rmtree(folder / "train")


def assert_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (missing_in_test, ["'class7'", "missing in test/"]),
        (missing_in_train, ["'class7'", "missing in train/"]),
        (missing_in_both, ["cifar10 has 10 classes", "9"]),
        (empty_class, ["'class7'", "test/"]),
        (text_file, ["train/class7/notes.txt is not an image file"]),
        (corrupt_image, ["train/class7/1.png"]),
        (truncated_image, ["train/class7/1.png"]),
        (narrow_image, ["train/class7/1.png", "31x32", "32x32"]),
        (no_train, ["no train/"]),
    ],
)
def test_a_damaged_folder_is_named_and_leaves_the_prepared_file_alone(
    folder: Path, root: Path, damage: Callable[[Path], None], named: list[str]
):
    prepared = data.prepare("cifar10", folder, root)
    before = prepared.read_bytes()
    damage(folder)
    with pytest.raises(DataError) as caught:
        data.prepare("cifar10", folder, root)
    assert_one_sentence(caught.value)
    assert [word for word in named if word not in str(caught.value)] == []
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {prepared.name: before}


@pytest.mark.parametrize("damage", [narrow_image, empty_class, corrupt_image])
def test_own_data_sets_are_checked_as_well(folder, root, damage):
    damage(folder)
    with pytest.raises(DataError, match="class7"):
        data.prepare("mine", folder, root)
    assert not root.exists()


def test_prepared_file_survives_a_write_that_fails(folder, root, monkeypatch):
    prepared = data.prepare("mine", folder, root)
    before = prepared.read_bytes()

    def full_disk(*arguments: object) -> None:
        Path(arguments[1]).write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "save_file", full_disk)
    with pytest.raises(DataError, match="No space left") as caught:
        data.prepare("mine", folder, root)
    assert_one_sentence(caught.value)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {prepared.name: before}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


def flip_label_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start] ^= 1
    path.write_bytes(content)


def flip_class_name(path: Path) -> None:
    content = path.read_bytes()
    assert b"class7" in content
    path.write_bytes(content.replace(b"class7", b"class6", 1))


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def foreign_with_metadata(path: Path) -> None:
    tensors = {"weight": torch.zeros(3)}
    checksum = data.checksum({key: value.numpy() for key, value in tensors.items()}, ["a", "b"])
    save_file(tensors, path, {"classes": json.dumps(["a", "b"]), "sha256": checksum})


def no_safetensors(path: Path) -> None:
    path.write_text("hello")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_last_byte,
        flip_label_byte,
        flip_class_name,
        foreign,
        foreign_with_metadata,
        no_safetensors,
        emptied,
    ],
)
def test_a_damaged_prepared_file_is_refused_with_the_command_that_makes_it(folder, root, damage):
    damage(data.prepare("mine", folder, root))
    with pytest.raises(DataError, match="python -m rdlib data prepare mine") as caught:
        data.load("mine", root)
    assert_one_sentence(caught.value)
    assert "mine.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("act", "error", "named"),
    [
        (lambda root: data.load("mnist", root), ConfigError, "'mnist'.*digits, cifar10, cifar100"),
        (lambda root: data.load("cifar100", root), DataError, "data prepare cifar100"),
        (lambda root: data.prepare("mnist", None, root), ConfigError, "'mnist'"),
        (lambda root: data.prepare("../mnist", None, root), ConfigError, "letters"),
        (lambda root: data.prepare("mine", root / "absent", root), DataError, "no train/"),
    ],
)
def test_unknown_and_unprepared_names_say_what_to_do(root, act, error, named):
    with pytest.raises(error, match=named) as caught:
        act(root)
    assert_one_sentence(caught.value)
    assert isinstance(caught.value, RdlibError)


def test_without_a_network_the_message_points_at_a_folder(root, monkeypatch):
    def unreachable(*arguments: object, **named: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(DataError, match="--from FOLDER") as caught:
        data.prepare("cifar10", None, root)
    assert_one_sentence(caught.value)
    assert "no route to host" in str(caught.value)
    assert not list(root.glob("*.safetensors"))


def test_digits_can_be_prepared_for_a_machine_without_scikit_learn(root, digits):
    data.prepare("digits", None, root)
    loaded = data.load("digits", root)
    assert loaded.sha256 == digits.sha256
    assert torch.equal(loaded.test.images, digits.test.images)


def test_digits_without_scikit_learn_say_what_to_do(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="data prepare digits") as caught:
        data.load("digits", root)
    assert_one_sentence(caught.value)


@pytest.mark.skipif(not CIFAR100.is_dir(), reason="the real CIFAR-100 images are not at hand")
def test_real_cifar100_images_pass_through_a_folder_unchanged(tmp_path, root):
    """The first three classes open the first sheet of the test images, a hundred each."""
    meta = json.loads((CIFAR100 / "meta.json").read_text())
    sheet = np.asarray(Image.open(CIFAR100 / "test-00.webp").convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    tiles = sheet.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    each = meta["test"]["labels_per_class"]
    wanted = {}
    for label, name in enumerate(meta["classes"][:3]):
        for split, first, n in (("train", 0, 6), ("test", 6, 4)):
            (tmp_path / "real" / split / name).mkdir(parents=True)
            for i in range(each * label + first, each * label + first + n):
                Image.fromarray(tiles[i]).save(tmp_path / "real" / split / name / f"{i}.png")
                wanted[tiles[i].transpose(2, 0, 1).tobytes()] = (split, label)
    data.prepare("three-real-classes", tmp_path / "real", root)
    loaded = data.load("three-real-classes", root)
    assert loaded.classes == meta["classes"][:3]
    assert loaded.train.images.double().std() > 40  # photographs, not noughts
    found = {
        image.numpy().tobytes(): (name, int(label))
        for name, split in (("train", loaded.train), ("test", loaded.test))
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert len(wanted) == 30
    assert found == wanted


def test_cutout_blanks_one_square_of_each_image_at_a_place_of_its_own():
    images = torch.ones(200, 3, 16, 16)
    found = data.random_cutout(images, 5, torch.Generator().manual_seed(0))
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

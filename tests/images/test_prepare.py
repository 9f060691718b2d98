"""One `load` and one `prepare` for both kinds of data set: checksums, what is refused, nothing half done."""

import json
import os
import shutil
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rdlib.errors import ConfigError, DataError
from rdlib.images import load, prepare, published
from rdlib.images.dataset import Dataset
from rdlib.images.photographs import Photographs
from rdlib.images.sources import checksum

BOTH = pytest.mark.parametrize("in_place", [False, True], ids=["in memory", "in place"])


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_prepared_images_load_unchanged_in_canonical_order(folder, root):
    prepare("mine", folder, root)
    loaded = load("mine", root)
    assert loaded.classes == [f"class{i}" for i in range(10)]
    for name, split in (("train", loaded.train), ("test", loaded.test)):
        expected = []
        for label, class_name in enumerate(loaded.classes):
            images = [np.asarray(Image.open(p)).transpose(2, 0, 1) for p in (folder / name / class_name).iterdir()]
            expected += [(image.tobytes(), label) for image in sorted(images, key=lambda image: image.tobytes())]
        found = zip(split.images.numpy(), split.labels.tolist(), strict=True)
        assert [(image.tobytes(), label) for image, label in found] == expected


def test_digits_can_be_prepared_for_a_machine_without_scikit_learn(root, monkeypatch, refused):
    digits = load("digits")
    prepare("digits", None, root)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    loaded = load("digits", root)
    assert loaded.sha256 == digits.sha256
    assert torch.equal(loaded.test.images, digits.test.images)
    with refused("data prepare digits"):
        load("digits", root / "elsewhere")


# Checksums


def test_checksum_of_images_in_memory_is_over_pixels_and_labels_alone(folder, root):
    def prepared() -> str:
        prepare("mine", folder, root)
        return load("mine", root).sha256

    found = {prepared()}
    for place in folder.glob("*/*"):
        for i, file in enumerate(sorted(place.iterdir(), reverse=True)):
            file.rename(place / f"renamed{i}.png")
    assert found == {prepared()}
    file = folder / "test" / "class3" / "renamed0.png"
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    found.add(prepared())
    file.rename(folder / "test" / "class4" / "moved.png")
    found.add(prepared())
    assert len(found) == 3


def test_checksum_of_photographs_is_over_names_and_sizes_but_not_the_place(folder, root, tmp_path):
    def prepared() -> str:
        prepare("pets", folder, root, in_place=True)
        return load("pets", root).sha256

    found = {prepared()}
    folder = folder.rename(tmp_path / "elsewhere")
    assert found == {prepared()}
    file = folder / "train" / "class3" / "1.png"
    with file.open("ab") as end:
        end.write(b"x")
    found.add(prepared())
    file = file.rename(file.with_name("renamed.png"))
    found.add(prepared())
    file.rename(folder / "train" / "class4" / "renamed.png")
    found.add(prepared())
    (folder / "test").rename(folder / "val")
    found.add(prepared())
    assert len(found) == 5


# What is refused: folders


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_split(split: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / split)


def no_class(*splits: str) -> Callable[[Path], None]:
    return lambda folder: [shutil.rmtree(folder / split / "class7") for split in splits]


def flat(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    shutil.copytree(folder / "train" / "class7", folder / "test")


def empty_class(folder: Path) -> None:
    for file in (folder / "test" / "class7").iterdir():
        file.unlink()


def image(act: Callable[[Path], object], name: str = "1.png") -> Callable[[Path], None]:
    """A damage done to one image of a folder."""
    return lambda folder: act(folder / "train" / "class7" / name)


def truncate(file: Path, count: int = 400) -> None:
    file.write_bytes(file.read_bytes()[:-count])


def dangle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("absent"))


@pytest.mark.parametrize(
    ("in_place", "damage", "named"),
    [
        *((form, *case) for form in (False, True) for case in (
            (no_split("train"), "no train/"),
            (no_class("test"), "'class7' is missing in test/"),
            (no_class("train"), "'class7' is missing in train/"),
            (flat, "test/ has no class folders"),
            (empty_class, "'class7' has no image in test/"),
            (image(lambda file: file.write_text("hello"), "notes.txt"), "train/class7/notes.txt has no suffix"),
            (image(dangle), "train/class7/1.png cannot be read"),
        )),
        (False, no_folder, "there is no folder"),
        (False, no_split("test"), "no test/"),
        (False, image(lambda file: file.write_bytes(b"\x89PNG and nothing more")), "train/class7/1.png cannot be"),
        (False, image(truncate), "train/class7/1.png cannot be read as an image"),
        (False, image(Image.new("RGB", (31, 32)).save), "train/class7/1.png is 31x32 pixels where 32x32"),
        (False, lambda folder: Image.new("RGB", (31, 32)).save(folder / "train" / "class0" / "0.png"), "31x32 pixels"),
        (True, no_folder, "there is no folder"),
        (True, no_split("test"), "no val/"),
        (True, image(lambda file: file.write_bytes(b"")), "train/class7/1.png is an empty file"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_named_and_leaves_what_was_prepared_alone(folder, root, refused, in_place, damage, named):
    prepare("mine", folder, root, in_place)
    before = contents(root)
    damage(folder)
    with refused(named):
        prepare("mine", folder, root, in_place)
    assert contents(root) == before
    with refused(named):
        prepare("other", folder, root / "new", in_place)
    assert not (root / "new").exists()


def test_a_known_data_set_has_its_number_of_classes_and_its_size(folder, root, refused):
    prepare("cifar10", folder, root)
    Image.new("RGB", (16, 16)).save(folder / "train" / "class0" / "0.png")
    with refused("train/class0/0.png is 16x16 pixels where 32x32"):
        prepare("cifar10", folder, root)
    no_class("train", "test")(folder)
    with refused("cifar10 has 10 classes, the folder has 9"):
        prepare("cifar10", folder, root)


@BOTH
def test_what_was_prepared_survives_a_write_that_fails(folder, root, monkeypatch, refused, in_place):
    prepare("mine", folder, root, in_place)
    before = contents(root)

    def full_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with refused("cannot write mine.* No space left"):
        prepare("mine", folder, root, in_place)
    assert contents(root) == before


def test_own_photographs_are_evaluated_on_test_and_imagenet_on_val_where_a_folder_has_both(folder, root, monkeypatch):
    shutil.copytree(folder / "train", folder / "val")
    prepare("pets", folder, root, in_place=True)
    assert len(load("pets", root).test) == 20
    with pytest.raises(DataError) as caught:
        prepare("imagenet", folder, root)
    assert str(caught.value) == (
        "imagenet has 1,000 classes, 1,281,167 training and 50,000 validation images, the folder has 10, 30 and 30: "
        "copy the rest (or keep what is extra elsewhere), then run the same command again"
    )
    monkeypatch.setattr(published, "IMAGENET_COUNTS", (10, 30, 30))
    assert prepare("imagenet", folder, root) == root / "imagenet.index.json"
    found = load("imagenet", root)
    assert (len(found.classes), len(found.train), len(found.test), found.side) == (10, 30, 30, 224)


# What is refused: prepared files


def flip(place: Callable[[bytes], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[place(content)] ^= 1
        path.write_bytes(content)

    return damage


def foreign(classes: list[str] | None) -> Callable[[Path], None]:
    """Another safetensors file, with the metadata of ours or without."""
    tensors = {"weight": torch.zeros(3)}
    metadata = classes and {"classes": json.dumps(classes), "sha256": checksum(tensors, classes)}
    return lambda path: save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: truncate(path, 100),
        flip(lambda content: -1),
        flip(lambda content: 8 + int.from_bytes(content[:8], "little")),  # the first label
        flip(lambda content: content.index(b"class7") + 5),
        foreign(None),
        foreign(["a", "b"]),
        lambda path: path.write_text("hello"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_damaged_prepared_file_is_refused_with_the_command_that_makes_it(folder, root, refused, damage):
    damage(prepare("mine", folder, root))
    with refused(r"mine\.safetensors .*python -m rdlib data prepare mine"):
        load("mine", root)


def test_a_folder_that_moved_away_and_a_damaged_index_say_prepare_again(folder, root, tmp_path, refused):
    path = prepare("pets", folder, root, in_place=True)
    good = path.read_text()
    other = json.loads(good)
    other["images"]["train"]["sizes"][0][0] += 1
    again = r"data prepare pets --from FOLDER --in-place. again"
    for text in (good[:-9], "[]", "{}", json.dumps(other), good.replace('"class1"', '"cow"')):
        path.write_text(text)
        with refused(r"index\.json is damaged: .*" + again):
            load("pets", root)
    path.write_text(good)
    folder.rename(tmp_path / "elsewhere")
    with refused("no longer in .*" + again):
        load("pets", root)


# What is refused: names


@pytest.mark.parametrize(
    ("act", "error", "named"),
    [
        (lambda f, r: load("mnist", r), ConfigError, "unknown dataset 'mnist'.*digits, cifar10, cifar100"),
        (lambda f, r: load("cifar100", r), DataError, "data prepare cifar100"),
        (lambda f, r: load("imagenet", r), DataError, "image-net.org.*data prepare imagenet --from FOLDER"),
        (lambda f, r: prepare("mnist", None, r), ConfigError, "add --from FOLDER for 'mnist'"),
        (lambda f, r: prepare("../mnist", None, r), ConfigError, "letters"),
        (lambda f, r: prepare("../pets", f, r, in_place=True), ConfigError, "letters"),
        (lambda f, r: prepare("imagenet", None, r), ConfigError, "image-net.org.*prepare imagenet --from"),
        (lambda f, r: prepare("pets", None, r, in_place=True), ConfigError, "pets needs --from FOLDER"),
        (lambda f, r: prepare("cifar10", f, r, in_place=True), ConfigError, "leave out --in-place"),
    ],
)
def test_unprepared_and_impossible_names_say_what_to_do(folder, root, refused, act, error, named):
    with refused(named, error):
        act(folder, root)


def test_without_a_network_the_message_points_at_a_folder(root, monkeypatch, refused):
    def unreachable(*arguments: object, **named: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with refused("no route to host.*--from FOLDER"):
        prepare("cifar10", None, root)
    assert not list(root.glob("*.safetensors"))


def test_a_name_has_one_form_and_each_loads_as_what_it_is(folder, root, refused):
    prepare("small", folder, root)
    assert isinstance(load("small", root, image_size=32), Dataset)  # whose require_fits refuses 32
    with refused(r"delete small\.safetensors", ConfigError):
        prepare("small", folder, root, in_place=True)
    prepare("pets", folder, root, in_place=True)
    assert isinstance(load("pets", root), Photographs)
    with refused(r"delete pets\.index\.json", ConfigError):
        prepare("pets", folder, root)

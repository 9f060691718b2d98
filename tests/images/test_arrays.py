"""An .npz file gives what a folder of the same images gives; what is wrong with one is said in a sentence."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rdlib.errors import ConfigError
from rdlib.images import load, prepare

Arrays = dict[str, Any]


@pytest.fixture
def arrays() -> Arrays:
    """Random 8x8 images of three classes: 4 a class in train, 2 in test."""
    random, found = np.random.RandomState(0), {"classes": np.array(["cat", "dog", "ant"])}
    for split, count in (("train", 12), ("test", 6)):
        found[f"x_{split}"] = random.randint(0, 256, (count, 8, 8, 3), np.uint8)
        found[f"y_{split}"] = np.arange(count, dtype=np.uint8) % 3
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def known(arrays: Arrays) -> Arrays:
    """As many classes and pixels as cifar10 has."""
    classes = np.array([f"class{i}" for i in range(10)])
    images = {f"x_{split}": np.zeros((10, 32, 32, 3), np.uint8) for split in ("train", "test")}
    return arrays | images | {"classes": classes, "y_train": np.arange(10), "y_test": np.arange(10)}


def test_arrays_in_any_order_give_the_data_set_of_the_folder_with_its_checksum(arrays, file, root, tmp_path):
    for split in ("train", "test"):
        for i, (image, label) in enumerate(zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)):
            place = tmp_path / "images" / split / arrays["classes"][label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")
    prepare("folder", tmp_path / "images", root)
    np.savez(file, **arrays)
    prepare("stored", file, root)
    order, names = np.random.RandomState(1).permutation(12), np.array([2, 0, 1])  # classes are ant, cat, dog now
    shuffled = {"x_train": arrays["x_train"][order], "y_train": np.argsort(names)[arrays["y_train"][order]]}
    shuffled |= {"y_test": np.argsort(names)[arrays["y_test"]].astype(">i8"), "classes": arrays["classes"][names]}
    np.savez_compressed(file, **(arrays | shuffled), more=np.zeros(3))
    prepare("packed", file, root)
    found = {name: load(name, root) for name in ("folder", "stored", "packed")}
    assert len({one.sha256 for one in found.values()}) == 1
    assert found["stored"].classes == ["ant", "cat", "dog"]
    assert found["packed"].train.labels.bincount().tolist() == [4, 4, 4]


def changed(key: str, change: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {key: change(arrays[key])}


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name != key}


def label(value: int) -> Callable[[Any], Any]:
    return lambda labels: np.where(np.arange(len(labels)) == 4, value, labels.astype(np.int64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *((without(key), f"mine.npz has no {key}: write it with numpy.savez(FILE, x_train=...") for key in (
            *("x_train", "y_train", "x_test", "y_test", "classes"),
        )),
        (changed("x_train", lambda x: x / 255), "x_train has type float64, expected uint8, 0 to 255"),
        (changed("x_test", lambda x: (x / 255).astype(np.float32)), "x_test has type float32, expected uint8"),
        (changed("x_train", lambda x: x.astype(np.int64)), "x_train has type int64, expected uint8"),
        (changed("x_train", lambda x: x.transpose(0, 3, 1, 2)), "x_train has shape (12, 3, 8, 8), expected [N, H"),
        (changed("x_train", lambda x: x[..., 0]), "x_train has shape (12, 8, 8), expected [N, H, W, 3]"),
        (changed("x_train", lambda x: x[0]), "x_train has shape (8, 8, 3), expected [N, H, W, 3]"),
        (changed("x_train", lambda x: x[:, :, :7]), "an image of x_train is 7x8 pixels where a square was expected"),
        (changed("x_train", lambda x: x[:, :0, :0]), "an image of x_train is 0x0 pixels where a square was expected"),
        (changed("x_test", lambda x: x[:, :7, :7]), "an image of x_test is 7x7 pixels where 8x8 was expected"),
        (changed("y_train", label(3)), "y_train has the label 3, expected 0 to 2"),
        (changed("y_train", label(-1)), "y_train has the label -1, expected 0 to 2"),
        (changed("y_train", lambda y: y + 0.5), "y_train has type float64 and shape (12,), expected whole numbers [N]"),
        (changed("y_test", lambda y: y.astype(str)), "y_test has type <U3 and shape (6,), expected whole numbers [N]"),
        (changed("y_test", lambda y: np.eye(3, dtype=int)[y]), "y_test has type int64 and shape (6, 3), expected"),
        (changed("y_train", lambda y: y[:-1]), "y_train has 11 labels for 12 images in x_train"),
        (changed("x_test", lambda x: x[:-1]), "y_test has 6 labels for 5 images in x_test"),
        (changed("y_train", lambda y: np.where(y == 1, 0, y)), "class 'dog' has no image in train"),
        (changed("y_test", lambda y: np.where(y == 2, 0, y)), "class 'ant' has no image in test"),
        (changed("classes", lambda names: names[:1]), "classes has 1 names: at least 2"),
        (changed("classes", lambda names: names[:0]), "classes has 0 names: at least 2"),
        (changed("classes", lambda names: names[[0, 1, 0]]), "classes has 'cat' 2 times"),
        (changed("classes", lambda names: np.arange(3)), "classes has type int64 and shape (3,), expected strings [C]"),
        (changed("classes", lambda names: names[0]), "classes has type <U3 and shape (), expected strings [C]"),
        (changed("classes", lambda names: names.astype(object)), "classes in mine.npz is damaged, too large or of"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_named_and_leave_what_was_prepared_alone(arrays, file, root, refused, change, said):
    np.savez(file, **arrays)
    before = prepare("mine", file, root).read_bytes()
    np.savez(file, **change(arrays))
    with refused(re.escape(said)):
        prepare("mine", file, root)
    assert (root / "mine.safetensors").read_bytes() == before


def test_a_known_data_set_has_its_number_of_classes_and_its_size(arrays, file, root, refused):
    np.savez(file, **known(arrays))
    prepare("cifar10", file, root)
    assert load("cifar10", root).side == 32
    with refused(r"cifar100 has 100 classes, mine\.npz has 10"):
        prepare("cifar100", file, root)
    for cut, size in ((np.s_[:, :, :31], "31x32"), (np.s_[:, :31, :31], "31x31")):
        np.savez(file, **changed("x_train", lambda x, cut=cut: x[cut])(known(arrays)))
        with refused(f"an image of x_train is {size} pixels where 32x32 was expected"):
            prepare("cifar10", file, root)


def flipped(content: bytes) -> bytes:
    """One bit of the last pixels of x_train is another."""
    place = content.index(b"y_train.npy") - 60
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "mine.npz is no whole .npz: write it with"),
        (lambda content: b"hello", "mine.npz is no whole .npz: write it with"),
        (lambda content: content[:-300], "mine.npz is no whole .npz: write it with"),
        (flipped, "x_train in mine.npz is damaged, too large or of Python objects: write it with"),
    ],
)
def test_a_file_that_is_no_npz_or_damaged_is_refused(arrays, file, root, refused, damage, said):
    np.savez(file, **arrays)
    file.write_bytes(damage(file.read_bytes()))
    with refused(re.escape(said)):
        prepare("mine", file, root)
    assert not root.exists()


def test_a_single_array_an_absent_file_and_in_place_say_what_to_give(arrays, file, root, tmp_path, refused):
    np.save(tmp_path / "mine.npy", arrays["x_train"])
    with refused(r"mine\.npy holds one array without a name: write it with numpy\.savez"):
        prepare("mine", tmp_path / "mine.npy", root)
    with refused(r"mine\.npz cannot be read \(No such file or directory\): give a folder or an \.npz"):
        prepare("mine", file, root)
    np.savez(file, **arrays)
    with refused(r"mine\.npz holds its images itself, .*: leave out --in-place", ConfigError):
        prepare("mine", file, root, in_place=True)
    with refused("there is no folder"):
        prepare("imagenet", file, root)

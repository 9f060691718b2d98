"""People's own folders: what lies in them beside images, and what too few images or too small ones cannot do."""

import os
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from rdlib.commands import data as command
from rdlib.errors import ConfigError
from rdlib.images import dataset, decode, load, prepare
from rdlib.methods import Supervised
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs.store import Store
from rdlib.train import fit

BOTH = pytest.mark.parametrize("in_place", [False, True], ids=["in memory", "in place"])
RECIPE = Recipe(epochs=1, batch_size=4, crop_padding=0)


@BOTH
def test_what_systems_leave_in_folders_is_passed_over(folder, root, in_place) -> None:
    expected = load("a", root, image_size=32).sha256 if prepare("a", folder, root, in_place) else ""
    for name in ("Thumbs.db", "thumbs.db", "Desktop.ini", ".DS_Store", "._1.png", "ehthumbs.db", "Icon\r"):
        (folder / "train" / "class7" / name).write_bytes(b"litter")
    for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints"):
        (folder / "test" / "class7" / name).mkdir()
        (folder / "train" / name).mkdir()
    prepare("b", folder, root, in_place)
    assert load("b", root, image_size=32).sha256 == expected


@BOTH
@pytest.mark.parametrize("suffix", [".PNG", ".Jpg", ".jfif", ".gif", ".avif", ".webp", ".jp2", ".jpe", ".mpo"])
def test_whatever_pillow_reads_is_an_image(folder, root, in_place, suffix) -> None:
    Image.new("RGB", (32, 32)).save(folder / "train" / "class7" / f"x{suffix}", "JPEG")
    prepare("a", folder, root, in_place)
    assert len(load("a", root, image_size=32).train) == 31


@BOTH
@pytest.mark.parametrize("name", ["x.heic", "x.HEIF", "x.svg", "x.pdf", "labels.csv", "x", "x.png.bak", "x.npy"])
def test_other_files_are_to_be_converted_or_kept_elsewhere(folder, root, refused, in_place, name) -> None:
    (folder / "train" / "class7" / name).write_bytes(b"")
    with refused(f"train/class7/{name} has no suffix of an image .*convert .* else keep it outside"):
        prepare("a", folder, root, in_place)


@BOTH
def test_classes_that_differ_in_case_alone_are_shown_to(folder, root, refused, in_place) -> None:
    (folder / "test" / "class7").rename(folder / "test" / "Class7")
    with refused(r"'Class7' is missing in train/ \(but class7: rename it"):
        prepare("a", folder, root, in_place)


@BOTH
def test_a_file_without_permission_is_not_called_damaged(folder, root, refused, in_place, monkeypatch) -> None:
    def denied(path: object, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(decode.Image, "open", denied)
    monkeypatch.setenv("RDLIB_WORKERS", "0")
    with refused(r"class0/0\.png cannot be read \(Permission denied\): make it readable"):
        prepare("a", folder, root, in_place)
        images = load("a", root, image_size=32)
        next(images.evaluation_batches(images.test, 1, dataset.Shard()))


def test_images_of_other_shapes_are_led_to_photographs(folder, root, refused) -> None:
    Image.new("RGB", (12, 8)).save(folder / "train" / "class0" / "0.png")
    with refused("0.png is 12x8 pixels where a square was expected: resize .*--in-place.*--image-size"):
        prepare("a", folder, root)


def test_a_prepared_file_of_other_shapes_is_refused(folder, root, refused) -> None:
    tensors = load_file(prepare("a", folder, root))
    tensors = {key: tensor[..., :20].contiguous() if tensor.ndim == 4 else tensor for key, tensor in tensors.items()}
    (root / "a.safetensors").write_bytes(dataset.packed(tensors, [f"class{i}" for i in range(10)]))
    with refused(r"an image of a\.safetensors is 20x32 pixels"):
        load("a", root)


def test_a_test_image_to_train_on_is_told_and_not_refused(folder, root, capsys, monkeypatch) -> None:
    def said() -> str:
        prepare("a", folder, root)
        monkeypatch.setattr("rdlib.images.load", lambda name: load(name, root))
        command.describe_dataset("a", look_for_repeated=True)
        return " ".join(capsys.readouterr().out.split())

    assert "training images too" not in said()
    shutil.copy(folder / "train" / "class3" / "0.png", folder / "test" / "class4" / "copy.png")
    assert "a: 1 of the test images are training images too" in said()


@pytest.mark.parametrize(
    ("count", "change", "named"),
    [
        (40, {"batch_size": 64}, "batch_size 64 is more than the 40 training images of a: lower it, or add images"),
        (6, {"holdout": "tune"}, "holdout tune .* a has only 6: add images, 10 at least, or choose holdout test"),
        (9, {"holdout": "tune"}, "holdout tune .* a has only 9"),
        (20, {"batch_size": 1}, "batch_size 1 of images of this size leaves BatchNorm one value a channel: raise it"),
        (20, {"shots": 11}, "class 'y' has 10 training images, 11 were asked for: lower shots, or add images"),
    ],
)
def test_too_few_images_say_what_can_be_changed(tmp_path, refused, count, change, named) -> None:
    labels = np.arange(count) % 2
    pixels = np.random.RandomState(0).randint(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels, classes=["y", "z"])
    prepare("a", tmp_path / "a.npz", tmp_path)
    with refused(named, ConfigError):
        list(fit(Supervised(resnet(18, 2, "all", 4)), load("a", tmp_path), replace(RECIPE, **change), progress=False))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (os.mkfifo, "there is no folder"),
        (lambda file: zipfile.ZipFile(file, "w").writestr("train/a/0.png", b"x"), "has no x_train: .*unpack it"),
        (lambda file: file.symlink_to(file), "cannot be read .Too many levels of symbolic links"),
    ],
    ids=["pipe", "archive of images", "link to itself"],
)
def test_what_is_no_npz_does_not_hang(tmp_path, root, refused, make, named) -> None:
    make(tmp_path / "mine.npz")
    with refused(named):
        prepare("mine", tmp_path / "mine.npz", root)


def test_a_data_set_may_be_called_any(tmp_path) -> None:
    (tmp_path / "runs" / "any").mkdir(parents=True)
    Store(tmp_path).require_writable()

"""MIT67 and Caltech101: small folders in the published layouts, and every way in which a folder can be wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdlib.distributed import Shard
from rdlib.images import load, prepare
from rdlib.images import published as scenes
from rdlib.images.photographs import Photographs
from rdlib.recipe import Recipe

ROOMS = {"airport_inside": 4, "bakery": 5, "mall": 6}  # photographs of each class, more than the lists name
OBJECTS = "101_ObjectCategories"
THINGS = {"Faces": 33, "accordion": 34, "yin_yang": 31}


def photograph(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (level, 0, 255 - level)).save(file)


@pytest.fixture
def mit67(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two training images a class and one to test, in no order; the last image of each is in neither list."""
    monkeypatch.setattr(scenes, "MIT67_COUNTS", (3, 6, 3))
    folder, lists = tmp_path / "indoor", {"TrainImages.txt": [], "TestImages.txt": []}
    for name, count in ROOMS.items():
        for i in range(count):
            photograph(folder / "Images" / name / f"{name} {i}.jpg", 20 * i)
        lists["TrainImages.txt"] += [f"{name}/{name} 2.jpg", f"{name}/{name} 0.jpg"]
        lists["TestImages.txt"].append(f"{name}/{name} 1.jpg")
    for file, lines in lists.items():
        (folder / file).write_text("\n".join(reversed(lines)))
    return folder


@pytest.fixture
def caltech101(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scenes, "CALTECH101_COUNTS", (3, 98))
    folder = tmp_path / "caltech-101"
    for name, count in (THINGS | {"BACKGROUND_Google": 32}).items():
        for i in range(1, count + 1):
            photograph(folder / OBJECTS / name / f"image_{i:04}.jpg", i)
    (folder / OBJECTS / "BACKGROUND_Google" / "tmp").write_text("it lies in the archive")
    return folder


@pytest.fixture
def opened(root: Path) -> Callable[[str, Path], Photographs]:
    def prepared(name: str, folder: Path) -> Photographs:
        prepare(name, folder, root)
        return load(name, root, image_size=8)

    return prepared


def paths(split) -> list[str]:
    return [path.decode() for path in split.paths]


def test_mit67_has_the_official_split(mit67, opened):
    images = opened("mit67", mit67)
    assert images.classes == sorted(ROOMS)
    assert paths(images.train) == [f"Images/{name}/{name} {i}.jpg" for name in ROOMS for i in (0, 2)]
    assert paths(images.test) == [f"Images/{name}/{name} 1.jpg" for name in ROOMS]
    assert images.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    pixels, labels = next(images.evaluation_batches(images.test, 3, Shard()))
    assert (tuple(pixels.shape), labels.tolist()) == ((3, 3, 8, 8), [0, 1, 2])
    few = images.trained_on(Recipe(crop_padding=0, image_size=8, shots=1), 0)
    assert few.labels.tolist() == [0, 1, 2]


def test_windows_line_ends_spaces_and_empty_lines_change_nothing(mit67, opened):
    plain = opened("mit67", mit67).sha256
    for file in ("TrainImages.txt", "TestImages.txt"):
        lines = (mit67 / file).read_text().splitlines()
        (mit67 / file).write_text("\r\n".join(f" {one}\t " for one in lines) + "\r\n\r\n", "utf-8-sig", newline="")
    assert opened("mit67", mit67).sha256 == plain


def test_the_split_of_caltech101_is_drawn_once_and_for_all(caltech101, opened):
    images = opened("caltech101", caltech101)
    assert images.classes == sorted(THINGS), "BACKGROUND_Google is no class"
    assert np.bincount(images.train.labels).tolist() == [30, 30, 30]
    assert np.bincount(images.test.labels).tolist() == [3, 4, 1]
    everything = [f"{OBJECTS}/{name}/image_{i + 1:04}.jpg" for name in sorted(THINGS) for i in range(THINGS[name])]
    assert sorted(paths(images.train) + paths(images.test)) == sorted(everything)
    assert paths(images.test)[:3] == [f"{OBJECTS}/Faces/image_{i:04}.jpg" for i in (1, 4, 28)]
    torch.manual_seed(7)
    np.random.seed(7)
    assert opened("caltech101", caltech101).sha256 == images.sha256


def test_the_index_names_files_and_holds_no_pixels(mit67, root, refused):
    content = json.loads(prepare("mit67", mit67, root).read_text())
    assert content["images"]["train"]["names"][0] == ["airport_inside 0.jpg", "airport_inside 2.jpg"]
    shutil.rmtree(mit67 / "Images")
    with refused("the photographs of mit67 are no longer in .*prepare mit67 --from FOLDER` again"):
        load("mit67", root)


@pytest.mark.parametrize("name", ["mit67", "caltech101"])
def test_an_unprepared_one_says_where_to_get_it(name, tmp_path, root, refused):
    with refused(f"get .* then `python -m rdlib data prepare {name} --from FOLDER`"):
        load(name, root)
    with refused("there is no folder .*: get "):
        prepare(name, tmp_path / "nowhere", root)
    (tmp_path / "empty").mkdir()
    with refused("found: nothing; get "):
        prepare(name, tmp_path / "empty", root)


def renamed(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


def line(text: str) -> Callable[[Path], object]:
    """One more line of the training list."""
    return lambda folder: (folder / "TrainImages.txt").open("a").write(f"\n{text}\n")


def packed(folder: Path) -> None:
    shutil.rmtree(folder / OBJECTS)
    (folder / f"{OBJECTS}.tar.gz").touch()


@pytest.mark.parametrize(
    ("name", "given", "damage", "said"),
    [
        ("mit67", "..", Path.resolve, "Images/ is one level deeper, in indoor/: give that with --from"),
        ("mit67", "Images", Path.resolve, "Images/ itself was given: give the folder that holds it"),
        ("mit67", "", renamed("TestImages.txt", "testimages.TXT"), "TestImages.txt is absent (but testimages.TXT: re"),
        (
            *("mit67", "", renamed("Images", "images")),
            "needs Images/ and TrainImages.txt and TestImages.txt in the folder, Images/ is absent (but images/: ",
        ),
        (
            *("mit67", "", renamed("Images/bakery", "Images/Bakery")),
            "the class 'bakery', and Images/ has no such folder (but Bakery: rename it, upper and lower case count)",
        ),
        ("mit67", "", renamed("Images/bakery", "bakery"), "'bakery', and Images/ has no such folder, of 2: unpack"),
        (
            *("mit67", "", renamed("Images/mall/mall 1.jpg", "Images/mall/Mall 1.JPG")),
            "TestImages.txt lists mall/mall 1.jpg, which is not in Images/mall/ (but Mall 1.JPG: rename it",
        ),
        ("mit67", "", renamed("Images/mall/mall 1.jpg", "1.jpg"), "mall/mall 1.jpg, which is not in Images/mall/: put"),
        ("mit67", "", lambda f: (f / "Images/mall/mall 1.jpg").write_bytes(b""), "mall/mall 1.jpg is an empty file"),
        ("mit67", "", line("bakery 9.jpg"), "line 7 of TrainImages.txt is 'bakery 9.jpg', expected class/file.jpg"),
        ("mit67", "", line("Images/mall/mall 0.jpg"), "expected class/file.jpg"),
        ("mit67", "", line("mall/"), "expected class/file.jpg"),
        ("mit67", "", line("bakery/bakery 2.jpg"), "lists bakery/bakery 2.jpg twice, in lines 4 and 7"),
        ("mit67", "", line("mall/mall 1.jpg"), "mall/mall 1.jpg is in both lists (1 such images)"),
        ("mit67", "", line("attic/a.jpg"), "class 'attic' has no image in TestImages.txt"),
        (
            *("mit67", "", line("mall/mall 3.jpg")),
            "mit67 has 3 classes, 6 training images, 3 test images; the lists have 3 classes, 7 training",
        ),
        ("caltech101", "..", Path.resolve, f"{OBJECTS}/ is one level deeper, in caltech-101/"),
        ("caltech101", OBJECTS, Path.resolve, f"{OBJECTS}/ itself was given"),
        ("caltech101", "", packed, f"{OBJECTS}/ is absent; found: {OBJECTS}.tar.gz; get caltech-101.zip"),
        (
            *("caltech101", "", lambda f: photograph(f / OBJECTS / "Faces" / "image_0099.jpg", 9)),
            f"has 3 classes, 98 images; {OBJECTS}/ has 3 classes, 99 images",
        ),
        ("caltech101", "", renamed(f"{OBJECTS}/yin_yang", "yin_yang"), f"{OBJECTS}/ has 2 classes, 67 images"),
        (
            *("caltech101", "", renamed(f"{OBJECTS}/yin_yang/image_0001.jpg", "1.jpg")),
            "yin_yang has 30 images, more than 30 are needed",
        ),
        (
            "caltech101",
            "",
            lambda f: (f / OBJECTS / "Faces/list.txt").touch(),
            "Faces/list.txt has no suffix",
        ),
    ],
)
def test_a_folder_that_is_not_as_published(request, root, refused, name, given, damage, said):
    folder = request.getfixturevalue(name)
    damage(folder)
    with refused(re.escape(said)):
        prepare(name, folder / given, root)
    assert not root.exists(), "nothing is left behind"


def test_the_published_counts_are_the_authors():
    assert (scenes.MIT67_COUNTS, scenes.CALTECH101_COUNTS) == ((67, 67 * 80, 67 * 20), (101, 8677))

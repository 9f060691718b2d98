"""MIT67 and Caltech101: small folders in the published layouts, and every way in which a folder can be wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdlib.distributed import Shard
from rdlib.errors import DataError
from rdlib.images import load, prepare
from rdlib.images import published as scenes
from rdlib.images.photographs import Photographs
from rdlib.recipe import Recipe

ROOMS = {"airport_inside": 4, "bakery": 5, "mall": 6}  # photographs of each class, more than the lists name
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
            photograph(folder / "101_ObjectCategories" / name / f"image_{i:04}.jpg", i)
    (folder / "101_ObjectCategories" / "BACKGROUND_Google" / "tmp").write_text("it lies in the archive")
    return folder


def opened(name: str, folder: Path, root: Path) -> Photographs:
    prepare(name, folder, root)
    found = load(name, root, image_size=8)
    assert isinstance(found, Photographs)
    return found


def error(name: str, folder: Path, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare(name, folder, root)
    assert "\n" not in str(caught.value)
    assert not (root / f"{name}.index.json").exists(), "nothing is left behind"
    return str(caught.value)


def paths(split) -> list[str]:
    return [path.decode() for path in split.paths]


def test_mit67_has_the_official_split(mit67: Path, tmp_path: Path) -> None:
    images = opened("mit67", mit67, tmp_path / "data")
    assert images.classes == sorted(ROOMS)
    assert paths(images.train) == [f"Images/{name}/{name} {i}.jpg" for name in ROOMS for i in (0, 2)]
    assert paths(images.test) == [f"Images/{name}/{name} 1.jpg" for name in ROOMS]
    assert images.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    pixels, labels = next(images.evaluation_batches(images.test, 3, Shard()))
    assert (tuple(pixels.shape), labels.tolist()) == ((3, 3, 8, 8), [0, 1, 2])
    few = images.trained_on(Recipe(crop_padding=0, image_size=8, shots=1), 0)
    assert few.labels.tolist() == [0, 1, 2]


def test_windows_line_ends_spaces_and_empty_lines_change_nothing(mit67: Path, tmp_path: Path) -> None:
    plain = opened("mit67", mit67, tmp_path / "data").sha256
    for file in ("TrainImages.txt", "TestImages.txt"):
        lines = (mit67 / file).read_text().splitlines()
        (mit67 / file).write_bytes(
            b"\xef\xbb\xbf" + "\r\n".join(f" {line}\t " for line in lines).encode() + b"\r\n\r\n"
        )
    assert opened("mit67", mit67, tmp_path / "data").sha256 == plain


def test_the_split_of_caltech101_is_drawn_once_and_for_all(caltech101: Path, tmp_path: Path) -> None:
    images = opened("caltech101", caltech101, tmp_path / "data")
    assert images.classes == sorted(THINGS), "BACKGROUND_Google is no class"
    assert np.bincount(images.train.labels).tolist() == [30, 30, 30]
    assert np.bincount(images.test.labels).tolist() == [3, 4, 1]
    everything = [
        f"101_ObjectCategories/{name}/image_{i + 1:04}.jpg" for name in sorted(THINGS) for i in range(THINGS[name])
    ]
    assert sorted(paths(images.train) + paths(images.test)) == sorted(everything)
    assert paths(images.test)[:3] == [f"101_ObjectCategories/Faces/image_{i:04}.jpg" for i in (1, 4, 28)]
    torch.manual_seed(7)
    np.random.seed(7)
    assert opened("caltech101", caltech101, tmp_path / "again").sha256 == images.sha256


def test_the_index_names_files_and_holds_no_pixels(mit67: Path, tmp_path: Path) -> None:
    content = json.loads(prepare("mit67", mit67, tmp_path / "data").read_text())
    assert content["images"]["train"]["names"][0] == ["airport_inside 0.jpg", "airport_inside 2.jpg"]
    shutil.rmtree(mit67 / "Images")
    with pytest.raises(
        DataError, match=r"the photographs of mit67 are no longer in .*prepare mit67 --from FOLDER` again"
    ):
        load("mit67", tmp_path / "data")


@pytest.mark.parametrize("name", scenes.SCANS)
def test_an_unprepared_one_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"get .* then `python -m rdlib data prepare {name} --from FOLDER`"):
        load(name, tmp_path)
    assert "there is no folder" in error(name, tmp_path / "nowhere", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    assert "found: nothing; get " in error(name, tmp_path / "empty", tmp_path / "data")


def test_a_folder_one_level_too_high_or_too_deep(mit67: Path, caltech101: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    assert "Images/ is one level deeper, in indoor/" in error("mit67", tmp_path, root)
    assert "101_ObjectCategories/ is one level deeper, in caltech-101/" in error("caltech101", tmp_path, root)
    assert "Images/ itself was given: give the folder that holds it" in error("mit67", mit67 / "Images", root)
    said = error("caltech101", caltech101 / "101_ObjectCategories", root)
    assert "101_ObjectCategories/ itself was given" in said


def test_an_archive_that_is_not_unpacked(caltech101: Path, tmp_path: Path) -> None:
    shutil.rmtree(caltech101 / "101_ObjectCategories")
    (caltech101 / "101_ObjectCategories.tar.gz").touch()
    said = error("caltech101", caltech101, tmp_path / "data")
    assert "101_ObjectCategories/ is absent; found: 101_ObjectCategories.tar.gz; get caltech-101.zip" in said


def test_lists_that_are_absent_or_of_other_case(mit67: Path, tmp_path: Path) -> None:
    (mit67 / "TestImages.txt").rename(mit67 / "testimages.TXT")
    said = error("mit67", mit67, tmp_path / "data")
    assert "TestImages.txt is absent (but testimages.TXT: rename it, upper and lower case count)" in said
    (mit67 / "Images").rename(mit67 / "images")
    said = error("mit67", mit67, tmp_path / "data")
    assert "Images/ is absent (but images/: rename it" in said
    assert "needs Images/ and TrainImages.txt and TestImages.txt in the folder" in said


def test_a_class_folder_that_is_missing_or_of_other_case(mit67: Path, tmp_path: Path) -> None:
    (mit67 / "Images" / "bakery").rename(mit67 / "Images" / "Bakery")
    said = error("mit67", mit67, tmp_path / "data")
    assert "the class 'bakery', and Images/ has no such folder (but Bakery: rename it" in said
    shutil.rmtree(mit67 / "Images" / "Bakery")
    assert "'bakery', and Images/ has no such folder, of 2: unpack" in error("mit67", mit67, tmp_path / "data")


def test_a_listed_file_that_is_absent_or_of_other_case(mit67: Path, tmp_path: Path) -> None:
    file = mit67 / "Images" / "mall" / "mall 1.jpg"
    file.rename(file.with_name("Mall 1.JPG"))
    said = error("mit67", mit67, tmp_path / "data")
    assert "TestImages.txt lists mall/mall 1.jpg, which is not in Images/mall/ (but Mall 1.JPG: rename it" in said
    file.with_name("Mall 1.JPG").unlink()
    assert "lists mall/mall 1.jpg, which is not in Images/mall/: put" in error("mit67", mit67, tmp_path / "data")
    file.touch()
    assert "Images/mall/mall 1.jpg is an empty file" in error("mit67", mit67, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bakery 9.jpg", "line 7 of TrainImages.txt is 'bakery 9.jpg', expected class/file.jpg"),
        ("Images/mall/mall 0.jpg", "expected class/file.jpg"),
        ("mall/", "expected class/file.jpg"),
        ("bakery/bakery 2.jpg", "TrainImages.txt lists bakery/bakery 2.jpg twice, in lines 4 and 7"),
        ("mall/mall 1.jpg", "mall/mall 1.jpg is in both lists (1 such images)"),
        ("attic/a.jpg", "class 'attic' has no image in TestImages.txt"),
        (
            "mall/mall 3.jpg",
            "mit67 has 3 classes, 6 training images, 3 test images; the lists have 3 classes, 7 training",
        ),
    ],
)
def test_a_list_that_is_not_the_official_one(mit67: Path, tmp_path: Path, line: str, said: str) -> None:
    with (mit67 / "TrainImages.txt").open("a") as file:
        file.write(f"\n{line}\n")
    assert said in error("mit67", mit67, tmp_path / "data")


def test_caltech101_with_too_few_or_too_many(caltech101: Path, tmp_path: Path) -> None:
    things = caltech101 / "101_ObjectCategories"
    photograph(things / "Faces" / "image_0099.jpg", 9)
    assert "has 3 classes, 98 images; 101_ObjectCategories/ has 3 classes, 99 images" in error(
        "caltech101", caltech101, tmp_path / "data"
    )
    (things / "yin_yang" / "image_0001.jpg").unlink()
    assert "yin_yang has 30 images, more than 30 are needed" in error("caltech101", caltech101, tmp_path / "data")
    shutil.rmtree(things / "yin_yang")
    assert "101_ObjectCategories/ has 2 classes, 68 images" in error("caltech101", caltech101, tmp_path / "data")
    (things / "Faces" / "Thumbs.db").touch()
    assert "Faces/Thumbs.db is not an image file" in error("caltech101", caltech101, tmp_path / "data")


def test_the_published_counts_are_the_authors() -> None:
    assert (scenes.MIT67_COUNTS, scenes.CALTECH101_COUNTS) == ((67, 67 * 80, 67 * 20), (101, 8677))

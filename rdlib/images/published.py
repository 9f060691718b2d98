"""ImageNet, and the paper's targets of transfer MIT67 and Caltech101, in the layouts and splits their authors publish.

Nothing is downloaded. The photographs stay where they are, and every check names what was expected and what was found.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from rdlib.errors import DataError
from rdlib.images.sources import class_folders, image_files, like, listed, scan

IMAGENET, MIT67, CALTECH101 = "imagenet", "mit67", "caltech101"
IMAGENET_COUNTS = (1000, 1_281_167, 50_000)  # classes, training and validation images
MIT67_COUNTS = (67, 5360, 1340)  # classes, training and test images of the official lists
MIT67_LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}
MIT67_IMAGES = "Images"
CALTECH101_COUNTS = (101, 8677)  # classes and images, BACKGROUND_Google left out
CALTECH101_IMAGES = "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"  # pictures of anything: no class
CALTECH101_TRAIN = 30  # images of a class, the usual protocol; the rest is test
GET = {  # where their users get what only they may fetch
    IMAGENET: (
        "get it from image-net.org (train/ and val/ with a folder per class), "
        "then `python -m rdlib data prepare imagenet --from FOLDER`"
    ),
    MIT67: (
        "get indoorCVPR_09.tar, TrainImages.txt and TestImages.txt from web.mit.edu/torralba/www/indoor.html, unpack "
        "the archive beside the two lists, then `python -m rdlib data prepare mit67 --from FOLDER` with the folder "
        "that holds Images/ and the lists"
    ),
    CALTECH101: (
        "get caltech-101.zip from data.caltech.edu/records/mzrjq-6wc02, unpack it and the 101_ObjectCategories.tar.gz "
        "in it, then `python -m rdlib data prepare caltech101 --from FOLDER` with the folder that holds "
        "101_ObjectCategories/"
    ),
}


def scan_imagenet(source: Path) -> dict[str, Any]:
    """What `scan` gives, val/ for the test. Raises DataError unless classes and images are as many as published."""
    images = scan(source, ("val", "test"))
    counts = (len(images["classes"]), *(sum(map(len, images[split]["names"])) for split in ("train", "test")))
    if counts != IMAGENET_COUNTS:
        expected, found = ([f"{n:,}" for n in numbers] for numbers in (IMAGENET_COUNTS, counts))
        raise DataError(
            "imagenet has {} classes, {} training and {} validation images, ".format(*expected)
            + "the folder has {}, {} and {}: copy the rest (or keep what is extra elsewhere), ".format(*found)
            + "then run the same command again"
        )
    return images


def scan_mit67(source: Path) -> dict[str, Any]:
    """What `scan` gives, of Images/<class>/*.jpg and the official lists; images in neither list are left out.

    Raises DataError with the first thing that is not as published.
    """
    require_layout(MIT67, source, f"{MIT67_IMAGES}/", *MIT67_LISTS.values())
    lists = {split: read_list(source / file) for split, file in MIT67_LISTS.items()}
    train, test = ({entry.split("/")[0] for entry in listing} for listing in lists.values())
    if odd := sorted(train ^ test):
        lacking = MIT67_LISTS["test" if odd[0] in train else "train"]
        raise DataError(f"class {odd[0]!r} has no image in {lacking} ({len(odd)} such classes): get the lists again")
    if twice := sorted(set(lists["train"]) & set(lists["test"])):
        raise DataError(f"{twice[0]} is in both lists ({len(twice)} such images): get them again")
    require_counts(MIT67, "the lists have", MIT67_COUNTS, (len(train), *map(len, lists.values())))
    images: dict[str, Any] = {"classes": sorted(train)}
    there = {class_name: names_in(source / MIT67_IMAGES, class_name) for class_name in images["classes"]}
    for split, listing in lists.items():
        names: dict[str, list[str]] = {class_name: [] for class_name in there}
        for entry in sorted(listing):
            class_name, file = entry.split("/")
            if file not in there[class_name]:
                raise DataError(
                    f"{MIT67_LISTS[split]} lists {entry}, which is not in {MIT67_IMAGES}/{class_name}/"
                    f"{like(file, there[class_name])}: put it there"
                )
            names[class_name].append(file)
        images[split] = listed(source, MIT67_IMAGES, images["classes"], names.__getitem__)
    return images


def scan_caltech101(source: Path) -> dict[str, Any]:
    """What `scan` gives, of 101_ObjectCategories/<class>/image_*.jpg without BACKGROUND_Google.

    30 images of each class, drawn by a generator that never changes, are for training, all others for the test.
    Raises DataError with the first thing that is not as published.
    """
    require_layout(CALTECH101, source, f"{CALTECH101_IMAGES}/")
    folder = source / CALTECH101_IMAGES
    found = {name: image_files(folder, name) for name in class_folders(folder) if name != BACKGROUND}
    generator = np.random.RandomState(0)  # a frozen generator: the same split on every machine
    train, test = {}, {}
    for class_name, files in found.items():
        if len(files) <= CALTECH101_TRAIN:
            raise DataError(
                f"{CALTECH101_IMAGES}/{class_name} has {len(files)} images, more than {CALTECH101_TRAIN} are needed, "
                "so that some are left to test: copy the rest"
            )
        drawn = [files[i] for i in generator.permutation(len(files))]
        train[class_name], test[class_name] = sorted(drawn[:CALTECH101_TRAIN]), sorted(drawn[CALTECH101_TRAIN:])
    images: dict[str, Any] = {"classes": list(found)}
    for split, names in (("train", train), ("test", test)):
        images[split] = listed(source, CALTECH101_IMAGES, images["classes"], names.__getitem__)
    counts = (len(found), sum(map(len, found.values())))
    require_counts(CALTECH101, f"{CALTECH101_IMAGES}/ has", CALTECH101_COUNTS, counts)
    return images


SCANS = {IMAGENET: scan_imagenet, MIT67: scan_mit67, CALTECH101: scan_caltech101}


def require_layout(name: str, source: Path, *expected: str) -> None:
    """Raise DataError unless the folder holds what is expected (a name with / is a folder), in that upper and lower
    case; it says where those things are where that can be seen."""
    if not source.is_dir():
        raise DataError(f"there is no folder {source}: {GET[name]}")
    found = entries(source)
    absent = next((one for one in expected if one not in found), None)
    if absent is None:
        return
    wanted = f"{name} needs {' and '.join(expected)} in the folder"
    for inner in found:
        if inner.endswith("/") and absent in entries(source / inner):
            raise DataError(f"{wanted}, and {absent} is one level deeper, in {inner}: give that with --from")
    if expected[0] == f"{source.resolve().name}/":
        raise DataError(f"{wanted}, and {expected[0]} itself was given: give the folder that holds it")
    some = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    raise DataError(f"{wanted}, {absent} is absent{like(absent, found)}; found: {some or 'nothing'}; {GET[name]}")


def entries(folder: Path) -> list[str]:
    """What a folder holds, sorted, folders with a /, without what is hidden."""
    return sorted(p.name + "/" * p.is_dir() for p in folder.iterdir() if p.name[0] != ".")


def names_in(folder: Path, class_name: str) -> set[str]:
    """The names in a class folder. Raises DataError where the folder is missing."""
    found = class_folders(folder)
    if class_name not in found:
        raise DataError(
            f"the lists name the class {class_name!r}, and {folder.name}/ has no such folder"
            f"{like(class_name, found)}, of {len(found)}: unpack the archive again"
        )
    return {p.name for p in (folder / class_name).iterdir()}


def read_list(file: Path) -> list[str]:
    """The lines class/file.jpg of a list; spaces around them, empty lines and Windows' line ends are fine.

    Raises DataError with the first line of another form, or the first one twice.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(file.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        text = line.strip()
        if text and not re.fullmatch("[^/]+/[^/]+", text):
            raise DataError(f"line {number} of {file.name} is {text[:60]!r}, expected class/file.jpg: get it again")
        if text in found:
            raise DataError(f"{file.name} lists {text} twice, in lines {found[text]} and {number}: get it again")
        if text:
            found[text] = number
    return list(found)


def require_counts(name: str, where: str, expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    """Raise DataError unless classes and images are as many as published."""
    if found != expected:
        units = ("classes", "training images", "test images") if len(expected) == 3 else ("classes", "images")
        want, got = (", ".join(f"{n:,} {unit}" for n, unit in zip(c, units, strict=True)) for c in (expected, found))
        raise DataError(f"{name} has {want}; {where} {got}: {GET[name]}")

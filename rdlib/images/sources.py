"""Where images come from: scikit-learn's digits, torchvision's CIFAR, or any folder; in a canonical order.

Images are sorted by class, then by pixels, so the same images give the same data set whatever they were read from. Of a
folder of photographs, which stay where they are, only names and sizes are taken (`scan`).
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from rdlib.errors import ConfigError, DataError

KNOWN = {"digits": (10, 16), "cifar10": (10, 32), "cifar100": (100, 32)}  # classes, side in pixels
EVALUATED = {  # test and tune images, for the intervals of those who read records alone; a test counts them
    "digits": {"test": 500, "tune": 129},
    "digits-low": {"test": 260, "tune": 64},
    "digits-high": {"test": 240, "tune": 65},
    **{name: {"test": 10_000, "tune": 5_000} for name in ("cifar10", "cifar100", "cifar10-small", "cifar100-small")},
    **{name: {"test": 5_000, "tune": 2_500} for name in ("cifar100-first", "cifar100-second")},
}
SPLITS = ("train", "test")
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}  # what systems leave in folders
Tensors = dict[str, Tensor]  # of each split its images uint8 [N, 3, H, W] and labels int64 [N]: train_images, ...


def canonical(split: str, images: NDArray[np.uint8], labels: Sequence[int] | NDArray[np.int64]) -> Tensors:
    """A split's tensors, sorted by class, then by pixel bytes."""
    order = sorted(range(len(labels)), key=lambda i: (labels[i], images[i].tobytes()))
    pixels = torch.from_numpy(np.ascontiguousarray(images[order]))
    return {f"{split}_images": pixels, f"{split}_labels": torch.from_numpy(np.array(labels, np.int64)[order])}


def checksum(tensors: Tensors, classes: list[str]) -> str:
    """SHA-256 over the class names and, in the order of their names, the tensors' shapes and bytes."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for key in sorted(tensors):
        array = tensors[key].numpy()
        digest.update(f"{key} {array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def obtain(name: str, source: Path | None, root: Path) -> tuple[Tensors, list[str]]:
    """A data set's tensors and class names from the folder `source`, or from where its name says."""
    if source is not None:
        return from_folder(name, source)
    if name == "digits":
        return digits()
    if name in KNOWN:
        return download(name, root)
    raise ConfigError(f"only {', '.join(KNOWN)} can be prepared without a folder: add --from FOLDER for {name!r}")


def digits() -> tuple[Tensors, list[str]]:
    """scikit-learn's 1,797 scanned digits, 8x8 enlarged to 16x16 (bilinear), grey as three equal channels.

    A fixed permutation puts 1,297 into train and 500 into test.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "digits come with scikit-learn, which is not installed: install it, or bring a data/digits.safetensors "
            "made elsewhere with `python -m rdlib data prepare digits`"
        ) from error
    images, target = load_digits(return_X_y=True)
    grey = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 16
    large = F.interpolate(grey, scale_factor=2, mode="bilinear", align_corners=False)
    pixels = (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    order = np.random.RandomState(0).permutation(len(target))
    train, test = (
        canonical(s, pixels[i], target[i]) for s, i in zip(SPLITS, (order[:1297], order[1297:]), strict=True)
    )
    return train | test, [str(i) for i in range(10)]


def download(name: str, root: Path) -> tuple[Tensors, list[str]]:
    """CIFAR through torchvision, which verifies the archive's md5."""
    from torchvision import datasets

    maker = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    tensors: Tensors = {}
    try:
        for split in SPLITS:
            found = maker(root / "download", train=split == "train", download=True)
            tensors |= canonical(split, found.data.transpose(0, 3, 1, 2), found.targets)
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{name} could not be downloaded ({error}): try again with a network, "
            f"or use a folder of images with `python -m rdlib data prepare {name} --from FOLDER`"
        ) from error
    return tensors, list(found.classes)


def from_folder(name: str, source: Path) -> tuple[Tensors, list[str]]:
    """Read `train/<class>/*` and `test/<class>/*`: squares, all of one size, and every class in both splits."""
    from rdlib.images.decode import decoded

    classes = class_names(source, *SPLITS)
    side = require_count(name, classes, "the folder")
    tensors: Tensors = {}
    for split in SPLITS:
        images, labels = [], []
        for label, class_name in enumerate(tqdm(classes, desc=f"reading {split}", unit="class", leave=False)):
            for file in image_files(source / split, class_name):
                where = f"{split}/{class_name}/{file}"
                image = np.asarray(decoded(source / where, where)).transpose(2, 0, 1)
                side = require_side(where, image.shape[1:], side)
                images.append(image)
                labels.append(label)
        tensors |= canonical(split, np.stack(images), labels)
    return tensors, classes


def require_count(name: str, classes: list[str], where: str) -> int | None:
    """The side of a known data set's images. Raises DataError where `where` has not the classes of that data set."""
    count, side = KNOWN.get(name, (len(classes), None))
    if len(classes) != count:
        raise DataError(
            f"{name} has {count} classes, {where} has {len(classes)}: complete them, or give your own another name"
        )
    return side


def require_side(where: str, size: Sequence[int], side: int | None) -> int:
    """The side of an image of size H, W. Raises DataError where it is no square, or another than `side` where known."""
    height, width = size
    if not 0 < height == width == (side or width):
        wanted = f"{side}x{side}" if side else "a square"
        raise DataError(
            f"{where} is {width}x{height} pixels where {wanted} was expected: resize all to one square, or prepare a "
            "folder of any sizes with --in-place, under a name of its own, and train with --image-size"
        )
    return width


def scan(source: Path, held_out: Sequence[str] = ("test", "val")) -> dict[str, Any]:
    """Class names and, of each split, what `listed` gives, of train/ and the first of `held_out` that is there."""
    test = next((split for split in held_out if (source / split).is_dir()), "val")
    images: dict[str, Any] = {"classes": class_names(source, "train", test)}
    for split, under in zip(SPLITS, ("train", test), strict=True):
        images[split] = listed(source, under, images["classes"], partial(image_files, source / under))
    return images


def listed(source: Path, under: str, classes: list[str], names_of: Callable[[str], list[str]]) -> dict[str, Any]:
    """A split of an index: the folder in `source` that holds it, file names and sizes in bytes, class by class.

    No file is opened. Raises DataError with the first one that cannot be an image.
    """
    from rdlib.images.decode import size_of

    names, sizes = [], []
    for class_name in tqdm(classes, desc=f"reading {under}", unit="class", leave=False):
        names.append(names_of(class_name))
        inside = [f"{under}/{class_name}/{name}" for name in names[-1]]
        sizes.append([size_of(source / where, where) for where in inside])
    return {"under": under, "names": names, "sizes": sizes}


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in one, sorted; hidden ones and LITTER are no classes."""
    from torchvision.datasets.folder import find_classes

    try:
        return [name for name in find_classes(folder)[0] if is_own(name)]
    except FileNotFoundError:  # it has none
        return []


def is_own(name: str) -> bool:
    """Whether a file or folder of this name is the user's: neither hidden nor LITTER."""
    return name[0] != "." and name.lower() not in LITTER


def like(wanted: str, found: Iterable[str]) -> str:
    """A remark where a name differs from the wanted one in upper and lower case alone."""
    near = next((one for one in sorted(found) if one.casefold() == wanted.casefold()), None)
    return "" if near is None else f" (but {near}: rename it, upper and lower case count)"


def class_names(source: Path, train: str, test: str) -> list[str]:
    """Names of the class folders of both splits, sorted. Raises DataError where the splits differ or have too few."""
    if not source.is_dir():
        raise DataError(f"there is no folder {source}: give the one that holds {train}/ and {test}/ with --from")
    for split in (train, test):
        if not (source / split).is_dir():
            raise DataError(f"the folder has no {split}/: expected {train}/<class>/* and {test}/<class>/* in {source}")
        if not class_folders(source / split):  # as ImageNet's validation images come from their archive
            raise DataError(f"{split}/ has no class folders: sort its images into {split}/<class>/")
    classes, others = class_folders(source / train), class_folders(source / test)
    if odd := sorted(set(classes) ^ set(others)):
        where, there = (test, others) if odd[0] in classes else (train, classes)
        raise DataError(
            f"class {odd[0]!r} is missing in {where}/{like(odd[0], there)} ({len(odd)} such classes): add its folder, "
            "or keep it outside both splits"
        )
    if len(classes) < 2:
        raise DataError(f"the folder has {len(classes)} classes: at least 2 are needed to tell apart")
    return classes


def image_files(folder: Path, class_name: str) -> list[str]:
    """What a class folder holds, sorted, without what is hidden and LITTER. Raises DataError where that is nothing."""
    names = sorted(p.name for p in (folder / class_name).iterdir() if is_own(p.name))
    if not names:
        raise DataError(
            f"class {class_name!r} has no image in {folder.name}/: add some, or keep the class outside both splits"
        )
    return names

"""Where images come from: scikit-learn's digits, torchvision's CIFAR, or any folder; as arrays in a canonical order.

Images are sorted by class, then by pixels, so the same images give the same data set whatever they were read from. Of a
folder of photographs, which stay where they are, only names and sizes are taken (`scan`).
"""

import hashlib
import json
import pickle
from collections.abc import Sequence
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
SPLITS = ("train", "test")
IMAGENET = "imagenet"
IMAGENET_COUNTS = (1000, 1_281_167, 50_000)  # classes, training and validation images
Arrays = dict[str, NDArray[Any]]


def canonical(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Sort by class, then by pixel bytes."""
    order = sorted(range(len(labels)), key=lambda i: (labels[i], images[i].tobytes()))
    return images[order], labels[order]


def checksum(arrays: Arrays, classes: list[str]) -> str:
    """SHA-256 over the class names and, in the order of their names, the arrays' shapes and bytes."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].shape} {arrays[key].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()


def to_tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel of uint8 [N, 3, H, W], in units of [0, 1], exact through histograms."""
    level = torch.arange(256, dtype=torch.float64) / 255
    share = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(3)]).double()
    share /= share.sum(1, keepdim=True)
    mean = share @ level
    std = (share @ level.square() - mean.square()).sqrt()
    return mean.float(), std.clamp_min(1e-3).float()


def digits() -> tuple[Arrays, list[str]]:
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
    arrays: Arrays = {}
    for split, index in zip(SPLITS, (order[:1297], order[1297:]), strict=True):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = canonical(pixels[index], target[index].astype(np.int64))
    return arrays, [str(i) for i in range(10)]


def download(name: str, root: Path) -> tuple[Arrays, list[str]]:
    """CIFAR through torchvision, which verifies the archive's md5."""
    from torchvision import datasets

    maker = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    arrays: Arrays = {}
    try:
        for split in SPLITS:
            part = maker(root / "download", train=split == "train", download=True)
            pixels = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = canonical(pixels, np.array(part.targets, np.int64))
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{name} could not be downloaded ({error}): try again with a network, "
            f"or use a folder of images with `python -m rdlib data prepare {name} --from FOLDER`"
        ) from error
    return arrays, list(part.classes)


def require_name(name: str) -> None:
    """Raise ConfigError unless the name can be that of a data set."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"a data set name is letters, digits, '-' and '_', not {name!r}")


def class_names(source: Path, splits: Sequence[str]) -> list[str]:
    """Names of the class folders of both splits, sorted. Raises DataError where the splits differ or have too few."""
    train, test = splits
    for split in splits:
        if not (source / split).is_dir():
            raise DataError(f"the folder has no {split}/: expected {train}/<class>/* and {test}/<class>/* in {source}")
    names = {
        split: sorted(p.name for p in (source / split).iterdir() if p.is_dir() and p.name[0] != ".") for split in splits
    }
    for split in splits:
        if not names[split]:  # as ImageNet's validation images come from their archive
            raise DataError(f"{split}/ has no class folders: sort its images into {split}/<class>/")
    classes = names[train]
    odd = sorted(set(classes) ^ set(names[test]))
    if odd:
        where = test if odd[0] in classes else train
        raise DataError(f"class {odd[0]!r} is missing in {where}/ ({len(odd)} such classes): add its folder")
    if len(classes) < 2:
        raise DataError(f"the folder has {len(classes)} classes: at least 2 are needed to tell apart")
    return classes


def image_files(source: Path, split: str, class_name: str) -> list[Path]:
    """The files of one class folder, sorted. Raises DataError where it is empty or holds anything but images."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = sorted(p for p in (source / split / class_name).iterdir() if not p.name.startswith("."))
    if not files:
        raise DataError(f"class {class_name!r} has no image in {split}/: fill it or remove it from both splits")
    for file in files:
        if file.suffix.lower() not in IMG_EXTENSIONS:
            raise DataError(f"{split}/{class_name}/{file.name} is not an image file: remove it")
    return files


def from_folder(name: str, source: Path) -> tuple[Arrays, list[str]]:
    """Read `train/<class>/*.png` and `test/<class>/*.png`; all images must have one size, every class both splits."""
    classes = class_names(source, SPLITS)
    count, side = KNOWN.get(name, (len(classes), None))
    if len(classes) != count:
        raise DataError(
            f"{name} has {count} classes, the folder has {len(classes)}: a class folder is missing or extra"
        )
    arrays: Arrays = {}
    size = (side, side) if side else None
    for split in SPLITS:
        images, labels = [], []
        for label, class_name in enumerate(tqdm(classes, desc=f"reading {split}", unit="class", leave=False)):
            for file in image_files(source, split, class_name):
                where = f"{split}/{class_name}/{file.name}"
                image = read_image(file, where)
                size = size or image.shape[1:]
                if image.shape[1:] != size:
                    got, want = (f"{w}x{h}" for h, w in (image.shape[1:], size))
                    raise DataError(f"{where} is {got} pixels where {want} was expected: resize or remove it")
                images.append(image)
                labels.append(label)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = canonical(np.stack(images), np.array(labels, np.int64))
    return arrays, classes


def scan(name: str, source: Path) -> dict[str, Any]:
    """Class names and, of each split, file names and sizes in bytes, class by class; no file is opened."""
    if not source.is_dir():
        raise DataError(f"there is no folder {source}: give the one that holds train/ and val/ with --from")
    held_out = ("val", "test") if name == IMAGENET else ("test", "val")
    under = {"train": "train", "test": next((s for s in held_out if (source / s).is_dir()), "val")}
    classes = class_names(source, (under["train"], under["test"]))
    images: dict[str, Any] = {"classes": classes}
    for split, place in under.items():
        names, sizes = [], []
        for class_name in tqdm(classes, desc=f"reading {place}", unit="class", leave=False):
            found = image_files(source, place, class_name)
            names.append([file.name for file in found])
            sizes.append([size_of(file, f"{place}/{class_name}/{file.name}") for file in found])
        images[split] = {"under": place, "names": names, "sizes": sizes}
    counts = (len(classes), *(sum(map(len, images[split]["names"])) for split in under))
    if name == IMAGENET and counts != IMAGENET_COUNTS:
        expected, found_counts = ([f"{n:,}" for n in numbers] for numbers in (IMAGENET_COUNTS, counts))
        raise DataError(
            "imagenet has {} classes, {} training and {} validation images, ".format(*expected)
            + "the folder has {}, {} and {}: copy the rest (or remove what is extra), ".format(*found_counts)
            + "then run the same command again"
        )
    return images


def size_of(file: Path, where: str) -> int:
    """Bytes of a file. Raises DataError where there are none."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror}): replace or remove it") from error
    if size == 0:
        raise DataError(f"{where} is an empty file: replace or remove it")
    return size


def read_image(file: Path, where: str) -> NDArray[np.uint8]:
    """One image as RGB uint8 [3, H, W]."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} cannot be read as an image: replace or remove it") from error

"""Images from one NumPy file: x_train, y_train, x_test, y_test, classes, as `numpy.savez` writes them.

The same images give the same data set, with the same checksum, whether they come from here or from a folder.
"""

import lzma
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.errors import DataError
from rdlib.images.sources import SPLITS, Tensors, canonical, require_count, require_side

Arrays = dict[str, NDArray[Any]]
KEYS = (*(f"{axis}_{split}" for split in SPLITS for axis in "xy"), "classes")
# What numpy and zipfile raise for a file that is cut off, damaged, encrypted or something else.
UNREADABLE = (EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def from_arrays(name: str, source: Path) -> tuple[Tensors, list[str]]:
    """The tensors and sorted class names of an .npz file; labels are places in its `classes`, in whatever order.

    x: uint8 [N, H, W, 3], H = W; y: whole numbers [N]; classes: strings [C]. Raises DataError with the first array
    that is wrong.
    """
    arrays = opened(source)
    given = names_of(arrays["classes"])
    side = require_count(name, given, source.name)
    order = sorted(range(len(given)), key=given.__getitem__)  # as folders are
    tensors: Tensors = {}
    for split in SPLITS:
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        side = require_images(f"x_{split}", images, side)
        require_labels(split, labels, len(images), given)
        tensors |= canonical(split, images.transpose(0, 3, 1, 2), np.argsort(order)[labels])
    return tensors, [given[i] for i in order]


def is_file(source: Path) -> bool:
    """Whether it is, or would be, one file rather than a folder."""
    return source.is_file() or (source.suffix == ".npz" and not source.exists())


def opened(source: Path) -> Arrays:
    """The arrays of a file, by name. Nothing in it is executed: arrays of Python objects are refused."""
    again = f"write it with numpy.savez(FILE, {', '.join(f'{key}=...' for key in KEYS)})"
    arrays, key = {}, ""
    try:
        found = np.load(source, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise DataError(f"{source.name} holds one array without a name: {again}")
        with found as file:
            for key in KEYS:
                if key not in file.files:
                    raise DataError(f"{source.name} has no {key}: {again}, or unpack it if it holds a folder of images")
                arrays[key] = np.asarray(file[key])
    except OSError as error:
        raise DataError(
            f"{source} cannot be read ({error.strerror or error}): give a folder or an .npz file with --from"
        ) from error
    except UNREADABLE as error:
        what = f"{key} in {source.name} is damaged, too large or of Python objects"
        what = what if key else f"{source.name} is no whole .npz"
        raise DataError(f"{what}: {again}") from error
    return arrays


def names_of(classes: NDArray[Any]) -> list[str]:
    """Raises DataError unless they are strings [C], at least two and each another."""
    if classes.dtype.kind != "U" or classes.ndim != 1:
        raise DataError(
            f"classes has type {classes.dtype} and shape {classes.shape}, expected strings [C]: save the names in order"
        )
    names = [str(name) for name in classes]
    if len(names) < 2:
        raise DataError(f"classes has {len(names)} names: at least 2 are needed to tell apart")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"classes has {name!r} {times} times: give each class a name of its own")
    return names


def require_images(key: str, images: NDArray[Any], side: int | None) -> int:
    """The side of the images. Raises DataError where they are not uint8 [N, side, side, 3]."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{key} has type {images.dtype}, expected uint8, 0 to 255: convert it (0..1 times 255, rounded; 0..65535 "
            "divided by 256, rounded down)"
        )
    if images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            f"{key} has shape {images.shape}, expected [N, H, W, 3]: put its axes into this order, repeat greys three "
            "times and lay transparent images on a colour"
        )
    return require_side(f"an image of {key}", images.shape[1:3], side)


def require_labels(split: str, labels: NDArray[Any], images: int, classes: list[str]) -> None:
    """Raise DataError unless there is one label an image, each the place of a class, and no class without one."""
    key = f"y_{split}"
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{key} has type {labels.dtype} and shape {labels.shape}, expected whole numbers [N]: "
            "save of each image the place of its class"
        )
    if len(labels) != images:
        raise DataError(f"{key} has {len(labels)} labels for {images} images in x_{split}: save one for each")
    if (wrong := labels[(labels < 0) | (labels >= len(classes))]).size:
        raise DataError(f"{key} has the label {wrong[0]}, expected 0 to {len(classes) - 1}: count classes from 0")
    if (absent := np.bincount(labels.astype(np.int64), minlength=len(classes)) == 0).any():
        raise DataError(
            f"class {classes[absent.argmax()]!r} has no image in {split}: add some, or leave it out of `classes`"
        )

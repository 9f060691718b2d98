"""Image data sets as uint8 tensors on the device, with a fixed train / tune / test split and a checksum.

Every data set is converted once into `data/NAME.safetensors`. Images are put into a canonical order (by class, then by
pixels), so the file and its checksum do not depend on where the images came from.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError
from rdlib.images.parts import PARTS, few_of_each
from rdlib.images.sources import (
    KNOWN,
    SPLITS,
    checksum,
    digits,
    download,
    from_folder,
    moments,
    require_name,
    to_tensors,
)
from rdlib.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2] / "data"
TUNE_SHARE = 0.1  # of the training images, set aside for choosing anything


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, 3, H, W] and labels int64 [N], on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Split":
        return Split(self.images[index], self.labels[index])


class Some(Sized, Protocol):
    """What is asked of a split, of either kind."""

    @property
    def labels(self) -> Any: ...
    def take(self, index: Tensor) -> Self: ...


S = TypeVar("S", bound=Some)
Batches = Iterator[tuple[Tensor, Tensor]]


class Images(ABC, Generic[S]):
    """What training asks of a data set, wherever its images live. Splits are of a type of its own, S."""

    name: str
    classes: list[str]
    sha256: str
    train: S
    test: S
    mean: Tensor  # [3], what was subtracted from pixels in units of [0, 1] ...
    std: Tensor  # [3], ... and then divided by
    resize: float = 1.0  # evaluation makes the shorter side so many times `side`, then cuts the middle square

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where batches arrive."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Pixels of a batch's images, which are square."""

    @property
    @abstractmethod
    def tune(self) -> S:
        """The fixed tenth of the training images set aside for choosing anything."""

    @property
    @abstractmethod
    def train_without_tune(self) -> S: ...

    def trained_on(self, recipe: Recipe, seed: int) -> S:
        """The images a recipe trains on. Raises ConfigError where a class has fewer than its shots."""
        split = self.train if recipe.holdout == "test" else self.train_without_tune
        if recipe.shots is None:
            return split
        return split.take(few_of_each(torch.as_tensor(split.labels), self.classes, recipe.shots, seed))

    @abstractmethod
    def training_batches(self, split: S, recipe: Recipe, seed: int, epoch: int, shard: Shard) -> Batches:
        """This rank's share of one shuffled, augmented epoch: float images [n, 3, H, W] and labels [n] on the device.

        Order and augmentation follow from seed and epoch alone; the last, incomplete batch is dropped.
        """

    @abstractmethod
    def evaluation_batches(self, split: S, batch_size: int, shard: Shard) -> Batches:
        """This rank's share of every image of a split, once, without augmentation."""

    @abstractmethod
    def require_fits(self, recipe: Recipe) -> None:
        """Raise ConfigError where the recipe asks for what these images cannot give."""


def tune_mask(count: int) -> Tensor:
    """Boolean [count]: which training images belong to the tune split."""
    order = np.random.RandomState(0).permutation(count)  # a frozen generator: the same on every machine
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.from_numpy(order[: int(count * TUNE_SHARE)])] = True
    return mask


@dataclass(frozen=True)
class Dataset(Images[Split]):
    """A named data set in memory; mean and std are per channel of the training images, in units of [0, 1]."""

    name: str
    classes: list[str]
    train: Split
    test: Split
    mean: Tensor
    std: Tensor
    sha256: str

    @property
    def device(self) -> torch.device:
        return self.train.labels.device

    @property
    def side(self) -> int:
        return self.train.images.shape[-1]

    @property
    def tune(self) -> Split:
        return self.train.take(tune_mask(len(self.train)).to(self.device))

    @property
    def train_without_tune(self) -> Split:
        return self.train.take(~tune_mask(len(self.train)).to(self.device))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32, channels_last, zero mean and unit deviation over the training set."""
        floats = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return floats.sub_(self.mean.view(1, 3, 1, 1)).div_(self.std.view(1, 3, 1, 1))

    def training_batches(self, split: Split, recipe: Recipe, seed: int, epoch: int, shard: Shard) -> Batches:
        generator = torch.Generator(self.device).manual_seed(seed * 1_000_003 + epoch)
        # Every rank draws for the whole batch, so that the shares join to what one process would have trained on.
        for pixels, labels in batches(split, recipe.batch_size, recipe.crop_padding, recipe.flip, generator):
            images = self.normalise(pixels)
            if recipe.cutout is not None:
                images = random_cutout(images, recipe.cutout, generator)
            yield shard.of(images), shard.of(labels)

    def evaluation_batches(self, split: Split, batch_size: int, shard: Shard) -> Batches:
        images, labels = shard.of(split.images), shard.of(split.labels)
        for start in range(0, len(labels), batch_size):
            yield self.normalise(images[start : start + batch_size]), labels[start : start + batch_size]

    def require_fits(self, recipe: Recipe) -> None:
        if recipe.image_size is not None:
            raise ConfigError(
                f"image_size is for folders of photographs, {self.name} holds images of one size: leave it out"
            )


def random_cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Zero (the mean) in a square around a random point of each image; it may hang over the border.

    DeVries and Taylor, 2017, section 3; images float [N, 3, H, W], normalised; side in pixels.
    """
    n, _, height, width = images.shape
    blank = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=images.device)
    for dimension, length in ((2, height), (3, width)):
        centre = torch.randint(length, (n, 1), generator=generator, device=images.device)
        place = torch.arange(length, device=images.device)
        inside = (place >= centre - side // 2) & (place < centre - side // 2 + side)
        blank = blank & inside.view((n, 1, length, 1) if dimension == 2 else (n, 1, 1, length))
    return images.masked_fill(blank, 0.0)


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad with zeros and cut the original size at an independent random offset for each image."""
    n, _, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    offset = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
    rows = offset[0] + torch.arange(height, device=images.device)
    columns = offset[1] + torch.arange(width, device=images.device)
    image = torch.arange(n, device=images.device).view(n, 1, 1)
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    flip = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def batches(split: Split, batch_size: int, crop_padding: int, flip: bool, generator: torch.Generator) -> Batches:
    """One shuffled epoch of augmented uint8 batches; the last, incomplete batch is dropped.

    Each batch is augmented whole, on its device, with per-image randomness from `generator`.
    """
    order = torch.randperm(len(split), generator=generator, device=split.labels.device)
    for start in range(0, len(split) - batch_size + 1, batch_size):
        batch = split.take(order[start : start + batch_size])
        images = random_crop(batch.images, crop_padding, generator) if crop_padding else batch.images
        yield (random_flip(images, generator) if flip else images), batch.labels


def contents(name: str, root: Path) -> tuple[dict[str, Tensor], list[str], str]:
    """Tensors, class names and checksum of a data set, or of a part of one; see `load`."""
    path = root / f"{name}.safetensors"
    if name in PARTS:
        tensors, classes = PARTS[name].of(*contents(PARTS[name].whole, root)[:2])
        return tensors, classes, checksum({key: value.numpy() for key, value in tensors.items()}, classes)
    if path.exists():
        return read(path)
    if name == "digits":
        arrays, classes = digits()
        return to_tensors(arrays), classes, checksum(arrays, classes)
    if name in KNOWN:
        raise DataError(
            f"{name} is not prepared here: run `python -m rdlib data prepare {name}` (or with --from FOLDER)"
        )
    raise ConfigError(
        f"unknown dataset {name!r}: choose one of {', '.join([*KNOWN, *PARTS])}, "
        f"or make your own with `python -m rdlib data prepare {name} --from FOLDER`"
    )


def load(name: str, root: Path = ROOT, device: str | torch.device = "cpu") -> Dataset:
    """Load a prepared data set (`digits` needs no preparation) and put it on `device`.

    Raises DataError when the file is absent, damaged or was changed, with the command that makes it.
    """
    tensors, classes, sha256 = contents(name, root)
    t = {key: value.to(device) for key, value in tensors.items()}
    mean, std = moments(tensors["train_images"])
    return Dataset(
        name,
        classes,
        Split(t["train_images"], t["train_labels"]),
        Split(t["test_images"], t["test_labels"]),
        mean.to(device),
        std.to(device),
        sha256,
    )


def prepare(name: str, source: Path | None = None, root: Path = ROOT) -> Path:
    """Convert a data set into `root/NAME.safetensors`, atomically; returns the path.

    `source`: a folder `train/<class>/*.png`, `test/<class>/*.png`; without one, cifar10 and cifar100 are downloaded by
    torchvision, which checks their md5. Raises DataError with the first image or class that is wrong.
    """
    require_name(name)
    if source is not None:
        arrays, classes = from_folder(name, source)
    elif name == "digits":
        arrays, classes = digits()
    elif name in KNOWN:
        arrays, classes = download(name, root)
    else:
        raise ConfigError(f"only {', '.join(KNOWN)} can be prepared without a folder: add --from FOLDER for {name!r}")
    path = root / f"{name}.safetensors"
    temporary = path.with_suffix(".tmp")
    try:
        root.mkdir(parents=True, exist_ok=True)
        save_file(to_tensors(arrays), temporary, {"classes": json.dumps(classes), "sha256": checksum(arrays, classes)})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot write {path.name} into the data folder: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(path: Path) -> tuple[dict[str, Tensor], list[str], str]:
    """Tensors, class names and checksum of a prepared file, verified."""
    again = f"delete it and run `python -m rdlib data prepare {path.stem}` again"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no Mapping)
        classes = json.loads(metadata["classes"])
        found = checksum({key: value.numpy() for key, value in tensors.items()}, classes)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path.name} is damaged or no data set of rdlib: {again}") from error
    if found != metadata.get("sha256") or set(tensors) != {f"{s}_{x}" for s in SPLITS for x in ("images", "labels")}:
        raise DataError(f"{path.name} does not match its own checksum: {again}")
    return tensors, classes, found

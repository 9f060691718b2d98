"""Image data sets as uint8 tensors on the device, with a fixed train / tune / test split and a checksum.

Every one is converted once into `data/NAME.safetensors`. Images are put into a canonical order (by class, then by
pixels), so the file and its checksum do not depend on where the images came from.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError
from rdlib.images.sources import KNOWN, SPLITS, Tensors, checksum, digits, require_side
from rdlib.images.subsets import DERIVED, few_of_each
from rdlib.recipe import Recipe

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


@dataclass(frozen=True)
class Images(ABC, Generic[S]):
    """A data set wherever its images live: a `train.TrainingSet`. Splits are of a type of its own, S.

    mean and std, per channel in units of [0, 1], are subtracted from pixels and then divide them; they are on the
    device where batches arrive. resize: evaluation makes the shorter side so many times `side`, then cuts the middle.
    """

    name: str
    classes: list[str]
    train: S
    test: S
    mean: Tensor
    std: Tensor
    sha256: str
    resize: float = field(default=1.0, kw_only=True)

    @property
    @abstractmethod
    def side(self) -> int:
        """Pixels of a batch's images, which are square."""

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

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def tune(self) -> S:
        """The fixed tenth of the training images set aside for choosing anything."""
        return self.train.take(tune_mask(len(self.train)).to(self.device))

    @property
    def train_without_tune(self) -> S:
        return self.train.take(~tune_mask(len(self.train)).to(self.device))

    def trained_on(self, recipe: Recipe, seed: int) -> S:
        """The images a recipe trains on. Raises ConfigError where there are too few to set the tune split aside, or a
        class has fewer than its shots."""
        if recipe.holdout == "tune" and len(self.train) * TUNE_SHARE < 1:
            raise ConfigError(
                f"holdout tune sets a tenth of the training images aside, and {self.name} has only {len(self.train)}: "
                "add images, 10 at least, or choose holdout test"
            )
        split = self.train if recipe.holdout == "test" else self.train_without_tune
        if recipe.shots is None:
            return split
        return split.take(few_of_each(torch.as_tensor(split.labels), self.classes, recipe.shots, seed))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] on the device -> float32, channels_last."""
        floats = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return floats.sub_(self.mean.view(1, 3, 1, 1)).div_(self.std.view(1, 3, 1, 1))


def tune_mask(count: int) -> Tensor:
    """Boolean [count]: which training images belong to the tune split."""
    order = np.random.RandomState(0).permutation(count)  # a frozen generator: the same on every machine
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.from_numpy(order[: int(count * TUNE_SHARE)])] = True
    return mask


class Dataset(Images[Split]):
    """A data set in memory, all on the device; mean and std are those of its training images."""

    @property
    def side(self) -> int:
        return self.train.images.shape[-1]

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
        for what, pixels in (("crop_padding", recipe.crop_padding), ("cutout", recipe.cutout or 0)):
            if pixels > self.side:
                raise ConfigError(
                    f"{what} {pixels} is more than the {self.side} pixels of {self.name}'s side: lower it"
                )


def repeated(images: Dataset) -> int:
    """How many test images equal, pixel by pixel, one of the training images."""
    seen = {image.tobytes() for image in images.train.images.cpu().numpy()}
    return sum(image.tobytes() in seen for image in images.test.images.cpu().numpy())


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


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel of uint8 [N, 3, H, W], in units of [0, 1], exact through histograms."""
    level = torch.arange(256, dtype=torch.float64) / 255
    share = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(3)]).double()
    share /= share.sum(1, keepdim=True)
    mean = share @ level
    std = (share @ level.square() - mean.square()).sqrt()
    return mean.float(), std.clamp_min(1e-3).float()


def in_memory(name: str, root: Path, device: str | torch.device) -> Dataset:
    """Load a data set of small images, or one derived from it; see `rdlib.images.load`."""
    tensors, classes, sha256 = contents(name, root)
    train, test = (Split(*(tensors[f"{split}_{x}"].to(device) for x in ("images", "labels"))) for split in SPLITS)
    mean, std = (moment.to(device) for moment in moments(tensors["train_images"]))
    return Dataset(name, classes, train, test, mean, std, sha256)


def contents(name: str, root: Path) -> tuple[Tensors, list[str], str]:
    """Tensors, class names and checksum of a data set in memory, or of one derived from it."""
    path = root / f"{name}.safetensors"
    if path.exists() and name not in DERIVED:
        return unpacked(path)
    if name in DERIVED:
        tensors, classes = DERIVED[name].of(*contents(DERIVED[name].whole, root)[:2])
    elif name == "digits":
        tensors, classes = digits()
    elif name in KNOWN:
        raise DataError(
            f"{name} is not prepared here: run `python -m rdlib data prepare {name}` (or with --from FOLDER)"
        )
    else:
        raise ConfigError(
            f"unknown dataset {name!r}: choose one of {', '.join([*KNOWN, *DERIVED])}, "
            f"or make your own with `python -m rdlib data prepare {name} --from FOLDER`"
        )
    return tensors, classes, checksum(tensors, classes)


def packed(tensors: Tensors, classes: list[str]) -> bytes:
    """The content of a prepared file."""
    return save(tensors, {"classes": json.dumps(classes), "sha256": checksum(tensors, classes)})


def unpacked(path: Path) -> tuple[Tensors, list[str], str]:
    """Tensors, class names and checksum of a prepared file, verified."""
    again = f"delete it and run `python -m rdlib data prepare {path.stem}` again"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no Mapping)
        classes = json.loads(metadata["classes"])
        found = checksum(tensors, classes)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path.name} is damaged or no data set of rdlib: {again}") from error
    if found != metadata.get("sha256") or set(tensors) != {f"{s}_{x}" for s in SPLITS for x in ("images", "labels")}:
        raise DataError(f"{path.name} does not match its own checksum: {again}")
    for split in SPLITS:  # older versions let other shapes pass
        require_side(f"an image of {path.name}", tensors[f"{split}_images"].shape[2:], None)
    return tensors, classes, found

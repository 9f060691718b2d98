"""Folders of photographs of many sizes, such as ImageNet: they stay where they lie and are cropped on the way.

`rdlib.images.prepare` looks through the folder once and leaves `data/NAME.index.json`. Afterwards, processes beside the
training decode one file at a time, in an order and with random crops that follow from seed, epoch and image alone.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError
from rdlib.files import digest
from rdlib.images.dataset import Batches, Images
from rdlib.images.decode import decoded
from rdlib.images.normalisation import IMAGENET
from rdlib.images.published import GET
from rdlib.images.sources import SPLITS
from rdlib.recipe import Recipe

MEAN, STD = IMAGENET
IMAGE_SIZE = 224
RESIZE = 256 / 224  # evaluation: the shorter side before the centre crop, in units of the crop
WORKERS = "RDLIB_WORKERS"  # environment variable


@dataclass(frozen=True, eq=False)
class Files:
    """One split: paths relative to the data set's folder, as bytes [N], and labels int64 [N]; both NumPy, because
    processes that read beside the training then share them."""

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Files":
        chosen = index.cpu().numpy()
        return Files(self.paths[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Reader(Dataset[tuple[Tensor, int] | str]):
    """Reads one photograph: decoded, transformed uint8 [3, H, W] and label; or the sentence that says why it cannot.

    A failure is a value, since an exception would arrive from a worker as pages of traceback. `key` and the index in
    the split rule the randomness of an image, so it is the same in whichever process the image is read.
    """

    folder: Path
    files: Files
    transform: nn.Module
    key: str

    def __getitem__(self, index: int) -> tuple[Tensor, int] | str:
        where = os.fsdecode(self.files.paths[index])
        then = "then run the same command again; finished epochs are kept"
        try:
            pixels = v2.functional.pil_to_tensor(decoded(self.folder / where, where))
        except FileNotFoundError:
            return f"{where} is no longer in the folder it was in: put it back, {then}"
        except OSError as error:
            return f"{where} cannot be read ({error.strerror}): make it readable, {then}"
        except DataError as error:
            return f"{error}, {then}"
        own = hashlib.blake2b(f"{self.key} {index}".encode(), digest_size=8).digest()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int.from_bytes(own))
            return self.transform(pixels), int(self.files.labels[index])


def collate(items: list[tuple[Tensor, int] | str]) -> Any:
    """uint8 [n, 3, H, W] and int64 [n], or the first failure."""
    failure = next((item for item in items if isinstance(item, str)), None)
    return failure or default_collate(items)


@dataclass(frozen=True)
class Photographs(Images[Files]):
    """A folder of photographs, cropped to `image_size` pixels square, normalised as ImageNet's usually are.

    sha256 is over class names, relative paths and file sizes, not over the pixels: reading 150 GB takes too long.
    workers: how many processes decode; with 0 the training process does it itself. Batches raise DataError with the
    first file that is missing or damaged.
    """

    folder: Path
    image_size: int
    workers: int
    resize: float = field(default=RESIZE, kw_only=True)

    @property
    def side(self) -> int:
        return self.image_size

    def training_batches(self, split: Files, recipe: Recipe, seed: int, epoch: int, shard: Shard) -> Batches:
        crop = v2.RandomResizedCrop(self.image_size, antialias=True)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()]) if recipe.flip else crop
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        starts = range(0, len(split) - recipe.batch_size + 1, recipe.batch_size)
        shares = (list(shard.of(order[start : start + recipe.batch_size].tolist())) for start in starts)
        return self.batches(Reader(self.folder, split, transform, f"{seed} {epoch}"), shares)

    def evaluation_batches(self, split: Files, batch_size: int, shard: Shard) -> Batches:
        resize = v2.Resize(round(self.image_size * self.resize), antialias=True)
        transform = v2.Compose([resize, v2.CenterCrop(self.image_size)])
        share = shard.of(range(len(split)))
        shares = (list(share[start : start + batch_size]) for start in range(0, len(share), batch_size))
        return self.batches(Reader(self.folder, split, transform, "evaluation"), shares)

    def require_fits(self, recipe: Recipe) -> None:
        if recipe.image_size is None:
            raise ConfigError(f"photographs need image_size, e.g. {IMAGE_SIZE}: {self.name} holds images of many sizes")
        if recipe.image_size != self.image_size:
            raise ConfigError(
                f"{self.name} was loaded with image_size {self.image_size}, the recipe has {recipe.image_size}: "
                "load it with the recipe's"
            )
        if recipe.cutout is not None:
            raise ConfigError(f"cutout is for small images in memory, {self.name} holds photographs: leave it out")

    def batches(self, reader: Reader, indices: Iterable[list[int]]) -> Batches:
        """What `reader` gives for each batch of indices, normalised, on the device."""
        for pixels, labels in read_ahead(reader, indices, self.workers, self.device.type == "cuda"):
            images = self.normalise(pixels.to(self.device, non_blocking=True))
            yield images, labels.to(self.device, non_blocking=True)


def read_ahead(
    reader: Reader, indices: Iterable[list[int]], workers: int, pin_memory: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in order, read by other processes. Raises DataError for a file that fails or a process that dies."""
    batches = iter(
        DataLoader(
            reader,
            batch_sampler=indices,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else it would draw from the global one
        )
    )
    try:
        while (batch := arrival(batches, workers)) is not None:
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch
    finally:
        # Stops the workers now and in order. The error's traceback would keep them until Python collects cycles, which
        # closes their pipes in any order and makes their threads print errors of their own.
        del batches


def arrival(batches: Iterator[tuple[Tensor, Tensor] | str], workers: int) -> tuple[Tensor, Tensor] | str | None:
    """The next batch, the sentence that says why there is none, or None at the end."""
    try:
        return next(batches, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        return (
            f"a process that reads images died, which is mostly for lack of memory: set {WORKERS} below {workers}, "
            "or give a container more shared memory (--shm-size), then run the same command again"
        )


def default_workers() -> int:
    """RDLIB_WORKERS, else as many as the cores allow each process of torchrun on this node, at most 8."""
    given = os.environ.get(WORKERS)
    if given is not None:
        if not given.isdecimal():
            raise ConfigError(f"{WORKERS} is a whole number of processes from 0, not {given!r}")
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def open_index(path: Path, name: str, device: torch.device, image_size: int | None) -> Photographs:
    """The photographs that an index lists. Raises DataError where it is damaged or their folder has gone."""
    again = f"run `python -m rdlib data prepare {name} --from FOLDER{'' if name in GET else ' --in-place'}` again"
    try:
        content = json.loads(path.read_text())
        folder, images = Path(content["folder"]), content["images"]
        if digest(images) != content["sha256"]:
            raise ValueError("other sha256")
        classes = images["classes"]
        train, test = (files_of(classes, **images[split]) for split in SPLITS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} is damaged: {again}") from error
    if not all((folder / images[split]["under"]).is_dir() for split in SPLITS):
        raise DataError(f"the photographs of {name} are no longer in {folder}: {again}")
    mean, std = (torch.tensor(value, device=device) for value in (MEAN, STD))
    size = IMAGE_SIZE if image_size is None else image_size
    return Photographs(name, classes, train, test, mean, std, content["sha256"], folder, size, default_workers())


def files_of(classes: list[str], under: str, names: list[list[str]], sizes: Any) -> Files:
    """A split from its part of the index, which lists names class by class."""
    listed = zip(classes, names, strict=True)
    paths = [os.fsencode(f"{under}/{class_name}/{name}") for class_name, found in listed for name in found]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(found) for found in names])
    return Files(np.array(paths), labels)

"""Folders of photographs of many sizes, such as ImageNet: they stay where they lie and are cropped on the way.

`prepare_images` looks through the folder once and leaves `data/NAME.index.json`. Afterwards, processes beside the
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
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from rdlib.distributed import Shard
from rdlib.errors import ConfigError, DataError
from rdlib.images import dataset as data
from rdlib.images import published as scenes
from rdlib.images.dataset import Batches, Images
from rdlib.images.parts import require_whole
from rdlib.images.sources import IMAGENET, KNOWN, require_name, scan
from rdlib.recipe import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, per channel, in units of [0, 1]
IMAGE_SIZE = 224
RESIZE = 256 / 224  # evaluation: the shorter side before the centre crop, in units of the crop
WORKERS = "RDLIB_WORKERS"  # environment variable
GET = {  # data sets that only their users may fetch
    IMAGENET: "get it from image-net.org (train/ and val/ with a folder per class), "
    "then `python -m rdlib data prepare imagenet --from FOLDER`",
    **scenes.GET,
}


@dataclass(frozen=True, eq=False)
class Files:
    """One split: paths relative to the data set's folder, as bytes [N], and labels int64 [N]; both NumPy, because
    processes that read beside the training then share them."""

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Files":
        return Files(self.paths[index.numpy()], self.labels[index.numpy()])


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
            with Image.open(self.folder / where) as image:
                pixels = v2.functional.pil_to_tensor(image.convert("RGB"))
        except FileNotFoundError:
            return f"{where} is no longer in the folder it was in: put it back, {then}"
        except Exception as error:  # a damaged file may lead a decoder to any exception
            reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            return f"{where} cannot be read as an image{reason}: replace it, {then}"
        own = hashlib.blake2b(f"{self.key} {index}".encode(), digest_size=8).digest()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int.from_bytes(own))
            return self.transform(pixels), int(self.files.labels[index])


def collate(items: list[tuple[Tensor, int] | str]) -> tuple[Tensor, Tensor] | str:
    """uint8 [n, 3, H, W] and int64 [n], or the first failure."""
    good = []
    for item in items:
        if isinstance(item, str):
            return item
        good.append(item)
    return torch.stack([pixels for pixels, _ in good]), torch.tensor([label for _, label in good])


@dataclass(frozen=True)
class Photographs(Images[Files]):
    """A named folder of photographs, cropped to `image_size` pixels square, arriving on the device `place`.

    sha256 is over class names, relative paths and file sizes, not over the pixels: reading 150 GB takes too long.
    workers: how many processes decode; with 0 the training process does it itself. Batches raise DataError with the
    first file that is missing or damaged.
    """

    name: str
    classes: list[str]
    train: Files
    test: Files
    sha256: str
    folder: Path
    image_size: int
    place: torch.device
    workers: int
    resize = RESIZE
    mean: Tensor = field(default_factory=lambda: torch.tensor(MEAN))
    std: Tensor = field(default_factory=lambda: torch.tensor(STD))

    @property
    def device(self) -> torch.device:
        return self.place

    @property
    def side(self) -> int:
        return self.image_size

    @property
    def tune(self) -> Files:
        return self.train.take(data.tune_mask(len(self.train)))

    @property
    def train_without_tune(self) -> Files:
        return self.train.take(~data.tune_mask(len(self.train)))

    def training_batches(self, split: Files, recipe: Recipe, seed: int, epoch: int, shard: Shard) -> Batches:
        crop = v2.RandomResizedCrop(self.image_size, antialias=True)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()]) if recipe.flip else crop
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        starts = range(0, len(split) - recipe.batch_size + 1, recipe.batch_size)
        shares = (list(shard.of(order[start : start + recipe.batch_size].tolist())) for start in starts)
        return self.batches(Reader(self.folder, split, transform, f"{seed} {epoch}"), shares)

    def evaluation_batches(self, split: Files, batch_size: int, shard: Shard) -> Batches:
        resize = v2.Resize(round(self.image_size * RESIZE), antialias=True)
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
        """What `reader` gives for each batch of indices, normalised: float32, channels_last, on the device."""
        mean, std = (value.to(self.place).view(1, 3, 1, 1) for value in (self.mean, self.std))
        for pixels, labels in read_ahead(reader, indices, self.workers, self.place.type == "cuda"):
            images = pixels.to(self.place, non_blocking=True)
            floats = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
            yield floats.sub_(mean).div_(std), labels.to(self.place, non_blocking=True)


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


def index_path(name: str, root: Path) -> Path:
    return root / f"{name}.index.json"


def prepare_again(name: str) -> str:
    return f"run `python -m rdlib data prepare {name} --from FOLDER{'' if name in GET else ' --in-place'}`"


def load_images(
    name: str, root: Path = data.ROOT, device: str | torch.device = "cpu", image_size: int | None = None
) -> Images[Any]:
    """Load a prepared data set of either kind; `image_size` (default 224) matters for photographs only.

    Raises DataError or ConfigError, with the command that helps, where it is absent, damaged or its folder has gone.
    """
    path = index_path(name, root)
    if not path.exists():
        if name in GET:
            raise DataError(f"{name} is not prepared here: {GET[name]}")
        return data.load(name, root, device)
    try:
        content = json.loads(path.read_text())
        folder, images = Path(content["folder"]), content["images"]
        if digest(images) != content["sha256"]:
            raise ValueError("other sha256")
        classes, train, test = images["classes"], *(files(images["classes"], images[s]) for s in ("train", "test"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} is damaged: {prepare_again(name)} again") from error
    if not all((folder / images[split]["under"]).is_dir() for split in ("train", "test")):
        raise DataError(f"the photographs of {name} are no longer in {folder}: {prepare_again(name)} again")
    size = IMAGE_SIZE if image_size is None else image_size
    device = torch.device(device)
    return Photographs(name, classes, train, test, content["sha256"], folder, size, device, default_workers())


def files(classes: list[str], part: dict[str, Any]) -> Files:
    """A split from its part of the index, which lists names class by class."""
    listed = list(zip(classes, part["names"], strict=True))
    paths = [os.fsencode(f"{part['under']}/{class_name}/{name}") for class_name, names in listed for name in names]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(names) for _, names in listed])
    return Files(np.array(paths), labels)


def digest(images: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(images, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def prepare_images(name: str, source: Path | None = None, root: Path = data.ROOT, in_place: bool = False) -> Path:
    """Prepare a data set of either kind: those of GET and, on demand, others in place (their index), else into memory.

    `source` in place: a folder train/<class>/* and val/<class>/* or test/<class>/* (where it has both, ImageNet's test
    split is val/, everyone else's test/), or as `scenes` describes. Returns the path of the file written, atomically.
    Raises DataError with the first class or file that is wrong, ConfigError where the name cannot be prepared so.
    """
    require_name(name)
    require_whole(name)
    in_place = in_place or name in GET
    path, other = index_path(name, root), root / f"{name}.safetensors"
    if not in_place:
        path, other = other, path
    if other.exists():
        raise ConfigError(f"{name} is prepared here in the other form: delete {other.name} or take another name")
    if not in_place:
        return data.prepare(name, source, root)
    if name in KNOWN:
        raise ConfigError(f"{name} is held in memory: leave out --in-place")
    if source is None:
        raise ConfigError(f"{name} needs --from FOLDER" + (f": {GET[name]}" if name in GET else ""))
    images = scenes.SCANS.get(name, scan)(name, source)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        root.mkdir(parents=True, exist_ok=True)
        content = {"folder": str(source.resolve()), "sha256": digest(images), "images": images}
        temporary.write_text(json.dumps(content, separators=(",", ":")))
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path.name} into the data folder: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path

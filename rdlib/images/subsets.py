"""Data sets made from a prepared one: some of its classes, or all of it smaller; and a few images of each class."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rdlib.errors import ConfigError, DataError
from rdlib.images.sources import SPLITS, Tensors

# CIFAR-100's twenty coarse classes and the classes in each, as its authors publish them (Krizhevsky, 2009).
COARSE = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}


def fine_classes(coarse: list[str]) -> tuple[str, ...]:
    """The CIFAR-100 classes in these coarse ones, sorted as CIFAR-100 sorts them."""
    return tuple(sorted(name for group in coarse for name in COARSE[group].split()))


class Derived(Protocol):
    """A data set that is made from the whole of another whenever it is loaded, and has no file."""

    @property
    def whole(self) -> str: ...
    @property
    def words(self) -> str:
        """What it is of the whole."""

    def of(self, tensors: Tensors, classes: list[str]) -> tuple[Tensors, list[str]]:
        """Its tensors and class names, from those of the whole."""


@dataclass(frozen=True)
class Subset:
    """The data set that has only these classes of another, in the order of that one."""

    whole: str
    classes: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"a part of {self.whole}"

    def of(self, tensors: Tensors, classes: list[str]) -> tuple[Tensors, list[str]]:
        """Images and labels of the wanted classes, labels counted anew from 0; the order of the images stays.

        Raises DataError where the whole lacks one of the classes.
        """
        if absent := sorted(set(self.classes) - set(classes)):
            raise DataError(
                f"{self.whole} has no class {absent[0]!r} here ({len(absent)} such classes), so no part of it can be "
                "made: prepare it again, with the names its authors gave"
            )
        kept = [name for name in classes if name in self.classes]
        anew = torch.tensor([kept.index(name) if name in kept else -1 for name in classes])
        found = {}
        for split in SPLITS:
            labels = anew[tensors[f"{split}_labels"]]
            found[f"{split}_images"] = tensors[f"{split}_images"][labels >= 0]
            found[f"{split}_labels"] = labels[labels >= 0]
        return found, kept


@dataclass(frozen=True)
class Halved:
    """The data set that has all images of another at half their side, in the same order."""

    whole: str

    @property
    def words(self) -> str:
        return f"{self.whole} at half its side"

    def of(self, tensors: Tensors, classes: list[str]) -> tuple[Tensors, list[str]]:
        return tensors | {f"{split}_images": halved(tensors[f"{split}_images"]) for split in SPLITS}, classes


def halved(images: Tensor) -> Tensor:
    """uint8 [N, C, 2H, 2W] -> uint8 [N, C, H, W], means of 2x2, rounded half up: whole numbers, so exact anywhere."""
    parts = []
    for part in torch.split(images, 1000):  # so many stay in the processor's cache: four times as fast as all at once
        rows = part[:, :, ::2].short() + part[:, :, 1::2]
        parts.append(((rows[..., ::2] + rows[..., 1::2] + 2) >> 2).to(torch.uint8))
    return torch.cat(parts)


SUBSETS = {
    "digits-low": Subset("digits", tuple("01234")),
    "digits-high": Subset("digits", tuple("56789")),
    "cifar100-first": Subset("cifar100", fine_classes(sorted(COARSE)[:10])),
    "cifar100-second": Subset("cifar100", fine_classes(sorted(COARSE)[10:])),
}
DERIVED: dict[str, Derived] = {**SUBSETS, **{f"{whole}-small": Halved(whole) for whole in ("cifar10", "cifar100")}}


def few_of_each(labels: Tensor, classes: list[str], shots: int, seed: int) -> Tensor:
    """Indices, sorted, of `shots` images of every class; labels int64 [N].

    The seed puts the images of a class in an order and the first are taken, so that fewer shots are among more.
    Raises ConfigError with the first class that has too few.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    chosen = []
    for label, name in enumerate(classes):
        images = order[labels.cpu()[order] == label]
        if len(images) < shots:
            raise ConfigError(
                f"class {name!r} has {len(images)} training images, {shots} were asked for: lower shots, or add images"
            )
        chosen.append(images[:shots])
    return torch.cat(chosen).sort().values.to(labels.device)

"""Adopt a network that was trained elsewhere, such as torchvision's ResNet-50, so that it can teach here."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rdlib.errors import ConfigError
from rdlib.files import sha256_of
from rdlib.images import load
from rdlib.images.dataset import Dataset, Images
from rdlib.images.normalisation import NAMED, Numbers, normalisation, seen_as
from rdlib.recipe import Recipe
from rdlib.runs.execute import pick_device, require_same_images
from rdlib.runs.layout import depth_of, described
from rdlib.runs.provenance import forget_peak_memory, provenance
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.runs.weights import read_resnet
from rdlib.train import Accuracy, evaluate

SPARE = 2.0  # points of accuracy below what its owner says at which a network is refused


def adopt(
    file: Path,
    dataset: str,
    depth: int | None = None,
    width: int | None = None,
    image_size: int | None = None,
    store: Store | None = None,
    device: str | torch.device | None = None,
    *,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    resize: float | None = None,
    expected: float | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Record:
    """Evaluate the ResNet in a file (see `weights.read_resnet`) and store it as a run that can be a teacher.

    file: for the data set's classes in their sorted order. depth and width are read from it; those told must be its.
    image_size: of photographs, in pixels, by default 224. mean, std and resize (`normalisation.seen_as`): as it saw
    its images, where that is not the data set's own way; its students then see them so too. expected: its accuracy, see
    `accuracy_of_teacher`. tell: takes what was done to read the file, a line.

    Returns the record that stands; its history is empty, its seconds are those of the evaluation on the test split,
    its protocol is "adopted". Raises CheckpointError for a file that holds no such ResNet, ConfigError for one that is
    no teacher (`accuracy_of_teacher`), or of a kind that no run describes.
    """
    store = store or Store()
    store.require_writable()
    device = pick_device(device)
    images = load(dataset, device=device, image_size=image_size, mean=mean, std=std, resize=resize)
    network, done = read_resnet(file, len(images.classes), depth, width)
    of, depth = network.architecture, depth_of(network.architecture)
    tell(f"{file.name}: {described(of)}{f' ({done})' if done else ''}")
    if depth is None:
        raise ConfigError(
            f"{file.name} holds a {described(of)}, which a run cannot describe: "
            "the notebook 11_take_your_own_resnet takes it"
        )
    if not isinstance(images, Dataset):
        image_size = images.side
    recipe = Recipe() if image_size is None else Recipe(image_size=image_size, crop_padding=0)
    images.require_fits(recipe)
    source = sha256_of(file)
    options: dict[str, Any] = {"weights": source[:12], "resize": resize and float(resize), **normalisation(mean, std)}
    run = Run(dataset, "Adopted", depth, of.width, "all", 0, recipe, options, other_stem=of.stem)
    require_same_images(run, store, images)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forget_peak_memory(device)
    started = time.perf_counter()
    test = accuracy_of_teacher(network, images, expected)
    seconds = time.perf_counter() - started
    metrics = {"test_top1": test.top1, "test_top5": test.top5, "tune_top1": None, "train_loss": None}
    origin = provenance(images, device, seconds, len(images.test)) | {"protocol": "adopted", "source_sha256": source}
    origin |= {"mean": images.mean.tolist(), "std": images.std.tolist(), "resize": images.resize}
    return store.save(Record(run, metrics, [], origin), network)


def accuracy_of_teacher(network: nn.Module, images: Images[Any], expected: float | None = None) -> Accuracy:
    """The accuracy of a network on the test split, in percent, before it may teach.

    expected: top-1 in percent, as its owner says. Raises ConfigError where it has more than SPARE points less; without
    `expected`, where a binomial test (2.5 %, one-sided) cannot tell it from one that always answers the most frequent
    class.
    """
    if expected is not None and not (isinstance(expected, int | float) and 1 < expected <= 100):
        raise ConfigError(f"expected is an accuracy in percent, such as 75.5, not {expected!r}")
    from scipy.stats import binomtest  # a second

    found = evaluate(network, images, images.test)
    counts = torch.as_tensor(images.test.labels).bincount()
    share, right = float(counts.max() / counts.sum()), round(found.top1 / 100 * len(images.test))
    if expected is None and binomtest(right, len(images.test), share, alternative="greater").pvalue > 0.025:
        why = (
            f"always to answer the most frequent class has {100 * share:.1f} %, from which {len(images.test)} images "
            "cannot tell it (give what you expect of it, where that is little)"
        )
    elif expected is not None and found.top1 < expected - SPARE:
        why = f"{expected:g} % were expected"
    else:
        return found
    others = {name: evaluate(network, seen_as(images, name, None, None), images.test).top1 for name in NAMED}
    best = max(others, key=others.__getitem__)
    hint = f" (with mean and std {best!r} it has {others[best]:.1f} %)" if others[best] > found.top1 + SPARE else ""
    raise ConfigError(
        f"this network has {found.top1:.1f} % test top-1 on {images.name}, and {why}: likely its images were "
        f"normalised otherwise{hint}, its classes are in another order, or it was trained on other images"
    )

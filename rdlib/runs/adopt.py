"""Adopt a network that was trained elsewhere, such as torchvision's ResNet-50, so that it can teach here."""

import time
from pathlib import Path

import torch

from rdlib.files import sha256_of
from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs.execute import pick_device, require_same_images
from rdlib.runs.layout import load_into, read_weights
from rdlib.runs.provenance import forget_peak_memory, provenance
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import evaluate


def adopt(
    file: Path,
    dataset: str,
    depth: int = 50,
    width: int = 64,
    image_size: int | None = None,
    store: Store | None = None,
    device: str | torch.device | None = None,
) -> Record:
    """Evaluate a ResNet's weights, named as torchvision names them, and store them as a run that can be a teacher.

    file: a state dict written by torch.save, or .safetensors, for the data set's classes in their sorted order.
    image_size: of photographs, in pixels, by default 224. Returns the record that stands; its history is empty, its
    seconds are those of the evaluation on the test split, its protocol is "adopted".

    Raises CheckpointError for a file that holds no weights or others than the network's, naming the first misfit.
    """
    store = store or Store()
    store.require_writable()
    device = pick_device(device)
    weights = read_weights(file)
    images = load(dataset, device=device, image_size=image_size)
    if not isinstance(images, Dataset):
        image_size = images.side
    recipe = Recipe() if image_size is None else Recipe(image_size=image_size, crop_padding=0)
    images.require_fits(recipe)
    source = sha256_of(file)
    run = Run(dataset, "Adopted", depth, width, "all", 0, recipe, {"weights": source[:12]})
    require_same_images(run, store, images)
    network = resnet(depth, len(images.classes), "all", width, run.stem)
    load_into(network, weights, f"{file.name} does not fit ResNet-{depth} of width {width} for {dataset}")
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forget_peak_memory(device)
    started = time.perf_counter()
    test = evaluate(network, images, images.test)
    seconds = time.perf_counter() - started
    metrics = {"test_top1": test.top1, "test_top5": test.top5, "tune_top1": None, "train_loss": None}
    origin = provenance(images, device, seconds, len(images.test)) | {"protocol": "adopted", "source_sha256": source}
    return store.save(Record(run, metrics, [], origin), network)

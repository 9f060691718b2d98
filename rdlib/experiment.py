"""Carry out a run: build its networks, train, evaluate, and leave a record that says where it came from."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

import torch

from rdlib.data import Images
from rdlib.errors import ConfigError, RecordError
from rdlib.methods import METHODS
from rdlib.models import StagedResNet, resnet
from rdlib.parallel import joined, require_agreement, shard
from rdlib.photographs import load_images
from rdlib.provenance import code_digest, provenance
from rdlib.recipe import PAPER_RECIPES, PAPER_WIDTH
from rdlib.runs import Record, Run, Store
from rdlib.teaching import Method
from rdlib.train import Epoch, evaluate, fit


def build(run: Run, store: Store, num_classes: int) -> Method:
    """The method of a run, its teacher from the store, its networks initialised from the run's seed."""
    teacher = None if run.teacher is None else store.network(store.run(run.dataset, run.teacher))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return assemble(run, teacher, num_classes)


def assemble(run: Run, teacher: StagedResNet | None, num_classes: int) -> Method:
    """Networks and method of a run, from torch's global generator; the student first, so that every method starts a
    student of the same kind and seed from the same weights."""
    student = resnet(run.depth, num_classes, run.shortcuts, run.width, run.stem)
    if run.trains_teacher:
        teacher = resnet(run.depth, num_classes, "all", run.width, run.stem)
    networks = [student] if teacher is None else [student, teacher]
    make = cast(Any, METHODS[run.method])
    return make(*networks, **run.options)  # type: ignore[no-any-return]


def train(run: Run, store: Store, device: str | torch.device | None = None, progress: bool = True) -> Record:
    """Train a run (resuming its checkpoint where there is one), store weights and record, and return the record.

    device: by default CUDA where there is one. Under torchrun all processes call this and share the run; the first
    one writes. Raises before training when the store cannot be written, or the processes differ in code or data.
    """
    store.require_writable()
    with joined(pick_device(device)) as device:
        images = load_images(run.dataset, device=device, image_size=run.recipe.image_size)
        require_agreement({"run": run.id, "code": code_digest(), "images": images.sha256})
        require_same_images(run, store, images)
        method = build(run, store, len(images.classes))
        checkpoint = store.checkpoint_path(run)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with memory_named(run):
            training = fit(
                method,
                images,
                run.recipe,
                seed=run.seed,
                checkpoint=checkpoint,
                progress=progress,
                description=run.label,
            )
            epochs = list(training)
            test = evaluate(method.student, images, images.test) if run.recipe.holdout == "test" else None
        metrics = {
            "test_top1": test.top1 if test else None,
            "test_top5": test.top5 if test else None,
            "tune_top1": epochs[-1].tune_top1,
            "train_loss": sum(epochs[-1].losses.values()),
        }
        record = Record(run, metrics, [tidy(epoch) for epoch in epochs], made_by(run, images, epochs, device))
        if shard().rank == 0:
            record = store.save(record, method.student)
            checkpoint.unlink(missing_ok=True)
        return record


@contextlib.contextmanager
def memory_named(run: Run) -> Iterator[None]:
    """Turn a lack of memory into a ConfigError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory with batch_size {run.recipe.batch_size}, width {run.width}, depth {run.depth}: lower "
            "--jobs where several runs share the device, or share the batch among GPUs with torchrun; a lower "
            "--batch-size or --width is another run"
        ) from error


def require_same_images(run: Run, store: Store, dataset: Images[Any]) -> None:
    """Raise RecordError where the run, or its teacher, has a record made on other images of the same name."""
    for known in [run] if run.teacher is None else [run, store.run(run.dataset, run.teacher)]:
        record = store.record(known)
        if record is not None and record.provenance["data_sha256"] != dataset.sha256:
            raise RecordError(
                f"run {known.id} was trained on other images than the present {dataset.name}: "
                "restore those, or use another --store"
            )


def pick_device(name: str | torch.device | None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU. Raises ConfigError where it is not available."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here: use cpu, or cuda where there is a GPU") from error
    return device


def tidy(epoch: Epoch) -> dict[str, Any]:
    """An epoch as JSON, floats to six significant digits."""
    flat = {k: v for k, v in asdict(epoch).items() if v is not None}
    return cast(dict[str, Any], json.loads(json.dumps(flat), parse_float=lambda text: float(f"{float(text):.6g}")))


def made_by(run: Run, images: Images[Any], epochs: list[Epoch], device: torch.device) -> dict[str, Any]:
    """Provenance of a training, with the protocol it followed."""
    split = images.train if run.recipe.holdout == "test" else images.train_without_tune
    worked = run.recipe.epochs * (len(split) // run.recipe.batch_size) * run.recipe.batch_size
    full = run.width == PAPER_WIDTH and PAPER_RECIPES.get(run.dataset) == run.recipe
    seconds = sum(epoch.seconds for epoch in epochs)
    return provenance(images, device, seconds, worked) | {"protocol": "full" if full else "reduced"}


def train_or_load(run: Run, store: Store, device: str | torch.device | None = None, progress: bool = True) -> Record:
    """The run's record; trains only where there is none."""
    return store.record(run) or train(run, store, device, progress)

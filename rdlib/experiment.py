"""Carry out a run: build its networks, train, evaluate, and leave a record that says where it came from."""

import contextlib
import json
import platform
import resource
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import torch
import torchvision

from rdlib import data
from rdlib.errors import ConfigError, RecordError
from rdlib.methods import METHODS, Method
from rdlib.models import StagedResNet, resnet
from rdlib.runs import ROOT, Record, Run, Store
from rdlib.train import PAPER_RECIPE, Epoch, evaluate, fit

PAPER_WIDTH = 64


def build(run: Run, store: Store, num_classes: int) -> Method:
    """The method of a run, its networks initialised from the run's seed; the student first, so that every method
    starts a student of the same kind and seed from the same weights."""
    teacher: StagedResNet | None = None
    if run.teacher is not None:
        teacher = store.network(store.run(run.dataset, run.teacher))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        student = resnet(run.depth, num_classes, run.shortcuts, run.width)
        if run.trains_teacher:
            teacher = resnet(run.depth, num_classes, "all", run.width)
        networks = [student] if teacher is None else [student, teacher]
        make = cast(Any, METHODS[run.method])
        return make(*networks, **run.options)  # type: ignore[no-any-return]


def train(run: Run, store: Store, device: str | torch.device | None = None, progress: bool = True) -> Record:
    """Train a run (resuming its checkpoint where there is one), store weights and record, and return the record.

    device: by default CUDA where there is one. Raises before training when the store cannot be written.
    """
    store.require_writable()
    device = pick_device(device)
    dataset = data.load(run.dataset, device=device)
    require_same_images(run, store, dataset)
    method = build(run, store, len(dataset.classes))
    checkpoint = store.checkpoint_path(run)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    epochs = list(
        fit(method, dataset, run.recipe, seed=run.seed, checkpoint=checkpoint, progress=progress, description=run.label)
    )
    test = evaluate(method.student, dataset, dataset.test) if run.recipe.holdout == "test" else None
    metrics = {
        "test_top1": test.top1 if test else None,
        "test_top5": test.top5 if test else None,
        "tune_top1": epochs[-1].tune_top1,
        "train_loss": sum(epochs[-1].losses.values()),
    }
    record = Record(run, metrics, [tidy(epoch) for epoch in epochs], provenance(run, dataset, epochs, device))
    record = store.save(record, method.student)
    checkpoint.unlink(missing_ok=True)
    return record


def require_same_images(run: Run, store: Store, dataset: data.Dataset) -> None:
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


def provenance(run: Run, dataset: data.Dataset, epochs: list[Epoch], device: torch.device) -> dict[str, Any]:
    """Where a record came from: code, machine and data, without a path or a host name."""
    seconds = sum(epoch.seconds for epoch in epochs)
    split = dataset.train if run.recipe.holdout == "test" else dataset.train_without_tune
    images = run.recipe.epochs * (len(split) // run.recipe.batch_size) * run.recipe.batch_size
    full = run.dataset != "digits" and run.width == PAPER_WIDTH and run.recipe == PAPER_RECIPE
    if device.type == "cuda":
        name, memory = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        name = f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "rdlib")),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
        "device": name,
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": memory,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
        },
        "data_sha256": dataset.sha256,
        "protocol": "full" if full else "reduced",
    }


def git(*arguments: str) -> str | None:
    """Output of a git command in the repository, or None where there is no git or no repository."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return None


def train_or_load(run: Run, store: Store, device: str | torch.device | None = None, progress: bool = True) -> Record:
    """The run's record; trains only where there is none."""
    return store.record(run) or train(run, store, device, progress)

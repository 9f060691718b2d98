"""The record of what the paths see: JointRD's published quick run, trained again and observed at some epochs.

One safetensors file: feature maps in float16, logits in float32, the images; and, as JSON, what they are, where they
came from, and a digest over all of it.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import in_store, rows_of
from rdlib.files import digest
from rdlib.images import load
from rdlib.images.dataset import Dataset, Split
from rdlib.measure import record as measured
from rdlib.measure.gradients_record import moments, weights_equal
from rdlib.measure.paths import Observation, Observed, chosen, observe
from rdlib.methods import JointRD
from rdlib.models import STAGES
from rdlib.runs.execute import build, require_same_images, with_weights
from rdlib.runs.run import Run
from rdlib.runs.store import Store

EPOCHS = (0, 1, 2, 3, 5, 8, 12, 20, 30)  # denser where more changes
SCHEMA = 1


def command(profile: Profile, store: Store) -> str:
    return in_store(f"python -m rdlib measure paths {profile.name}", store)


def path_of(profile: Profile, store: Store) -> Path:
    return measured.folder(store) / f"paths-{profile.name}.safetensors"


def row_of(profile: Profile) -> Row:
    """JointRD of the profile's first depth, strictly plain, frozen teacher. Raises ConfigError where there is none."""
    for row in rows_of(profile, "3"):
        if (row.depth, row.shortcuts, row.method) == (profile.depths[0], "none", "JointRD"):
            return row
    raise ConfigError(f"profile {profile.name} has no networks of table 3: choose another profile")


def measure(profile: Profile, store: Store, path: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Train the first seed of `row_of` again on one thread of the CPU, observe it at EPOCHS and write the record.

    A teacher without weights in the store is trained there first; of the student the store gets nothing. Raises
    RecordError, before anything is trained, where the record cannot be written, ConfigError for images in a folder.
    """
    row = row_of(profile)
    measured.require_writable(path)
    run, threads = row.runs[0], torch.get_num_threads()
    torch.set_num_threads(1)  # as sweeps train, so that the weights can be compared
    try:
        observed, equal = watch(run, store, tell)
    finally:
        torch.set_num_threads(threads)
    about = {"run": run.id, "name": row.name, "value": run.value, "weights_equal": equal}
    write(path, observed, about | {"provenance": measured.origin("torch")})
    tell(f"{run.label}: weights as published: {equal}")


def watch(run: Run, store: Store, tell: Callable[[str], None]) -> tuple[Observed, bool | None]:
    """Train a run of JointRD with a frozen teacher and observe it at EPOCHS and at its end.

    With whether it ended with the published weights, byte for byte (None: that cannot be asked).
    """
    images = load(run.dataset)
    if not isinstance(images, Dataset):
        raise ConfigError(f"images in memory are observed, {run.dataset} is a folder: choose another profile")
    require_same_images(run, store, images)
    assert run.teacher is not None
    with_weights(store.run(run.dataset, run.teacher), store, tell)
    method = build(run, store, len(images.classes))
    assert isinstance(method, JointRD)
    seen = images.test.take(chosen(images))
    pixels, found = images.normalise(seen.images), Observed(run.label, seen, images.classes)
    for epoch, _ in moments(method, images, run):
        if epoch in EPOCHS or epoch == run.recipe.epochs:
            found.observations.append(observe(method, pixels, epoch))
            tell(f"observed after epoch {epoch} of {run.recipe.epochs}")
    return found, weights_equal(method.student, store.record(run), images)


def tensors_of(observed: Observed) -> dict[str, Tensor]:
    """As the file holds them; of a teacher that is frozen one observation is all."""
    tensors = {"images": observed.images.images, "labels": observed.images.labels}
    for seen in observed.observations:
        tensors |= {f"student.{seen.epoch}.{k}": halved(one) for k, one in enumerate(seen.student, 1)}
        tensors[f"logits.{seen.epoch}"] = seen.logits
    tensors |= {f"teacher.{k}": halved(one) for k, one in enumerate(observed.observations[0].teacher, 1)}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def halved(feature: Tensor) -> Tensor:
    """In float16; what is larger than it holds (65504) becomes its largest number."""
    return feature.clamp(-torch.finfo(torch.float16).max, torch.finfo(torch.float16).max).half()


def checksum(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the metadata and every tensor's name, type, shape and bytes."""
    parts = {
        name: [str(one.dtype), list(one.shape), hashlib.sha256(one.numpy().tobytes()).hexdigest()]
        for name, one in tensors.items()
    }
    return digest({"about": about, "tensors": parts})


def write(path: Path, observed: Observed, about: dict[str, Any]) -> None:
    """Write the record atomically. Raises RecordError where that is not possible."""
    tensors = tensors_of(observed)
    epochs = [seen.epoch for seen in observed.observations]
    about = {"schema": SCHEMA, **about, "epochs": epochs, "classes": list(observed.classes)}
    content = json.dumps(about | {"digest": checksum(about, tensors)})
    measured.save(path, safetensors.torch.save(tensors, {"record": content}))


def contents(profile: Profile, store: Store, path: Path | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of the record of a store, or at `path`. Raises RecordError where the file is missing,
    damaged or was edited."""
    path = path or path_of(profile, store)
    again = f"restore it from git, or measure again with `{command(profile, store)}`"
    if not path.exists():
        raise RecordError(f"there is no {path.name}: {again}")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no Mapping)
            about: dict[str, Any] = json.loads(file.metadata()["record"])
        claimed = about.pop("digest")
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']}, expected {SCHEMA}")
        if claimed != checksum(about, tensors):
            raise ValueError("it does not match its own digest")
        return about, tensors
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path.name} cannot be read ({error}): {again}") from error


def read(profile: Profile, store: Store, path: Path | None = None) -> Observed:
    """The record as it was observed, feature maps in float32. Raises RecordError as `contents` does."""
    about, tensors = contents(profile, store, path)
    teacher = tuple(tensors[f"teacher.{k}"].float() for k in range(1, STAGES + 1))
    seen = [
        Observation(
            epoch,
            tuple(tensors[f"student.{epoch}.{k}"].float() for k in range(1, STAGES + 1)),
            teacher,
            tensors[f"logits.{epoch}"],
        )
        for epoch in about["epochs"]
    ]
    value = about["value"]
    rate = value["recipe"]["learning_rate"]
    name = f"{value['dataset']}, recorded: {about['name']}, learning rate {rate:g}, seed {value['seed']}"
    return Observed(name, Split(tensors["images"], tensors["labels"]), about["classes"], seen)

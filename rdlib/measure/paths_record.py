"""The record of what the paths see: JointRD's published quick run, trained again and observed at some epochs.

One safetensors file: feature maps in float16, logits in float32, the images; and, as JSON, what they are, where they
came from, and a digest over all of it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from rdlib import files
from rdlib.errors import ConfigError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import JOINTRD, Row
from rdlib.experiments.tables import rows_of
from rdlib.images.dataset import Split
from rdlib.measure import record as measured
from rdlib.measure import retrain
from rdlib.measure.paths import Observation, Observed, chosen, observe
from rdlib.measure.record import SCHEMA, ProfileRecord, Tell
from rdlib.methods import JointRD
from rdlib.models import STAGES
from rdlib.runs.run import Run
from rdlib.runs.store import Store

RECORD = ProfileRecord("paths", "safetensors")
EPOCHS = (0, 1, 2, 3, 5, 8, 12, 20, 30)  # denser where more changes


def row_of(profile: Profile) -> Row:
    """JointRD of the profile's first depth, strictly plain, frozen teacher, at the high rate where the profile has it:
    there the paths part most. Raises ConfigError where there is none."""
    for row in (*rows_of(profile, "3-high-rate"), *rows_of(profile, "3")):
        if (row.depth, row.shortcuts, row.teaching) == (profile.depths[0], "none", JOINTRD):
            return row
    raise ConfigError(f"profile {profile.name} has no networks of table 3: choose another profile")


def measure(profile: Profile, store: Store, path: Path, tell: Tell = lambda line: None) -> None:
    """Train the first seed of `row_of` again on one thread of the CPU, observe it at EPOCHS and write the record.

    A teacher without weights in the store is trained there first; of the student the store gets nothing. Raises
    RecordError, before anything is trained, where the record cannot be written, ConfigError for images in a folder.
    """
    row = row_of(profile)
    run = row.runs[0]
    measured.require_writable(path)
    with retrain.one_thread():
        observed, equal = watch(run, store, tell)
    about = {"run": run.id, "name": row.name, "value": run.value, "weights_equal": equal}
    write(path, observed, about | {"provenance": measured.origin("torch")})
    tell(f"{run.label}: weights as published: {equal}")


def watch(run: Run, store: Store, tell: Tell) -> tuple[Observed, bool | None]:
    """Train a run of JointRD with a frozen teacher and observe it at EPOCHS and at its end.

    With whether it ended with the published weights, byte for byte (None: that cannot be asked).
    """
    images, method = retrain.begin(run, store, tell)
    assert isinstance(method, JointRD)
    seen = images.test.take(chosen(images))
    pixels, found = images.normalise(seen.images), Observed(run.label, seen, images.classes)
    for epoch, _ in retrain.epochs(run, images, method):
        if epoch in EPOCHS or epoch == run.recipe.epochs:
            found.observations.append(observe(method, pixels, epoch))
            tell(f"observed after epoch {epoch} of {run.recipe.epochs}")
    return found, retrain.weights_equal(method.student, store.record(run), images)


def write(path: Path, observed: Observed, about: dict[str, Any]) -> None:
    """Write the record, whole or not at all; of a teacher that is frozen one observation is all. Raises RecordError
    where that is not possible."""
    tensors = {"images": observed.images.images, "labels": observed.images.labels}
    for seen in observed.observations:
        tensors |= {f"student.{seen.epoch}.{k}": halved(one) for k, one in enumerate(seen.student, 1)}
        tensors[f"logits.{seen.epoch}"] = seen.logits
    tensors |= {f"teacher.{k}": halved(one) for k, one in enumerate(observed.observations[0].teacher, 1)}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    epochs = [seen.epoch for seen in observed.observations]
    about = {"schema": SCHEMA, **about, "epochs": epochs, "classes": list(observed.classes)}
    content = json.dumps(about | {"digest": digest(about, tensors)})
    with measured.writing(path):
        files.write(path, safetensors.torch.save(tensors, {"record": content}))


def halved(feature: Tensor) -> Tensor:
    """In float16; what is larger than it holds (65504) becomes its largest number."""
    return feature.clamp(-torch.finfo(torch.float16).max, torch.finfo(torch.float16).max).half()


def digest(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the metadata and every tensor's name, type, shape and bytes."""
    described = {
        name: [str(one.dtype), list(one.shape), hashlib.sha256(one.numpy().tobytes()).hexdigest()]
        for name, one in tensors.items()
    }
    return files.digest({"about": about, "tensors": described})


def contents(profile: Profile, store: Store) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a store's record. Raises RecordError where it is missing, damaged or was edited."""
    path = RECORD.path(profile, store)
    with measured.readable(path, RECORD.command(profile, store)):
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no Mapping)
            about = json.loads(file.metadata()["record"])
        return measured.verified(about, lambda content: digest(content, tensors)), tensors


def recorded(profile: Profile, store: Store) -> Observed:
    """The record of a store as it was observed, feature maps in float32. Raises RecordError as `contents` does."""
    about, tensors = contents(profile, store)

    def maps(prefix: str) -> tuple[Tensor, ...]:
        return tuple(tensors[f"{prefix}.{k}"].float() for k in range(1, STAGES + 1))

    teacher = maps("teacher")
    seen = [Observation(n, maps(f"student.{n}"), teacher, tensors[f"logits.{n}"]) for n in about["epochs"]]
    value = about["value"]
    rate = value["recipe"]["learning_rate"]
    name = f"{value['dataset']}, recorded: {about['name']}, learning rate {rate:g}, seed {value['seed']}"
    return Observed(name, Split(tensors["images"], tensors["labels"]), about["classes"], seen)

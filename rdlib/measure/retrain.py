"""A published run trained again, to be looked at between its epochs; the store gets nothing of it.

Looking changes nothing, and records say so: whether the weights are, byte for byte, those of the published run.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import safetensors.torch
import torch
from torch import nn

from rdlib.errors import ConfigError
from rdlib.images.dataset import Dataset
from rdlib.measure.record import Tell
from rdlib.methods import Method
from rdlib.runs.execute import build, images_of, require_same_images, with_weights
from rdlib.runs.provenance import provenance
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import fit


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses one thread of the CPU, as sweeps do, so that weights can be compared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def begin(run: Run, store: Store, tell: Tell = lambda line: None) -> tuple[Dataset, Method]:
    """The images of a run, and its method before training. A teacher without weights here is trained into the store.

    Raises ConfigError for images that are not held in memory, RecordError where the run's record had others.
    """
    images = images_of(run, store)
    if not isinstance(images, Dataset):
        raise ConfigError(f"only images in memory can be watched, {run.dataset} is a folder: choose another profile")
    require_same_images(run, store, images)
    if run.teacher is not None:
        with_weights(store.run(run.dataset, run.teacher), store, tell)
    return images, build(run, store, len(images.classes))


def epochs(run: Run, images: Dataset, method: Method) -> Iterator[tuple[int, float]]:
    """Train; gives the epoch and its seconds: 0 before any, then after each one."""
    yield 0, 0.0
    for epoch in fit(method, images, run.recipe, seed=run.seed, progress=False):
        yield epoch.epoch, epoch.seconds


def weights_equal(network: nn.Module, record: Record | None, images: Dataset) -> bool | None:
    """Whether a network's weights are, byte for byte, those a record describes.

    None where that cannot be asked: no record, one of a run that diverged, or one made on another kind of processor, by
    another torch or, of a run with a teacher, by other code of ours, which may round otherwise.
    """
    if record is None or record.diverged is not None:
        return None
    here, there = provenance(images, images.device, 1.0, 0), record.provenance
    asked = ["device", "threads", "versions", *(["processor"] if "processor" in there else [])]
    asked += ["code_sha256"] if record.run.taught else []
    if any(here[key] != there.get(key) for key in asked):
        return None
    file = safetensors.torch.save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})
    return bool(hashlib.sha256(file).hexdigest() == record.provenance["weights_sha256"])

"""Carry out a run: build its networks, train, evaluate, and leave a record that says where it came from."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock, Timeout

from rdlib.distributed import joined, require_agreement, shard
from rdlib.errors import BusyError, ConfigError, NonFiniteLossError, RecordError
from rdlib.files import sha256_of
from rdlib.images import load
from rdlib.images.dataset import Images
from rdlib.methods import Method
from rdlib.models import StagedResNet, resnet
from rdlib.recipe import PAPER_DEPTHS, PAPER_METHODS, PAPER_OPTIONS, PAPER_RECIPES, PAPER_WIDTH
from rdlib.rivals.register import METHODS
from rdlib.runs.provenance import code_digest, device_name, forget_peak_memory, provenance
from rdlib.runs.run import Divergence, Record, Run, defaults_of
from rdlib.runs.store import Store
from rdlib.step import FAST
from rdlib.train import Epoch, evaluate, fit


def build(run: Run, store: Store, num_classes: int) -> Method:
    """The method of a run, its teacher from the store."""
    taught_by = teacher_of(run, store)
    return assemble(run, store.network(taught_by) if taught_by else None, num_classes)


def teacher_of(run: Run, store: Store) -> Run | None:
    """The run of a run's teacher: on the same data set, that of a Transfer on another. Raises ConfigError otherwise."""
    if run.teacher is None:
        return None
    if run.method != "Transfer":
        return store.run(run.dataset, run.teacher)
    source = store.run(None, run.teacher)
    if source.dataset == run.dataset:
        raise ConfigError(f"a transfer leads to another data set, and {source.id} was trained on {run.dataset} too")
    return source


def images_of(run: Run, store: Store, device: str | torch.device = "cpu") -> Images[Any]:
    """The images of a run, seen as by the adopted network that it is or that its teaching began with, if any."""
    first = run
    while (taught_by := teacher_of(first, store)) is not None:
        first = taught_by
    seen: dict[str, Any] = {k: v for k, v in first.options.items() if first.method == "Adopted" and k != "weights"}
    size, resize = run.recipe.image_size, seen.pop("resize", None)
    if resize is not None and size is not None:  # else photographs taught what sees images in memory
        seen["resize"] = resize * size / (first.recipe.image_size or size)
    return load(run.dataset, device=device, image_size=size, **seen)


def assemble(run: Run, teacher: StagedResNet | None, num_classes: int) -> Method:
    """Networks and method of a run, initialised from its seed alone; the student first, so that every method starts a
    student of the same kind and seed from the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        networks = [run.student(num_classes)]
        if run.trains_teacher:
            teacher = resnet(run.depth, num_classes, "all", run.width, run.stem)
        if teacher is not None:
            networks.append(teacher)
            if run.method != "Transfer" and teacher.architecture.stem != run.stem:  # their maps would differ in size
                raise ConfigError(
                    f"the teacher's stem is {teacher.architecture.stem} and the student's {run.stem}: "
                    f"give the run other_stem={teacher.architecture.stem!r}"
                )
            if run.method != "Transfer" and teacher.conv1.stride != networks[0].conv1.stride:
                raise ConfigError("the teacher is ReDistill's, whose maps are smaller than a student's: choose another")
        make: Callable[..., Method] = METHODS[run.method]
        return make(*networks, **run.options)


def train(
    run: Run, store: Store, device: str | torch.device | None = None, progress: bool = True, again: bool = True
) -> Record:
    """Train a run (resuming its checkpoint where there is one), store weights and record, and return the record.

    A run that diverges leaves a record that says so, and no weights.

    again: also where record and weights are there, perhaps since another process left them a moment ago.
    device: by default CUDA where there is one. Under torchrun all processes call this and share the run; the first
    one writes. Raises before training when the store cannot be written, or the processes differ in code or data, and
    RecordError after it where the run has a record and one of the two diverged, the other not.
    """
    store.require_writable()
    checkpoint = store.checkpoint_path(run)
    with joined(pick_device(device)) as device, locked(checkpoint), memory_named(run):
        done = None if again else store.record(run)
        if done is not None and (done.diverged is not None or store.has_weights(run)):
            return done
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)  # else loaders would open the first GPU as well
        forget_peak_memory(device)
        images = images_of(run, store, device)
        require_agreement({"run": run.id, "code": code_digest(), "images": images.sha256})
        require_same_images(run, store, images)
        method = build(run, store, len(images.classes))
        told: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress, "description": run.label}
        told["trained_by"] = now = f"code {code_digest()[:12]}, torch {torch.__version__}, {device_name(device)}"
        epochs: list[Epoch] = []
        metrics: dict[str, float | None] = {}
        diverged = None
        try:
            for epoch in fit(method, images, run.recipe, seed=run.seed, **told):
                epochs.append(epoch)
            metrics = metrics_of(run, method, images, epochs[-1])
        except NonFiniteLossError as error:  # on every rank, since the terms were added up over all
            diverged = Divergence(error.epoch, error.step, error.term)
        origin = made_by(run, store, images, epochs, device)
        record = stands = Record(run, metrics, [tidy(epoch, now) for epoch in epochs], origin, diverged)
        if shard().rank == 0:
            stands = store.save(record, method.student if diverged is None else None)
            checkpoint.unlink(missing_ok=True)
            require_same_end(record, stands)
        return stands


def metrics_of(run: Run, method: Method, images: Images[Any], last: Epoch) -> dict[str, float | None]:
    """What a record says of the student after its last epoch."""
    test = evaluate(method.student, images, images.test) if run.recipe.holdout == "test" else None
    return {
        "test_top1": test.top1 if test else None,
        "test_top5": test.top5 if test else None,
        "tune_top1": last.tune_top1,
        "train_loss": sum(last.losses.values()),
    }


def require_same_end(record: Record, stands: Record) -> None:
    """Raise RecordError where a repeated run diverged and the one whose record stands did not, or the reverse."""
    name = record.run.id
    if record.diverged is not None and stands.diverged is None:
        raise RecordError(
            f"run {name} {record.diverged} here, and by its record, which stands, it finished: "
            f"train it where that was made ({stands.provenance.get('device')})"
        )
    if record.diverged is None and stands.diverged is not None:
        raise RecordError(
            f"run {name} finished here with {record.split} top-1 {record.top1:.1f} %, and by its record, which stands, "
            f"it {stands.diverged}: no weights were kept; to replace the record delete it, then train"
        )


@contextlib.contextmanager
def locked(checkpoint: Path) -> Iterator[None]:
    """Hold a run, so that no two sweeps train it at once; the lock ends with the process, however that ends."""
    if shard().rank > 0:
        yield
        return
    path = lock_path(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError("another process trains this run now: wait for it, or stop it") from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError) and path.exists():
            raise BusyError("another user's process trains this run: wait for it, or delete its lock") from error
        # else a file system without locks: go on without
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)  # who takes it meanwhile sees that it is gone, and begins again (filelock)
        lock.release()


def lock_path(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".lock")


def held(checkpoint: Path) -> bool:
    """Whether another process trains that run now. The lock that a killed one left is taken away."""
    if lock_path(checkpoint).exists():
        try:
            with locked(checkpoint):
                pass
        except BusyError:
            return True
    return False


def sweep_up(run: Run, store: Store) -> None:
    """Take away the checkpoint and lock of a run that is done, which a process killed at its very end left behind."""
    checkpoint = store.checkpoint_path(run)
    if (checkpoint.exists() or lock_path(checkpoint).exists()) and (store.has_weights(run) or store.diverged(run)):
        with contextlib.suppress(BusyError), locked(checkpoint):
            checkpoint.unlink(missing_ok=True)


@contextlib.contextmanager
def memory_named(run: Run) -> Iterator[None]:
    """Turn a lack of memory into a ConfigError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in ("out of memory", "alloc_failed", "allocate memory")):
            raise
        raise ConfigError(
            f"out of memory with batch_size {run.recipe.batch_size}, width {run.width}, depth {run.depth}: lower "
            "--jobs where several runs share the device, or share the batch among GPUs with torchrun; a lower "
            "--batch-size or --width is another run"
        ) from error


def require_same_images(run: Run, store: Store, dataset: Images[Any]) -> None:
    """Raise RecordError where the store has a record made on other images of the same name: of the run, its teacher, or
    any other, with which a table would average this one."""
    known = [one for one in (run, teacher_of(run, store)) if one and one.dataset == run.dataset]
    for record in [*map(store.record, known), store.some_record(run.dataset)]:
        if record is not None and record.provenance["data_sha256"] != dataset.sha256:
            raise RecordError(
                f"run {record.run.id} was trained on other images than the present {dataset.name}: "
                "restore those, prepare these under another name, or use another --store"
            )


def pick_device(name: str | torch.device | None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU. Raises ConfigError where it is not available.

    Nothing is put on a GPU to find out: a process that only starts others should hold none.
    """
    available = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if available else "cpu"))
        if device.type == "cuda" and not (available and (device.index or 0) < torch.cuda.device_count()):
            raise RuntimeError("no such GPU")
        if device.type != "cuda":
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here: use cpu, or cuda where there is a GPU") from error
    return device


def tidy(epoch: Epoch, now: str) -> dict[str, Any]:
    """An epoch as JSON, floats to six significant digits; who trained it only where that is not who does `now`."""
    flat = {k: v for k, v in asdict(epoch).items() if v is not None and (k != "trained_by" or v not in ("", now))}
    return cast(dict[str, Any], json.loads(json.dumps(flat), parse_float=lambda text: float(f"{float(text):.6g}")))


def made_by(run: Run, store: Store, images: Images[Any], epochs: list[Epoch], device: torch.device) -> dict[str, Any]:
    """Provenance of a training, with the weights that taught it and the protocol it followed."""
    split = images.trained_on(run.recipe, run.seed)
    worked = len(epochs) * (len(split) // run.recipe.batch_size) * run.recipe.batch_size
    origin = provenance(images, device, sum(epoch.seconds for epoch in epochs), worked)
    if (taught_by := teacher_of(run, store)) is not None:
        origin["teacher_weights_sha256"] = sha256_of(store.weights_path(taught_by))
    bfloat16 = FAST.on(FAST.bfloat16, device)
    origin["precision"] = "bfloat16 autocast" if bfloat16 else "float32"
    return origin | {"protocol": "full" if is_the_papers(run) else "reduced"}


def is_the_papers(run: Run) -> bool:
    """Whether a run has network, recipe, method and options of the paper's protocol (in either regime)."""
    wanted = defaults_of(run.method) | PAPER_OPTIONS.get(run.dataset, {}).get(run.method, {})
    options = all(value == wanted[name] for name, value in run.options.items() if name != "regime")
    network = run.width == PAPER_WIDTH and run.depth in PAPER_DEPTHS and run.conv == "plain"
    network = network and run.other_stem is None
    method = run.method in PAPER_METHODS
    return method and options and network and run.recipe == PAPER_RECIPES.get(run.dataset)


def with_weights(run: Run, store: Store, say: Callable[[str], None]) -> StagedResNet:
    """The trained student of a recorded run; weights that are not here are trained again, the teacher's first.

    Raises ConfigError for a run that diverged.
    """
    if not store.has_weights(run) and not store.diverged(run):
        if (taught_by := teacher_of(run, store)) is not None:
            with_weights(taught_by, store, say)
        say(f"the weights of {run.id} are not here, training them again: {run.label}")
        train(run, store)
    return store.network(run)

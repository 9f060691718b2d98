"""The training loop, an iterator over epochs that can be watched, stopped and resumed bit for bit; evaluation; and the
state between two epochs as a file, written atomically, refused when damaged or foreign.
"""

import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from tqdm.auto import tqdm

from rdlib import files
from rdlib.distributed import Shard, add_up, require_agreement, shard
from rdlib.errors import CheckpointError, ConfigError, NonFiniteLossError
from rdlib.methods import Method
from rdlib.recipe import Recipe
from rdlib.step import FAST, Speed, Step

Batches = Iterator[tuple[Tensor, Tensor]]
AFRESH = "move it away to start afresh"


class TrainingSet(Protocol):
    """What training asks of a data set (`images` has two kinds), whose splits may be of any type with a length."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> torch.device: ...  # where batches arrive
    @property
    def tune(self) -> Any: ...
    def trained_on(self, recipe: Recipe, seed: int) -> Any: ...
    def require_fits(self, recipe: Recipe) -> None: ...
    def training_batches(self, split: Any, recipe: Recipe, seed: int, epoch: int, shard: Shard) -> Batches: ...
    def evaluation_batches(self, split: Any, batch_size: int, shard: Shard) -> Batches: ...


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Accuracies in percent; `losses` are means of the weighted terms over the steps."""

    epoch: int  # counted from 1
    seconds: float  # training alone
    train_top1: float  # of the student, on augmented batches, while its weights move
    losses: dict[str, float]
    learning_rate: float  # of the last step
    tune_top1: float | None = None
    trained_by: str = ""  # which code, on what


@dataclass(frozen=True)
class Accuracy:
    """Top-1 and top-5 accuracy in percent (top-n of all n classes where there are fewer than five)."""

    top1: float
    top5: float


def evaluate(network: nn.Module, data: TrainingSet, split: Any, batch_size: int = 500) -> Accuracy:
    """Accuracy of a network in eval mode on every image of a split, each counted once, without augmentation.

    In float32 on every device: bfloat16 logits tie, and a published accuracy should not depend on how ties break.
    Compiled stages run uncompiled here: one pass is shorter than compiling for another batch.
    """
    training = network.training
    network.eval()
    correct = torch.zeros(2, dtype=torch.long, device=data.device)
    k = min(5, len(data.classes))
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        for images, labels in data.evaluation_batches(split, batch_size, shard()):
            hits = network(images).topk(k, dim=1).indices == labels.unsqueeze(1)
            correct += torch.stack([hits[:, 0].sum(), hits.sum()])
    network.train(training)
    top1, top5 = (100 * add_up(correct).double() / len(split)).tolist()
    return Accuracy(top1, top5)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """Learning rate per step, over `recipe.epochs` epochs of `steps` steps."""
    total = recipe.epochs * steps
    if recipe.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total, cycle_momentum=False)
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total)
    milestones = [max(1, round(share * recipe.epochs)) * steps for share in recipe.milestones]
    return lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


def fit(
    method: Method,
    data: TrainingSet,
    recipe: Recipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    speed: Speed = FAST,
    progress: bool = True,
    description: str = "training",
    trained_by: str = "",
) -> Iterator[Epoch]:
    """Train `method` on the device of `data`, yielding one Epoch after each epoch.

    With `checkpoint`, the state is saved there before each yield; where the file exists, its epochs are yielded again
    and training goes on from it, bit for bit on a CPU. `seed` rules shuffling and augmentation, epoch by epoch.
    `trained_by` is noted in every epoch trained now: those of a checkpoint may come from other code.
    Under torchrun every rank calls this, each batch is shared out, and rank 0 writes the checkpoint.

    Raises NonFiniteLossError with epoch, step and term, CheckpointError for a damaged or foreign checkpoint (also one
    of another number of ranks), ConfigError when the data do not fill one batch or the ranks differ.
    """
    split = data.trained_on(recipe, seed)
    tune = data.tune if recipe.holdout == "tune" else None
    steps, ours = len(split) // recipe.batch_size, shard()
    if steps == 0:
        known = f"the {len(split)} training images of {data.name}"
        raise ConfigError(f"batch_size {recipe.batch_size} is more than {known}: lower it, or add images")
    if recipe.batch_size % ours.size:
        raise ConfigError(f"batch_size {recipe.batch_size} cannot be shared by {ours.size} ranks: take a divisor of it")
    data.require_fits(recipe)
    identity = {**method.identity(), "recipe": str(recipe), "seed": seed, "data": data.sha256}
    identity |= {"ranks": ours.size, "device": data.device.type}
    step = Step(method, recipe, data.device, speed)
    scheduler = make_scheduler(step.optimizer, recipe, steps)
    history: list[Epoch] = []
    if checkpoint is not None and checkpoint.exists():
        history = restore_checkpoint(checkpoint, identity, method, step.optimizer, scheduler)
    require_agreement(identity | {"checkpoint": len(history)})
    yield from history
    shown: dict[str, Any] = {"desc": description, "disable": not progress or ours.rank > 0, "leave": False}
    with tqdm(total=recipe.epochs * steps, initial=len(history) * steps, unit="step", **shown) as bar:
        for index in range(len(history), recipe.epochs):
            batches = data.training_batches(split, recipe, seed, index, ours)
            epoch = replace(run_epoch(step, batches, index, recipe, scheduler, bar), trained_by=trained_by)
            if tune is not None:
                epoch = replace(epoch, tune_top1=evaluate(method.student, data, tune).top1)
            history.append(epoch)
            loss, train = f"{sum(epoch.losses.values()):.3f}", f"{epoch.train_top1:.1f}%"
            bar.set_postfix(epoch=epoch.epoch, loss=loss, train=train)
            if checkpoint is not None and ours.rank == 0:
                save_checkpoint(checkpoint, identity, method, step.optimizer, scheduler, history)
            yield epoch


def run_epoch(
    step: Step, batches: Batches, index: int, recipe: Recipe, scheduler: lr_scheduler.LRScheduler, bar: Any
) -> Epoch:
    """One epoch; nothing is read back from the device before its end."""
    step.method.train()
    started = time.perf_counter()
    rate, seen = 0.0, 0
    correct = torch.zeros((), dtype=torch.long, device=step.device)
    terms: dict[str, Tensor] = {}
    values: list[Tensor] = []
    for images, labels in batches:
        try:
            terms = step(images, labels, index / recipe.epochs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):  # BatchNorm has no deviation of a single one
                raise
            raise ConfigError(
                f"batch_size {recipe.batch_size} of images of this size leaves BatchNorm one value a channel: raise it"
            ) from error
        values.append(torch.stack([term.float() for term in terms.values()]))
        correct += (step.method.student_logits.argmax(1) == labels).sum()
        seen += len(labels)
        rate = float(step.optimizer.param_groups[0]["lr"])
        scheduler.step()
        bar.update()
    size = shard().size
    table, hits = (add_up(torch.stack(values)) / size).cpu(), add_up(correct).item()
    seconds = time.perf_counter() - started
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        at, which = bad[0].tolist()
        term, value = list(terms)[which], table[at, which].item()
        sentence = (
            f"the loss term {term} became {value} in epoch {index + 1}, step {at + 1}: "
            f"lower the learning rate ({recipe.learning_rate}) or inspect the data"
        )
        raise NonFiniteLossError(sentence, index + 1, at + 1, term)
    losses = dict(zip(terms, table.double().mean(0).tolist(), strict=True))
    return Epoch(index + 1, round(seconds, 3), 100 * hits / (seen * size), losses, rate)


def save_checkpoint(
    path: Path,
    identity: dict[str, Any],
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    history: list[Epoch],
) -> None:
    """Write the state between two epochs, atomically; a part that does not learn (a frozen teacher) is left out."""
    still = frozen(method)
    state = {
        "identity": identity,
        "method": {k: v for k, v in method.state_dict().items() if k.partition(".")[0] not in still},
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "history": [asdict(epoch) for epoch in history],
    }
    write_checkpoint(path, state)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state after its own SHA-256. Raises OSError."""
    content = io.BytesIO()  # torch.save onto a full disk would raise something of its container's
    torch.save(state, content)
    files.write(path, hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint. Raises CheckpointError for one with any other byte than were written."""
    content = memoryview(path.read_bytes())
    size = hashlib.sha256().digest_size
    if hashlib.sha256(content[size:]).digest() != content[:size]:
        raise CheckpointError(f"checkpoint {path.name} is damaged or not one of this rdlib: {AFRESH}")
    try:
        state = dict(torch.load(io.BytesIO(content[size:]), map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises whatever its container format happens to meet
        raise CheckpointError(f"checkpoint {path.name} cannot be read by this torch: {AFRESH}") from error
    if not {"identity", "history"} <= state.keys():
        raise CheckpointError(f"checkpoint {path.name} is not one of this rdlib: {AFRESH}")
    return state


def kept_epochs(path: Path) -> int:
    """How many epochs a checkpoint holds: 0 where there is none, or a damaged one."""
    try:
        return len(read_checkpoint(path)["history"])
    except (OSError, CheckpointError):
        return 0


def frozen(method: nn.Module) -> set[str]:
    """Names of the method's parts without a parameter that learns."""
    return {name for name, part in method.named_children() if not any(p.requires_grad for p in part.parameters())}


def restore_checkpoint(
    path: Path,
    identity: dict[str, Any],
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
) -> list[Epoch]:
    """Load a checkpoint into method, optimiser and scheduler; returns the epochs it already has."""
    state = read_checkpoint(path)
    found = state["identity"]
    ranks, ours = found.get("ranks", 1), identity.get("ranks", 1)
    if ranks != ours:
        raise CheckpointError(
            f"checkpoint {path.name} was made by {ranks} processes, this job has {ours}: start {ranks}, or {AFRESH}"
        )
    odd = [key for key in identity if found.get(key) != identity[key]]
    if odd:
        raise CheckpointError(f"checkpoint {path.name} belongs to another run (other {odd[0]}): {AFRESH}")
    try:
        parts = frozen(method)
        still = {k: v for k, v in method.state_dict().items() if k.partition(".")[0] in parts}
        method.load_state_dict(state["method"] | still)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        return [Epoch(**epoch) for epoch in state["history"]]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path.name} does not fit this network: {AFRESH}") from error

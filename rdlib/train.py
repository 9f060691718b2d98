"""The recipe and the training loop: an iterator over epochs that can be watched, stopped and resumed bit for bit."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from tqdm.auto import tqdm

from rdlib import checkpoint as checkpoints
from rdlib.data import Dataset, Split, batches
from rdlib.errors import ConfigError, NonFiniteLossError
from rdlib.methods import Method
from rdlib.models import DiracConv2d, StagedResNet, require_choice

Schedule = Literal["step", "cosine", "one-cycle"]
Holdout = Literal["test", "tune"]


@dataclass(frozen=True)
class Recipe:
    """How long and how to train. The defaults are the paper's CIFAR recipe.

    holdout "test": train on the whole training set and evaluate the test split once, after the last epoch. "tune":
    train without the tune split, evaluate that one after each epoch, and never look at the test split.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1  # its peak
    schedule: Schedule = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)  # "step" divides by 10 at these shares of the epochs
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 5e-4
    crop_padding: int = 4  # pixels; 0 switches the random crop off
    flip: bool = True
    holdout: Holdout = "test"

    def __post_init__(self) -> None:
        require_choice("schedule", self.schedule, get_args(Schedule))
        require_choice("holdout", self.holdout, get_args(Holdout))
        try:  # 1 and 1.0 are one recipe, and JSON gives a list where we have a tuple
            object.__setattr__(self, "milestones", tuple(map(float, self.milestones)))
            for field in fields(self):
                if isinstance(field.default, float):
                    object.__setattr__(self, field.name, float(getattr(self, field.name)))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"a recipe needs numbers as learning rate, momentum, decay, milestones: {error}"
            ) from error
        if type(self.flip) is not bool:
            raise ConfigError(f"a recipe needs True or False as flip, not {self.flip!r}")
        for name in ("epochs", "batch_size", "crop_padding"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"a recipe needs a whole number of {name}, not {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"a recipe needs {name} above 0, not {getattr(self, name)!r}")
        for name in ("momentum", "weight_decay", "crop_padding"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"a recipe needs {name} of at least 0, not {getattr(self, name)!r}")
        if not all(0 <= share <= 1 for share in self.milestones):
            raise ConfigError(f"a recipe needs milestones as shares of its epochs, 0 to 1, not {self.milestones!r}")


PAPER_RECIPE = Recipe()


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Accuracies in percent; `losses` are means of the weighted terms over the steps."""

    epoch: int  # counted from 1
    seconds: float  # training alone
    train_top1: float  # of the student, on augmented batches, while its weights move
    losses: dict[str, float]
    learning_rate: float  # of the last step
    tune_top1: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """Top-1 and top-5 accuracy in percent (top-n of all n classes where there are fewer than five)."""

    top1: float
    top5: float


def evaluate(network: StagedResNet, data: Dataset, split: Split, batch_size: int = 500) -> Accuracy:
    """Accuracy of a network in eval mode on every image of a split, without augmentation."""
    training = network.training
    network.eval()
    correct = torch.zeros(2, dtype=torch.long, device=split.labels.device)
    k = min(5, len(data.classes))
    with torch.inference_mode(), autocast(split.labels.device):
        for start in range(0, len(split), batch_size):
            images, labels = split.images[start : start + batch_size], split.labels[start : start + batch_size]
            hits = network(data.normalise(images)).topk(k, dim=1).indices == labels.unsqueeze(1)
            correct += torch.stack([hits[:, 0].sum(), hits.sum()])
    network.train(training)
    top1, top5 = (100 * correct.double() / len(split)).tolist()
    return Accuracy(top1, top5)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA; on a CPU float32 (bfloat16 is some fifteen times slower without hardware for it)."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def make_optimizer(method: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum over everything that learns; Dirac scales go without weight decay."""
    dirac = (m for m in method.modules() if isinstance(m, DiracConv2d))
    undecayed = {id(p) for m in dirac for p in (m.alpha, m.beta)}
    learning = [p for p in method.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if id(p) not in undecayed]},
        {"params": [p for p in learning if id(p) in undecayed], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=learning[0].is_cuda,
    )


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
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    compile: bool | None = None,
    progress: bool = True,
    description: str = "training",
) -> Iterator[Epoch]:
    """Train `method` on the device that holds `data`, yielding one Epoch after each epoch.

    With `checkpoint`, the state is saved there before each yield; where the file exists, its epochs are yielded again
    and training goes on from it, bit for bit on a CPU. `seed` rules shuffling and augmentation, epoch by epoch.
    `compile` is torch.compile, by default on CUDA only. Raises NonFiniteLossError with epoch, step and term,
    CheckpointError for a damaged or foreign checkpoint, ConfigError when the data do not fill one batch.
    """
    split = data.train if recipe.holdout == "test" else data.train_without_tune
    device, steps = split.labels.device, len(split) // recipe.batch_size
    if steps == 0:
        raise ConfigError(
            f"batch_size {recipe.batch_size} is more than the {len(split)} training images of {data.name}"
        )
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(method, recipe)
    scheduler = make_scheduler(optimizer, recipe, steps)
    identity = {**method.identity(), "recipe": str(recipe), "seed": seed, "data": data.sha256}
    history: list[Epoch] = []
    if checkpoint is not None and checkpoint.exists():
        history = [Epoch(**e) for e in checkpoints.restore(checkpoint, identity, method, optimizer, scheduler)]
        yield from history
    if compile or (compile is None and device.type == "cuda"):
        torch._dynamo.reset()  # a run's variants count against dynamo's limit, not those of all runs before it
        method.compile()
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=len(history) * steps,
        desc=description,
        unit="step",
        disable=not progress,
        leave=False,
    )
    with bar:
        for index in range(len(history), recipe.epochs):
            generator = torch.Generator(device).manual_seed(seed * 1_000_003 + index)
            stream = batches(split, recipe.batch_size, recipe.crop_padding, recipe.flip, generator)
            history.append(run_epoch(method, data, stream, optimizer, scheduler, index, recipe, bar))
            if checkpoint is not None:
                done = [asdict(epoch) for epoch in history]
                checkpoints.save(checkpoint, identity, method, optimizer, scheduler, done)
            yield history[-1]


def run_epoch(
    method: Method,
    data: Dataset,
    stream: Iterator[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    epoch: int,
    recipe: Recipe,
    bar: Any,
) -> Epoch:
    """One epoch; nothing is read back from the device before its end."""
    method.train()
    started = time.perf_counter()
    seen, rate = 0, 0.0
    correct = torch.zeros((), dtype=torch.long, device=data.mean.device)
    values: list[Tensor] = []
    names: list[str] = []
    for pixels, labels in stream:
        images = data.normalise(pixels)
        terms: dict[str, Tensor] = {}
        with autocast(labels.device):
            teaching = method.teacher_losses(images, labels)
        if teaching:
            step_down(teaching, optimizer)
        with autocast(labels.device):
            terms = method.losses(images, labels, epoch / recipe.epochs)
        step_down(terms, optimizer)
        rate = float(optimizer.param_groups[0]["lr"])
        scheduler.step()
        terms = teaching | terms
        names = list(terms)
        values.append(torch.stack([term.detach().float() for term in terms.values()]))
        correct += (method.student_logits.argmax(1) == labels).sum()
        seen += len(labels)
        bar.update()
    table = torch.stack(values).cpu()
    seconds = time.perf_counter() - started
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        step, term = bad[0].tolist()
        raise NonFiniteLossError(
            f"the loss term {names[term]} became {table[step, term].item()} in epoch {epoch + 1}, step {step + 1}: "
            f"lower the learning rate ({recipe.learning_rate}) or inspect the data"
        )
    losses = dict(zip(names, table.double().mean(0).tolist(), strict=True))
    tune = evaluate(method.student, data, data.tune).top1 if recipe.holdout == "tune" else None
    bar.set_postfix(epoch=epoch + 1, loss=f"{sum(losses.values()):.3f}", train=f"{100 * correct.item() / seen:.1f}%")
    return Epoch(epoch + 1, round(seconds, 3), 100 * correct.item() / seen, losses, rate, tune)


def step_down(terms: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """One optimiser step on the sum of the terms; parameters no term reaches have no gradient and stay."""
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()

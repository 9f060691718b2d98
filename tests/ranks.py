"""What the processes of a torchrun job do in tests/test_parallel.py: train on random images and leave the weights."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from conftest import random_dataset
from torch import Tensor

from rdlib.distributed import joined, shard
from rdlib.errors import DataError, RdlibError
from rdlib.images.dataset import Dataset
from rdlib.methods import JointRD, Method, Supervised
from rdlib.models import plain, resnet
from rdlib.recipe import Recipe
from rdlib.train import evaluate, fit

RECIPE = Recipe(epochs=5, batch_size=16, learning_rate=0.02, crop_padding=1, cutout=3)  # 4 steps an epoch


@dataclass(frozen=True)
class Double(Dataset):
    """In float64, so that only a real difference is a difference."""

    def normalise(self, images: Tensor) -> Tensor:
        return super().normalise(images).double()


def method(name: str) -> Method:
    torch.manual_seed(1)
    student, teacher = plain(18, 10, 4), resnet(18, 10, width=4)
    made = {
        "supervised": lambda: Supervised(student),
        "frozen": lambda: JointRD(student, teacher),
        "fading": lambda: JointRD(student, teacher, m_min=0.0),  # its mixed paths end half-way
        "beside": lambda: JointRD(student, teacher, regime="beside"),
    }
    return made[name]().double()


def fail_on_rank_1(method: Method) -> None:
    """Its images cannot be read in the second epoch; the other process waits for it in the middle of a step."""
    losses = method.losses

    def failing(images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        if shard().rank == 1 and progress > 0:
            raise DataError("train/cat/7.JPEG cannot be read as an image")
        return losses(images, labels, progress)

    method.losses = failing  # type: ignore[method-assign]


def train(name: str, folder: Path, checkpoint: Path | None = None, seed: int = 0, fails: bool = False) -> None:
    """Weights, curve and accuracy of a method into `folder`."""
    data = Double(**vars(random_dataset(train=70, test=33, seed=seed)))
    made = method(name)
    if fails:
        fail_on_rank_1(made)
    curve = list(fit(made, data, RECIPE, checkpoint=checkpoint, progress=False))
    accuracy = evaluate(made.student, data, data.test)
    if shard().rank == 0:
        curve = [replace(epoch, seconds=0.0) for epoch in curve]
        result = {"weights": made.state_dict(), "curve": [str(epoch) for epoch in curve], "accuracy": str(accuracy)}
        torch.save(result, folder / f"{name}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    try:
        if mode == "cli":
            from rdlib.__main__ import main  # not above: it takes a second, in every process

            sys.argv[1:] = names
            main()
        else:
            with joined(torch.device("cpu")):
                for name in names:
                    checkpoint = folder / f"{name}.checkpoint" if mode in ("resumable", "failing") else None
                    other = shard().rank if mode == "other-data" else 0
                    train(name, folder, checkpoint, seed=other, fails=mode == "failing")
    except RdlibError as error:
        from rdlib.commands.main import leave

        leave(f"error: {error}", 2)

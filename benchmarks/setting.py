"""What is measured: one size of networks and batches. Images and weights are random: values cost no time."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from rdlib.images.dataset import Dataset, Split, moments
from rdlib.methods import JointRD, Method, Taught
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.runs.flops import step_flops
from rdlib.runs.run import Run

CLASSES = 100
IMAGES = 4096  # at least so many are held, more than a processor's cache takes
PROGRESS = 0.5  # of training, where m(t) has reached its last value; the mixed paths always run
LEARNING_RATE = 1e-3  # small, for labels that mean nothing must not make the weights overflow


@dataclass(frozen=True)
class Setting:
    """A ResNet teacher and a strictly plain student of one depth and width, and the batches they see."""

    depth: int = 18
    width: int = 16
    batch_size: int = 128
    side: int = 32

    @property
    def label(self) -> str:
        return f"depth {self.depth}, width {self.width}, batch {self.batch_size}, {self.side}x{self.side}"

    @property
    def recipe(self) -> Recipe:
        return Recipe(batch_size=self.batch_size, learning_rate=LEARNING_RATE)

    @property
    def value(self) -> dict[str, int]:
        return asdict(self)

    def build(self, kind: type[Method] = JointRD, **options: Any) -> Method:
        """The method, its networks initialised alike at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks = [resnet(self.depth, CLASSES, "none", self.width)]
            if issubclass(kind, Taught):
                networks.append(resnet(self.depth, CLASSES, "all", self.width))
            make: Any = kind
            method: Method = make(*networks, **options)
        return method.train()

    def flops(self, kind: type[Method] = JointRD, **options: Any) -> int:
        """Operations that one step needs: those of rdlib's own code, whatever the measured variant wastes."""
        teacher = "0" * 12 if issubclass(kind, Taught) and options.get("regime") != "beside" else None
        run = Run("synthetic", kind.__name__, self.depth, self.width, "none", 0, self.recipe, options, teacher)
        return step_flops(run, self.side, CLASSES)

    def dataset(self, steps: int, device: torch.device) -> Dataset:
        """Random images, enough for so many steps, on the device."""
        count = max(IMAGES, steps * self.batch_size)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (count, 3, self.side, self.side), generator=generator, dtype=torch.uint8)
        split = Split(images.to(device), (torch.arange(count) % CLASSES).to(device))
        mean, std = (moment.to(device) for moment in moments(images))
        return Dataset("synthetic", [str(i) for i in range(CLASSES)], split, split, mean, std, "synthetic")

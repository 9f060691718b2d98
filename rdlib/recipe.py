"""The recipe: how long and how to train, as a value."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from rdlib.errors import ConfigError, require_choice

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
    # None in the fields below means "as if the field did not exist": runs that lack it keep their id.
    cutout: int | None = None  # side in pixels of a square blanked in each image (DeVries and Taylor, 2017)
    image_size: int | None = None  # folders of photographs: random resized crop to this side, and the ImageNet stem
    optimizer: Literal["muon"] | None = None  # for the kernels; None is SGD for everything
    shots: int | None = None  # train on so many images of each class, drawn by the run's seed

    def at_batch_size(self, batch_size: int) -> "Recipe":
        """The recipe for another batch, its learning rate scaled linearly (Goyal et al., 2017, section 2.1)."""
        return replace(self, batch_size=batch_size, learning_rate=self.learning_rate * batch_size / self.batch_size)

    def __post_init__(self) -> None:
        require_choice("schedule", self.schedule, get_args(Schedule))
        require_choice("holdout", self.holdout, get_args(Holdout))
        require_choice("optimizer", self.optimizer, (None, "muon"))
        try:  # 1 and 1.0 are one recipe, and JSON gives a list where we have a tuple
            object.__setattr__(self, "milestones", tuple(map(float, self.milestones)))
            for field in fields(self):
                if isinstance(field.default, float):
                    object.__setattr__(self, field.name, float(getattr(self, field.name)))
        except (TypeError, ValueError) as bad:
            raise ConfigError(f"a recipe needs numbers as learning rate, momentum, decay, milestones: {bad}") from bad
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
        for name, unit in {"cutout": "pixels", "image_size": "pixels", "shots": "images of a class"}.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"a recipe needs a whole number of {unit} as {name}, not {value!r}")
        if self.image_size is not None and self.crop_padding:
            raise ConfigError("a recipe with image_size crops at random already: set crop_padding to 0")
        if not all(0 <= share <= 1 for share in self.milestones):
            raise ConfigError(f"a recipe needs milestones as shares of its epochs, 0 to 1, not {self.milestones!r}")


PAPER_WIDTH = 64  # channels of the first stage
PAPER_DEPTHS = (18, 34, 50)
PAPER_METHODS = ("Supervised", "LogitDistillation", "FeatureDistillation", "JointRD")
PAPER_RECIPE = Recipe()
IMAGENET_RECIPE = Recipe(120, 512, 0.2, "step", (0.25, 0.5, 0.75), weight_decay=1e-4, crop_padding=0, image_size=224)
# What the released commands set otherwise than a method's defaults, which are those for CIFAR. The released code lets
# m(t) fall over 60 epochs of any data set: the first half of ImageNet's 120.
PAPER_OPTIONS: dict[str, dict[str, dict[str, float]]] = {
    "imagenet": {
        "JointRD": {"distance_weight": 1e-4, "m_min": 0.005, "m_end": 0.5},
        "FeatureDistillation": {"distance_weight": 1e-4},
    }
}
PAPER_RECIPES = {"cifar10": PAPER_RECIPE, "cifar100": PAPER_RECIPE, "imagenet": IMAGENET_RECIPE}

"""Profiles: a data set with sizes, a recipe, depths and seeds; every table is made from one."""

from dataclasses import dataclass, replace
from typing import Any, Self

from rdlib.errors import ConfigError, require_choice
from rdlib.recipe import IMAGENET_RECIPE, PAPER_RECIPE, PAPER_RECIPES, PAPER_WIDTH, Recipe


@dataclass(frozen=True)
class Profile:
    """A data set with sizes, recipe, depths (the one worth most first: a sweep keeps that order) and seeds.

    first: only so many seeds are asked for, of every table, also of one that has more seeds than the others.
    """

    name: str
    dataset: str
    depths: tuple[int, ...]
    width: int
    recipe: Recipe
    seeds: tuple[int, ...] = (0, 1, 2)
    note: str = ""
    first: int | None = None

    @property
    def full(self) -> bool:
        """Whether it is the paper's protocol, so that reported numbers may stand beside its cells."""
        return self.width == PAPER_WIDTH and PAPER_RECIPES.get(self.dataset) == self.recipe

    def seeded(self, *seeds: int) -> Self:
        """The same with these seeds, as many of them as are asked for."""
        return replace(self, seeds=seeds[: self.first])

    def trained(self, **changes: Any) -> Self:
        """The same with these fields of its recipe changed."""
        return replace(self, recipe=replace(self.recipe, **changes))


QUICK_RECIPE = Recipe(epochs=30, schedule="one-cycle", crop_padding=2, flip=False)  # the paper's rate
SMALL_RECIPE = Recipe(epochs=10, schedule="one-cycle", crop_padding=2)  # the paper's rate; nothing was tuned
SHORT_RECIPE = replace(PAPER_RECIPE, epochs=40)
SMALL = "at 16x16, all images, width 16, 10 epochs, days on a laptop, depth 34 first"
SHORT = "reduced: a fifth of the paper's epochs, one GPU"
FIVE = (0, 1, 2, 3, 4)
PROFILES = {
    p.name: p
    for p in (
        Profile(
            "quick",
            "digits",
            (34,),
            8,
            QUICK_RECIPE,
            note="scikit-learn digits at 16x16, width 8, a minute or two a run on a CPU",
        ),
        Profile("cifar10-small", "cifar10-small", (34, 18, 50), 16, SMALL_RECIPE, FIVE, f"CIFAR-10 {SMALL}"),
        Profile("cifar100-small", "cifar100-small", (34, 18, 50), 16, SMALL_RECIPE, FIVE, f"CIFAR-100 {SMALL}"),
        # Sized to fit three hours on two CPU cores. Nothing was tuned: the paper's rate, on a schedule that is short.
        Profile(
            "cifar100-2-epochs",
            "cifar100",
            (18,),
            16,
            Recipe(epochs=2, schedule="one-cycle"),
            note="all CIFAR-100 images at 32x32, width 16, 2 epochs, hours on a CPU",
        ),
        Profile("cifar10-short", "cifar10", (34, 18, 50), PAPER_WIDTH, SHORT_RECIPE, note=SHORT),
        Profile("cifar100-short", "cifar100", (18, 34, 50), PAPER_WIDTH, SHORT_RECIPE, note=SHORT),
        Profile("cifar100", "cifar100", (18, 34, 50), PAPER_WIDTH, PAPER_RECIPE, note="the paper's protocol, one GPU"),
        Profile("cifar10", "cifar10", (34, 18, 50), PAPER_WIDTH, PAPER_RECIPE, note="the paper's protocol, one GPU"),
        Profile(
            "imagenet",
            "imagenet",
            (50, 18, 34),
            PAPER_WIDTH,
            IMAGENET_RECIPE,
            seeds=(0,),
            note="the paper's protocol, many GPUs",
        ),
    )
}


# Beside the list, since no claim is read from them. SMOKE is the whole chain in three minutes, for CI; its accuracies
# mean nothing. TWENTY_EPOCHS is what the first fifteen minutes of a GPU allowed.
SMOKE_RECIPE = replace(QUICK_RECIPE, epochs=1, batch_size=16, learning_rate=0.05)
SMOKE = Profile("smoke", "digits", (18,), 4, SMOKE_RECIPE, note="one epoch of the smallest networks")
TWENTY_EPOCHS = Profile(
    "cifar100-20-epochs",
    "cifar100",
    (18,),
    PAPER_WIDTH,
    Recipe(epochs=20),
    note="a tenth of the paper's epochs, one GPU",
)
UNLISTED = {p.name: p for p in (SMOKE, TWENTY_EPOCHS)}


def profile(name: str, seeds: int | None = None) -> Profile:
    """The profile of that name, with only its first `seeds` seeds where given."""
    if name not in UNLISTED:
        require_choice("profile", name, PROFILES)
    chosen = (PROFILES | UNLISTED)[name]
    if seeds is None:
        return chosen
    if not 1 <= seeds <= len(chosen.seeds):
        raise ConfigError(f"profile {name} has seeds 1 to {len(chosen.seeds)}, not {seeds}: choose within")
    return replace(chosen, seeds=chosen.seeds[:seeds], first=seeds)

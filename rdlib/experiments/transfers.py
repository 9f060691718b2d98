"""Which networks are transferred where, and how they are fine-tuned: the rows behind the transfer tables.

A task leads from a source data set to a target. Networks are trained on the source, their classifier is dropped, and
they learn the target with a frozen backbone or in full, on all its training images or on a few of each class. From
scratch, the same networks learn the target alone, in as many steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row, Teaching, listed, make_row
from rdlib.experiments.rows import JOINTRD as BY_JOINTRD
from rdlib.models import SHORTCUTS, Shortcuts
from rdlib.recipe import IMAGENET_RECIPE, PAPER_RECIPE, Recipe
from rdlib.runs.run import Run

FROZEN, FULL, SCRATCH = "frozen", "full", "from scratch"
START = {FROZEN: "backbone frozen", FULL: "everything learns", SCRATCH: "from scratch"}
RESNET, PLAIN, JOINTRD, RELEASED = "ResNet", "plain", "plain, JointRD", f"plain, {SHORTCUTS['downsample']}, JointRD"
NETWORKS: dict[str, tuple[Shortcuts, Teaching]] = {  # how each was trained on the source
    RESNET: ("all", CROSS_ENTROPY),
    PLAIN: ("none", CROSS_ENTROPY),
    JOINTRD: ("none", BY_JOINTRD),
    RELEASED: ("downsample", BY_JOINTRD),
}
SMALL = (RESNET, PLAIN, JOINTRD)  # what is transferred between small images
ALL = None  # shots: all training images


@dataclass(frozen=True)
class Task:
    """One transfer. recipes: by shots, those for all images under ALL; their learning rate is that of `rates`.

    rates: by start, what is tried on the tune split, at the shots and seeds of `tuned`. chosen: by start and network
    the best of them, for few images and for all; where it is absent, `untuned` by start. seeds: None: the profile's.
    """

    source: str
    target: str
    recipes: Mapping[int | None, Recipe]
    rates: Mapping[str, tuple[float, ...]]
    tuned: Mapping[int | None, tuple[int, ...]]
    chosen: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    untuned: Mapping[str, float] = field(default_factory=dict)
    networks: tuple[str, ...] = SMALL
    scratch: tuple[str, ...] = (RESNET, PLAIN)
    seeds: tuple[int, ...] | None = None
    note: str = ""  # how it differs from another task of the same two data sets

    @property
    def name(self) -> str:
        return listed(f"{self.source} to {self.target}", self.note)

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Start and network of every line."""
        taken = [(start, network) for start in (FROZEN, FULL) for network in self.networks]
        return [*taken, *((SCRATCH, network) for network in self.scratch)]

    def rate(self, start: str, network: str, shots: int | None) -> float:
        few, whole = self.chosen.get((start, network), (self.untuned.get(start, PAPER_RECIPE.learning_rate),) * 2)
        return whole if shots is ALL else few


@dataclass(frozen=True)
class Line:
    """One cell of the transfer table: a network, how it starts, and how many images of a class it sees."""

    task: Task
    network: str
    start: str
    shots: int | None
    rate: float
    row: Row

    @property
    def case(self) -> tuple[str, str, str]:
        """Task, start and network; the cells of one case follow each other in every list."""
        return self.task.name, self.start, self.network

    @property
    def images(self) -> str:
        """How many images of each class, in a word."""
        return "all" if self.shots is ALL else str(self.shots)


def few_shot(shots: Sequence[int], classes: int, batch: int, steps: int, base: Recipe) -> dict[int | None, Recipe]:
    """Recipes of about `steps` steps each, whatever the number of images."""
    found: dict[int | None, Recipe] = {}
    for n in shots:
        size = min(batch, n * classes)
        found[n] = replace(base, batch_size=size, epochs=max(1, round(steps / (n * classes // size))), shots=n)
    return found


DIGITS = Recipe(epochs=4, batch_size=25, schedule="one-cycle", crop_padding=2, flip=False)
CIFAR = Recipe(epochs=1, schedule="one-cycle")
PHOTOGRAPHS = replace(IMAGENET_RECIPE, epochs=30, batch_size=64, schedule="one-cycle")
GRID = {FROZEN: (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), FULL: (0.01, 0.03, 0.1, 0.3), SCRATCH: (0.01, 0.03, 0.1, 0.3)}
SHORT_GRID = {FROZEN: (0.03, 0.1, 0.3, 1.0), FULL: (0.01, 0.03, 0.1, 0.3), SCRATCH: ()}
Rates = Mapping[tuple[str, str], tuple[float, float]]  # by start and network: for few images and for all


def by_network(rates: Mapping[str, Sequence[tuple[float, float]]]) -> Rates:
    """Rates of each start for the ResNet, the plain network and JointRD's, in this order."""
    return {
        (start, network): pair for start, pairs in rates.items() for network, pair in zip(SMALL, pairs, strict=False)
    }


DIGITS_TASK = Task(
    *("digits-low", "digits-high", few_shot((1, 2, 5, 10, 25), 5, 25, 40, DIGITS) | {ALL: DIGITS}),
    rates=GRID,
    tuned={5: (0, 1), ALL: (0, 1)},
    chosen=by_network(
        {
            FROZEN: ((0.3, 3.0), (1.0, 0.3), (0.1, 0.01)),
            FULL: ((0.03, 0.1), (0.03, 0.03), (0.1, 0.1)),
            SCRATCH: ((0.1, 0.01), (0.03, 0.1)),
        }
    ),
)
# Is what differs after four epochs a matter of time? The rates are those of four epochs.
LONG_TASK = replace(
    DIGITS_TASK,
    recipes={ALL: replace(DIGITS, epochs=20)},
    rates=dict.fromkeys(START, ()),
    tuned={},
    note="20 epochs",
)
CIFAR_TASK = Task(
    *("cifar100-first", "cifar100-second", few_shot((10,), 50, 125, 40, CIFAR) | {ALL: CIFAR}),
    rates=SHORT_GRID,
    tuned={10: (0,)},
    chosen=by_network({FROZEN: ((0.3, 0.3), (1.0, 1.0), (1.0, 1.0)), FULL: ((0.3, 0.3), (0.3, 0.3), (0.3, 0.3))}),
)
IMAGENET_TASK = Task(
    source="imagenet",
    target="mit67",
    recipes={ALL: PHOTOGRAPHS},
    rates=GRID,
    tuned={ALL: (0,)},
    untuned={FROZEN: 0.1, FULL: 0.01, SCRATCH: 0.1},
    networks=(RESNET, JOINTRD, RELEASED),
    seeds=(0, 1, 2),
)
TASKS: dict[str, tuple[Task, ...]] = {  # by profile
    "quick": (DIGITS_TASK, LONG_TASK),
    "cifar100-2-epochs": (CIFAR_TASK,),
    "imagenet": (IMAGENET_TASK, replace(IMAGENET_TASK, target="caltech101")),
}


def sources(profile: Profile, task: Task) -> dict[str, Row]:
    """The networks as trained on the source, at the paper's learning rate; of ImageNet, those of table 4."""
    gentle = profile if profile.full else profile.trained(learning_rate=PAPER_RECIPE.learning_rate)
    there, where = replace(gentle, dataset=task.source), f"on {task.source}"
    teachers = make_row(there, profile.depths[0], CROSS_ENTROPY, "all", conditions=where)
    found = {RESNET: teachers}
    for network in task.networks:
        kept, taught = NETWORKS[network]
        if network != RESNET:
            found[network] = make_row(there, profile.depths[0], taught, kept, teachers, where)
    return found


def transfer_line(
    profile: Profile, task: Task, origin: Mapping[str, Row], case: tuple[str, str], shots: int | None, rate: float,
    seeds: Sequence[int], tune: bool,
) -> Line:  # fmt: skip
    """One cell; a seed starts from the source's run of that seed (of the only one, where there is one)."""
    start, network = case
    kept, taught = NETWORKS[network]
    recipe = replace(task.recipes[shots], learning_rate=rate, holdout="tune" if tune else "test")
    size = (profile.depths[0], profile.width, kept)
    if start == SCRATCH:
        runs = tuple(Run(task.target, "Supervised", *size, seed, recipe) for seed in seeds)
    else:
        trained = {run.seed: run.id for run in origin[network].runs}
        ids = [trained.get(seed, origin[network].runs[0].id) for seed in seeds]
        made = zip(seeds, ids, strict=True)
        runs = tuple(
            Run(task.target, "Transfer", *size, seed, recipe, {"backbone": start}, teacher) for seed, teacher in made
        )
    images = "all images" if shots is ALL else f"{shots} of each class"
    tried = f"rate {rate:g}" * tune
    conditions = listed(f"to {task.target}", task.note, START[start], images, tried)
    return Line(task, network, start, shots, rate, Row(size[0], kept, taught, runs, conditions=conditions))


def lines(profile: Profile) -> list[Line]:
    """Every cell of the transfer table, on the target's test images."""
    return [
        transfer_line(
            profile, task, origin, case, shots, task.rate(*case, shots), task.seeds or profile.seeds, tune=False
        )
        for task, origin in with_sources(profile)
        for case in task.cases
        for shots in task.recipes
    ]


def tune_lines(profile: Profile) -> list[Line]:
    """Every rate tried for every cell that is tuned, on the target's tune split."""
    return [
        transfer_line(
            profile, task, origin, case, shots, rate, [n for n in seeds if task.seeds or n in profile.seeds], tune=True
        )
        for task, origin in with_sources(profile)
        for case in task.cases
        for shots, seeds in task.tuned.items()
        for rate in task.rates[case[0]]
    ]


def with_sources(profile: Profile) -> list[tuple[Task, dict[str, Row]]]:
    """The tasks of a profile, each with its networks as trained on the source."""
    return [(task, sources(profile, task)) for task in TASKS.get(profile.name, ())]


def rows(profile: Profile) -> list[Row]:
    """Table "transfer": what is transferred, and where to."""
    return [*origins(profile), *(one.row for one in lines(profile))]


def tune_rows(profile: Profile) -> list[Row]:
    """Table "transfer-tune": how the learning rates were chosen."""
    return [*origins(profile), *(one.row for one in tune_lines(profile))]


def origins(profile: Profile) -> list[Row]:
    """The networks trained on the sources, each once."""
    return list({row.runs[0].id: row for _, origin in with_sources(profile) for row in origin.values()}.values())

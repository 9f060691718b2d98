"""Which networks are transferred where, and how they are fine-tuned: the rows behind the transfer tables.

A task leads from a source data set to a target. Networks are trained on the source, their classifier is dropped, and
they learn the target with a frozen backbone or in full, on all its training images or on a few of each class. From
scratch, the same networks learn the target alone, in as many steps.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    networks: tuple[str, ...] = (RESNET, PLAIN, JOINTRD)
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
DIGITS_RATES = {
    (FROZEN, RESNET): (0.3, 3.0),
    (FROZEN, PLAIN): (1.0, 0.3),
    (FROZEN, JOINTRD): (0.1, 0.01),
    (FULL, RESNET): (0.03, 0.1),
    (FULL, PLAIN): (0.03, 0.03),
    (FULL, JOINTRD): (0.1, 0.1),
    (SCRATCH, RESNET): (0.1, 0.01),
    (SCRATCH, PLAIN): (0.03, 0.1),
}
TASKS: dict[str, tuple[Task, ...]] = {  # by profile
    "quick": (
        Task(
            "digits-low",
            "digits-high",
            few_shot((1, 2, 5, 10, 25), 5, 25, 40, DIGITS) | {ALL: DIGITS},
            GRID,
            {5: (0, 1), ALL: (0, 1)},
            DIGITS_RATES,
        ),
        # Is what differs after four epochs a matter of time? The rates are those of four epochs.
        Task(
            "digits-low",
            "digits-high",
            {ALL: replace(DIGITS, epochs=20)},
            dict.fromkeys(START, ()),
            {},
            DIGITS_RATES,
            note="20 epochs",
        ),
    ),
    "cifar100-small": (
        Task(
            "cifar100-first",
            "cifar100-second",
            few_shot((10,), 50, 125, 40, CIFAR) | {ALL: CIFAR},
            SHORT_GRID,
            {10: (0,)},
            {
                (FROZEN, RESNET): (0.3, 0.3),
                (FROZEN, PLAIN): (1.0, 1.0),
                (FROZEN, JOINTRD): (1.0, 1.0),
                (FULL, RESNET): (0.3, 0.3),
                (FULL, PLAIN): (0.3, 0.3),
                (FULL, JOINTRD): (0.3, 0.3),
            },
        ),
    ),
    "imagenet": tuple(
        Task(
            "imagenet",
            target,
            {ALL: PHOTOGRAPHS},
            GRID,
            {ALL: (0,)},
            untuned={FROZEN: 0.1, FULL: 0.01, SCRATCH: 0.1},
            networks=(RESNET, JOINTRD, RELEASED),
            scratch=(RESNET, PLAIN),
            seeds=(0, 1, 2),
        )
        for target in ("mit67", "caltech101")
    ),
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


def line(
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
    found = []
    for task in TASKS.get(profile.name, ()):
        origin = sources(profile, task)
        for case in task.cases:
            for shots in task.recipes:
                rate = task.rate(*case, shots)
                found.append(line(profile, task, origin, case, shots, rate, task.seeds or profile.seeds, tune=False))
    return found


def tune_lines(profile: Profile) -> list[Line]:
    """Every rate tried for every cell that is tuned, on the target's tune split."""
    found = []
    for task in TASKS.get(profile.name, ()):
        origin = sources(profile, task)
        for case in task.cases:
            for shots, tuned in task.tuned.items():
                seeds = tuned if task.seeds else [seed for seed in tuned if seed in profile.seeds]
                for rate in task.rates[case[0]]:
                    found.append(line(profile, task, origin, case, shots, rate, seeds, tune=True))
    return found


def rows(profile: Profile) -> list[Row]:
    """Table "transfer": what is transferred, and where to."""
    return [*origins(profile), *(one.row for one in lines(profile))]


def tune_rows(profile: Profile) -> list[Row]:
    """Table "transfer-tune": how the learning rates were chosen."""
    return [*origins(profile), *(one.row for one in tune_lines(profile))]


def origins(profile: Profile) -> Iterator[Row]:
    """The networks trained on the sources, each once."""
    seen: dict[str, Row] = {}
    for task in TASKS.get(profile.name, ()):
        seen |= {row.runs[0].id: row for row in sources(profile, task).values()}
    yield from seen.values()

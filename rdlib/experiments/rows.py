"""A row of a table: one cell, the same run over several seeds. It is a value; its words are made only to be printed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rdlib.errors import ConfigError, require_choice
from rdlib.experiments.profiles import Profile
from rdlib.methods import Taught
from rdlib.models import SHORTCUTS, Shortcuts
from rdlib.recipe import PAPER_OPTIONS
from rdlib.rivals.register import METHODS
from rdlib.runs.run import Run

HEIR = "from the teacher's weights"


@dataclass(frozen=True)
class Teaching:
    """How a network is taught: a method of the register and its options, the student's convolutions, and their name."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    conv: str = "plain"
    reported: str = field(default="", compare=False)  # in paper.csv, of a plain network taught so


CROSS_ENTROPY = Teaching("cross-entropy", "Supervised", reported="plain")
LOGITS = Teaching("logit distillation", "LogitDistillation")
FEATURES = Teaching("feature distance", "FeatureDistillation")
JOINTRD = Teaching("JointRD", "JointRD", reported="jointrd")
JOINT_TEACHER = Teaching("JointRD, joint teacher", "JointRD", {"regime": "beside"})
TAUGHT = {one.name: one for one in (CROSS_ENTROPY, LOGITS, FEATURES, JOINTRD, JOINT_TEACHER)}  # in the paper's tables


@dataclass(frozen=True)
class Row:
    """One cell of a table: the same run over several seeds.

    reported: its line of paper.csv. conditions: what differs from the profile's recipe, beside the split, in words.
    worth: place of its depth in the profile; the lowest trains first. cut: how a ResNet was made smaller, in words.
    heir: whether its student starts from the teacher's weights where its teaching alone starts from scratch.
    """

    depth: int
    shortcuts: Shortcuts
    teaching: Teaching
    runs: tuple[Run, ...]
    reported: str | None = None
    conditions: str = ""
    worth: int = 0
    cut: str = ""
    heir: bool = False

    @property
    def network(self) -> str:
        return "ResNet" if self.shortcuts == "all" else "plain"

    @property
    def method(self) -> str:
        """How it is taught, in words."""
        return listed(self.cut, self.teaching.name)

    @property
    def setting(self) -> str:
        """What differs from the profile, in words."""
        return listed(HEIR * self.heir, self.conditions, self.split)

    @property
    def split(self) -> str:
        """In words, where it is not the test split."""
        return "tune split" * (self.runs[0].recipe.holdout == "tune")

    @property
    def title(self) -> str:
        """The name without the split."""
        kept = SHORTCUTS[self.shortcuts] * (self.shortcuts != "all")
        return listed(f"{self.network}-{self.depth}", kept, self.method, HEIR * self.heir, self.conditions)

    @property
    def name(self) -> str:
        return listed(self.title, self.split)


def listed(*words: str) -> str:
    """Those that say something, with commas between them."""
    return ", ".join(word for word in words if word)


def make_row(
    profile: Profile,
    depth: int,
    teaching: Teaching,
    shortcuts: Shortcuts = "none",
    teachers: Row | None = None,
    conditions: str = "",
    width: int | None = None,
    cut: str = "",
) -> Row:
    """One run a seed; where its method needs a trained teacher, that of a seed is the run of `teachers`."""
    method = teaching.method
    options = PAPER_OPTIONS.get(profile.dataset, {}).get(method, {}) | dict(teaching.options)
    needed = issubclass(METHODS[method], Taught) and options.get("regime") != "beside"
    ids = [run.id for run in teachers.runs] if needed and teachers else [None] * len(profile.seeds)
    what = (profile.dataset, method, depth, width or profile.width, shortcuts)
    runs = tuple(
        Run(*what, seed, profile.recipe, options, teacher, teaching.conv)
        for seed, teacher in zip(profile.seeds, ids, strict=True)
    )
    known = ("resnet" if shortcuts == "all" else teaching.reported) if teaching.reported and not cut else ""
    reported = f"{profile.dataset}_{known}{depth}" if known and profile.full else None
    worth = profile.depths.index(depth) if depth in profile.depths else len(profile.depths)
    return Row(depth, shortcuts, teaching, runs, reported, conditions, worth, cut)


def three_rows(profile: Profile, depth: int, conditions: str = "") -> list[Row]:
    """The ResNet, the strictly plain network, and the same taught by JointRD."""
    resnet = make_row(profile, depth, CROSS_ENTROPY, "all", conditions=conditions)
    taught = [make_row(profile, depth, how, "none", resnet, conditions) for how in (CROSS_ENTROPY, JOINTRD)]
    return [resnet, *taught]


def is_simply(row: Row, shortcuts: Shortcuts, teaching: Teaching) -> bool:
    """Whether a row is that network, whole, taught just so from scratch."""
    just_so = row.teaching == teaching and row.runs[0].method == teaching.method
    return row.shortcuts == shortcuts and just_so and not row.cut and not row.heir


SETS: dict[str, Callable[[Row], bool]] = {  # of rows, for `sweep --only`
    "resnet": lambda row: is_simply(row, "all", CROSS_ENTROPY),
    "plain": lambda row: is_simply(row, "none", CROSS_ENTROPY),
    "jointrd": lambda row: is_simply(row, "none", JOINTRD),
    "three": lambda row: any(SETS[name](row) for name in ("resnet", "plain", "jointrd")),
}


def only(rows: Sequence[Row], names: str) -> list[Row]:
    """The rows of these SETS (names with commas between), and those that train the teachers they need, in order.

    Raises ConfigError for a name that is none, or of which there is no row.
    """
    chosen: list[Row] = []
    for name in (word.strip().lower() for word in names.split(",")):
        require_choice("--only", name, SETS)
        found = [row for row in rows if SETS[name](row)]
        if not found:
            raise ConfigError(f"--only {name}: this table has no such row, choose another of {', '.join(SETS)}")
        chosen += found
    while True:  # what is transferred has a teacher that may have had one itself
        needed = {run.teacher for row in chosen for run in row.runs}
        more = [row for row in rows if row not in chosen and any(run.id in needed for run in row.runs)]
        if not more:
            return [row for row in rows if row in chosen]
        chosen += more

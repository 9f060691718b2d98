"""A run is a value, its id a hash of that value, and its record one JSON file that nothing else can have written."""

import inspect
import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from rdlib.convolutions import CONVOLUTIONS
from rdlib.errors import ConfigError, RecordError, require_choice
from rdlib.files import digest
from rdlib.methods import Taught
from rdlib.models import DEPTHS, Shortcuts, StagedResNet, Stem, resnet
from rdlib.recipe import Holdout, Recipe
from rdlib.rivals.register import METHODS

SCHEMA = 1  # of a run that finished
SCHEMA_DIVERGED = 2  # another, so that an rdlib that knows only finished runs says "update" and looks for no accuracy


@dataclass(frozen=True)
class Run:
    """One training, as a value. `teacher` is the id of the run that trained it, or None.

    Omitted options are filled with the method's defaults, so that equal configurations are equal values. An option
    that is None is left out: one that is added later defaults to None, "as before", and renames no old record.
    Raises ConfigError for anything unknown or contradictory.
    """

    dataset: str
    method: str
    depth: int
    width: int
    shortcuts: Shortcuts
    seed: int
    recipe: Recipe
    options: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    conv: str = "plain"  # the student's; left out of the value where plain, so that older runs keep their id
    other_stem: Stem | None = None  # of an adopted network and its students, where it is not the usual; else left out

    def __post_init__(self) -> None:
        require_choice("method", self.method, METHODS)
        require_choice("depth", self.depth, DEPTHS)
        require_choice("shortcuts", self.shortcuts, ("all", "downsample", "none"))
        require_choice("conv", self.conv, CONVOLUTIONS)
        for name in ("depth", "width", "seed"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"a run needs a whole number as {name}, not {getattr(self, name)!r}")
        if not 1 <= self.width <= 4096 or not 0 <= self.seed < 2**40:
            raise ConfigError(f"a run needs 4096 >= width >= 1 and a seed from 0, not {self.width} and {self.seed}")
        if not self.dataset.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"a data set name is letters, digits, '-' and '_', not {self.dataset!r}")
        if self.other_stem is not None:
            require_choice("stem", self.other_stem, get_args(Stem))
            object.__setattr__(self, "other_stem", None if self.other_stem == self.usual_stem else self.other_stem)
        defaults = defaults_of(self.method)
        for name in self.options:
            require_choice(f"option of {self.method}", name, defaults or ["(it has none)"])
        given = {k: like(defaults[k], v, f"option {k} of {self.method}") for k, v in self.options.items()}
        for name, kind in get_type_hints(METHODS[self.method].__init__).items():
            for choices in (kind, *get_args(kind)):  # a choice, or a choice or None
                if given.get(name) is not None and get_origin(choices) is Literal:
                    require_choice(name, given[name], get_args(choices))
        options = {k: v for k, v in sorted((defaults | given).items()) if v is not None}
        object.__setattr__(self, "options", options)
        if self.taught and not self.trains_teacher and self.teacher is None:
            raise ConfigError(f"{self.method} needs a trained teacher: name the id of its run")
        if self.teacher is not None and not re.fullmatch("[0-9a-f]{12}", self.teacher):
            raise ConfigError(f"a teacher is named by the twelve hex digits of its run's id, not {self.teacher!r}")
        if self.teacher is not None and (not self.taught or self.trains_teacher):
            raise ConfigError(f"{self.method} takes no trained teacher here: leave it out")

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def taught(self) -> bool:
        return issubclass(METHODS[self.method], Taught)

    @property
    def trains_teacher(self) -> bool:
        return self.options.get("regime") == "beside"

    @property
    def usual_stem(self) -> Stem:
        """Photographs get the ImageNet stem, small images the CIFAR one."""
        return "cifar" if self.recipe.image_size is None else "imagenet"

    @property
    def stem(self) -> Stem:
        return self.other_stem or self.usual_stem

    def student(self, num_classes: int) -> StagedResNet:
        """The network that is taught, newly initialised from torch's global generator."""
        return resnet(self.depth, num_classes, self.shortcuts, self.width, self.stem, self.conv)

    @property
    def value(self) -> dict[str, Any]:
        """The run as JSON holds it."""
        value = asdict(self) | {"recipe": {k: v for k, v in asdict(self.recipe).items() if v is not None}}
        return {k: v for k, v in value.items() if (k, v) not in (("conv", "plain"), ("other_stem", None))}

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the value alone."""
        return digest(self.value)[:12]

    @property
    def label(self) -> str:
        """For progress bars and messages."""
        usual = defaults_of(self.method)
        special = ", ".join(f"{name}={value}" for name, value in self.options.items() if value != usual[name])
        what = f"{self.method}({special})" if special else self.method
        conv = "" if self.conv == "plain" else f" conv {self.conv}"
        rate, shots = f"rate {self.recipe.learning_rate:g}", self.recipe.shots
        how = f"shortcuts {self.shortcuts} {rate}{'' if shots is None else f' shots {shots}'} seed {self.seed}"
        return f"{what} {self.dataset} depth {self.depth}{conv} {how}"

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> "Run":
        return cls(**(value | {"recipe": Recipe(**value["recipe"])}))


def defaults_of(method: str) -> dict[str, Any]:
    """The options of a method with their defaults."""
    parameters = inspect.signature(METHODS[method]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def like(default: object, value: Any, what: str) -> Any:
    """The value in its default's type (an integer may stand for a float), so that 4 and 4.0 are one run."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(value, float) and not 0 <= value < math.inf:
        raise ConfigError(f"{what} is a number from 0, not {value!r}")
    if default is not None and type(value) is not type(default):
        raise ConfigError(f"{what} is a {type(default).__name__} like {default!r}, not {value!r}")
    return value


@dataclass(frozen=True)
class Divergence:
    """Where a run's loss was no longer finite: epoch and step, from 1, and the first such term."""

    epoch: int
    step: int
    term: str

    def __str__(self) -> str:
        return f"diverged in epoch {self.epoch}"


@dataclass(frozen=True)
class Record:
    """What a run left: its value, last-epoch metrics (percent), the whole curve, and where it came from.

    A run that diverged has no metrics and no weights; its history ends with the last epoch that it finished.
    """

    run: Run
    metrics: dict[str, float | None]
    history: list[dict[str, Any]]
    provenance: dict[str, Any]
    diverged: Divergence | None = None

    @property
    def split(self) -> Holdout:
        """The split its accuracy was measured on, once, after the last epoch."""
        return self.run.recipe.holdout

    @property
    def top1(self) -> float:
        """Last-epoch top-1 accuracy in percent on `split`. Raises RecordError for a run that diverged."""
        if self.diverged is not None:
            raise RecordError(f"run {self.run.id} {self.diverged}, so it has no accuracy: leave it out")
        return float(cast(float, self.metrics[f"{self.split}_top1"]))

    def to_json(self) -> str:
        body = {
            "id": self.run.id,
            "schema": SCHEMA if self.diverged is None else SCHEMA_DIVERGED,
            "run": self.run.value,
            **({} if self.diverged is None else {"diverged": asdict(self.diverged)}),
            "metrics": self.metrics,
            "history": self.history,
            "provenance": self.provenance,
        }
        # The history, one epoch a line, keeps a diff of records readable.
        lines = json.dumps(body | {"history": [], "digest": digest(body)}, indent=1)
        epochs = ",\n".join("  " + json.dumps(epoch) for epoch in self.history)
        return lines.replace('"history": []', f'"history": [\n{epochs}\n ]') + "\n"

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Raises RecordError when the file is not JSON, of another schema, or any field was changed."""
        named, restore = f"record {path.name}", "restore it from git, or delete it and run the sweep again"
        try:
            body = json.loads(path.read_text())
            claimed = body.pop("digest")
            known = (SCHEMA, SCHEMA_DIVERGED)
            if body["schema"] not in known:
                reads = " and ".join(map(str, known))
                raise RecordError(f"{named} has schema {body['schema']}, this rdlib reads {reads}: update rdlib")
            if digest(body) != claimed or path.stem != body["id"]:
                raise RecordError(f"{named} does not match its own digest, so a field was changed: {restore}")
            run = Run.from_value(body["run"])
            if run.id != body["id"]:
                raise RecordError(f"{named} holds run {run.id}, so a field of the run was changed: {restore}")
            diverged = Divergence(**body["diverged"]) if body["schema"] == SCHEMA_DIVERGED else None
            return cls(run, body["metrics"], body["history"], body["provenance"], diverged)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordError(f"{named} cannot be read ({error}): {restore}") from error

"""A run is a value, its id a hash of that value, and its record one JSON file that nothing else can have written.

A store is a folder with `runs/<dataset>/<id>.json` (records, committed) and `weights/<dataset>/<id>.safetensors`
(and checkpoints; git-ignored). Weights made again that differ have their record in `repeated/` (git-ignored too).
`results/` is the published store.
"""

import hashlib
import inspect
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rdlib.errors import CheckpointError, ConfigError, RecordError, require_choice
from rdlib.methods_base import Taught
from rdlib.models import CONVOLUTIONS, DEPTHS, Shortcuts, StagedResNet, Stem, resnet
from rdlib.recipe import Holdout, Recipe
from rdlib.rivals.register import METHODS

SCHEMA = 1
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


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

    def __post_init__(self) -> None:
        require_choice("method", self.method, METHODS)
        require_choice("depth", self.depth, DEPTHS)
        require_choice("shortcuts", self.shortcuts, ("all", "downsample", "none"))
        require_choice("conv", self.conv, CONVOLUTIONS)
        for name in ("depth", "width", "seed"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"a run needs a whole number as {name}, not {getattr(self, name)!r}")
        if self.width < 1 or not 0 <= self.seed < 2**40:
            raise ConfigError(f"a run needs width >= 1 and a seed from 0, not {self.width} and {self.seed}")
        if not self.dataset.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"a data set name is letters, digits, '-' and '_', not {self.dataset!r}")
        defaults = defaults_of(self.method)
        for name in self.options:
            require_choice(f"option of {self.method}", name, defaults or ["(it has none)"])
        given = {k: like(defaults[k], v, f"option {k} of {self.method}") for k, v in self.options.items()}
        for name, kind in get_type_hints(METHODS[self.method].__init__).items():
            if name in given and get_origin(kind) is Literal:
                require_choice(name, given[name], get_args(kind))
        options = {k: v for k, v in sorted((defaults | given).items()) if v is not None}
        object.__setattr__(self, "options", options)
        if self.taught and not self.trains_teacher and self.teacher is None:
            raise ConfigError(f"{self.method} needs a trained teacher: name the id of its run")
        if self.teacher is not None and (not self.taught or self.trains_teacher):
            raise ConfigError(f"{self.method} takes no trained teacher here: leave it out")

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def taught(self) -> bool:
        return issubclass(METHODS[self.method], Taught)

    @property
    def trains_teacher(self) -> bool:
        return self.options.get("regime") == "joint"

    @property
    def stem(self) -> Stem:
        """Photographs get the ImageNet stem, small images the CIFAR one."""
        return "cifar" if self.recipe.image_size is None else "imagenet"

    def student(self, num_classes: int) -> StagedResNet:
        """The network that is taught, newly initialised from torch's global generator."""
        return resnet(self.depth, num_classes, self.shortcuts, self.width, self.stem, self.conv)

    @property
    def value(self) -> dict[str, Any]:
        """The run as JSON holds it."""
        value = asdict(self) | {"recipe": {k: v for k, v in asdict(self.recipe).items() if v is not None}}
        return {k: v for k, v in value.items() if (k, v) != ("conv", "plain")}

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


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What a finished run left: its value, last-epoch metrics (percent), the whole curve, and where it came from."""

    run: Run
    metrics: dict[str, float | None]
    history: list[dict[str, Any]]
    provenance: dict[str, Any]

    @property
    def split(self) -> Holdout:
        """The split its accuracy was measured on, once, after the last epoch."""
        return self.run.recipe.holdout

    @property
    def top1(self) -> float:
        """Last-epoch top-1 accuracy in percent on `split`."""
        return float(cast(float, self.metrics[f"{self.split}_top1"]))

    def to_json(self) -> str:
        body = {
            "id": self.run.id,
            "schema": SCHEMA,
            "run": self.run.value,
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
            if body["schema"] != SCHEMA:
                raise RecordError(f"{named} has schema {body['schema']}, this rdlib reads {SCHEMA}: update rdlib")
            if digest(body) != claimed or path.stem != body["id"]:
                raise RecordError(f"{named} does not match its own digest, so a field was changed: {restore}")
            run = Run.from_value(body["run"])
            if run.id != body["id"]:
                raise RecordError(f"{named} holds run {run.id}, so a field of the run was changed: {restore}")
            return cls(run, body["metrics"], body["history"], body["provenance"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{named} cannot be read ({error}): {restore}") from error


class Store:
    """A folder of records and weights."""

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root or RESULTS)

    def record_path(self, run: Run) -> Path:
        return self.root / "runs" / run.dataset / f"{run.id}.json"

    def weights_path(self, run: Run) -> Path:
        return self.root / "weights" / run.dataset / f"{run.id}.safetensors"

    def checkpoint_path(self, run: Run) -> Path:
        return self.weights_path(run).with_suffix(".checkpoint")

    def repeated_path(self, run: Run) -> Path:
        return self.root / "repeated" / run.dataset / f"{run.id}.json"

    def record(self, run: Run) -> Record | None:
        """The run's record, or None where there is none yet."""
        path = self.record_path(run)
        return Record.read(path) if path.exists() else None

    def records(self) -> list[Record]:
        """Every record of the store."""
        return [Record.read(path) for path in sorted(self.root.glob("runs/*/*.json"))]

    def run(self, dataset: str | None, run_id: str) -> Run:
        """The run with that id, on that data set or (None) any. Raises ConfigError where there is no record of it."""
        path = next(self.root.glob(f"runs/{dataset or '*'}/{run_id}.json"), None)
        if path is None:
            raise ConfigError(
                f"the store has no run {run_id} on {dataset or 'any data set'}: train it first, or check the id"
            )
        return Record.read(path).run

    def has_weights(self, run: Run) -> bool:
        return self.weights_path(run).exists()

    def network(self, run: Run) -> StagedResNet:
        """The trained student of a run, on the CPU, in eval mode; weights must be those a record of it describes."""
        record, path = self.record(run), self.weights_path(run)
        if record is None or not path.exists():
            raise ConfigError(f"run {run.id} has no trained weights here: `python -m rdlib train --again {run.id}`")
        repeated = self.repeated_path(run)
        described = [record, *([Record.read(repeated)] if repeated.exists() else [])]
        if sha256_of(path) not in {one.provenance["weights_sha256"] for one in described}:
            raise CheckpointError(
                f"weights {path.name} are damaged or not those of their record: delete the file and train again"
            )
        try:
            weights = load_file(path)
            network = METHODS[run.method].fitted(run.student(len(weights["fc.bias"])), weights)
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"weights {path.name} do not fit their run: delete them and train again") from error
        return network.eval()

    def require_writable(self) -> None:
        """Raise RecordError now rather than after hours of training."""
        for folder in (self.root / "runs", self.root / "weights"):
            probe = folder / f".writable-{os.getpid()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise RecordError(
                    f"cannot write into the store's {folder.name}/ ({error.strerror}): "
                    "make it writable or choose another --store"
                ) from error

    def save(self, record: Record, network: StagedResNet) -> Record:
        """Weights first, then the record, both atomic: weights are never without a record that describes them.

        A record, once there, stands. Where a run is repeated, e.g. on another GPU for its lost weights, and rounds
        otherwise, the new weights' own record goes to `repeated/`. Returns the record that stands.
        """
        run, weights, old = record.run, self.weights_path(record.run), self.record(record.run)
        path = self.repeated_path(run) if old else self.record_path(run)
        for folder in (weights.parent, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        temporary = weights.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file({k: v.cpu().contiguous() for k, v in network.state_dict().items()}, temporary)
            record.provenance["weights_sha256"] = sha256_of(temporary)
            os.replace(temporary, weights)
            if old and old.provenance["weights_sha256"] == record.provenance["weights_sha256"]:
                return old
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(record.to_json())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return old or record


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

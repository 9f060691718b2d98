"""A store: a folder of records and weights, written so that nothing is ever half there or overwritten.

It has `runs/<dataset>/<id>.json` (records, committed) and `weights/<dataset>/<id>.safetensors` (and checkpoints;
git-ignored). Weights made again that differ have their record in `repeated/` (git-ignored too). A run that diverged
has a record and no weights. `results/` is the published store.
"""

import contextlib
import hashlib
import os
import shlex
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rdlib.errors import CheckpointError, ConfigError, RecordError
from rdlib.files import RESULTS, ROOT, require_writable, sha256_of, write
from rdlib.models import StagedResNet
from rdlib.rivals.register import METHODS
from rdlib.runs.run import Record, Run


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

    def repeated(self, run: Run) -> Record | None:
        """The record of the weights that are here, where they were made again and are not those of the run's record."""
        path, weights = self.repeated_path(run), self.weights_path(run)
        record = Record.read(path) if path.exists() and weights.exists() else None
        return record if record and record.provenance["weights_sha256"] == sha256_of(weights) else None

    def record(self, run: Run) -> Record | None:
        """The run's record, or None where there is none yet."""
        path = self.record_path(run)
        return Record.read(path) if path.exists() else None

    def record_paths(self) -> list[Path]:
        """Where the records of the store are."""
        return sorted(self.root.glob("runs/*/*.json"))

    def records(self) -> list[Record]:
        """Every record of the store."""
        return [Record.read(path) for path in self.record_paths()]

    def some_record(self, dataset: str) -> Record | None:
        """Any sound record on a data set, or None where there is none."""
        for path in self.root.glob(f"runs/{dataset}/*.json"):
            with contextlib.suppress(RecordError):  # of another run: it need not stop this one
                return Record.read(path)
        return None

    def run(self, dataset: str | None, run_id: str) -> Run:
        """The run with that id, on that data set or (None) any. Raises ConfigError where there is no record of it."""
        path = next(self.root.glob(f"runs/{dataset or '*'}/{run_id}.json"), None)
        if path is None:
            raise ConfigError(
                f"the store has no run {run_id} on {dataset or 'any data set'}: train it first, or check the id"
            )
        return Record.read(path).run

    def diverged(self, run: Run) -> bool:
        """Whether the run's record says that it diverged."""
        record = self.record(run)
        return record is not None and record.diverged is not None

    def has_weights(self, run: Run) -> bool:
        return self.weights_path(run).exists()

    def network(self, run: Run) -> StagedResNet:
        """The trained student of a run, on the CPU, in eval mode; weights must be those a record of it describes."""
        record, path = self.record(run), self.weights_path(run)
        if record is not None and record.diverged is not None:
            raise ConfigError(
                f"run {run.id} {record.diverged}, so it has no weights to teach with or to export: take another run, "
                "such as one of a lower learning rate"
            )
        if record is None or not path.exists():
            raise ConfigError(f"run {run.id} has no trained weights here: `python -m rdlib train --again {run.id}`")
        if sha256_of(path) != record.provenance["weights_sha256"] and self.repeated(run) is None:
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
        for folder in ("runs", "weights"):
            try:
                require_writable(self.root / folder / "any.json")
            except OSError as error:
                raise RecordError(
                    f"cannot write into the store's {folder}/ ({error.strerror}): "
                    "make it writable or choose another --store"
                ) from error

    def save(self, record: Record, network: StagedResNet | None) -> Record:
        """Weights first, then the record, both atomic: weights are never without a record that describes them.

        A record, once there, stands. Where a run is repeated, e.g. on another GPU for its lost weights, and rounds
        otherwise, the new weights' own record goes to `repeated/`; where one of the two diverged and the other did
        not, nothing is written. Returns the record that stands.

        network: None of a run that diverged.
        """
        run, old = record.run, self.record(record.run)
        if old is not None and (old.diverged is None) != (network is not None):
            return old
        if network is None:
            if old is None:
                self.weights_path(run).unlink(missing_ok=True)  # whose record somebody deleted
                write(self.record_path(run), record.to_json())
            return old or record
        weights = save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})  # save_file's are mode 0600
        write(self.weights_path(run), weights)
        record.provenance["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        if old is None:
            write(self.record_path(run), record.to_json())
        elif old.provenance["weights_sha256"] != record.provenance["weights_sha256"]:
            write(self.repeated_path(run), record.to_json())
        return old or record


def store_of(store: Path | str | None, new: bool = False) -> Store:
    """The store that a notebook's parameter names; None is the published one.

    A relative path counts from the working directory or else from the repository's root, where the README's commands
    run. Raises ConfigError where no folder is there, unless it may be `new`: else every cell would be empty.
    """
    if store is None:
        return Store()
    named = str(store).strip()
    there = [path for path in (Path(named), ROOT / named) if named and os.path.isdir(path)]
    if not named or not (there or new):
        raise ConfigError(
            f"there is no folder of records {named or '(the name is empty)'}: correct the parameter store, "
            f"or train into it: python -m rdlib sweep PROFILE --store {shlex.quote(named or 'FOLDER')}"
        )
    return Store(there[0] if there else ROOT / named)

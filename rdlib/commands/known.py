"""The run that an id names: that of a record, or of a profile's tables.

Where the answer is "none" it comes without torch, whose import alone takes two seconds: records are files named by
their id, and which ids the tables hold is listed in results/tables/runs.json, as long as nothing that says what they
train has changed since.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rdlib import files
from rdlib.errors import ConfigError
from rdlib.files import PACKAGE, RESULTS

if TYPE_CHECKING:
    from rdlib.runs.run import Run

INDEX = RESULTS / "tables" / "runs.json"


def record_path(store: Path, run_id: str) -> Path | None:
    """The record of the run with that id, or None."""
    named = re.fullmatch("[0-9a-f]{12}", run_id)
    return next(store.glob(f"runs/*/{run_id}.json"), None) if named else None


def known_run(store: Path, run_id: str) -> "Run":
    """The run of that id: of a record, or of a profile's tables. Raises ConfigError where neither has it."""
    path = record_path(store, run_id)
    if path is not None:
        from rdlib.runs.run import Record

        return Record.read(path).run
    if may_be_listed(run_id):
        for _, runs in listed():
            if run_id in runs:
                return runs[run_id]
    raise ConfigError(f"neither the store nor a profile has run {run_id}: `show` and `sweep PROFILE --list` list them")


def may_be_listed(run_id: str) -> bool:
    """Whether a profile may have the run; False only where it certainly has not."""
    if not re.fullmatch("[0-9a-f]{12}", run_id):
        return False
    try:
        index = json.loads(INDEX.read_text())
        return index["sources"] != sources() or any(run_id in ids for ids in index["runs"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no index, or not one of ours
        return True


def sources() -> str:
    """SHA-256 of the files that say what every table trains, and what the id of a run is made of."""
    digest = hashlib.sha256()
    folders = [path for room in ("experiments", "rivals") for path in sorted(PACKAGE.glob(f"{room}/*.py"))]
    for path in [*folders, *(PACKAGE / f"{name}.py" for name in ("recipe", "methods", "models", "runs/run"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def listed() -> Iterator[tuple[str, dict[str, "Run"]]]:
    """Each profile's name, and by id the runs of all its tables."""
    from rdlib.experiments.profiles import PROFILES
    from rdlib.experiments.tables import NAMED, rows_of, runs_of

    for name, profile in PROFILES.items():
        yield name, {run.id: run for table in (None, *NAMED) for run in runs_of(rows_of(profile, table))}


def index() -> str:
    """The text of INDEX, a profile a line."""
    lines = (f"  {json.dumps(name)}: {json.dumps(' '.join(sorted(runs)))}" for name, runs in listed())
    return f'{{\n "sources": "{sources()}",\n "runs": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def write_index() -> Path:
    """Write the index; returns where. Raises OSError."""
    files.write(INDEX, index())
    return INDEX

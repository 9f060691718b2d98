"""Train everything of a profile afresh, run the notebooks on it, and hold it against the published records."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from rdlib.errors import ConfigError, RdlibError
from rdlib.notebooks import NOTEBOOKS, execute_if_changed, parameters_of
from rdlib.profiles import profile
from rdlib.runs import ROOT, Store
from rdlib.scorecard import compare
from rdlib.sweep import sweep
from rdlib.tables import rows_of, runs_of


def reproduce(
    name: str, seeds: int, jobs: int | None, published: Store, reproduced: Store, say: Callable[[str], None]
) -> tuple[pd.DataFrame, list[str]]:
    """Train `seeds` seeds of every run of a profile into the store `reproduced`, execute the notebooks on it, and
    return the scorecard of published against reproduced, and a sentence for everything that failed."""
    whole, wanted = profile(name), profile(name, seeds)
    require_notebook_packages()
    runs = runs_of(rows_of(wanted))
    set_aside_stale(reproduced, say)
    say(f"1/3  training {len(runs)} runs of {name} into {reproduced.root.name}/ (done ones are kept)")
    outcome = sweep(runs, reproduced, jobs)
    failures = [f"{run.id}  {run.label}: {sentence}" for run, sentence in outcome.failures.items()]
    say("2/3  running the notebooks on these records (the first one trains live, two minutes)")
    inputs = digest_of(CODE, *(reproduced.record_path(run) for run in runs))
    for notebook in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        output = reproduced.root / "notebooks" / notebook.name
        parameters = {"store": str(reproduced.root.resolve())}
        if notebook.stem not in LIVE and "profile" in parameters_of(notebook):
            parameters["profile"] = name
        try:
            fresh = execute_if_changed(notebook, output, parameters, inputs)
            say(f"     {notebook.name} {'done' if fresh else 'unchanged'}")
        except RdlibError as error:
            failures.append(str(error))
    say("3/3  published against reproduced")
    return compare(whole, wanted, published, reproduced), failures


LIVE = {"00_start_here", "01_joint_training_by_hand"}  # they train in front of the reader, always at quick
CODE = [*sorted((ROOT / "rdlib").rglob("*.py")), ROOT / "uv.lock"]


def require_notebook_packages() -> None:
    """Raise ConfigError now rather than after days of training."""
    for package in ("nbformat", "papermill", "scipy"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"reproduce needs {package}, which is not installed: use `sweep` alone, or `make reproduce`"
            )


def set_aside_stale(store: Store, say: Callable[[str], None]) -> None:
    """Records of other code are no reproduction: move such a store away, and stamp a fresh one."""
    stamp, code = store.root / "code.sha256", digest_of(CODE)
    if store.root.exists() and (not stamp.exists() or stamp.read_text() != code):
        aside = store.root.with_name(f"{store.root.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        os.replace(store.root, aside)
        say(f"     {store.root.name}/ was made by other code: moved to {aside.name}/")
    store.root.mkdir(parents=True, exist_ok=True)
    stamp.write_text(code)


def digest_of(files: list[Path], *more: Path) -> str:
    """SHA-256 over the files that exist."""
    digest = hashlib.sha256()
    for file in [*files, *more]:
        if file.exists():
            digest.update(file.read_bytes())
    return digest.hexdigest()

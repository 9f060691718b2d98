"""Train everything of a profile afresh, run the notebooks on it, and hold it against the published records."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.errors import ConfigError, NotebookError
from rdlib.runs import ROOT, Store
from rdlib.scorecard import compare
from rdlib.sweep import Outcome, sweep
from rdlib.tables import Profile, profile, rows_of, runs_of

NOTEBOOKS = ROOT / "notebooks"


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """papermill only warns about a parameter the notebook does not have; we refuse it."""
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ConfigError(f"{notebook.name} has no parameter {unknown[0]!r}: choose from {', '.join(known)}")


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook through papermill. Raises NotebookError with cell and error; `output` then shows where."""
    import papermill

    if not notebook.exists():
        raise ConfigError(f"there is no notebook {notebook.name}")
    check_parameters(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook), str(output), parameters=parameters, progress_bar=False, cwd=str(notebook.parent)
        )
    except papermill.PapermillExecutionError as error:
        where = f"{notebook.name} stopped in cell {error.exec_count}"
        raise NotebookError(f"{where} with {error.ename}: {error.evalue}; see {output.name}") from error


def execute_if_changed(notebook: Path, output: Path, parameters: dict[str, Any], inputs: str) -> bool:
    """`execute`, unless `output` was made from the same notebook, parameters and `inputs`; tells whether it ran."""
    import nbformat

    key = hashlib.sha256(f"{notebook.read_text()}{json.dumps(parameters)}{inputs}".encode()).hexdigest()
    if output.exists() and nbformat.read(output, 4).metadata.get("rdlib", {}).get("inputs") == key:
        return False
    execute(notebook, output, parameters)
    done = nbformat.read(output, 4)
    done.metadata["rdlib"] = {"inputs": key}
    nbformat.write(done, output)
    return True


def refresh(notebook: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook in place and drop what papermill notes of times and paths."""
    import nbformat

    output = notebook.with_suffix(".executed.ipynb")
    try:
        execute(notebook, output, parameters)
        done = nbformat.read(output, 4)
        done.metadata.pop("papermill", None)
        for cell in done.cells:
            for noted in ("papermill", "execution"):
                cell.metadata.pop(noted, None)
        nbformat.write(done, output)
        os.replace(output, notebook)
    finally:
        output.unlink(missing_ok=True)


def reproduce(
    name: str, seeds: int, jobs: int | None, published: Store, reproduced: Store, say: Callable[[str], None]
) -> tuple[pd.DataFrame, Outcome]:
    """Train `seeds` seeds of every run of a profile into the store `reproduced`, execute the notebooks on it, and
    return the scorecard of published against reproduced together with what the sweep did."""
    whole, wanted = profile(name), profile(name, seeds)
    runs = runs_of(rows_of(wanted))
    say(f"1/3  training {len(runs)} runs of {name} into {reproduced.root.name}/ (done ones are kept)")
    outcome = sweep(runs, reproduced, jobs)
    say("2/3  running the notebooks on these records")
    inputs = state(wanted, reproduced)
    for notebook in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        output = reproduced.root / "notebooks" / notebook.name
        fresh = execute_if_changed(notebook, output, {"profile": name, "store": str(reproduced.root.resolve())}, inputs)
        say(f"     {notebook.name} {'done' if fresh else 'unchanged'}")
    say("3/3  published against reproduced")
    return compare(whole, wanted, published, reproduced), outcome


def state(wanted: Profile, store: Store) -> str:
    """A digest of the code and of the records a notebook may read."""
    digest = hashlib.sha256()
    files = [*sorted((ROOT / "rdlib").rglob("*.py")), *(store.record_path(run) for run in runs_of(rows_of(wanted)))]
    for file in files:
        if file.exists():
            digest.update(file.read_bytes())
    return digest.hexdigest()

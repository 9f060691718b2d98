"""Run notebooks through papermill, and refuse parameters they do not have."""

import ast
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rdlib.errors import ConfigError, NotebookError


def refuse_unknown(namespace: Mapping[str, Any], *known: str) -> None:
    """Called in a notebook as `refuse_unknown(globals(), "profile", ...)`, where papermill may have set parameters.

    papermill injects a mistyped parameter with no more than a warning; here it ends in a ConfigError.
    """
    injected = [source for source in namespace.get("In", ()) if source.startswith("# Parameters\n")]
    for node in (node for source in injected for node in ast.parse(source).body):
        for name in (target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)):
            if name not in known:
                raise ConfigError(f"this notebook has no parameter {name!r}: choose from {', '.join(known)}")


def parameters_of(notebook: Path) -> list[str]:
    """The names of the parameters a notebook has. Raises ConfigError where there is no such notebook."""
    if not notebook.exists():
        raise ConfigError(f"there is no notebook {notebook.name}")
    import papermill

    return list(papermill.inspect_notebook(str(notebook)))


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """papermill only warns about a parameter the notebook does not have; we refuse it."""
    known = parameters_of(notebook)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ConfigError(f"{notebook.name} has no parameter {unknown[0]!r}: choose from {', '.join(known)}")


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook through papermill. Raises NotebookError with cell and error; `output` then shows where."""
    import papermill

    check_parameters(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=parameters,
            progress_bar=False,
            cwd=str(notebook.parent),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no warning for each kernel about local TCP
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

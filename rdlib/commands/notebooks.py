"""Run notebooks through papermill, and refuse parameters they do not have."""

import ast
import hashlib
import json
import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from rdlib.errors import ConfigError, NotebookError, require_choice
from rdlib.experiments.profiles import profile
from rdlib.files import NOTEBOOKS
from rdlib.runs.store import store_of


def refuse_unknown(namespace: MutableMapping[str, Any], *known: str) -> None:
    """Called in a notebook as `refuse_unknown(globals(), "profile", ...)`, where papermill may have set parameters.

    papermill injects a mistyped parameter with no more than a warning, and any word as a value; here both end in a
    ConfigError before anything is done. The words true and false become the values.
    """
    injected = [source for source in namespace.get("In", ()) if source.startswith("# Parameters\n")]
    for node in (node for source in injected for node in ast.parse(source).body):
        for name in (target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)):
            if name not in known:
                raise ConfigError(f"this notebook has no parameter {name!r}: choose from {', '.join(known)}")
    for name in (name for name in known if name in namespace):
        value = namespace[name]
        if isinstance(value, str):
            namespace[name] = value = {"true": True, "false": False}.get(value.strip().lower(), value)
            if not str(value).strip():
                raise ConfigError(f"the parameter {name} is empty (an unset shell variable?): give a value, or None")
        if name in RULES:
            wanted, fits = RULES[name]
            if not fits(value):
                raise ConfigError(f"the parameter {name} is {wanted}, not {value!r}: correct it")
    given = {name: namespace[name] for name in known if name in namespace}
    if "profile" in given:
        chosen = profile(given["profile"])
        require_choice("seed", given.get("seed", chosen.seeds[0]), chosen.seeds)
    if "store" in given:
        store_of(given["store"], new=given.get("recompute", False))
    if given.get("architecture") is not None:
        from torchvision import models  # two seconds

        classifiers = [name for name in models.list_models(module=models) if "resne" in name]
        require_choice("architecture", given["architecture"], classifiers)


def whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def is_number(value: object) -> bool:
    return type(value) in (int, float)


def path_or_none(value: object) -> bool:
    return value is None or isinstance(value, str | Path)


def can_hold(value: Any) -> bool:
    """Whether it is None, or a folder where files can be written, or one that can be made."""
    if value is None or not path_or_none(value):
        return value is None
    path = Path(value).absolute()
    there = next(one for one in (path, *path.parents) if os.path.exists(one))
    return os.path.isdir(there) and os.access(there, os.W_OK)


# What parameters can be, by name: one name means the same in every notebook.
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "profile": ("the name of a profile", lambda value: isinstance(value, str)),
    "recompute": ("True or False", lambda value: isinstance(value, bool)),
    "seed": ("a whole number from 0", lambda value: whole(value, 0, 2**40 - 1)),
    "store": ("a folder, or None", path_or_none),
    "folder": ("a folder, or None", path_or_none),
    "weights": ("a file, or None", path_or_none),
    "here": ("a folder that can be written to, or None", can_hold),
    "image_size": ("a whole number from 1 to 4096, or None", lambda value: value is None or whole(value, 1, 4096)),
    "resize": ("a whole number from 1 to 65536, or None", lambda value: value is None or whole(value, 1, 2**16)),
    "expected": ("a percentage, or None", lambda value: value is None or (is_number(value) and 0 < value <= 100)),
    "batch_size": ("a whole number from 2 to 65536", lambda value: whole(value, 2, 2**16)),
    "epochs": ("a whole number from 1 to 10000", lambda value: whole(value, 1, 10_000)),
    "learning_rate": ("above 0 and at most 100", lambda value: is_number(value) and 0 < value <= 100),
}


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


def require_notebooks() -> None:
    """Raise ConfigError where rdlib was installed without the repository's notebooks and records."""
    if not NOTEBOOKS.is_dir():
        raise ConfigError("there are no notebooks and no published records here: work in a clone of the repository")


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
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # nothing of each kernel about local TCP
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

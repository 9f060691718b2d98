"""Records of measurements: one JSON file each, whole or absent, with a digest over all of it and its origin."""

import contextlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from rdlib.errors import RecordError
from rdlib.files import digest
from rdlib.runs.provenance import code_origin, processor
from rdlib.runs.store import RESULTS, Store

FOLDER = RESULTS / "measured"
SCHEMA = 1
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def folder(store: Store) -> Path:
    """Where a store keeps its records of measurements; of the published one this is FOLDER."""
    return store.root / FOLDER.name


def write(path: Path, body: dict[str, Any]) -> None:
    """Write a record atomically. Raises RecordError where that is not possible."""
    content = {"schema": SCHEMA, **body}
    save(path, json.dumps(content | {"digest": digest(content)}, indent=1) + "\n")


def save(path: Path, content: str | bytes) -> None:
    """Write a record's content atomically. Raises RecordError where that is not possible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        raise RecordError(
            f"cannot write {path.name} ({error.strerror}): choose a file in a folder that exists and is writable"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise RecordError now rather than after minutes of measuring."""
    if path.is_dir():
        raise RecordError(f"cannot write {path} (it is a folder): name a file in it")
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecordError(
            f"cannot write {path.name} ({error.strerror}): choose a folder that exists and is writable"
        ) from error


def read(path: Path, command: str) -> dict[str, Any]:
    """A record; `command` makes it again. Raises RecordError where it is missing, damaged or was edited."""
    if not path.exists():
        raise RecordError(f"there is no {path.name}: restore it from git, or measure with `{command}`")
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        claimed = content.pop("digest")
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        if claimed != digest(content):
            raise ValueError("it does not match its own digest")
        return content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path.name} cannot be read ({error}): restore it from git, or measure again with `{command}`"
        ) from error


def origin(*packages: str) -> dict[str, Any]:
    """Code, processor and versions of a measurement; no host name, no path."""
    model, flags = processor()
    return {
        **code_origin(),
        "cpu": model,
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

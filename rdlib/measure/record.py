"""Records of measurements: one file each, whole or absent, with a digest over all of it and its origin."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError

from rdlib import files
from rdlib.errors import RecordError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import in_store
from rdlib.files import RESULTS
from rdlib.runs.provenance import code_origin, processor, processor_model
from rdlib.runs.store import Store

FOLDER = RESULTS / "measured"
SCHEMA = 1
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
Tell = Callable[[str], None]  # hears a line of text now and then, while something takes long


def folder(store: Store) -> Path:
    """Where a store keeps its records of measurements; of the published one this is FOLDER."""
    return store.root / FOLDER.name


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the block, whatever keeps a file from being written raises RecordError."""
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"cannot write {path.name} ({error.strerror}): choose a file in a folder that exists and is writable"
        ) from error


def require_writable(path: Path) -> None:
    """Raise RecordError now rather than after minutes of measuring."""
    with writing(path):
        files.require_writable(path)


def write(path: Path, body: dict[str, Any], listed: str = "") -> None:
    """Write a JSON record; each entry of its lists named `listed` takes one line, which keeps a diff readable.

    The file appears whole or not at all. Raises RecordError where it cannot be written.
    """
    content = {"schema": SCHEMA, **body}
    content |= {"digest": files.digest(content)}

    def marked(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: marked(one, key) for key, one in value.items()}
        return [f"\0{json.dumps(one)}" for one in value] if name == listed and isinstance(value, list) else value

    text = json.dumps(marked(content), indent=1)
    with writing(path):
        files.write(path, re.sub(r'"\\u0000(.*)"', lambda found: json.loads(f'"{found[1]}"'), text) + "\n")


@contextlib.contextmanager
def readable(path: Path, command: str) -> Iterator[None]:
    """Within the block, whatever is wrong with a file raises RecordError; `command` makes it again."""
    if not path.exists():
        raise RecordError(f"there is no {path.name}: restore it from git, or measure with `{command}`")
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path.name} cannot be read ({error}): restore it from git, or measure again with `{command}`"
        ) from error


def verified(content: dict[str, Any], digest: Callable[[dict[str, Any]], str] = files.digest) -> dict[str, Any]:
    """A record's content without its digest. Raises ValueError or KeyError where that, or the schema, is not right."""
    claimed = content.pop("digest")
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
    if claimed != digest(content):
        raise ValueError("it does not match its own digest")
    return content


def read(path: Path, command: str) -> dict[str, Any]:
    """A JSON record; `command` makes it again. Raises RecordError where it is missing, damaged or was edited."""
    with readable(path, command):
        return verified(json.loads(path.read_text()))


@dataclass(frozen=True)
class ProfileRecord:
    """The record that `python -m rdlib measure NAME PROFILE` makes of a profile: NAME-PROFILE.SUFFIX in a store."""

    name: str
    suffix: str = "json"

    def command(self, profile: Profile, store: Store) -> str:
        return in_store(f"python -m rdlib measure {self.name} {profile.name}", store)

    def path(self, profile: Profile, store: Store) -> Path:
        return folder(store) / f"{self.name}-{profile.name}.{self.suffix}"

    def read(self, profile: Profile, store: Store, path: Path | None = None) -> dict[str, Any] | None:
        """The JSON record of a store (or at `path`), None where there is none yet. Raises RecordError as `read`."""
        path = path or self.path(profile, store)
        return read(path, self.command(profile, store)) if path.exists() else None

    def runs(self, profile: Profile, store: Store, path: Path | None = None) -> dict[str, Any]:
        """By run id what the record has of each; empty where there is none yet."""
        return dict((self.read(profile, store, path) or {"runs": {}})["runs"])

    def table(self, profile: Profile, store: Store, lines: Sequence[tuple[dict[str, str], int, int]]) -> pd.DataFrame:
        """Lines of text, each with how many runs it has and how many it should, and the command where any lacks."""
        command, named = self.command(profile, store), []
        for line, n, wanted in lines:
            named.append(line | {"n": f"{n}/{wanted}", "to fill": "" if n == wanted else command})
        lacking = any(line["to fill"] for line in named)
        return pd.DataFrame(named).drop(columns=[] if lacking else "to fill", errors="ignore")


def rounded(value: Any) -> Any:
    """Floats within lists and dicts to five significant digits; what is not finite becomes None."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def origin(*packages: str) -> dict[str, Any]:
    """Code, processor and versions of a measurement; no host name, no path."""
    model, flags = processor()
    return {
        **code_origin(),
        "cpu": model,
        "cpu_model": processor_model(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def origin_of_times(*packages: str) -> dict[str, Any]:
    """`origin`, and how busy the machine is: processes that ran or waited, mean of the last minute."""
    return origin(*packages) | {"load_before": round(os.getloadavg()[0], 2)}


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

"""Measurements as JSON: one file a kind and device, one entry a setting, written as soon as something is known."""

import json
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

from rdlib.errors import RecordError
from rdlib.files import write
from rdlib.runs.provenance import git

FOLDER = Path(__file__).resolve().parent / "results"
Entry = dict[str, Any]


def device_name(device: torch.device) -> str:
    """What the device is, without the name of its host."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def slug(name: str) -> str:
    """A device's name as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name if name.startswith("cpu") else name.lower()).strip("-")


def provenance(device: torch.device, **how: Any) -> Entry:
    """Where a measurement came from, and how it was made."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "cuda": torch.version.cuda if device.type == "cuda" else None,
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "rdlib", "benchmarks")),
        **how,
    }


class Results:
    """The file of one kind and device; `folder` None keeps nothing."""

    def __init__(self, kind: str, device: torch.device, folder: Path | None):
        self.kind, self.device = kind, device_name(device)
        self.path = folder and folder / f"{kind}-{slug(self.device)}.json"

    def put(self, entry: Entry) -> None:
        """Write an entry atomically in the place of the one of the same setting. Raises RecordError where it cannot."""
        if self.path is None:
            return
        entries = read(self.path)["entries"] if self.path.exists() else []
        others = [other for other in entries if other["setting"] != entry["setting"]]
        entries = sorted([*others, entry], key=lambda one: list(one["setting"].values()))
        body = {"kind": self.kind, "device": self.device, "entries": entries}
        try:
            write(self.path, json.dumps(body, indent=1) + "\n")
        except OSError as error:
            raise RecordError(f"cannot write {self.path.name} ({error.strerror}): make its folder writable") from error


def read(path: Path) -> dict[str, Any]:
    """One file of measurements. Raises RecordError where it is damaged."""
    try:
        body: dict[str, Any] = json.loads(path.read_text())
        if not {"kind", "device", "entries"} <= body.keys():
            raise ValueError("it lacks a field")
        return body
    except (OSError, ValueError, AttributeError) as error:
        raise RecordError(
            f"{path.name} is no file of measurements ({error}): restore it from git or delete it"
        ) from error


def read_all(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Every file of a kind, CPUs first."""
    found = [read(path) for path in sorted(folder.glob(f"{kind}-*.json"))]
    return sorted(found, key=lambda body: not body["device"].startswith("cpu"))

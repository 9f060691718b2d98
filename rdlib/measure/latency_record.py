"""The record of a latency measurement: every single time, how it was taken, and on what."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rdlib.errors import ConfigError, RecordError
from rdlib.files import digest
from rdlib.measure import record as measured
from rdlib.measure.record import FOLDER, SCHEMA, origin

COMMAND = "python -m rdlib measure latency"


@dataclass(frozen=True)
class Settings:
    """How passes were timed. seed: of the order, which is drawn anew in every round."""

    threads: int = 1
    repetitions: int = 30
    warmup: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.threads, self.repetitions, self.warmup) < 1:
            raise ConfigError("threads, repetitions and warm-up rounds must all be at least 1")


@dataclass(frozen=True, order=True)
class Cell:
    """What a row of the table is about: a network, its images, and the engine that runs it."""

    side: int
    batch: int
    depth: int
    engine: str
    precision: str
    network: str
    shortcuts: str
    variant: str = ""


@dataclass(frozen=True)
class LatencyRecord:
    """Every single time of one run of the command, in milliseconds, with its settings and where it came from."""

    settings: Settings
    times: dict[Cell, list[float]]
    provenance: dict[str, Any]

    @property
    def machine(self) -> str:
        """What times, unlike ratios of them, must have in common to be compared."""
        how, threads = self.provenance, self.settings.threads
        gpu = f", {how['gpu']}" if how["gpu"] else ""
        return f"{how['cpu']}, {threads} thread{'s' if threads > 1 else ''}{gpu}"

    def to_json(self) -> str:
        cells = [asdict(cell) | {"milliseconds": times} for cell, times in self.times.items()]
        body = {
            "schema": SCHEMA,
            "settings": asdict(self.settings),
            "provenance": self.provenance,
            "cells": cells,
        }
        lines = json.dumps(body | {"cells": [], "digest": digest(body)}, indent=1)
        listed = ",\n".join("  " + json.dumps(cell) for cell in cells)  # one cell a line keeps a diff readable
        return lines.replace('"cells": []', f'"cells": [\n{listed}\n ]') + "\n"

    def write(self, path: Path) -> None:
        """The file appears whole or not at all. Raises RecordError where it cannot be written."""
        measured.save(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "LatencyRecord":
        """Raises RecordError when the file is not JSON, of another schema, or any field was changed."""
        body = measured.read(path, COMMAND)
        try:
            cells = {}
            for entry in body["cells"]:
                times = entry.pop("milliseconds")
                cells[Cell(**entry)] = times
            return cls(Settings(**body["settings"]), cells, body["provenance"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path.name} cannot be read ({error}): restore it from git, or delete it") from error


def next_path(folder: Path = FOLDER) -> Path:
    """latency-<n>.json with the first n that is above all there are."""
    return folder / f"latency-{max(map(number, folder.glob('latency-*.json')), default=0) + 1}.json"


def number(path: Path) -> int:
    digits = path.stem.removeprefix("latency-")
    return int(digits) if digits.isdecimal() else 0


def records(folder: Path = FOLDER) -> dict[str, LatencyRecord]:
    """By name, in the order they were made; later ones repeat earlier ones."""
    return {path.stem: LatencyRecord.read(path) for path in sorted(folder.glob("latency-*.json"), key=number)}


def provenance() -> dict[str, Any]:
    """Code, processor and libraries, and how busy the machine was; no host name, no path."""
    busy = round(os.getloadavg()[0], 2)  # processes that ran or waited, mean of the last minute
    return origin("torch", "onnxruntime", "openvino") | {"load_before": busy}

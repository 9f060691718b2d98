"""The record of a latency measurement: every single time, how it was taken, and on what."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rdlib.errors import ConfigError
from rdlib.measure import record as measured

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
        model = f" ({how['cpu_model']})" if how.get("cpu_model") else ""  # the first records lack it
        return f"{how['cpu']}{model}, {threads} thread{'s' if threads > 1 else ''}{gpu}"

    def write(self, path: Path) -> None:
        """The file appears whole or not at all. Raises RecordError where it cannot be written."""
        cells = [asdict(cell) | {"milliseconds": times} for cell, times in self.times.items()]
        body = {"settings": asdict(self.settings), "provenance": self.provenance, "cells": cells}
        measured.write(path, body, listed="cells")

    @classmethod
    def read(cls, path: Path) -> "LatencyRecord":
        """Raises RecordError when the file is not JSON, of another schema, or any field was changed."""
        body = measured.read(path, COMMAND)
        with measured.readable(path, COMMAND):
            times = [entry.pop("milliseconds") for entry in body["cells"]]
            cells = [Cell(**entry) for entry in body["cells"]]
            return cls(Settings(**body["settings"]), dict(zip(cells, times, strict=True)), body["provenance"])


def next_path(folder: Path) -> Path:
    """latency-<n>.json with the first n that is above all there are."""
    return folder / f"latency-{max(map(number, folder.glob('latency-*.json')), default=0) + 1}.json"


def number(path: Path) -> int:
    digits = path.stem.removeprefix("latency-")
    return int(digits) if digits.isdecimal() else 0


def records(folder: Path) -> dict[str, LatencyRecord]:
    """By name, in the order they were made; later ones repeat earlier ones."""
    return {path.stem: LatencyRecord.read(path) for path in sorted(folder.glob("latency-*.json"), key=number)}


def provenance() -> dict[str, Any]:
    return measured.origin_of_times("torch", "onnxruntime", "openvino")

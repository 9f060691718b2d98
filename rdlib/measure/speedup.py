"""How much faster than the ResNet: ratios of medians with their spread, tables of them, and what follows from them.

A speed-up belongs to an engine, a precision, a batch, an image size and a processor; there is no speed-up as such.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rdlib.errors import RecordError
from rdlib.measure.latency_record import Cell, LatencyRecord

DRIFT = 0.10  # ratios of a repeat may differ by so much


@dataclass(frozen=True)
class Speedup:
    """Median time of the ResNet over that of a network, and the interval of that ratio; times in milliseconds.

    sessions: how many records it comes from.
    """

    cell: Cell
    ratio: float
    low: float
    high: float
    median: float
    quartiles: tuple[float, float]
    sessions: int = 1

    @property
    def is_resnet(self) -> bool:
        return self.cell == resnet_of(self.cell)

    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


def resnet_of(cell: Cell) -> Cell:
    """What a cell is compared with: the ResNet of its depth with all else equal."""
    return replace(cell, network=f"ResNet-{cell.depth}", shortcuts="all", variant="")


def speedup(reference: Sequence[float], times: Sequence[float]) -> tuple[float, float, float]:
    """median(reference) / median(times), and the 95 % percentile bootstrap interval of that ratio.

    Times with one index were taken in one round, so whole rounds are drawn (paired bootstrap, Efron and Tibshirani
    1993). It knows what varied within a run; what differs between days only a repeat shows. Raises RecordError for
    samples that are empty, of unequal length or not positive.
    """
    from scipy.stats import bootstrap  # seconds, which reading any other record need not wait

    if not len(reference) == len(times) > 0 or not all(time > 0 for time in (*reference, *times)):
        raise RecordError("a speed-up needs equally many positive times of both networks: measure again")
    ratio = float(ratio_of_medians(reference, times))
    if len(times) == 1:
        return ratio, ratio, ratio
    found = bootstrap(
        (reference, times), ratio_of_medians, paired=True, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    return ratio, float(found.low), float(found.high)


def ratio_of_medians(reference: Any, times: Any, axis: int = -1) -> Any:
    return np.median(reference, axis) / np.median(times, axis)


def speedups(record: LatencyRecord) -> dict[Cell, Speedup]:
    """Of every cell whose ResNet was timed beside it; the ResNets among them have 1."""
    found = {}
    for cell, times in sorted(record.times.items()):
        reference = record.times.get(resnet_of(cell))
        if reference is not None:
            low, high = np.percentile(times, [25, 75])
            found[cell] = Speedup(cell, *speedup(reference, times), float(np.median(times)), (float(low), float(high)))
    return found


def over_sessions(records: Iterable[LatencyRecord]) -> dict[Cell, Speedup]:
    """Each cell from all records of one machine that have it: the median of their ratios, and the interval that holds
    all of their intervals, since what differs between days is more than what varies within a run."""
    several: dict[Cell, list[Speedup]] = {}
    times: dict[Cell, list[float]] = {}
    for record in records:
        for cell, one in speedups(record).items():
            several.setdefault(cell, []).append(one)
            times.setdefault(cell, []).extend(record.times[cell])
    found = {}
    for cell, ones in sorted(several.items()):
        low, median, high = (float(at) for at in np.percentile(times[cell], [25, 50, 75]))
        ratio = float(np.median([one.ratio for one in ones]))
        ends = min(one.low for one in ones), max(one.high for one in ones)
        found[cell] = Speedup(cell, ratio, *ends, median, (low, high), len(ones))
    return found


def by_machine(records: Mapping[str, LatencyRecord]) -> dict[str, dict[str, LatencyRecord]]:
    """Records, each under its processor and number of threads."""
    machines: dict[str, dict[str, LatencyRecord]] = {}
    for name, record in records.items():
        machines.setdefault(record.machine, {})[name] = record
    return machines


def changes(first: LatencyRecord, second: LatencyRecord) -> dict[Cell, float]:
    """second / first - 1 of the speed-up of every cell that both have; the ResNets, 1 by definition, left out."""
    one, other = speedups(first), speedups(second)
    return {cell: other[cell].ratio / one[cell].ratio - 1 for cell in one if cell in other and not one[cell].is_resnet}


def repeats(records: Mapping[str, LatencyRecord]) -> pd.DataFrame:
    """Every later record of one machine against every earlier one: how far the speed-ups moved, and how many of them
    out of the earlier one's interval."""
    lines = []
    for (first, one), (second, other) in itertools.combinations(records.items(), 2):
        if moved := changes(one, other):
            worst = max(moved, key=lambda cell: abs(moved[cell]))
            size = f"{worst.side}x{worst.side}, batch {worst.batch}"
            lines.append(
                {
                    "record": f"{second} against {first}",
                    "made": f"{minute(other)}; {minute(one)}",
                    "cells": len(moved),
                    "largest change": f"{moved[worst]:+.1%}",
                    "where": f"{worst.network}, {size}, {worst.engine}, {worst.precision}",
                    f"over {DRIFT:.0%}": sum(abs(change) >= DRIFT for change in moved.values()),
                    "outside": outside(one, other),
                }
            )
    return pd.DataFrame(lines)


def outside(one: LatencyRecord, other: LatencyRecord) -> int:
    """How many speed-ups of a later session lie outside the earlier one's intervals."""
    earlier, later = speedups(one), speedups(other)
    return sum(not earlier[cell].low <= later[cell].ratio <= earlier[cell].high for cell in earlier if cell in later)


def minute(record: LatencyRecord) -> str:
    """When it was made, UTC."""
    return str(record.provenance["created"])[:16].replace("T", " ")


def table(found: Mapping[Cell, Speedup], side: int, batch: int, depth: int, matched: bool = False) -> pd.DataFrame:
    """One line an engine and precision: the ResNet's median time [quartiles], the speed-up [95 %] of the others, and
    from how many sessions.

    matched: of the ResNets made as cheap as the plain network, instead of the networks with fewer shortcuts.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for one in found.values():
        cell = one.cell
        if (cell.side, cell.batch, cell.depth) != (side, batch, depth):
            continue
        line = lines.setdefault((cell.engine, cell.precision), {})
        if one.is_resnet:
            line[f"{cell.network} (ms)"] = f"{one.median:.1f} [{one.quartiles[0]:.1f}, {one.quartiles[1]:.1f}]"
        elif bool(cell.variant) == matched:
            line[cell.variant or cell.network] = str(one)
            line["sessions"] = str(min(one.sessions, int(line.get("sessions", one.sessions))))
    named = [{"engine": engine, "precision": precision, **line} for (engine, precision), line in lines.items()]
    if not any("sessions" in line for line in named):
        return pd.DataFrame()
    shown = pd.DataFrame(named).fillna("")
    return shown[[*(name for name in shown if name != "sessions"), "sessions"]]


def verdict(found: Mapping[Cell, Speedup], claimed: float, depth: int, side: int, batch: int) -> dict[str, str]:
    """A line of a table that follows by rule from the strictly plain network's cells of that depth, side and batch;
    empty without any.

    A network is faster only where the whole interval is above 1; the claimed speed-up is reached where the whole
    interval is at or above it, and open where it lies within.
    """
    wanted = (side, batch, depth, "none")
    cells = [one for cell, one in found.items() if (cell.side, cell.batch, cell.depth, cell.shortcuts) == wanted]
    if not cells:
        return {}
    ends = {"least": min(cells, key=lambda one: one.ratio), "most": max(cells, key=lambda one: one.ratio)}
    counts = {
        "faster in": sum(one.low > 1 for one in cells),
        f"{claimed:g}x reached in": sum(one.low >= claimed for one in cells),
        "open in": sum(one.low < claimed <= one.high for one in cells),
    }
    line = {"images": f"{batch} of {side}x{side}"}
    line |= {name: f"{count} of {len(cells)}" for name, count in counts.items()}
    return line | {name: f"{one.ratio:.2f} {one.cell.engine}, {one.cell.precision}" for name, one in ends.items()}

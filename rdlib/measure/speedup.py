"""How much faster than the ResNet: ratios of medians with their spread, tables of them, and what follows from them.

A speed-up belongs to an engine, a precision, a batch, an image size and a processor; there is no speed-up as such.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rdlib.errors import RecordError
from rdlib.measure.engines import AS_WRITTEN
from rdlib.measure.latency_record import Cell, LatencyRecord

LEVEL = 95  # percent
RESAMPLES = 2000
DRIFT = 0.10  # ratios of a repeat may differ by so much


@dataclass(frozen=True)
class Speedup:
    """Median time of the ResNet over that of a network, and the interval of that ratio; times in milliseconds."""

    cell: Cell
    ratio: float
    low: float
    high: float
    median: float
    quartiles: tuple[float, float]

    @property
    def is_resnet(self) -> bool:
        return self.cell == resnet_of(self.cell)

    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


def resnet_of(cell: Cell) -> Cell:
    """What a cell is compared with: the ResNet of its depth with all else equal."""
    return replace(cell, network=f"ResNet-{cell.depth}", shortcuts="all", variant="")


def speedup(reference: Sequence[float], times: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """median(reference) / median(times), and the 95 % percentile bootstrap interval of that ratio.

    Times with one index were taken in one round, so whole rounds are drawn (paired bootstrap, Efron and Tibshirani
    1993). It knows what varied within a run; what differs between days only a repeat shows. Raises RecordError for
    samples that are empty, of unequal length or not positive.
    """
    pairs = np.array([reference, times]) if len(reference) == len(times) else np.empty(0)
    if not pairs.size or not (pairs > 0).all():
        raise RecordError("a speed-up needs equally many positive times of both networks: measure again")
    drawn = np.random.default_rng(seed).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    ratio, *bounds = (
        medians_ratio(pairs),
        *np.percentile(medians_ratio(pairs[:, drawn]), [(100 - LEVEL) / 2, (100 + LEVEL) / 2]),
    )
    return float(ratio), float(bounds[0]), float(bounds[1])


def medians_ratio(
    pairs: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """[2, ..., rounds] -> [...]"""
    above, below = np.median(pairs, axis=-1)
    return np.asarray(above / below)


def speedups(record: LatencyRecord) -> dict[Cell, Speedup]:
    """Of every cell whose ResNet was timed beside it; the ResNets among them have 1."""
    found = {}
    for cell, times in sorted(record.times.items()):
        reference = record.times.get(resnet_of(cell))
        if reference is not None:
            low, high = np.percentile(times, [25, 75])
            found[cell] = Speedup(cell, *speedup(reference, times), float(np.median(times)), (float(low), float(high)))
    return found


def first_of_each(records: Iterable[LatencyRecord]) -> dict[Cell, Speedup]:
    """Each cell from the first record that has it: what comes later repeats, and is compared by `repeats`."""
    found: dict[Cell, Speedup] = {}
    for record in records:
        found = speedups(record) | found
    return dict(sorted(found.items()))


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
    """Every later record of one machine against every earlier one: how far the speed-ups moved."""
    lines, named = [], list(records.items())
    for i, (first, one) in enumerate(named):
        for second, other in named[i + 1 :]:
            moved = changes(one, other)
            if moved:
                worst = max(moved, key=lambda cell: abs(moved[cell]))
                where = (
                    worst.network,
                    f"{worst.side}x{worst.side}",
                    f"batch {worst.batch}",
                    worst.engine,
                    worst.precision,
                )
                lines.append(
                    {
                        "record": f"{second} against {first}",
                        "made": f"{minute(other)}; {minute(one)}",
                        "cells": len(moved),
                        "largest change": f"{moved[worst]:+.1%}",
                        "where": ", ".join(where),
                        f"over {DRIFT:.0%}": sum(abs(change) >= DRIFT for change in moved.values()),
                    }
                )
    return pd.DataFrame(lines)


def minute(record: LatencyRecord) -> str:
    """When it was made, UTC."""
    return str(record.provenance["created"])[:16].replace("T", " ")


def table(found: Mapping[Cell, Speedup], side: int, batch: int, depth: int, matched: bool = False) -> pd.DataFrame:
    """One line an engine and precision: the ResNet's median time [quartiles] and the speed-up [95 %] of the others.

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
    named = [{"engine": engine, "precision": precision, **line} for (engine, precision), line in lines.items()]
    return pd.DataFrame(named).fillna("") if any(len(line) > 3 for line in named) else pd.DataFrame()


def says(one: Speedup) -> str:
    """The rule of the verdicts: faster or slower only where the whole interval is on one side of 1."""
    return "faster" if one.low > 1 else "slower" if one.high < 1 else "no difference shown"


def verdict(
    found: Mapping[Cell, Speedup], claimed: float, depth: int = 50, side: int = 224, batch: int = 1
) -> list[str]:
    """Sentences that follow by rule from the strictly plain network's cells of that depth, side and batch.

    The claimed speed-up is reached where the whole interval is at or above it, and open where it lies within.
    """
    cells = [
        one
        for cell, one in found.items()
        if (cell.side, cell.batch, cell.depth, cell.shortcuts) == (side, batch, depth, "none")
    ]
    if not cells:
        return []
    named = {one: f"{one.cell.engine} ({one.cell.precision})" for one in cells}
    least, most = min(cells, key=lambda one: one.ratio), max(cells, key=lambda one: one.ratio)
    faster = [one for one in cells if says(one) == "faster"]
    slower = [one for one in cells if says(one) == "slower"]
    reached = [named[one] for one in cells if one.low >= claimed]
    undecided = [named[one] for one in cells if one.low < claimed <= one.high]
    sentences = [
        f"Strictly plain-{depth} against ResNet-{depth}, {side}x{side}, batch {batch}: faster in {len(faster)} of "
        f"{len(cells)} engines and precisions, slower in {len(slower)}; from {least.ratio:.2f}x in {named[least]} to "
        f"{most.ratio:.2f}x in {named[most]}.",
        f"{claimed:g}x is reached in {len(reached)}{listed(reached)}, open in {len(undecided)}{listed(undecided)}, and "
        f"missed in {len(cells) - len(reached) - len(undecided)}.",
    ]
    written = next((one for one in cells if one.cell.engine == AS_WRITTEN), None)
    fused = next((one for one in cells if (one.cell.engine, one.cell.precision) == ("ONNX Runtime", "float32")), None)
    if written and fused:
        apart = written.low > fused.high or fused.low > written.high
        sentences.append(
            f"ONNX Runtime, float32: {written} as the file is written, {fused} with its optimisations; the intervals "
            f"{'are apart' if apart else 'overlap'}."
        )
    return sentences


def listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""

"""Paired differences: one row of runs minus another, seed by seed, with the 95 % interval of their mean."""

import math
from collections.abc import Sequence

import pandas as pd

from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell
from rdlib.runs.store import Store

SAME_LEVEL = 1.0  # points of top-1: about two seed deviations of a CIFAR-100 ResNet
LEAST = 3  # pairs for an interval: two may agree by luck to the last digit, and would then claim certainty


def find(rows: Sequence[Row], depth: int, method: str, shortcuts: str) -> Row:
    """The row of a depth, method and kind of shortcuts."""
    return next(r for r in rows if (r.depth, r.method, r.shortcuts) == (depth, method, shortcuts))


def difference(row: Row, other: Row, store: Store) -> Cell:
    """Paired over seeds: row minus other, in points of top-1; only seeds where both have a record count."""
    pairs = [(store.record(a), store.record(b)) for a, b in zip(row.runs, other.runs, strict=True)]
    gaps = tuple(a.top1 - b.top1 for a, b in pairs if a is not None and b is not None)
    return Cell(gaps, len(row.runs))


def signed(gap: Cell) -> str:
    return f"{gap.mean:+.1f}" + (f" ± {gap.std:.1f}" if len(gap.values) > 1 else "") if gap.values else ""


def bounds(gap: Cell) -> tuple[float, float]:
    """95 % confidence interval of a mean, of a paired difference or any other (Student's t); infinite below LEAST."""
    from scipy.stats import t as student_t

    n = len(gap.values)
    if n < LEAST:
        return -math.inf, math.inf
    half = float(student_t.ppf(0.975, n - 1)) * gap.std / math.sqrt(n)
    return gap.mean - half, gap.mean + half


def interval(gap: Cell) -> str:
    return "{:+.1f} to {:+.1f}".format(*bounds(gap)) if len(gap.values) >= LEAST else ""


def compared_to_baselines(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """Every taught network of table 3 against the plain and the ResNet of its depth: paired difference, n, interval."""
    lines = []
    for row in rows:
        if row.method != "cross-entropy":
            line: dict[str, object] = {"cell": row.name}
            for name, kept in (("plain", row.shortcuts), ("ResNet", "all")):
                gap = difference(row, find(rows, row.depth, "cross-entropy", kept), store)
                line |= {f"minus {name}": signed(gap), f"n ({name})": len(gap.values), f"95 % ({name})": interval(gap)}
            lines.append(line)
    return pd.DataFrame(lines)

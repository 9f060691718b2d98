"""One thing changed: rows held against a reference row, paired over the seeds, with an interval and a verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row
from rdlib.experiments.tables import cell, fill_command, lean
from rdlib.paper.statistics import BETTER, UNDECIDED, WORSE, better_or_worse, difference, find, interval, signed
from rdlib.runs.store import Store


def contrasts(
    profile: Profile, table: str, groups: Mapping[str, Sequence[Row]], reference: Row, store: Store
) -> pd.DataFrame:
    """Each row minus the reference, in points of last-epoch top-1 on the split that the runs are evaluated on.

    groups: rows under the question they answer. An empty cell names the command that fills it.
    """
    lines = []
    for question, rows in groups.items():
        for row in rows:
            ours, gap = cell(row, store), difference(row, reference, store)
            lines.append(
                {
                    "question": question,
                    "change": row.method,
                    f"{row.runs[0].recipe.holdout} top-1 (%)": str(ours),
                    "n": ours.count,
                    "difference": signed(gap),
                    "95 %": interval(gap),
                    "verdict": better_or_worse(gap),
                    "to fill": "" if ours.whole else fill_command(profile, table, store),
                }
            )
    return lean(lines, "to fill")


def sentence(row: Row, reference: Row, store: Store) -> str:
    """The verdict in words, with its numbers."""
    gap = difference(row, reference, store)
    if not gap.values:
        return f"{row.method}: has no record yet"
    said = {BETTER: "is better", WORSE: "is worse", UNDECIDED: "cannot be told apart"}[better_or_worse(gap)]
    numbers = f"{signed(gap)} points" + (f", 95 % {interval(gap)}" if interval(gap) else "")
    return f"{row.method}: {said} ({numbers}, n = {len(gap.values)})"


def compared_to_baselines(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """Every taught network of table 3 against the plain and the ResNet of its depth: paired difference, n, interval."""
    lines = []
    for row in (row for row in rows if row.teaching != CROSS_ENTROPY):
        line: dict[str, object] = {"cell": row.name}
        for name, kept in (("plain", row.shortcuts), ("ResNet", "all")):
            gap = difference(row, find(rows, row.depth, CROSS_ENTROPY, kept), store)
            line |= {f"minus {name}": signed(gap), f"n ({name})": len(gap.values), f"95 % ({name})": interval(gap)}
        lines.append(line)
    return pd.DataFrame(lines)

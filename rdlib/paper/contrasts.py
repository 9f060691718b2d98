"""One thing changed: rows held against a reference row, paired over the seeds, with an interval and a verdict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell, cell, fill_command
from rdlib.paper.differences import bounds, difference, interval, signed
from rdlib.runs.store import Store

BETTER, WORSE, UNDECIDED, MISSING = "better", "worse", "cannot tell", ""


def verdict(gap: Cell) -> str:
    """Better or worse where the whole 95 % interval of the paired difference lies on one side of zero."""
    if not gap.values:
        return MISSING
    low, high = bounds(gap)
    return BETTER if low > 0 else WORSE if high < 0 else UNDECIDED


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
                    "n": f"{len(ours.values)}/{ours.wanted}",
                    "difference": signed(gap),
                    "95 %": interval(gap),
                    "verdict": verdict(gap),
                    "to fill": "" if len(ours.values) == ours.wanted else fill_command(profile, table, store),
                }
            )
    found = pd.DataFrame(lines)
    return found if found["to fill"].any() else found.drop(columns="to fill")


def sentence(row: Row, reference: Row, store: Store, name: str = "") -> str:
    """The verdict in words, with its numbers."""
    gap = difference(row, reference, store)
    said = {BETTER: "is better", WORSE: "is worse", UNDECIDED: "cannot be told apart", MISSING: "has no record yet"}
    found = verdict(gap)
    if found == MISSING:
        return f"{name or row.method}: has no record yet"
    numbers = f"{signed(gap)} points" + (f", 95 % {interval(gap)}" if interval(gap) else "")
    return f"{name or row.method}: {said[found]} ({numbers}, n = {len(gap.values)})"

"""One thing changed: rows held against a reference row, with an interval and a verdict; a table is one family."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row
from rdlib.experiments.tables import cell, fill_command, lean
from rdlib.paper.statistics import Estimate, difference, find, holm
from rdlib.runs.store import Store

Judged = tuple[Row, Estimate, float]  # a row, its difference, and how often the interval of that may err


def judged(rows: Sequence[Row], reference: Row, store: Store) -> list[Judged]:
    """Each row minus the reference, all as one family."""
    gaps = [difference(row, reference, store) for row in rows]
    return list(zip(rows, gaps, holm((gap, 0.0) for gap in gaps), strict=True))


def contrasts(
    profile: Profile, table: str, groups: Mapping[str, Sequence[Row]], reference: Row, store: Store
) -> pd.DataFrame:
    """Each row minus the reference, in points of last-epoch top-1 on the split that the runs are evaluated on.

    groups: rows under the question they answer. An empty cell names the command that fills it.
    """
    question = {row: name for name, rows in groups.items() for row in rows}
    lines = []
    for row, gap, error in judged([*question], reference, store):
        ours = cell(row, store)
        lines.append(
            {
                "question": question[row],
                "change": row.method,
                f"{row.runs[0].recipe.holdout} top-1 (%)": str(ours),
                "n": ours.count,
                "difference": gap.text(error=error),
                "better?": gap.verdict(error=error),
                "to fill": "" if ours.whole else fill_command(profile, table, store),
            }
        )
    return lean(lines, "to fill")


def against_baselines(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """Every taught network against the plain network and the ResNet of its depth: a family a column."""
    taught = [row for row in rows if row.teaching != CROSS_ENTROPY]
    columns: dict[str, list[str]] = {"cell": [row.name for row in taught]}
    for name in ("plain", "ResNet"):
        pairs = [
            (row, find(rows, row.depth, CROSS_ENTROPY, "all" if name == "ResNet" else row.shortcuts)) for row in taught
        ]
        gaps = [difference(row, other, store) for row, other in pairs]
        errors = holm((gap, 0.0) for gap in gaps)
        columns[f"minus {name}"] = [gap.text(error=error) for gap, error in zip(gaps, errors, strict=True)]
        columns[f"above {name}?"] = [gap.verdict(error=error) for gap, error in zip(gaps, errors, strict=True)]
    return pd.DataFrame(columns)

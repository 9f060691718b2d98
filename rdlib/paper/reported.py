"""Every reported accuracy beside ours, each with its source."""

import pandas as pd

from rdlib.experiments.handwritten import paper
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell, fill_command, table3
from rdlib.models import SHORTCUTS
from rdlib.paper.statistics import NO, NOT_RUN, SAME_LEVEL, YES
from rdlib.runs.store import Store


def table(store: Store) -> pd.DataFrame:
    """A line a reported value and network of ours that it may be about; where "plain" has two readings, one for both.

    "same?" is yes within SAME_LEVEL points of the mean of our seeds.
    """
    known, lines = paper().to_dict("index"), []
    for profile in PROFILES.values():
        for row in table3(profile):
            for key in (row.reported, f"{row.reported}_hub"):
                if key in known:
                    theirs, ours = float(known[key]["value"]), cell(row, store)
                    close = YES if abs(ours.mean - theirs) <= SAME_LEVEL else NO
                    lines.append(
                        {
                            "data": profile.name,
                            "network": f"{row.network}-{row.depth}",
                            "shortcuts": SHORTCUTS[row.shortcuts],
                            "taught by": row.method,
                            "reported (%)": f"{theirs:.2f}",
                            "by": known[key]["source"].partition(" ")[0],
                            "ours (%)": str(ours),
                            "n": ours.count,
                            "same?": close if ours.values else NOT_RUN,
                        }
                    )
    return pd.DataFrame(lines)


def commands(store: Store) -> list[str]:
    """What trains the cells beside which a value is reported."""
    return [f"to fill: {fill_command(PROFILES[name], '3', store)}" for name in ("cifar10", "cifar100")]

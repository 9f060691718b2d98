"""Rows of runs: one function per paper table that lists its rows; rendered to DataFrame, text, Markdown and CSV.

Nothing here is typed by hand: our numbers come from records, reported ones from `results/paper.csv`.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdlib.errors import require_choice
from rdlib.experiments import beyond, comparisons, fair
from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.comparisons import AT_HIGH_RATE, HIGH_RATE, at_high_rate
from rdlib.experiments.controls import controls
from rdlib.experiments.handwritten import paper
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, TAUGHT, Row, listed, make_row, three_rows
from rdlib.files import RESULTS, ROOT
from rdlib.images.sources import EVALUATED
from rdlib.models import SHORTCUTS, Shortcuts
from rdlib.recipe import PAPER_RECIPE
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store

FILL, REPORTED = "to fill", "reported (%)"  # columns: of commands; of the paper's values
LEARNING_RATES = (PAPER_RECIPE.learning_rate, 0.3, 0.6, HIGH_RATE)


def accuracies(profile: Profile, conditions: str = "") -> list[Row]:
    """Top-1 accuracy of ResNet, plain, and plain taught in every way; both readings of "plain"."""
    rows = []
    plain: tuple[Shortcuts, ...] = ("none", "downsample")
    for depth in sorted(profile.depths):
        teachers = make_row(profile, depth, CROSS_ENTROPY, "all", conditions=conditions)
        rows.append(teachers)
        for kept in plain:
            rows += [make_row(profile, depth, how, kept, teachers, conditions) for how in TAUGHT.values()]
    return rows


def table3(profile: Profile) -> list[Row]:
    """Table 3: accuracies on small images."""
    return accuracies(profile) if profile.dataset != "imagenet" else []


def table4(profile: Profile) -> list[Row]:
    """Table 4: accuracies on ImageNet."""
    return accuracies(profile) if profile.dataset == "imagenet" else []


def table3_high_rate(profile: Profile) -> list[Row]:
    """Table 3 of the quick profile at a rate that breaks plain networks: a demonstration, and a lottery."""
    return accuracies(at_high_rate(profile), AT_HIGH_RATE) if profile.name == "quick" else []


def learning_rates(profile: Profile) -> list[Row]:
    """How much of the gap is the learning rate: quick networks at several peak rates, on the tune split."""
    return [
        row
        for rate in (LEARNING_RATES if profile.name == "quick" else ())
        for depth in profile.depths
        for row in three_rows(profile.trained(learning_rate=rate, holdout="tune"), depth, f"learning rate {rate}")
    ]


TABLES: dict[str, Callable[[Profile], list[Row]]] = {
    "3": table3,
    "4": table4,
    "depth": comparisons.depths,
}
COMPARISONS: dict[str, Callable[[Profile], list[Row]]] = {
    "3-high-rate": table3_high_rate,
    "learning-rate": learning_rates,
    "controls": controls,
    "rivals": comparisons.rivals,
    "rivals-tune": fair.tune_rows,
    "rivals-tuned": fair.tuned_rows,
    "ablations": comparisons.ablations,
    "tuned": comparisons.tuned,
    "tuned-high-rate": comparisons.tuned_high_rate,
    "deeper": beyond.deeper,
    "alone-tune": fair.alone_rows,
    "alone": beyond.alone,
    "sampled": beyond.sampled,
    "bits": beyond.quantised,
    "redistill": beyond.redistilled,
}
TRANSFERS: dict[str, Callable[[Profile], list[Row]]] = {
    "transfer": transfer_rows.rows,
    "transfer-tune": transfer_rows.tune_rows,
}
NAMED = COMPARISONS | TRANSFERS  # trained only where asked for by name


def rows_of(profile: Profile, table: str | None = None) -> list[Row]:
    """The rows of one table of a profile, or of all TABLES (the NAMED ones only where asked for)."""
    if table is None:
        return [row for make in TABLES.values() for row in make(profile)]
    known = TABLES | NAMED
    require_choice("table", table, known)
    return known[table](profile)


def runs_of(rows: Iterable[Row]) -> list[Run]:
    """Each run once, what is worth most first: the depth that stands first in the profile, and of each depth one seed
    of every cell before a second one."""
    unique = {run.id: (row.worth, run.seed, run) for row in rows for run in row.runs}
    return [run for *_, run in sorted(unique.values(), key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class Cell:
    """Last-epoch top-1 in percent over the seeds that finished, and how many diverged; images: how many each was
    evaluated on."""

    values: tuple[float, ...]
    wanted: int
    diverged: int = 0
    images: int | None = None

    @classmethod
    def of(cls, records: Sequence[Record], wanted: int) -> "Cell":
        """The cell of runs that are alike but for their seeds."""
        values = tuple(record.top1 for record in records if record.diverged is None)
        run = records[0].run if records else None
        images = EVALUATED.get(run.dataset, {}).get(run.recipe.holdout) if run else None
        return cls(values, wanted, len(records) - len(values), images)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1); NaN for fewer than two values."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def done(self) -> int:
        """How many of the seeds have a record, of whatever end."""
        return len(self.values) + self.diverged

    @property
    def whole(self) -> bool:
        """Whether nothing is left to train."""
        return self.done == self.wanted

    @property
    def finished(self) -> bool:
        """Whether every seed has an accuracy: a mean over those that did not diverge would flatter."""
        return len(self.values) == self.wanted

    @property
    def count(self) -> str:
        """How many of the seeds have a record, e.g. "2/3"."""
        return f"{self.done}/{self.wanted}"

    def __str__(self) -> str:
        """E.g. "96.6 ± 1.0, 1 diverged"; "diverged" where all did."""
        if self.diverged and self.diverged == self.wanted:
            return "diverged"
        spread = f" ± {self.std:.1f}" if len(self.values) > 1 else ""
        return listed(
            f"{self.mean:.1f}{spread}" if self.values else "", f"{self.diverged} diverged" if self.diverged else ""
        )


def ended(row: Row, store: Store) -> list[Record]:
    """Every record a row has, in the order of its seeds, those of runs that diverged too."""
    return [record for run in row.runs if (record := store.record(run)) is not None]


def records_of(row: Row, store: Store) -> list[Record]:
    """The records of a row's runs that finished, in the order of its seeds: those that have an accuracy."""
    return [record for record in ended(row, store) if record.diverged is None]


def cell(row: Row, store: Store) -> Cell:
    return Cell.of(ended(row, store), len(row.runs))


def reported(row: Row) -> float | None:
    """The value known to be reported for a row, in percent, or None; the paper's before a released model's."""
    known: dict[object, float] = paper()["value"].to_dict()
    return known.get(row.reported, known.get(f"{row.reported}_hub"))


def in_store(command: str, store: Store) -> str:
    """A command, given from the repository's root, that works on this store; the published one needs no naming."""
    folder = store.root.resolve()
    if folder == RESULTS.resolve():
        return command
    place = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return f"{command} --store {shlex.quote(place.as_posix())}"


def fill_command(profile: Profile, table: str, store: Store) -> str:
    """What trains whatever a table of this store lacks."""
    return in_store(f"python -m rdlib sweep {profile.name} --table {table}", store)


def frame(profile: Profile, table: str, store: Store) -> pd.DataFrame:
    """A table as text columns, one row per cell; an empty cell names the command that fills it."""
    lines = []
    for row in rows_of(profile, table):
        ours, theirs = cell(row, store), reported(row)
        line: dict[str, Any] = {
            "depth": row.depth,
            "network": row.network,
            "shortcuts": SHORTCUTS[row.shortcuts],
            "taught by": row.method,
            "setting": row.setting,
            f"{row.runs[0].recipe.holdout} top-1 (%)": str(ours),
            "n": ours.count,
            REPORTED: "" if theirs is None else f"{theirs:.2f}",
            "ours - reported": f"{ours.mean - theirs:+.2f}" if theirs is not None and ours.values else "",
            FILL: "" if ours.whole else fill_command(profile, table, store),
        }
        lines.append(line)
    return lean(lines, "setting", REPORTED, "ours - reported", FILL)


def lean(lines: Sequence[Mapping[str, str | int]] | pd.DataFrame, *optional: str) -> pd.DataFrame:
    """A frame of these lines, without those optional columns that say nothing in any line."""
    found = pd.DataFrame(lines)
    return found.drop(columns=[name for name in optional if name in found and not found[name].any()])


def per_seed(profile: Profile, table: str, store: Store) -> pd.DataFrame:
    """The numbers behind a table and its figure: one line a cell, one column a seed."""
    lines = []
    for row in rows_of(profile, table):
        line: dict[str, Any] = {"cell": row.name}
        for run in row.runs:
            record = store.record(run)
            known = "" if record is None else "diverged" if record.diverged is not None else f"{record.top1:.2f}"
            line[f"seed {run.seed}"] = known
        lines.append(line)
    return pd.DataFrame(lines)


def reported_with_sources(table: str) -> pd.DataFrame:
    """What the paper is known to report for a table, each value with its source."""
    known = paper()
    known = known[(known["table"] == table) & known["value"].notna()]
    return pd.DataFrame(
        {
            "data": known["dataset"],
            "network": known["network"] + "-" + known["depth"].astype(int).astype(str),
            REPORTED: known["value"].map("{:.2f}".format),
            "source": known["source"],
        }
    )


def without_commands(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A table without its column of commands, and each command once: which cells wait is seen without it."""
    if FILL not in table or len(table.columns) == 1:
        return table, []
    told = [command for cell in table[FILL] for command in str(cell).split("; ") if command]
    return table.drop(columns=FILL), list(dict.fromkeys(told))


def as_text(table: pd.DataFrame) -> str:
    """Fixed-width text with a rule under the header, commands beneath: the one way a notebook prints a table."""
    if table.empty:
        return "(no rows)"
    shown, commands = without_commands(table)
    columns = [[str(name), *map(str, shown[name])] for name in shown.columns]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]
    beneath = ["", *(f"{FILL}: {command}" for command in commands)] if commands else []
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:], *beneath])


def as_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, commands beneath."""
    if table.empty:
        return "(no rows)"
    shown, commands = without_commands(table)
    lines = [list(map(str, shown.columns)), ["---"] * len(shown.columns), *shown.astype(str).to_numpy().tolist()]
    beneath = ["", *(f"{FILL}: `{command}`" for command in commands)] if commands else []
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *beneath])

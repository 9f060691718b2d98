"""One reading of a claim: our number beside the paper's, with its interval, and a verdict that follows by rule."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rdlib.experiments.tables import Cell, paper
from rdlib.paper.statistics import FAILS, HOLDS, IN_PART, LEAST, NOT_RUN, NOT_TESTED, UNDECIDED, bounds

TESTED = (HOLDS, IN_PART, FAILS, UNDECIDED)
FULL, REDUCED = "full", "reduced"


@dataclass(frozen=True)
class Reading:
    """One way to read a claim and what the records say of it.

    claim: what the readings of one claim share. value, low, high: ours and its 95 % interval, printed by `form`; NaN
    where there is none. highest: where it was measured in several sessions, `value` is the lowest. n: seeds, or timed
    passes. more: further columns. look: the notebook that shows it. fill: the command that makes missing records.
    """

    claim: str
    reading: str
    paper: str = ""
    value: float = math.nan
    highest: float = math.nan
    low: float = math.nan
    high: float = math.nan
    form: str = "{:+.1f}"
    n: int = 0
    protocol: str = ""
    verdict: str = NOT_RUN
    look: str = ""
    fill: str = ""
    more: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> str:
        return span([self.form.format(value) for value in self.values])

    @property
    def values(self) -> list[float]:
        """Ours: one number, or the lowest and the highest, or none."""
        return [value for value in (self.value, self.highest) if not math.isnan(value)]

    @property
    def interval(self) -> str:
        return f"{self.form.format(self.low)} to {self.form.format(self.high)}" if math.isfinite(self.low) else ""

    @property
    def untested(self) -> "Reading":
        """As the one reading of a claim that has none yet: not run where a command would make its records."""
        return replace(self, protocol="", verdict=NOT_RUN if self.fill else NOT_TESTED)

    def filled(self, cell: Cell, verdict: str) -> "Reading":
        """With the mean of a cell over its seeds as its number; without a value it is not run, or all diverged."""
        fill = "" if cell.whole else self.fill
        if not cell.values:
            return replace(self, protocol="", fill=fill, verdict=UNDECIDED if cell.diverged else NOT_RUN)
        low, high = bounds(cell) if len(cell.values) >= LEAST else (math.nan, math.nan)
        return replace(self, value=cell.mean, low=low, high=high, n=len(cell.values), verdict=verdict, fill=fill)


def span(ranked: Sequence[str]) -> str:
    """From the first to the last."""
    return " to ".join(dict.fromkeys([*ranked[:1], *ranked[-1:]]))


def decisive(readings: Iterable[Reading]) -> list[Reading]:
    """The tested readings that count for a claim: those of the paper's protocol where there are any, else all."""
    tested = [one for one in readings if one.verdict in TESTED]
    return [one for one in tested if one.protocol.startswith(FULL)] or tested


def overall(readings: Iterable[Reading]) -> str:
    """The verdict on a claim over the `decisive` ones of its readings.

    Holds: in every one. Does not hold: it holds in none, not even in part, and fails in one at least. Cannot tell: no
    reading can. Holds in part: anything else. Without a decisive reading: not run, or not tested.
    """
    readings = list(readings)
    given = {one.verdict for one in decisive(readings)}
    if not given:
        return NOT_RUN if any(one.verdict == NOT_RUN for one in readings) else NOT_TESTED
    if len(given) == 1:
        return given.pop()
    return IN_PART if given & {HOLDS, IN_PART} else FAILS


def claimed(key: str) -> str:
    """What the paper says, in words and numbers of paper.csv, e.g. "about 1.4 x"."""
    entry = paper().to_dict("index")[key]
    value = "" if math.isnan(entry["value"]) else f" {entry['value']:g} {entry['unit']}"
    return f"{entry['comparison']}{value}"


def told(key: str) -> str:
    """The same with its source."""
    return f"{claimed(key)} ({paper().to_dict('index')[key]['source']})"


def claimed_value(key: str) -> float:
    return float(paper()["value"].to_dict()[key])

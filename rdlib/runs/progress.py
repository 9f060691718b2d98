"""What a sweep has done, is doing and has left, with an estimate of the time; live on a terminal, lines elsewhere."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rdlib.errors import RdlibError
from rdlib.images import load
from rdlib.runs.flops import run_flops
from rdlib.runs.run import Record, Run


def describe(record: Record) -> str:
    return f"{record.split} top-1 {record.top1:.1f} %, {record.provenance['seconds']:.0f} s"


def duration(seconds: float) -> str:
    """About so long, in the unit one would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def costs(runs: Sequence[Run]) -> dict[Run, float]:
    """Arithmetic of each run relative to the others; equal where the data are not at hand."""
    try:
        names = {(run.dataset, run.recipe.image_size) for run in runs}
        images = {name: load(name, image_size=size) for name, size in names}
        shapes = {name: (len(data.train), data.side, len(data.classes)) for name, data in images.items()}
        return {run: float(run_flops(run, *shapes[run.dataset])) for run in runs}
    except RdlibError:
        return dict.fromkeys(runs, 1.0)


class Status:
    """Shows a sweep; `with Status(todo, size) as status`, then `started` and `ended` for each run.

    The estimate holds finished runs' seconds against their counted arithmetic; before the first it says nothing.
    """

    def __init__(self, todo: Sequence[Run], size: int):
        self.cost, self.size = costs(todo), size
        self.since: dict[Run, float] = {}  # of the runs that train now
        self.waiting = set(todo)
        self.failed = 0
        self.spent = self.seconds = 0.0  # arithmetic and time of what has been trained
        self.console = Console(soft_wrap=True, highlight=False, markup=False)
        self.live = Live(console=self.console, get_renderable=self.screen, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal and self.cost:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def screen(self) -> Text:
        """What a terminal shows below the lines of what has ended."""
        failed = f" ({self.failed} failed)" if self.failed else ""
        done = len(self.cost) - len(self.waiting)
        text = f"{done} of {len(self.cost)} runs done{failed}, {len(self.since)} running{self.left(', ')}"
        for run, since in list(self.since.items()):
            expected = self.expected(run)
            of = f" of about {duration(expected)}" if expected else ""
            text += f"\n  {duration(time.monotonic() - since)}{of}  {run.label}"
        return Text(text, no_wrap=True, overflow="ellipsis")

    def started(self, run: Run) -> None:
        self.since[run] = time.monotonic()

    def ended(self, run: Run, sentence: str, trained: bool = False) -> None:
        """Print a line for a run that is done or failed (it may never have started)."""
        began = self.since.pop(run, None)
        self.waiting.discard(run)
        if trained and began is not None:
            self.seconds += time.monotonic() - began
            self.spent += self.cost[run]
        self.failed += not trained
        done = len(self.cost) - len(self.waiting)
        self.console.print(f"{done}/{len(self.cost)}  {run.id}  {run.label}: {sentence}{self.left('; ')}")

    def tried_again(self, run: Run) -> None:
        self.since.pop(run, None)

    def expected(self, run: Run) -> float | None:
        """Seconds a run should take, from those that have been trained."""
        return self.cost[run] * self.seconds / self.spent if self.spent else None

    def left(self, before: str = "") -> str:
        """Time until everything is done, shared among the places; empty before the first run has been trained."""
        if not self.spent or not self.waiting:
            return ""
        work, now = 0.0, time.monotonic()
        for run in self.waiting:
            expected = self.expected(run) or 0.0
            work += max(0.0, expected - (now - self.since[run])) if run in self.since else expected
        return f"{before}about {duration(work / self.size)} left"

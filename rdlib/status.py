"""What a sweep has done, is doing and has left, with an estimate of the time; live on a terminal, lines elsewhere."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from rdlib.errors import RdlibError
from rdlib.flops import run_flops
from rdlib.photographs import load_images
from rdlib.runs import Record, Run


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
        images = {run.dataset: load_images(run.dataset, image_size=run.recipe.image_size) for run in runs}
        return {
            run: float(run_flops(run, len(data.train), data.side, len(data.classes)))
            for run in runs
            for data in [images[run.dataset]]
        }
    except RdlibError:
        return dict.fromkeys(runs, 1.0)


class Status:
    """Shows a sweep; `with Status(todo, size) as status`, then `started` and `ended` for each run.

    The estimate holds finished runs' seconds against their counted arithmetic; before the first it says nothing.
    """

    def __init__(self, todo: Sequence[Run], size: int):
        self.cost, self.size = costs(todo), size
        self.since: dict[Run, float] = {}
        self.waiting = set(todo)
        self.spent = self.seconds = 0.0  # arithmetic and time of what has ended
        self.console = Console(soft_wrap=True, highlight=False, markup=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not todo or not self.console.is_terminal,
        )
        self.all = self.progress.add_task("runs", total=len(todo), note="")
        self.lines: dict[Run, TaskID] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def started(self, run: Run) -> None:
        self.since[run] = time.monotonic()
        expected = self.expected(run)
        note = f"of about {duration(expected)}" if expected else ""
        self.lines[run] = self.progress.add_task(f"  {run.label}", total=None, note=note)

    def ended(self, run: Run, sentence: str | None, trained: bool = False) -> None:
        """Print a line for a run that is done or failed (it may never have started); None: it is tried again."""
        began = self.since.pop(run, None)
        if run in self.lines:
            self.progress.remove_task(self.lines.pop(run))
        if trained and began is not None:
            self.seconds += time.monotonic() - began
            self.spent += self.cost[run]
        if sentence is None:
            return
        self.waiting.discard(run)
        self.progress.update(self.all, advance=1, note=self.left())
        done = len(self.cost) - len(self.waiting)
        self.console.print(f"{done}/{len(self.cost)}  {run.id}  {run.label}: {sentence}{self.left('; ')}")

    def expected(self, run: Run) -> float | None:
        """Seconds a run should take, from those that have ended."""
        return self.cost[run] * self.seconds / self.spent if self.spent else None

    def left(self, before: str = "") -> str:
        """Time until everything is done, shared among the places; empty before the first run has ended."""
        if not self.spent or not self.waiting:
            return ""
        now = time.monotonic()
        work = 0.0
        for run in self.waiting:
            expected = self.expected(run) or 0.0
            work += max(0.0, expected - (now - self.since[run])) if run in self.since else expected
        return f"{before}about {duration(work / self.size)} left"

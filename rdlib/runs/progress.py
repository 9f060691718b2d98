"""What a sweep has done, is doing and has left, with an estimate of the time; live on a terminal, lines elsewhere."""

import time
from collections.abc import Sequence
from statistics import mean
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rdlib.errors import RdlibError
from rdlib.images import load
from rdlib.runs.flops import run_flops
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import kept_epochs


def describe(record: Record) -> str:
    how = f"{record.split} top-1 {record.top1:.1f} %" if record.diverged is None else str(record.diverged)
    return f"{how}, {record.provenance['seconds']:.0f} s"


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
    """Shows a sweep; `with Status(todo, size, store) as status`, then `started` and `ended` for each run.

    The estimate holds finished runs' seconds against their counted arithmetic, without the epochs that a checkpoint
    had already; before the first it says nothing.
    """

    def __init__(self, todo: Sequence[Run], size: int, store: Store):
        self.whole, self.size, self.store = costs(todo), size, store
        self.kept: dict[Run, int] = {}  # epochs they had already
        self.cost = {run: self.remaining(run) for run in todo}
        self.since: dict[Run, float] = {}  # of the runs that train now
        self.waiting = set(todo)
        self.failed = 0
        self.awaited = False
        self.spent = self.seconds = 0.0  # arithmetic and time of the epochs that have been trained
        self.besides: list[float] = []  # seconds that each finished run took for all else, from its start to its end
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

    def remaining(self, run: Run) -> float:
        """Arithmetic of the epochs that its checkpoint does not hold."""
        self.kept[run] = kept_epochs(self.store.checkpoint_path(run))
        return self.whole[run] * (1 - self.kept[run] / run.recipe.epochs)

    def started(self, run: Run) -> None:
        self.cost[run] = self.remaining(run)  # an earlier attempt may have kept epochs
        self.since[run] = time.monotonic()

    def ended(self, run: Run, sentence: str, record: Record | None = None) -> None:
        """Print a line for a run that is done, and left a record, or failed (it may never have started).

        One that diverged tells nothing of the time, for most of its arithmetic was never done.
        """
        began = self.since.pop(run, None)
        self.waiting.discard(run)
        if record is not None and record.diverged is None and began is not None:
            seconds = sum(epoch["seconds"] for epoch in record.history[self.kept[run] :])
            besides = time.monotonic() - began - seconds
            if besides >= 0:  # else another sweep trained it
                self.seconds += seconds
                self.spent += self.cost[run]
                self.besides.append(besides)
        self.failed += record is None
        done = len(self.cost) - len(self.waiting)
        self.console.print(f"{done}/{len(self.cost)}  {run.id}  {run.label}: {sentence}{self.left('; ')}")

    def tried_again(self, run: Run) -> None:
        self.since.pop(run, None)

    def awaits(self, count: int) -> None:
        """Say, once, that nothing is left but what other sweeps train."""
        if not self.awaited:
            self.console.print(f"another sweep trains {count} of these runs: waiting for it")
        self.awaited = True

    def expected(self, run: Run) -> float | None:
        """Seconds a run should take, from those that have been trained."""
        return self.cost[run] * self.seconds / self.spent + mean(self.besides) if self.spent else None

    def needed(self) -> float | None:
        """Seconds until everything is done: the work shared among the places, or the longest run where that is more."""
        if not self.spent or not self.waiting:
            return None
        now = time.monotonic()
        each = [max(0.0, (self.expected(run) or 0.0) - (now - self.since.get(run, now))) for run in list(self.waiting)]
        return max(sum(each) / self.size, *each)

    def left(self, before: str = "") -> str:
        """Time until everything is done, in words; empty before the first run has been trained."""
        needed = self.needed()
        return "" if needed is None else f"{before}about {duration(needed)} left"

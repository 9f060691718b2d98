"""Panel (b), training: two recorded trainings side by side, or two networks trained live on digits."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ipywidgets as widgets

from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.experiments.rows import TAUGHT
from rdlib.experiments.tables import COMPARISONS, TABLES, Cell, fill_command, records_of, rows_of
from rdlib.explorer.live import NETWORKS, Live, rows_for
from rdlib.explorer.panel import Panel, choice, guarded
from rdlib.figures.curves import Series, curves, heading, looks, of_epochs
from rdlib.measure.paths import Observed
from rdlib.models import StagedResNet
from rdlib.runs.run import Run
from rdlib.runs.store import Store

DEPTHS, RATES, MOST_EPOCHS = (18, 34), (0.1, 0.9), 30
RECORDED, LIVE = "recorded", "live"
ALL = -1  # seeds; ipywidgets shows a choice whose value is None as blank
AT_FIRST = ("cross-entropy", "JointRD")  # strictly plain networks taught so are shown at first


class TrainingPanel(Panel):
    """`source` chooses between the records of `store` (`tables`, `cells`, `seed`) and a live training.

    A live training (`networks`, `depth`, `rate`, `epochs`, `live_seed`, then `train`) runs in a thread and writes
    nothing. `on_observation`, where set, is called in that thread with what was observed of a student of JointRD,
    each time that grew; `observations` has the same.
    """

    def __init__(self, store: Store | None = None, profile: Profile = PROFILES["quick"]):
        super().__init__()
        self.store, self.profile = store or Store(), profile
        Live.stop_running()  # of a panel made before: where its cell runs again, nothing else could
        self.lock = threading.RLock()  # the training thread and the controls both draw
        self.live: Live | None = None
        self.teachers: dict[str, StagedResNet] = {}
        self.on_observation: Callable[[Observed], None] | None = None
        self.rows = {name: rows for name in TABLES | COMPARISONS if (rows := rows_of(profile, name))}
        self.source = widgets.ToggleButtons(
            options=[("recorded", RECORDED), (f"live on {profile.dataset}", LIVE)], description="curves"
        )
        self.make_recorded_controls()
        self.make_live_controls()
        self.source.add_class("rdlib-training-source")
        self.view = widgets.VBox([self.source, self.recorded_box, self.live_box, self.message, self.picture])
        self.view.add_class("rdlib-training")
        self.source.observe(self.switch, "value")
        self.switch()

    def make_recorded_controls(self) -> None:
        names = [(f"table {name}", name) for name in self.rows]
        first = next(iter(self.rows))
        options = [(row.name, row) for row in self.rows[first]]
        plain = [row for row in self.rows[first] if row.shortcuts == "none"]
        start = [row for how in AT_FIRST for row in plain if row.teaching == TAUGHT[how]]
        self.tables = [choice(f"rdlib-training-table-{i}", f"{which} network of", names, first) for i, which in COUNTED]
        self.cells = [choice(f"rdlib-training-row-{i}", "row", options, start[i - 1]) for i, _ in COUNTED]
        seeds = [("all (mean and range)", ALL), *((str(seed), seed) for seed in self.profile.seeds)]
        self.seed = choice("rdlib-training-seed", "seed", seeds, ALL)
        for table in self.tables:
            table.observe(self.relist, "value")
        for control in (*self.cells, self.seed):
            control.observe(self.show, "value")
        lines = [widgets.HBox([self.tables[i], self.cells[i]], layout=WRAPPED) for i in (0, 1)]
        self.recorded_box = widgets.VBox([*lines, self.seed])

    def make_live_controls(self) -> None:
        names = [(name, name) for name in NETWORKS]
        self.networks = [
            choice(f"rdlib-training-network-{i}", f"{which} network", names, f"plain, {how}")
            for (i, which), how in zip(COUNTED, AT_FIRST, strict=True)
        ]
        depths, rates = [(str(depth), depth) for depth in DEPTHS], [(f"{rate:g}", rate) for rate in RATES]
        self.depth = choice("rdlib-training-depth", "depth (layers)", depths, DEPTHS[-1])
        self.rate = choice("rdlib-training-rate", "learning rate (peak)", rates, RATES[-1])
        wide = {"style": {"description_width": "initial"}}
        self.epochs = widgets.IntSlider(10, 1, MOST_EPOCHS, description="epochs (each)", **wide)
        self.live_seed = widgets.BoundedIntText(0, 0, 9999, description="seed (0 to 9999)", **wide)
        self.train = widgets.Button(description="Train", button_style="success", tooltip="trains both, one by one")
        self.stop = widgets.Button(description="Stop", disabled=True, tooltip="ends after the epoch that runs")
        self.progress = widgets.IntProgress(0, 0, 1, description="epochs")
        self.status = widgets.HTML()
        for name, control in (
            *(("epochs", self.epochs), ("live-seed", self.live_seed), ("train", self.train), ("stop", self.stop)),
            *(("progress", self.progress), ("status", self.status)),
        ):
            control.add_class(f"rdlib-training-{name}")
        self.train.on_click(self.begin)
        self.stop.on_click(self.end)
        settings = widgets.HBox([self.depth, self.rate, self.epochs, self.live_seed], layout=WRAPPED)
        run = widgets.HBox([self.train, self.stop, self.progress, self.status], layout=WRAPPED)
        self.live_box = widgets.VBox([widgets.HBox(self.networks, layout=WRAPPED), settings, run])

    @property
    def observations(self) -> list[Observed]:
        """What was observed of the live training, a student of JointRD each; empty without one."""
        return list(self.live.observed) if self.live else []

    @guarded
    def switch(self, _: object = None) -> None:
        """Show the controls of the source that is chosen, and its curves."""
        chosen = {RECORDED: self.recorded_box, LIVE: self.live_box}
        for source, box in chosen.items():
            box.layout.display = "flex" if source == self.source.value else "none"
        self.show()

    @guarded
    def relist(self, change: Any) -> None:
        """List the rows of the table that is chosen; the same network in it, where it has that."""
        table = next(table for table in self.tables if table is change.owner)
        cell = self.cells[self.tables.index(table)]
        before, rows = cell.value, self.rows[table.value]
        what = (before.teaching, before.cut, before.shortcuts)
        same = [row for row in rows if (row.teaching, row.cut, row.shortcuts) == what]
        cell.unobserve(self.show, "value")  # drawn once, not for what the list happens to begin with
        cell.options = [(row.name, row) for row in rows]
        cell.value = next((row for row in same if row.depth == before.depth), (same or rows)[0])
        cell.observe(self.show, "value")
        self.show()

    @guarded
    def show(self, _: object = None) -> None:
        """Draw the curves that are asked for and say what is missing."""
        with self.lock:
            found, epochs, sentence = self.recorded() if self.source.value == RECORDED else self.trained()
            self.say(sentence)
            words = "; ".join(f"{one.name}: {one.legend}" for one in found) or "none yet"
            title = heading(self.profile.dataset, self.chosen())
            alt = f"Training top-1 and loss (log scale), epoch by epoch, on {title}. {words}."
            self.picture.show(curves(found, epochs, title), alt)

    def chosen(self) -> list[Run]:
        """A run of each network that the picture is about."""
        if self.source.value == RECORDED:
            return [cell.value.runs[0] for cell in self.cells]
        return [curve.run for curve in self.live.curves] if self.live else []

    def recorded(self) -> tuple[list[Series], int, str]:
        """The records of both rows, the epochs of the longer, and which are missing."""
        found, missing = [], []
        chosen, alone = [cell.value for cell in self.cells], self.seed.value != ALL
        for row, table, (colour, dashed) in zip(chosen, self.tables, looks(chosen), strict=True):
            records = [one for one in records_of(row, self.store) if not alone or one.run.seed == self.seed.value]
            wanted = 1 if alone else len(row.runs)
            if len(records) < wanted:
                command = fill_command(self.profile, table.value, self.store)
                missing.append(f"{row.name}: {len(records)} of {wanted} recorded, fill it with `{command}`.")
            if records:
                top1, loss = of_epochs([record.history for record in records])
                told = Cell(tuple(record.top1 for record in records), wanted)
                seeds = f"seed {self.seed.value}" if alone else f"n = {len(records)}"
                legend = f"{records[0].split} top-1 {told} % ({seeds})"
                found.append(Series(row.name, colour, dashed, top1, loss, legend))
        longest = max((row.runs[0].recipe.epochs for row in chosen), default=1)
        return found, longest, " ".join(missing)

    def trained(self) -> tuple[list[Series], int, str]:
        """The curves of the live training, and how it ended."""
        live = self.live
        if live is None:
            return [], self.epochs.value, "Choose networks and press Train. Nothing that is trained here is kept."
        found, rows = [], [curve.row for curve in live.curves]
        for curve, (colour, dashed) in zip(live.curves, looks(rows), strict=True):
            done = len(curve.epochs)
            if done:
                top1, loss = of_epochs([[asdict(epoch) for epoch in curve.epochs]])
                at = f"epoch {done} of {curve.run.recipe.epochs}"
                legend = at if curve.test is None else f"test top-1 {curve.test:.1f} % (n = 1, seed {curve.run.seed})"
                found.append(Series(curve.row.name, colour, dashed, top1, loss, legend))
        return found, max(curve.run.recipe.epochs for curve in live.curves), live.outcome

    @guarded
    def begin(self, _: object = None) -> None:
        """Train the networks that are chosen; while a training runs this does nothing."""
        if self.live is not None and self.live.running:
            return
        names = [network.value for network in self.networks]
        rows = rows_for(self.profile, names, self.depth.value, self.rate.value, self.epochs.value, self.live_seed.value)
        self.live = Live(rows, self.store, self.teachers, self.report)
        self.tell(self.live)  # bar and curves begin anew at once
        self.show()
        self.train.disabled, self.stop.disabled = True, False
        self.live.start()

    @guarded
    def end(self, _: object = None) -> None:
        """Stop the training after the epoch that runs."""
        if self.live is not None and self.live.running:
            self.stop.disabled = True
            self.live.stop()
            self.tell(self.live)

    @guarded
    def report(self) -> None:
        """Called in the thread of the training, after every epoch and at the end."""
        live = self.live
        assert live is not None
        self.tell(live)
        if live.outcome:
            self.stop.disabled, self.train.disabled = True, False  # in this order: Train may be pressed at once
        if self.source.value == LIVE:
            self.show()
        if self.on_observation is not None and live.observed:
            self.on_observation(live.observed[-1])

    def tell(self, live: Live) -> None:
        """Progress bar and status; what is left is told in seconds."""
        self.progress.max, self.progress.value = live.total, live.done
        going = "" if live.left is None else f"; about {live.left:.0f} s left"
        going = "; stops after this epoch" if live.stopping.is_set() else going
        self.status.value = "" if live.outcome else live.status + going


COUNTED = ((1, "first"), (2, "second"))
WRAPPED = {"flex_flow": "row wrap"}

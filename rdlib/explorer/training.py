"""Panel (b), training: two recorded trainings side by side, or two networks trained live on digits."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import ipywidgets as widgets

from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import COMPARISONS, TABLES, Cell, ended, fill_command, rows_of
from rdlib.explorer.background import NETWORKS, BackgroundTraining, rows_for
from rdlib.explorer.panel import Panel, breakable, choice, column, guarded
from rdlib.figures.curves import Series, curves, heading, looks, of_epochs
from rdlib.measure.paths import Observed
from rdlib.models import StagedResNet
from rdlib.runs.run import Run
from rdlib.runs.store import Store

DEPTHS, RATES, MOST_EPOCHS = (18, 34), (0.1, 0.9), 30
RECORDED, LIVE = "recorded", "live"
LINES = 6  # of a list of rows
ALL = -1  # seeds; ipywidgets shows a choice whose value is None as blank
AT_FIRST = ("cross-entropy", "JointRD")  # strictly plain networks taught so are shown at first
COUNTED = ((1, "first", AT_FIRST[0]), (2, "second", AT_FIRST[1]))


class TrainingPanel(Panel):
    """`source` chooses between the records of `store` (`tables`, `cells`, `seed`) and a live training.

    A live training (`networks`, `depth`, `rate`, `epochs`, `live_seed`, then `train`) runs in a thread and writes
    nothing. `on_observation`, where set, is called in that thread with what was observed of a student of JointRD,
    each time that grew; `observations` has the same.
    """

    name = "training"

    def __init__(self, store: Store | None = None, profile: Profile = PROFILES["quick"]):
        super().__init__()
        self.store, self.profile = store or Store(), profile
        BackgroundTraining.stop_all()  # of a panel made before: where its cell runs again, nothing else could
        self.live: BackgroundTraining | None = None
        self.teachers: dict[str, StagedResNet] = {}
        self.on_observation: Callable[[Observed], None] | None = None
        self.rows = {name: rows for name in TABLES | COMPARISONS if (rows := rows_of(profile, name))}
        sources = [("recorded", RECORDED), (f"live on {profile.dataset}", LIVE)]
        self.source = self.add("source", widgets.ToggleButtons(options=sources, description="curves"), self.switch)
        self.recorded_box, self.live_box = self.recorded_controls(), self.live_controls()
        self.lay_out([self.source, self.recorded_box, self.live_box])
        self.switch()

    def recorded_controls(self) -> widgets.HBox:
        names = [(f"table {name}", name) for name in self.rows]
        first = next(iter(self.rows))
        plain = {row.teaching.name: row for row in self.rows[first] if row.shortcuts == "none"}
        self.tables, self.cells = [], []
        for i, which, how in COUNTED:
            self.tables.append(self.add(f"table-{i}", choice(f"{which} network from", names, first), self.relist))
            rows = choice(f"{which} network", named(self.rows[first]), plain[how], rows=LINES)
            self.cells.append(self.add(f"row-{i}", rows, self.show))
        seeds = [("all (mean and range)", ALL), *((str(seed), seed) for seed in self.profile.seeds)]
        self.seed = self.add("seed", choice("seed", seeds, ALL), self.show)
        pairs = zip(self.tables, self.cells, strict=True)
        return column([*(control for pair in pairs for control in pair), self.seed])

    def live_controls(self) -> widgets.HBox:
        epochs = widgets.IntSlider(10, 1, MOST_EPOCHS, description="epochs (each)")
        seed = widgets.BoundedIntText(0, 0, 9999, description="seed (0 to 9999)")
        train = widgets.Button(description="Train", button_style="success", tooltip="trains both, one by one")
        stop = widgets.Button(description="Stop", disabled=True, tooltip="ends after the epoch that runs")
        lists = [choice(f"{which} network", list(NETWORKS), f"plain, {how}") for _, which, how in COUNTED]
        self.networks = [self.add(f"network-{i}", one) for i, one in enumerate(lists, 1)]
        self.depth = self.add("depth", choice("depth (layers)", DEPTHS, DEPTHS[-1]))
        self.rate = self.add("rate", choice("learning rate (peak)", RATES, RATES[-1]))
        self.epochs, self.live_seed = self.add("epochs", epochs), self.add("live-seed", seed)
        self.train, self.stop = self.add("train", train), self.add("stop", stop)
        self.progress = self.add("progress", widgets.IntProgress(0, 0, 1, description="epochs"))
        self.status = self.add("status", widgets.HTML())
        self.train.on_click(self.begin)
        self.stop.on_click(self.end)
        settings = (self.depth, self.rate, self.epochs, self.live_seed)
        return column([*self.networks, *settings, self.train, self.stop, self.progress, self.status])

    @property
    def observations(self) -> list[Observed]:
        """What was observed of the live training, a student of JointRD each; empty without one."""
        return list(self.live.observed) if self.live else []

    @guarded
    def switch(self, _: object = None) -> None:
        """Show the controls of the source that is chosen, and its curves."""
        for source, box in ((RECORDED, self.recorded_box), (LIVE, self.live_box)):
            box.layout.display = "flex" if source == self.source.value else "none"
        self.show()

    @guarded
    def relist(self, change: Any) -> None:
        """List the rows of the table that is chosen; the same network in it, where it has that."""
        cell, rows = self.cells[self.tables.index(change.owner)], self.rows[change.owner.value]
        before = cell.value
        what = (before.teaching, before.heir, before.cut, before.shortcuts)
        same = [row for row in rows if (row.teaching, row.heir, row.cut, row.shortcuts) == what]
        with self.quietly():  # drawn once, not for what the list happens to begin with
            cell.options = named(rows)
            cell.value = next((row for row in same if row.depth == before.depth), (same or rows)[0])
        self.show()

    @guarded
    def show(self, _: object = None) -> None:
        """Draw the curves that are asked for and say what is missing."""
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
        """The records of both rows, the epochs of the longer, and which are missing or diverged."""
        drawn, missing, one = [], [], self.seed.value
        rows = [cell.value for cell in self.cells]
        for row, table in zip(rows, self.tables, strict=True):
            records = [record for record in ended(row, self.store) if one in (ALL, record.run.seed)]
            told = Cell.of(records, len(row.runs) if one == ALL else 1)
            if not told.whole:
                command = fill_command(self.profile, table.value, self.store)
                missing.append(f"{row.name}: {told.done} of {told.wanted} recorded, fill it with `{command}`.")
            missing += [
                f"{row.name}, seed {record.run.seed}: {record.diverged}." for record in records if record.diverged
            ]
            finished = [record for record in records if record.diverged is None]
            seeds = f"n = {len(finished)}" if one == ALL else f"seed {one}"
            legend = f"{row.runs[0].recipe.holdout} top-1 {Cell.of(finished, told.wanted)} % ({seeds})"
            drawn.append((row, [record.history for record in finished], legend))
        return series(drawn), max(row.runs[0].recipe.epochs for row in rows), " ".join(missing)

    def trained(self) -> tuple[list[Series], int, str]:
        """The curves of the live training, and how it ended."""
        if self.live is None:
            return [], self.epochs.value, "Choose networks and press Train. Nothing that is trained here is kept."
        drawn = []
        for curve in self.live.curves:
            legend = f"epoch {len(curve.epochs)} of {curve.run.recipe.epochs}"
            if curve.test is not None:
                legend = f"test top-1 {curve.test:.1f} % (n = 1, seed {curve.run.seed})"
            history = [asdict(epoch) for epoch in curve.epochs]
            drawn.append((curve.row, [history] if history else [], legend))
        return series(drawn), max(curve.run.recipe.epochs for curve in self.live.curves), self.live.outcome

    @guarded
    def begin(self, _: object = None) -> None:
        """Train the networks that are chosen; while a training runs this does nothing."""
        if self.live is not None and self.live.running:
            return
        names = [network.value for network in self.networks]
        rows = rows_for(self.profile, names, self.depth.value, self.rate.value, self.epochs.value, self.live_seed.value)
        self.live = BackgroundTraining(rows, self.store, self.teachers, self.report)
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

    def tell(self, live: BackgroundTraining) -> None:
        """Progress bar and status; what is left is told in seconds."""
        self.progress.max, self.progress.value = live.total, live.done
        left = "" if live.left is None else f"; about {live.left:.0f} s left"
        going = "; stops after this epoch" if live.stopping.is_set() else left
        self.status.value = "" if live.outcome else live.status + going


def named(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Rows as the choices of a list."""
    return [(breakable(row.name), row) for row in rows]


def series(drawn: Sequence[tuple[Row, Sequence[Any], str]]) -> list[Series]:
    """Curves of the rows that have histories, one a seed, with their legends; absent ones keep their colour."""
    styles = looks([row for row, *_ in drawn])
    return [
        Series(row.name, *style, *of_epochs(histories), legend)
        for (row, histories, legend), style in zip(drawn, styles, strict=True)
        if histories
    ]

"""Panel (c), paths: one image through student, mixed paths and teacher, epoch by epoch of a training of JointRD."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.explorer.panel import Panel, choice, guarded
from rdlib.explorer.training import TrainingPanel
from rdlib.figures.paths import CHANNELS, alternative, by_variance, paths_of_an_image
from rdlib.measure import paths_record as observation_record
from rdlib.measure.paths import Observed
from rdlib.models import STAGES
from rdlib.runs.store import Store

RECORDED, LIVE = "recorded", "live"
WIDE: dict[str, Any] = {"style": {"description_width": "initial"}, "layout": {"width": "44em", "max_width": "100%"}}


class PathsPanel(Panel):
    """`source` (the record of `store`, or the live training of `training` once there is one), `image`, `epoch`,
    `stage` and `first` (of the channels shown, which are ordered by the teacher's variance) decide what is drawn.
    """

    def __init__(
        self, store: Store | None = None, training: TrainingPanel | None = None, profile: Profile = PROFILES["quick"]
    ):
        super().__init__()
        self.profile = profile
        self.store = store or Store()
        self.lock = threading.RLock()  # the training thread and the controls both draw
        self.quiet: int | None = None  # the thread in which the panel itself sets controls
        self.seen: dict[str, Observed] = {}
        self.followed = 0  # observations of the live training that have arrived
        self.source = choice("rdlib-paths-source", "training", [("the recorded training", RECORDED)])
        self.epoch = widgets.SelectionSlider(options=[("0", 0)], description="after epoch", **WIDE)
        self.image = widgets.IntSlider(0, 0, 0, description="test image", **WIDE)
        self.stage = widgets.IntSlider(1, 1, STAGES, description="maps after stage", **WIDE)
        self.first = widgets.IntSlider(1, 1, 1, description="channels from rank (by the teacher's variance)", **WIDE)
        controls = {"source": self.source, "epoch": self.epoch, "image": self.image}
        controls |= {"stage": self.stage, "first": self.first}
        for name, control in controls.items():
            control.add_class(f"rdlib-paths-{name}")
            control.set_state = self.whole(control.set_state)
        self.view = widgets.VBox([*controls.values(), self.message, self.picture])
        self.view.add_class("rdlib-paths")
        callbacks = {"source": self.switch, "stage": self.restage}
        for name, control in controls.items():
            control.observe(self.unless_own(callbacks.get(name, self.show)), "value")
        self.switch()
        if training is not None:
            training.on_observation = self.follow
            for observed in training.observations:
                self.follow(observed)

    @guarded
    def switch(self, _: object = None) -> None:
        """Take another training: its epochs, images and channels, from the middle of what was recorded on."""
        with self.lock:
            self.picture.png, self.picture.alt, self.picture.value = b"", "", ""
            observed = self.observed()
            last = len(observed.observations) - 1
            self.reach(last if self.source.value == LIVE else (last + 1) // 2)
            with self.quietly():
                self.image.max = len(observed.images) - 1
            self.restage()

    @guarded
    def restage(self, _: object = None) -> None:
        """Another stage has another number of channels."""
        with self.lock:
            channels = self.observed().observations[0].teacher[self.stage.value - 1].shape[1]
            with self.quietly():
                self.first.max = max(1, channels - CHANNELS + 1)
            self.show()

    @guarded
    def show(self, _: object = None) -> None:
        """Draw what the controls ask for."""
        with self.lock:
            observed = self.observed()
            moment, image, stage = self.epoch.value, self.image.value, self.stage.value
            start = self.first.value - 1
            channels = by_variance(observed, stage)[start : start + CHANNELS]
            figure = paths_of_an_image(observed, moment, image, stage, channels)
            self.picture.show(figure, alternative(observed, moment, image, stage, channels))
            self.say("")

    def observed(self) -> Observed:
        """Of the source that is chosen. Raises RecordError where its record is missing or damaged."""
        if self.source.value == RECORDED and RECORDED not in self.seen:
            self.seen[RECORDED] = observation_record.recorded(self.profile, self.store)
            self.name_sources()
        return self.seen[self.source.value]

    @guarded
    def follow(self, observed: Observed) -> None:
        """Called in the thread of a live training with what was observed of it: each time more, or of a new one."""
        with self.lock:
            new, before = self.seen.get(LIVE) is not observed, self.followed
            self.followed = len(observed.observations)
            if new:
                self.seen[LIVE] = observed
                self.name_sources()
                if self.source.value == LIVE:
                    self.switch()
                elif not self.picture.png:
                    self.source.value = LIVE
                else:
                    self.say("Your live training can be followed here: choose it as the training.")
            elif self.source.value == LIVE and self.followed > before:
                at_end = self.epoch.value >= before - 1
                self.reach(self.followed - 1 if at_end else self.epoch.value)
                if at_end:
                    self.show()

    def reach(self, moment: int) -> None:
        """Let the slider reach every epoch observed so far, and put it at one of them."""
        epochs = [seen.epoch for seen in self.observed().observations]
        with self.quietly(), self.epoch.hold_sync():
            self.epoch.options = [(str(epoch), i) for i, epoch in enumerate(epochs)]
            self.epoch.value = moment

    def name_sources(self) -> None:
        """List the trainings there are."""
        recorded = self.seen[RECORDED].name if RECORDED in self.seen else "the recorded training"
        live = [(self.seen[LIVE].name, LIVE)] if LIVE in self.seen else []
        chosen = self.source.value
        with self.quietly(), self.source.hold_sync():
            self.source.options = [(recorded, RECORDED), *live]
            self.source.value = chosen

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """What this thread sets meanwhile is the panel's own doing, which no callback answers."""
        with self.lock:
            before, self.quiet = self.quiet, threading.get_ident()
            try:
                yield
            finally:
                self.quiet = before

    def unless_own(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """Calls back for what the reader sets: that comes in another thread, or in the same one at another time."""

        def answer(change: Any) -> None:
            if self.quiet != threading.get_ident():
                callback(change)

        return answer

    def whole(self, set_state: Callable[[Any], None]) -> Callable[[Any], None]:
        """What a browser sends is set before or after a setting of the panel's, not amid it: none undoes the other."""

        def locked(state: Any) -> None:
            with self.lock:
                set_state(state)

        return locked

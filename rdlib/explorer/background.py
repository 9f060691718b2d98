"""Training in the background, to be watched and stopped: networks one after the other, nothing written anywhere."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from rdlib.errors import ConfigError, RdlibError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, TAUGHT, Row, make_row
from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.measure.paths import Observed, chosen, observe
from rdlib.methods import JointRD, Method
from rdlib.models import Shortcuts, StagedResNet
from rdlib.runs.execute import assemble, require_same_images
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import Epoch, evaluate, fit

NETWORKS: dict[str, tuple[Shortcuts, str]] = {
    "ResNet, cross-entropy": ("all", "cross-entropy"),
    "plain, cross-entropy": ("none", "cross-entropy"),
    "plain, logit distillation": ("none", "logit distillation"),
    "plain, feature distance": ("none", "feature distance"),
    "plain, JointRD": ("none", "JointRD"),
}


@dataclass
class Curve:
    """One network in training; `test` is its test top-1 in percent once all its epochs are done."""

    row: Row
    epochs: list[Epoch] = field(default_factory=list)
    test: float | None = None

    @property
    def run(self) -> Run:
        return self.row.runs[0]


def rows_for(profile: Profile, names: Sequence[str], depth: int, rate: float, epochs: int, seed: int) -> list[Row]:
    """Rows of one run for these NETWORKS, first their teacher, which is a ResNet trained as long as the profile says.

    So a published teacher serves where its weights are; the profile gives all else of the recipe.
    """
    here = replace(profile, recipe=replace(profile.recipe, learning_rate=rate), depths=(depth,), seeds=(seed,))
    short = replace(here, recipe=replace(here.recipe, epochs=epochs))
    settings = [f"learning rate {rate:g}, {one.recipe.epochs} epochs" for one in (here, short)]
    teacher = make_row(here, depth, CROSS_ENTROPY, "all", conditions=settings[0])
    wanted = [NETWORKS[name] for name in names]
    return [teacher, *(make_row(short, depth, TAUGHT[how], kept, teacher, settings[1]) for kept, how in wanted)]


class BackgroundTraining(threading.Thread):
    """Trains the rows of `rows_for`; `changed` is called in this thread after every epoch and at the end.

    A teacher that is needed comes from `teachers` (those of earlier trainings, by run id), or the store, or is trained
    first and kept in `teachers`. `stop` ends the training after the present epoch. `outcome` says, once it is over, how
    it ended. Every student of JointRD is observed before training and after each epoch in `observed`.
    """

    def __init__(
        self, rows: Sequence[Row], store: Store, teachers: dict[str, StagedResNet], changed: Callable[[], None]
    ):
        super().__init__(daemon=True, name="rdlib-live-training")
        self.store, self.teachers, self.changed = store, teachers, changed
        teacher = rows[0].runs[0]
        here = teacher.id in teachers or (store.has_weights(teacher) and store.record(teacher) is not None)
        self.trains_teacher = not here and any(row.runs[0].teacher for row in rows[1:])
        wanted = rows if self.trains_teacher else rows[1:]
        self.curves = [Curve(row) for row in {row.runs[0].id: row for row in wanted}.values()]
        self.total = sum(curve.run.recipe.epochs for curve in self.curves)
        self.stopping, self.seconds = threading.Event(), 0.0
        self.observed: list[Observed] = []
        self.status, self.outcome = "preparing", ""

    @property
    def done(self) -> int:
        """Epochs trained so far, of all networks; `total` will be."""
        return sum(len(curve.epochs) for curve in self.curves)

    @property
    def left(self) -> float | None:
        """Seconds still to go, if epochs go on as they went; None before the first one."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None

    @property
    def running(self) -> bool:
        """False as soon as there is an outcome, while the thread may still be telling it."""
        return self.is_alive() and not self.outcome

    def stop(self) -> None:
        self.stopping.set()

    @classmethod
    def stop_all(cls) -> None:
        """Stop whatever trains, such as for a panel that is no longer shown and whose Stop cannot be reached."""
        for thread in threading.enumerate():
            if isinstance(thread, cls):
                thread.stop()

    def run(self) -> None:
        torch.set_num_threads(1)  # of this thread: the others stay quick
        try:
            for number, curve in enumerate(self.curves, 1):
                needed = ", the teacher, whose weights are not here" if self.trains_teacher and number == 1 else ""
                self.train(curve, f"{curve.row.name}{needed} ({number} of {len(self.curves)})")
                if self.stopping.is_set():
                    break
            self.outcome = self.ending()
        except RdlibError as error:
            self.outcome = f"The training ended: {error}."
        except Exception as error:  # nobody else would see it
            self.outcome = f"The training ended with {type(error).__name__} ({error}): choose other settings and train."
        self.changed()

    def ending(self) -> str:
        if self.done == self.total:
            return f"Trained in {self.seconds:.0f} s; nothing was written."
        at = next(curve for curve in reversed(self.curves) if curve.epochs)
        where = f"epoch {len(at.epochs)} of {at.run.recipe.epochs} of {at.row.name}"
        if self.trains_teacher and at is self.curves[0]:
            where += ", the teacher; the networks after it have not begun"
        return f"Stopped after {where}; the curves are kept."

    def train(self, curve: Curve, place: str) -> None:
        """Train one network to its end, or until `stop`."""
        run, epochs = curve.run, curve.run.recipe.epochs
        self.status = f"{place}: preparing"
        self.changed()
        images = load(run.dataset)
        if not isinstance(images, Dataset):
            raise ConfigError(f"live training needs images in memory, {run.dataset} is a folder: use another data set")
        teacher = None if run.teacher is None else self.teacher(run, run.teacher, images)
        method = assemble(run, teacher, len(images.classes))
        watch = self.watching(method, images, f"{run.dataset}, live: {curve.row.name}")
        started = time.perf_counter()
        for epoch in fit(method, images, run.recipe, seed=run.seed, progress=False):
            watch(epoch.epoch)
            curve.epochs.append(epoch)
            self.seconds += time.perf_counter() - started
            self.status = f"{place}: epoch {epoch.epoch} of {epochs}"
            started = time.perf_counter()
            if epoch.epoch < epochs:
                self.changed()
                if self.stopping.is_set():
                    return
        curve.test = evaluate(method.student, images, images.test).top1
        if run.shortcuts == "all":
            self.teachers[run.id] = method.student.eval()
        self.changed()

    def watching(self, method: Method, images: Dataset, name: str) -> Callable[[int], None]:
        """Observe a student of JointRD before training; what this returns does so after an epoch. Others are not."""
        if not isinstance(method, JointRD):
            return lambda epoch: None
        seen = images.test.take(chosen(images))
        pixels, found = images.normalise(seen.images), Observed(name, seen, images.classes)

        def watch(epoch: int) -> None:
            found.observations.append(observe(method, pixels, epoch))

        watch(0)
        self.observed.append(found)
        return watch

    def teacher(self, run: Run, id: str, images: Dataset) -> StagedResNet:
        if id not in self.teachers:
            require_same_images(run, self.store, images)
            self.teachers[id] = self.store.network(self.store.run(run.dataset, id))
        return self.teachers[id]

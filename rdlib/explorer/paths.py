"""Panel (c), paths: one image through student, mixed paths and teacher, epoch by epoch of a training of JointRD."""

import ipywidgets as widgets

from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.explorer.panel import Panel, breakable, choice, guarded
from rdlib.explorer.training import LIVE, RECORDED, TrainingPanel
from rdlib.figures.paths import CHANNELS, alternative, by_variance, paths_of_an_image
from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.measure import paths_record as observation_record
from rdlib.measure.paths import Observed, finished, parting
from rdlib.models import STAGES
from rdlib.runs.store import Store

PUBLISHED = "published"
STUDENT, TEACHER = "digits-plain-50-jointrd", "digits-resnet-50"
SOURCES = 5  # lines of the list of trainings


class PathsPanel(Panel):
    """`source` (the record of `store`, the live training of `training` once there is one, or the published networks,
    seen after their last epoch alone), `image`, `epoch`, `stage` and `first` (of the channels shown, which are ordered
    by the teacher's variance) decide what is drawn.
    """

    name = "paths"

    def __init__(
        self, store: Store | None = None, training: TrainingPanel | None = None, profile: Profile = PROFILES["quick"]
    ):
        super().__init__()
        self.profile, self.store = profile, store or Store()
        self.seen: dict[str, Observed] = {}
        slider = widgets.IntSlider
        epoch = widgets.SelectionSlider(options=[("0", 0)], description="after epoch")
        self.source = self.add("source", choice("training", self.sources(), rows=SOURCES), self.switch)
        self.epoch = self.add("epoch", epoch, self.show)
        self.image = self.add("image", slider(0, 0, 0, description="test image"), self.show)
        self.stage = self.add("stage", slider(1, 1, STAGES, description="maps after stage"), self.restage)
        self.first = self.add("first", slider(1, 1, 1, description="channels from rank"), self.show)
        self.lay_out([self.source, self.epoch, self.image, self.stage, self.first])
        self.switch()
        if training is not None:
            training.on_observation = self.follow
            for observed in training.observations:
                self.follow(observed)

    @guarded
    def switch(self, _: object = None) -> None:
        """Take another training: its epochs, images and channels, from where its paths differ most; live, the end."""
        self.picture.clear()
        observed = self.observed()
        live = self.source.value == LIVE
        moment, image = (len(observed.observations) - 1, 0) if live else parting(observed)
        self.reach(moment)
        with self.quietly():
            opens = self.image.max == 0  # afterwards the reader's image stays
            self.image.max = len(observed.images) - 1
            self.image.value = image if opens else self.image.value
        self.restage()

    @guarded
    def restage(self, _: object = None) -> None:
        """Another stage has another number of channels."""
        channels = self.observed().observations[0].teacher[self.stage.value - 1].shape[1]
        with self.quietly():
            self.first.max = max(1, channels - CHANNELS + 1)
        self.show()

    @guarded
    def show(self, _: object = None) -> None:
        """Draw what the controls ask for."""
        observed, stage, start = self.observed(), self.stage.value, self.first.value - 1
        channels = by_variance(observed, stage)[start : start + CHANNELS]
        asked = (observed, self.epoch.value, self.image.value, stage, channels)
        self.picture.show(paths_of_an_image(*asked), alternative(*asked))
        self.say("")

    def observed(self) -> Observed:
        """Of the source that is chosen. Raises RecordError or DeployError where it is missing or damaged."""
        source = self.source.value
        if source not in self.seen:
            found = published() if source == PUBLISHED else observation_record.recorded(self.profile, self.store)
            self.seen[source] = found
            self.name_sources()
        return self.seen[source]

    @guarded
    def follow(self, observed: Observed) -> None:
        """Called in the thread of a live training with what was observed of it: each time more, or of a new one."""
        if self.seen.get(LIVE) is not observed:
            self.seen[LIVE] = observed
            self.name_sources()
            if self.source.value == LIVE:
                self.switch()
            elif not self.picture.png:
                self.source.value = LIVE
            else:
                self.say("Your live training can be followed here: choose it as the training.")
        elif self.source.value == LIVE and len(observed.observations) > len(self.epoch.options):
            last, at_end = len(observed.observations) - 1, self.epoch.value == len(self.epoch.options) - 1
            self.reach(last if at_end else self.epoch.value)
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
        chosen = self.source.value
        with self.quietly(), self.source.hold_sync():
            self.source.options = self.sources()
            self.source.value = chosen

    def sources(self) -> list[tuple[str, str]]:
        """The trainings there are, by name; those that nobody has looked at yet without the details."""
        names = {RECORDED: "the recorded training", PUBLISHED: f"published: {STUDENT}"}
        names |= {source: observed.name for source, observed in self.seen.items()}
        return [(breakable(names[source]), source) for source in (RECORDED, LIVE, PUBLISHED) if source in names]


def published() -> Observed:
    """The published student of JointRD and its teacher. Raises DeployError where one is missing or damaged."""
    from rdlib.deploy.hub import from_pretrained  # with what it needs, a second that the other sources need not wait

    student, teacher = from_pretrained(STUDENT), from_pretrained(TEACHER)
    images, record = load(student.about["dataset"]), student.trained
    assert isinstance(images, Dataset)
    assert record is not None
    run = record.run
    name = f"{run.dataset}, published: {STUDENT}, learning rate {run.recipe.learning_rate:g}, seed {run.seed}"
    return finished(student, teacher, images, run.recipe.epochs, name)

"""The explorer: four panels over one store, each made when it is first asked for; notebook 11 shows them."""

from functools import cached_property
from pathlib import Path

from rdlib.panels.network import NetworkPanel
from rdlib.panels.paths import PathsPanel
from rdlib.panels.results import ResultsPanel
from rdlib.panels.training import TrainingPanel
from rdlib.runs import Store


class Explorer:
    """`network`, `training`, `paths` and `results`; the paths of a live training can be followed in `paths`.

    store: a folder of records and weights, by default the published one. Nothing is ever written into it.
    """

    def __init__(self, store: Path | str | None = None):
        self.store = Store(store)

    @cached_property
    def network(self) -> NetworkPanel:
        """A network drawn, its shortcuts appearing and vanishing, and what they cost in memory."""
        return NetworkPanel()

    @cached_property
    def training(self) -> TrainingPanel:
        """Two recorded trainings compared, or two trained live on digits."""
        return TrainingPanel(self.store)

    @cached_property
    def paths(self) -> PathsPanel:
        """One image through student, mixed paths and teacher, epoch by epoch."""
        return PathsPanel(self.store, self.training)

    @cached_property
    def results(self) -> ResultsPanel:
        """Every record, filtered, grouped and drawn with its spread."""
        return ResultsPanel(self.store)

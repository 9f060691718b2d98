"""The explorer: four panels over one store, each made when it is first asked for; notebook 12 shows them."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rdlib.runs.store import store_of

if TYPE_CHECKING:
    from rdlib.explorer.network import NetworkPanel
    from rdlib.explorer.paths import PathsPanel
    from rdlib.explorer.results import ResultsPanel
    from rdlib.explorer.training import TrainingPanel


class Explorer:
    """`network`, `training`, `paths` and `results`; the paths of a live training can be followed in `paths`.

    A panel is imported with its first use, so that the first picture does not wait for what the others need.
    store: a folder of records and weights, by default the published one. Nothing is ever written into it. Raises
    ConfigError where that folder is not there.
    """

    def __init__(self, store: Path | str | None = None):
        self.store = store_of(store)

    @cached_property
    def network(self) -> "NetworkPanel":
        """A network drawn, its shortcuts appearing and vanishing, and what they cost in memory and on an NPU."""
        from rdlib.explorer.network import NetworkPanel

        return NetworkPanel(self.store)

    @cached_property
    def training(self) -> "TrainingPanel":
        """Two recorded trainings compared, or two trained live on digits."""
        from rdlib.explorer.training import TrainingPanel

        return TrainingPanel(self.store)

    @cached_property
    def paths(self) -> "PathsPanel":
        """One image through student, mixed paths and teacher, epoch by epoch."""
        from rdlib.explorer.paths import PathsPanel

        return PathsPanel(self.store, self.training)

    @cached_property
    def results(self) -> "ResultsPanel":
        """Every record, filtered, grouped and drawn with its spread."""
        from rdlib.explorer.results import ResultsPanel

        return ResultsPanel(self.store)

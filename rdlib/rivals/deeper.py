"""JointRD with more mixed paths: they leave the student at any block, not only where a stage ends."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from rdlib.errors import ConfigError
from rdlib.methods import Init, JointRD
from rdlib.models import STAGES, StagedResNet


class JointRDAtBlocks(JointRD):
    """JointRD whose mixed paths, `cuts` of them, leave the student after evenly spaced blocks.

    In a network of 98 layers the paths of JointRD lie eighteen to thirty-six convolutions apart, twelve of these eight.
    The sum of their weights is held: each has m(t) 3 / cuts. Options as of JointRD. Raises ConfigError where the
    networks differ in their blocks, or have too few of them for so many paths.
    """

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        cuts: int = 12,
        distance_weight: float = 1e-3,
        m_start: float = 1.0,
        m_min: float = 0.5,
        m_end: float = 0.3,
        init: Init = "scratch",
    ):
        self.mixed = cuts
        falling: dict[str, Any] = {"m_start": m_start, "m_min": m_min, "m_end": m_end}
        super().__init__(student, teacher, distance_weight=distance_weight, init=init, **falling)

    def require_fit(self) -> None:
        """Raise ConfigError also where the two have other blocks, or too few."""
        super().require_fit()
        ours, theirs = (network.architecture.counts for network in (self.student, self.teacher))
        if ours != theirs:
            raise ConfigError(f"paths at blocks need equal blocks in every stage: student {ours}, teacher {theirs}")
        if not 1 <= self.mixed < sum(ours):
            raise ConfigError(f"{self.mixed} cuts do not fit between {sum(ours)} blocks: choose 1 to {sum(ours) - 1}")

    def segments(self, network: StagedResNet) -> Sequence[nn.Module]:
        """Blocks between two cuts, of both networks the same."""
        blocks = [block for stage in network.stages for block in stage.children()]
        ends = [0, *places(len(blocks), self.mixed), len(blocks)]
        return [nn.Sequential(*blocks[ends[i] : ends[i + 1]]) for i in range(len(ends) - 1)]

    def m(self, progress: float) -> float:
        return super().m(progress) * (STAGES - 1) / self.mixed


def places(blocks: int, cuts: int) -> list[int]:
    """After how many blocks each cut lies, evenly spaced: cuts numbers from 1 to blocks - 1."""
    return [round((i + 1) * blocks / (cuts + 1)) for i in range(cuts)]

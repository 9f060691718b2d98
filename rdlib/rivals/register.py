"""Every way to lose the shortcut, one row each, and the register of all methods a run can name.

A rival is added by its file in `rivals/` and its row here; the table of rivals then has it.
"""

from dataclasses import dataclass, field
from typing import Any

from rdlib.methods import FeatureDistillation, JointRD, LogitDistillation, Method, Supervised
from rdlib.rivals import ablations
from rdlib.rivals.adopted import Adopted
from rdlib.rivals.attention import AttentionTransfer
from rdlib.rivals.finetuned import FineTuned
from rdlib.rivals.hints import Hints
from rdlib.rivals.inherited import Inherited
from rdlib.rivals.similarity import SimilarityPreserving
from rdlib.rivals.tailor import SkipRemoval
from rdlib.rivals.transfer import Transfer


@dataclass(frozen=True)
class Way:
    """How a strictly plain network is taught; `both`: shown from the teacher's weights too."""

    name: str
    method: type[Method]
    options: dict[str, Any] = field(default_factory=dict)
    conv: str = "plain"
    both: bool = True

    def started_from_the_teacher(self) -> tuple[type[Method], dict[str, Any]]:
        """Method and options of the same way with the student started from the teacher's weights."""
        if self.method is Supervised:
            return Inherited, {}
        return self.method, self.options | {"init": "teacher"}


WAYS = (
    Way("cross-entropy", Supervised),
    Way("logit distillation", LogitDistillation),
    Way("FitNets hint", Hints),
    Way("attention transfer", AttentionTransfer),
    Way("similarity preserving", SimilarityPreserving),
    Way("feature distance", FeatureDistillation),
    Way("JointRD", JointRD),
    Way("JointRD and logit distillation", ablations.JointRDWithLogits),
    Way("Dirac weights", Supervised, conv="dirac"),
    Way("Dirac weights, JointRD", JointRD, conv="dirac"),
    Way("RepVGG", Supervised, conv="repvgg"),
    Way("RepVGG, JointRD", JointRD, conv="repvgg"),
    Way("SkipRemover", SkipRemoval, both=False),
)
ABLATIONS: tuple[type[Method], ...] = (
    ablations.WithoutMixedCrossEntropy,
    ablations.WithoutMixedDistance,
    ablations.PathAfter1,
    ablations.PathAfter2,
    ablations.PathAfter3,
    ablations.LinearFall,
    ablations.MeanSquared,
    ablations.WithoutConnectors,
    ablations.Widened,
)
OTHERS: tuple[type[Method], ...] = (Supervised, Adopted, Inherited, FineTuned, Transfer)
METHODS = {kind.__name__: kind for kind in (*OTHERS, *(way.method for way in WAYS), *ABLATIONS)}

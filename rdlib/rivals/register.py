"""Every way to lose the shortcut, one row each, and the register of all methods a run can name.

A rival is added by its class in `rivals/` and its lines here; the table of rivals then has it.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rdlib.methods import Method

NAMES = {
    "rdlib.methods": ("Supervised", "LogitDistillation", "FeatureDistillation", "JointRD"),
    "rdlib.rivals.distillation": ("Hints", "AttentionTransfer", "SimilarityPreserving"),
    "rdlib.rivals.inherited": ("Inherited", "Transfer", "Adopted"),
    "rdlib.rivals.finetuned": ("FineTuned",),
    "rdlib.rivals.tailor": ("SkipRemoval",),
    "rdlib.rivals.deeper": ("JointRDAtBlocks",),
    "rdlib.rivals.redistill": ("ReDistill",),
    "rdlib.rivals.alone": ("OrthogonalStart", "DiracStart", "Faded"),
    "rdlib.rivals.ablations": (
        *("WithoutMixedCrossEntropy", "WithoutMixedDistance", "PathAfter1", "PathAfter2", "PathAfter3"),
        *("LinearFall", "MeanSquared", "WithoutConnectors", "Widened", "JointRDWithLogits"),
    ),
}


class Register(Mapping[str, type[Method]]):
    """Method classes by name; the module of a class is imported when somebody asks for that class."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]):
        self.modules = {name: module for module, of in names.items() for name in of}

    def __getitem__(self, name: str) -> type[Method]:
        method: type[Method] = getattr(importlib.import_module(self.modules[name]), name)
        return method

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)


METHODS = Register(NAMES)


@dataclass(frozen=True)
class Way:
    """How a strictly plain network is taught; `both`: shown from the teacher's weights too.

    weight and tried: the one number that matters most to it and what is tried of it, the same count for every way, its
    authors' value among them; where a way has none of its own, the decay of the weights. Nothing is tried of a mixture.
    """

    name: str
    method: str
    conv: str = "plain"
    both: bool = True
    weight: str = ""
    tried: tuple[float, ...] = ()
    optimizer: Literal["muon"] | None = None

    def started_from_the_teacher(self) -> tuple[str, dict[str, Any]]:
        """Method and options of the same way with the student started from the teacher's weights."""
        return ("Inherited", {}) if self.method == "Supervised" else (self.method, {"init": "teacher"})


DECAY, DECAYS = "weight_decay", (5e-5, 5e-4, 5e-3)  # of the recipe
WAYS = (
    Way("cross-entropy", "Supervised", weight=DECAY, tried=DECAYS),
    Way("logit distillation", "LogitDistillation", weight="alpha", tried=(0.1, 0.5, 0.9)),
    Way("FitNets hint", "Hints", weight="weight", tried=(1.0, 10.0, 100.0)),
    Way("attention transfer", "AttentionTransfer", weight="weight", tried=(10.0, 100.0, 1000.0)),
    Way("similarity preserving", "SimilarityPreserving", weight="weight", tried=(300.0, 3000.0, 30000.0)),
    Way("feature distance", "FeatureDistillation", weight="distance_weight", tried=(1e-4, 1e-3, 1e-2)),
    Way("JointRD", "JointRD", weight="m_start", tried=(0.5, 1.0, 2.0)),
    Way("JointRD and logit distillation", "JointRDWithLogits"),
    Way("Dirac weights", "Supervised", "dirac", weight=DECAY, tried=DECAYS),
    Way("Dirac weights, JointRD", "JointRD", "dirac"),
    Way("RepVGG", "Supervised", "repvgg", weight=DECAY, tried=DECAYS),
    Way("RepVGG, JointRD", "JointRD", "repvgg"),
    Way("SkipRemover", "SkipRemoval", both=False, weight="logit_weight", tried=(0.1, 0.35, 0.7)),
)
# Ways that need no teacher; Muon's decay is decoupled, 0.1 its authors' value.
ALONE = (
    Way("cross-entropy, Muon", "Supervised", weight=DECAY, tried=(1e-2, 1e-1, 1.0), optimizer="muon"),
    Way("cross-entropy, orthogonal start", "OrthogonalStart", weight=DECAY, tried=DECAYS),
    Way("cross-entropy, Dirac start", "DiracStart", weight=DECAY, tried=DECAYS),
    Way("cross-entropy, shortcuts faded", "Faded", weight="gone_by", tried=(0.3, 0.6, 0.9)),
)

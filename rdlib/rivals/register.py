"""Every way to lose the shortcut, one row each, and the register of all methods a run can name.

A rival is added by its class in `rivals/` and its lines here; the table of rivals then has it.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rdlib.methods import Method

NAMES = {
    "rdlib.methods": ("Supervised", "LogitDistillation", "FeatureDistillation", "JointRD"),
    "rdlib.rivals.distillation": ("Hints", "AttentionTransfer", "SimilarityPreserving"),
    "rdlib.rivals.inherited": ("Inherited", "Transfer", "Adopted"),
    "rdlib.rivals.finetuned": ("FineTuned",),
    "rdlib.rivals.tailor": ("SkipRemoval",),
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
    """How a strictly plain network is taught; `both`: shown from the teacher's weights too."""

    name: str
    method: str
    conv: str = "plain"
    both: bool = True

    def started_from_the_teacher(self) -> tuple[str, dict[str, Any]]:
        """Method and options of the same way with the student started from the teacher's weights."""
        return ("Inherited", {}) if self.method == "Supervised" else (self.method, {"init": "teacher"})


WAYS = (
    Way("cross-entropy", "Supervised"),
    Way("logit distillation", "LogitDistillation"),
    Way("FitNets hint", "Hints"),
    Way("attention transfer", "AttentionTransfer"),
    Way("similarity preserving", "SimilarityPreserving"),
    Way("feature distance", "FeatureDistillation"),
    Way("JointRD", "JointRD"),
    Way("JointRD and logit distillation", "JointRDWithLogits"),
    Way("Dirac weights", "Supervised", "dirac"),
    Way("Dirac weights, JointRD", "JointRD", "dirac"),
    Way("RepVGG", "Supervised", "repvgg"),
    Way("RepVGG, JointRD", "JointRD", "repvgg"),
    Way("SkipRemover", "SkipRemoval", both=False),
)

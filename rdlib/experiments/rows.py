"""A row of a table: one cell, the same run over several seeds."""

from dataclasses import dataclass, replace
from typing import Any

from rdlib.experiments.profiles import Profile
from rdlib.methods import Taught
from rdlib.models import Shortcuts
from rdlib.recipe import PAPER_OPTIONS
from rdlib.rivals.register import METHODS
from rdlib.runs.run import Run


@dataclass(frozen=True)
class Row:
    """One cell of a table: the same run over several seeds. `reported` names a line of paper.csv."""

    depth: int
    network: str
    shortcuts: Shortcuts
    method: str
    runs: tuple[Run, ...]
    reported: str | None = None
    setting: str = ""  # what differs from the profile's recipe
    worth: int = 0  # place of its depth in the profile; the lowest trains first

    @property
    def name(self) -> str:
        kept = f", {SHORTCUTS[self.shortcuts]}" if self.shortcuts != "all" else ""
        setting = f", {self.setting}" if self.setting else ""
        return f"{self.network}-{self.depth}{kept}, {self.method}{setting}"


SHORTCUTS = {"all": "all", "downsample": "downsampling kept", "none": "strictly plain"}
TAUGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "cross-entropy": ("Supervised", {}),
    "logit distillation": ("LogitDistillation", {}),
    "feature distance": ("FeatureDistillation", {}),
    "JointRD": ("JointRD", {}),
    "JointRD, joint teacher": ("JointRD", {"regime": "joint"}),
}
REPORTED_AS = {"cross-entropy": "plain", "JointRD": "jointrd"}


def taught_row(
    profile: Profile,
    depth: int,
    label: str,
    method: str,
    options: dict[str, Any],
    shortcuts: Shortcuts = "none",
    teachers: Row | None = None,
    setting: str = "",
    conv: str = "plain",
    width: int | None = None,
) -> Row:
    """One run a seed of that method; where it needs a trained teacher, that of a seed is the run of `teachers`."""
    options = PAPER_OPTIONS.get(profile.dataset, {}).get(method, {}) | options
    needed = issubclass(METHODS[method], Taught) and options.get("regime") != "joint"
    ids = [run.id for run in teachers.runs] if needed and teachers else [None] * len(profile.seeds)
    runs = tuple(
        Run(
            *(profile.dataset, method, depth, width or profile.width, shortcuts, seed, profile.recipe),
            options=options,
            teacher=teacher,
            conv=conv,
        )
        for seed, teacher in zip(profile.seeds, ids, strict=True)
    )
    worth = profile.depths.index(depth) if depth in profile.depths else len(profile.depths)
    return Row(depth, "ResNet" if shortcuts == "all" else "plain", shortcuts, label, runs, None, setting, worth)


def make_row(
    profile: Profile, depth: int, taught_by: str, shortcuts: Shortcuts, teachers: Row | None = None, setting: str = ""
) -> Row:
    """A row of the paper's tables, taught in one of the ways of TAUGHT, with what is reported for it."""
    row = taught_row(profile, depth, taught_by, *TAUGHT[taught_by], shortcuts, teachers, setting)
    kind = "resnet" if shortcuts == "all" else REPORTED_AS.get(taught_by)
    return replace(row, reported=f"{profile.dataset}_{kind}{depth}") if kind and profile.full else row

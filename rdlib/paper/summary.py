"""The front page in four sentences, each number from the records."""

from itertools import cycle

import pandas as pd

from rdlib.experiments.comparisons import depths
from rdlib.experiments.controls import controls
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell
from rdlib.paper.beyond import arithmetic
from rdlib.paper.questions import NEARLY
from rdlib.runs.store import Store

QUICK, SMALL = PROFILES["quick"], PROFILES["cifar10-small"]
NAMES = ("ResNet", "plain", "JointRD")  # of each depth


def keeps_up(found: pd.DataFrame, points: float = NEARLY) -> dict[str, int]:
    """Of every network in `by_seed` the depth up to which its mean is nowhere more than so many points below the
    ResNet's; networks for which it is at once, and all where there is no ResNet, are left out."""
    means = found.pivot_table(index="depth", columns="network", values="top1")
    if "ResNet" not in means:
        return {}
    near = means.ge(means["ResNet"] - points, axis=0).cummin()
    return {str(name): int(near.index[near[name]][-1]) for name in near if near[name].any()}


def summary(store: Store) -> str:
    """What JointRD does on digits by depth and on photographs, and what it costs; without all its records one line."""
    found = [(name, row.depth, cell(row, store).mean) for name, row in zip(cycle(NAMES), depths(QUICK), strict=False)]
    digits = pd.DataFrame(found, columns=["network", "depth", "top1"])
    resnet, plain, _, jointrd, *_ = controls(SMALL)
    photographs = [cell(row, store) for row in (resnet, plain, jointrd)]
    if digits["top1"].isna().any() or not all(of.values for of in photographs):
        return "Not run yet."
    reach, means = keeps_up(digits), digits.pivot(index="depth", columns="network", values="top1")
    broken, last = means.index[-2:]
    cost = arithmetic(jointrd.runs[0], SMALL.recipe.epochs)
    at_broken, at_last = (means.loc[depth].round(0).astype(int) for depth in (broken, last))
    top = [f"{of.mean:.1f}" for of in photographs]
    return (
        f"**In short.** On digits a strictly plain network alone stays within {NEARLY:g} points of its ResNet to "
        f"{reach['plain']} layers; taught by JointRD, to {reach['JointRD']}. At {broken} layers it reaches "
        f"{at_broken['JointRD']} %, alone {at_broken['plain']} %, the ResNet {at_broken['ResNet']} %; at {last} layers "
        f"{at_last['JointRD']} %, alone {at_last['plain']} %. On CIFAR-10 at 16x16 ({resnet.depth} layers, "
        f"{min(len(of.values) for of in photographs)} of {photographs[0].wanted} seeds) JointRD lifts {top[1]} to "
        f"{top[2]} %; the ResNet has {top[0]} %. It costs the arithmetic of {1 + cost:.1f} plain trainings, one "
        "of them the teacher's."
    )

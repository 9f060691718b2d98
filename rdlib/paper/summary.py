"""The front page in four sentences, each number from the records."""

from rdlib.experiments.comparisons import depths
from rdlib.experiments.controls import controls
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import cell
from rdlib.paper.beyond import arithmetic
from rdlib.paper.questions import NEARLY
from rdlib.runs.store import Store

QUICK, SMALL = PROFILES["quick"], PROFILES["cifar10-small"]


def reach(networks: dict[int, tuple[float, ...]], of: int) -> int:
    """Up to which depth network `of` stays within NEARLY points of the first: by depth the means of all, in percent."""
    reached = 0
    for depth, means in sorted(networks.items()):
        if means[of] < means[0] - NEARLY:
            break
        reached = depth
    return reached


def summary(store: Store) -> str:
    """What JointRD does on digits by depth and on photographs, and what it costs; without all its records one line."""
    by_depth: dict[int, list[Row]] = {}
    for row in depths(QUICK):
        by_depth.setdefault(row.depth, []).append(row)
    means = {depth: tuple(cell(row, store).mean for row in rows) for depth, rows in by_depth.items()}
    resnet, plain, _, jointrd, *_ = controls(SMALL)
    photographs = [cell(row, store) for row in (resnet, plain, jointrd)]
    if not all(all(one == one for one in of) for of in means.values()) or not all(of.values for of in photographs):
        return "Not run yet."
    third, last = sorted(means)[-2:]
    cost = arithmetic(jointrd.runs[0], SMALL.recipe.epochs)
    top = [f"{of.mean:.1f}" for of in photographs]
    return (
        f"**In short.** On digits a strictly plain network alone stays within {NEARLY:g} points of its ResNet to "
        f"{reach(means, 1)} layers; taught by JointRD, to {reach(means, 2)}. At {third} layers it reaches "
        f"{means[third][2]:.0f} %, alone {means[third][1]:.0f} %, the ResNet {means[third][0]:.0f} %; at {last} it is "
        f"near guessing. On CIFAR-10 at 16x16 ({resnet.depth} layers, {min(len(of.values) for of in photographs)} of "
        f"{photographs[0].wanted} seeds) JointRD lifts {top[1]} to {top[2]} %; the ResNet has {top[0]} %. It costs the "
        f"arithmetic of {1 + cost:.1f} plain trainings, one of them the teacher's."
    )

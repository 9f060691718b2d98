"""The answers to the guided tasks of notebook 12, worked out from what the panels show: the planner and the records."""

import pandas as pd

from rdlib.deploy.planner import EXECUTORS, FUSED, OUT_OF_PLACE
from rdlib.explorer.catalogue import grouped, select
from rdlib.explorer.network import NOTHING, Setting, comparison
from rdlib.explorer.paths import PathsPanel
from rdlib.explorer.results import ResultsPanel, with_spread
from rdlib.explorer.training import RECORDED
from rdlib.measure.paths import PATHS, Observed, parting, right
from rdlib.paper.rendering import Shown

WRITTEN, PEAK = "feature maps written", "planned peak"
TAUGHT = ("cross-entropy", "JointRD")  # how the plain networks of task 3 are taught
FAR = 10  # points below the ResNet of the same depth


def saving(executor: str) -> dict[str, str]:
    """How many times less strictly plain-50 needs than ResNet-50, by cost."""
    return {name: less for name, _, _, less in comparison(Setting(executor=executor), NOTHING)}


def fused() -> Shown:
    """Task 1: of what the plain network saves, what an executor leaves that fuses convolution and addition."""
    lines = [{"executor": one} | {cost: saving(one)[cost] for cost in (PEAK, WRITTEN)} for one in EXECUTORS]
    before, after = saving(OUT_OF_PLACE), saving(FUSED)
    told = [
        f"Of {before[PEAK]} in the peak {after[PEAK]} remains, of {before[WRITTEN]} in the maps written "
        f"{after[WRITTEN]}. Fused, the sum is written where the shortcut lies and costs no map of its own. What stays: "
        "the shortcut still waits while its block works, and a projection still writes a map.",
        "The NPU's rows stay: its compiler is an executor of its own.",
    ]
    return Shown(pd.DataFrame(lines), told, fold="Answer to task 1: how many times less the plain network needs")


def right_from(observed: Observed, image: int) -> dict[str, str]:
    """The observed epoch from which on each path has an image right, by path; "never" where it ends wrong."""
    since = dict.fromkeys(PATHS, "never")
    for i, path in enumerate(PATHS):
        for seen in reversed(observed.observations):
            if int(seen.logits[i, image].argmax()) != int(observed.images.labels[image]):
                break
            since[path] = str(seen.epoch)
    return since


def paths(panel: PathsPanel) -> Shown:
    """Task 2: which path is right first; of the image that the panel opens with, and of all that were recorded."""
    if RECORDED not in panel.seen:
        return missing(panel.message.value)
    observed = panel.seen[RECORDED]
    image = parting(observed)[1]
    since = ", ".join(f"{path} {epoch}" for path, epoch in right_from(observed, image).items())
    table = right(observed)
    most = {path: table.loc[table[path] > len(observed.images) / 2, "epoch"] for path in PATHS}
    first = ", ".join(f"{path} {epochs.iloc[0] if len(epochs) else 'never'}" for path, epochs in most.items())
    told = [
        f"Image {image}, right from this epoch on: {since}.",
        f"All {len(observed.images)} images, most of them right for the first time after epoch: {first}.",
        "The earlier a path leaves the student, the less the student has to get right by itself: its first stage "
        "learns to speak to the teacher long before the whole network can answer.",
    ]
    return Shown(table, told, fold=f"Answer to task 2: of {len(observed.images)} images, how many each path has right")


def depth(panel: ResultsPanel) -> Shown:
    """Task 3: at which depth strictly plain networks fail, with the filters that the panel opens with."""
    kept = ("dataset", "split", "width", "learning rate")
    found = select(panel.frame, {column: [panel.start(column)] for column in kept} | {"method": TAUGHT})
    plain = found[found["shortcuts"] == "strictly plain"]
    whole = found[(found["network"] == "ResNet") & (found["method"] == TAUGHT[0])]
    columns = {how: plain[plain["method"] == how] for how in TAUGHT} | {"ResNet, cross-entropy": whole}
    means = {name: grouped(runs, ["depth"]).set_index("depth") for name, runs in columns.items()}
    depths = [n for n in sorted(means[TAUGHT[0]].index) if all(n in of.index for of in means.values())]
    if not depths:
        return missing(panel.message.value)
    table = pd.DataFrame({name: {n: with_spread(of.loc[n]) for n in depths} for name, of in means.items()})
    below = {how: means["ResNet, cross-entropy"]["mean"] - means[how]["mean"] for how in TAUGHT}
    told = [f"{how}: {fails(below[how].reindex(depths))}." for how in TAUGHT]
    return Shown(
        table.rename_axis("layers").reset_index(),
        [*told, "JointRD helps a plain network to train, up to a depth; it does not make depth harmless."],
        fold="Answer to task 3: top-1 of plain networks in percent, by how they are taught",
    )


def fails(below: "pd.Series[float]") -> str:
    """From which depth on a network lies FAR below the ResNet, and how far there; by depth, in points."""
    for layers, points in below.items():
        if points > FAR:
            return f"more than {FAR} points below the ResNet from {layers} layers on ({points:.1f} there)"
    return f"nowhere more than {FAR} points below the ResNet"


def missing(sentence: str) -> Shown:
    return Shown(pd.DataFrame({"no answer without records": [sentence.replace("`", "")]}))

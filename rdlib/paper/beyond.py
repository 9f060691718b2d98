"""What comes after the paper, in tables: accuracies beside what each training costs."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.deploy.planner import EXECUTORS, plan
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import cell, frame, rows_of
from rdlib.models import DEPTHS, plain, resnet
from rdlib.rivals.deeper import places
from rdlib.rivals.redistill import halving_early
from rdlib.runs.run import Run, defaults_of
from rdlib.runs.store import Store

PLAIN = 3  # forward passes that a step of the plain network takes: its own, and backward to features and to weights


def cuts(run: Run) -> list[int]:
    """After how many blocks of the student its mixed paths leave it; none where its method has no such path."""
    counts = DEPTHS[run.depth][1]
    if run.method == "JointRDAtBlocks":
        return places(sum(counts), int(run.options.get("cuts", defaults_of(run.method)["cuts"])))
    return list(accumulate(counts[:-1])) if run.method == "JointRD" else []


def arithmetic(run: Run, epochs: int) -> float:
    """Operations of a training, its teacher's before it not counted, over those of the plain network in `epochs`.

    As if all blocks cost alike: those of basic networks do, for each halving of the resolution doubles the channels; a
    test counts. A mixed path takes the teacher's blocks behind its cut forward and backward, to features alone.
    """
    blocks = sum(DEPTHS[run.depth][1])
    tails = sum(1 - cut / blocks for cut in cuts(run))
    if run.options.get("paths") == "sampled":
        tails /= len(cuts(run))  # of each path's batch one part
    target = bool(cuts(run)) or run.method == "FeatureDistillation"  # the teacher's own pass
    return (PLAIN + target + 2 * tails) / PLAIN * run.recipe.epochs / epochs


def begun(rows: Sequence[Row], store: Store) -> bool:
    """Whether any of these but ResNet, plain network and JointRD as in the paper has a record."""
    new = [row for row in rows if row.heir or row.conditions or row.teaching not in (CROSS_ENTROPY, JOINTRD)]
    return any(cell(row, store).done for row in new)


def table(profile: Profile, name: str, store: Store) -> pd.DataFrame:
    """One of the tables beyond the paper as text, with its cost: `arithmetic`, and the teacher's training beside it."""
    found = frame(profile, name, store)
    rows = rows_of(profile, name)
    if not rows:
        return found
    found.insert(
        len(found.columns) - ("to fill" in found), "arithmetic (x plain)", [cost(row, profile) for row in rows]
    )
    return found.drop(columns=["shortcuts"])


def cost(row: Row, profile: Profile) -> str:
    """E.g. "5.3 + 1": a teacher is a ResNet, trained for as many epochs as the profile has."""
    run = row.runs[0]
    return f"{arithmetic(run, profile.recipe.epochs):.1f}{' + 1' if run.teacher else ''}"


def peaks(profile: Profile, side: int) -> pd.DataFrame:
    """KiB that the ResNet, the plain network and the ResNet that halves early hold at the peak, for an image [3, side,
    side] in float32, planned from an exported file of each."""
    whole, bare, early = (make(profile.depths[0], 10, width=profile.width) for make in (resnet, plain, resnet))
    networks = {"ResNet": whole, "plain": bare, "ResNet that halves early": halving_early(early)}
    lines = list[dict[str, str]]()
    with TemporaryDirectory() as folder:
        for name, network in networks.items():
            graph = read_graph(export(fold(network.eval()), Path(folder) / "network.onnx", side))
            held = {executor: f"{plan(graph, executor).peak / 1024:.0f}" for executor in EXECUTORS}
            lines.append({"KiB at the peak": name} | held)
    return pd.DataFrame(lines)

"""What transfer gives: accuracies by start, network and number of images, how rates were chosen, and differences."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell, cell, fill_command, lean
from rdlib.experiments.transfers import (
    ALL,
    JOINTRD,
    PLAIN,
    RELEASED,
    RESNET,
    SCRATCH,
    START,
    Line,
    Task,
    lines,
    origins,
    tune_lines,
)
from rdlib.paper.statistics import LEAST, difference, holm
from rdlib.runs.store import Store

PAIRS = ((JOINTRD, RESNET), (JOINTRD, PLAIN), (RELEASED, RESNET))
ALIKE = {RESNET: RESNET, PLAIN: PLAIN, JOINTRD: PLAIN}  # the network from scratch of the same architecture


def sources(profile: Profile, store: Store) -> pd.DataFrame:
    """The networks before the transfer: top-1 on the test images of the data set they were trained on."""
    cells = [(row.name, cell(row, store)) for row in origins(profile)]
    return pd.DataFrame([{"source": name, "test top-1 (%)": str(ours), "n": ours.count} for name, ours in cells])


def accuracies(profile: Profile, store: Store) -> pd.DataFrame:
    """Test top-1 on the target, mean ± std; a column a number of training images of each class. n: runs in the line."""
    found = []
    for (task, start, network), group in groupby(lines(profile), lambda one: one.case):
        cells = {one.images: cell(one.row, store) for one in group}
        head = {"task": task, "start": START[start], "network": network}
        printed = {images: str(ours) for images, ours in cells.items()}
        found.append(head | printed | progress(cells.values(), profile, "transfer", store))
    return pd.DataFrame(found)


def tuning(profile: Profile, store: Store) -> pd.DataFrame:
    """Tune top-1 of every rate that was tried, mean over the seeds; a star at the best."""
    tried, found = tune_lines(profile), []
    for (task, start, network, images), group in groupby(tried, lambda one: (*one.case, one.images)):
        cells = {one.rate: cell(one.row, store) for one in group}
        head = {"task": task, "start": START[start], "network": network, "images": images}
        printed = {
            f"{rate:g}": str(ours)
            if ours.diverged or not ours.values
            else f"{ours.mean:.1f}{' *' * (rate == best(cells))}"
            for rate, ours in cells.items()
        }
        found.append(head | printed | progress(cells.values(), profile, "transfer-tune", store))
    rates = [f"{rate:g}" for rate in sorted({one.rate for one in tried})]
    return pd.DataFrame(found, columns=["task", "start", "network", "images", *rates, "n", "to fill"])


def progress(cells: Collection[Cell], profile: Profile, table: str, store: Store) -> dict[str, str]:
    """How many of the runs of these cells have a record, and what makes the others."""
    have, wanted = sum(one.done for one in cells), sum(one.wanted for one in cells)
    return {"n": f"{have}/{wanted}", "to fill": "" if have == wanted else fill_command(profile, table, store)}


def by_task(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A frame of the functions here, one a task, without the columns that the task does not have."""
    parts = {}
    for name, part in found.groupby("task", sort=False) if len(found) else ():
        kept = part.dropna(axis="columns", how="all").drop(columns="task").fillna("")
        parts[str(name)] = lean(kept, "to fill")
    return parts


def best(tried: Mapping[float, Cell]) -> float | None:
    """The rate with the highest mean on the tune split, the lower one of equals, of those at which no run diverged;
    None until all have their records."""
    if not all(one.whole for one in tried.values()):
        return None
    finished = sorted(rate for rate, one in tried.items() if one.finished)
    return max(finished, key=lambda rate: tried[rate].mean, default=None)


def chosen(profile: Profile, task: Task, store: Store) -> dict[tuple[str, str], tuple[float, float]]:
    """What `Task.chosen` must say, from the records: the best rate for few images and for all, by start and network.

    Where only one number of images was tuned its rate serves for both. Without all records a pair is left out.
    """
    found = {}
    for (name, start, network), group in groupby(tune_lines(profile), lambda one: one.case):
        tried: dict[int | None, dict[float, Cell]] = {}
        for one in group:
            tried.setdefault(one.shots, {})[one.rate] = cell(one.row, store)
        rates = {shots: best(cells) for shots, cells in tried.items()}
        few = next((rate for shots, rate in rates.items() if shots is not ALL), rates.get(ALL))
        whole = rates.get(ALL, few)
        if name == task.name and few is not None and whole is not None:
            found[start, network] = (few, whole)
    return found


Key = tuple[str, str, str, int | None]  # name of the task, start, network, shots


def keyed(profile: Profile) -> dict[Key, Line]:
    """The lines of the transfer table by what they are."""
    return {(*one.case, one.shots): one for one in lines(profile)}


def few(row: Row) -> bool:
    """Whether fewer than LEAST networks were transferred: seeds of fine-tuning alone say nothing of other networks."""
    return len({run.teacher or run.id for run in row.runs}) < LEAST


def compared(pairs: Sequence[tuple[Line, Line]], store: Store) -> list[dict[str, str]]:
    """Of each pair the first minus the second, in points of test top-1; all of them are one family."""
    gaps = [difference(one.row, other.row, store) for one, other in pairs]
    # Fine-tuned often, fewer than LEAST networks say nothing of other networks, however narrow their interval.
    gaps = [replace(gap, n=min(gap.n, 1)) if few(one.row) else gap for (one, _), gap in zip(pairs, gaps, strict=True)]
    return [
        {"points": gap.text(error=error), "above?": gap.verdict(error=error), "n": cell(one.row, store).count}
        for (one, _), gap, error in zip(pairs, gaps, holm((gap, 0.0) for gap in gaps), strict=True)
    ]


def gaps(profile: Profile, store: Store) -> pd.DataFrame:
    """JointRD's networks minus the ResNet, and minus plain without a teacher, of the same start and images."""
    heads, pairs, every = [], [], keyed(profile)
    for network, other in PAIRS:
        for one in (one for one in every.values() if one.network == network):
            if reference := every.get((one.task.name, one.start, other, one.shots)):
                head = {"difference": f"{network} - {other}", "task": one.task.name, "start": START[one.start]}
                heads.append(head | {"images": one.images})
                pairs.append((one, reference))
    return pd.DataFrame([head | line for head, line in zip(heads, compared(pairs, store), strict=True)])


def headline(found: pd.DataFrame) -> pd.DataFrame:
    """Of `gaps` those that answer the question: JointRD's network minus the ResNet after all training images."""
    if found.empty:
        return found
    asked = (found["difference"] == " - ".join(PAIRS[0])) & (found["images"] == "all")
    return found[asked].drop(columns=["difference", "images"])


def worth(profile: Profile, store: Store) -> pd.DataFrame:
    """What pre-training is worth: each network, transferred, minus one of its architecture from scratch."""
    heads, pairs, every = [], [], keyed(profile)
    for one in (one for one in every.values() if one.start != SCRATCH):
        if reference := every.get((one.task.name, SCRATCH, ALIKE.get(one.network, ""), one.shots)):
            heads.append(
                {"task": one.task.name, "start": START[one.start], "network": one.network, "images": one.images}
            )
            pairs.append((one, reference))
    return pd.DataFrame([head | line for head, line in zip(heads, compared(pairs, store), strict=True)])

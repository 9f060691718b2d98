"""Every way to lose the shortcut in one line: how accurate, how it was trained, what it deploys; and who wins, by rule.

Accuracies come from the records of runs, costs from the record of `rival_costs`; what neither has stays empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell, fill_command, rows_of
from rdlib.measure import rival_costs
from rdlib.measure.rival_costs import RMNET
from rdlib.paper.differences import bounds, interval
from rdlib.rivals.register import METHODS
from rdlib.runs.run import Run
from rdlib.runs.store import Store

SCRATCH, TEACHER = "scratch", "teacher"
RESNET = "ResNet, cross-entropy"
PLAIN, JOINTRD = ("cross-entropy", SCRATCH), ("JointRD", SCRATCH)
TRAINING = ("step (x plain)", "images/s", "TFLOP", "teacher's", "both (x plain)", "needs teacher")
COUNTED = ("parameters", "MACs (M)", "adds", "traffic (KiB)", "peak (KiB)", "fused")
TIMED = ("latency (ms) [quartiles]", "x ResNet [95 %]")


@dataclass(frozen=True)
class Line:
    """One way. top1: percent by seed, where known. training and network: its parts of the cost record, or empty."""

    way: str
    start: str
    top1: Mapping[int, float]
    wanted: int
    adds: bool  # whether the deployed network has additions
    plain: bool  # whether it deploys the very network that the plain one is
    rate: float = 0.0  # peak learning rate
    training: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    to_fill: str = ""

    @property
    def cell(self) -> Cell:
        return Cell(tuple(self.top1.values()), self.wanted)

    @property
    def whole(self) -> bool:
        """Whether every seed has a record."""
        return len(self.top1) == self.wanted

    @property
    def name(self) -> str:
        return self.way if self.start == SCRATCH or self.adds or not self.plain else f"{self.way} (from the teacher)"

    def minus(self, other: "Line") -> Cell:
        """Paired over seeds, in points of top-1; only seeds that both have count."""
        gaps = tuple(value - other.top1[seed] for seed, value in self.top1.items() if seed in other.top1)
        return Cell(gaps, self.wanted)


def start_of(run: Run) -> str:
    heir = METHODS[run.method].starts_as_teacher or run.options.get("init") == "teacher"
    return TEACHER if heir else SCRATCH


def lines(profile: Profile, store: Store, table: str = "rivals", path: Path | None = None) -> list[Line]:
    """The ways of one of TABLES, as it lists them, and RMNet after the ResNet that it rewrites.

    Costs do not depend on the learning rate, so every table takes those of the same way in table "rivals". Raises
    RecordError for a record that is damaged or was edited.
    """
    rows, costs = rows_of(profile, table), rival_costs.RECORD.read(profile, store, path) or {}
    again = rival_costs.RECORD.command(profile, store)
    found = [
        line_of(row, store, fill_command(profile, table, store), costs, rival_costs.key(same), again)
        for row, same in zip(rows, rows_of(profile, "rivals") if rows else [], strict=True)
    ]
    return [found[0], rmnet_line(rows[0], store, costs, again), *found[1:]] if rows else []


def line_of(row: Row, store: Store, train: str, costs: Mapping[str, Any], key: str, measure: str) -> Line:
    records = [record for run in row.runs if (record := store.record(run)) is not None]
    top1 = {record.run.seed: record.top1 for record in records}
    training = costs.get("ways", {}).get(key, {})
    network = costs["networks"][training["deploys"]] if training else {}
    lacks = [] if len(top1) == len(row.runs) else [train]
    lacks += [] if training else [measure]
    bare = row.shortcuts == "none"
    way = row.method if bare else f"ResNet, {row.method.removesuffix(', fine-tuned')}"
    run = row.runs[0]
    what = (way, start_of(run), top1, len(row.runs), not bare, bare, run.recipe.learning_rate)
    return Line(*what, training, network, "; ".join(lacks))


def rmnet_line(resnet: Row, store: Store, costs: Mapping[str, Any], measure: str) -> Line:
    """RMNet's rewrite of the ResNets of a row: no training but theirs, and a network of its own.

    Only of ResNets as accurate as their records say: weights that were made again elsewhere may be others.
    """
    exact, top1 = costs.get("rmnet", {}), {}
    for run in resnet.runs:
        record = store.record(run)
        if record is not None and run.id in exact and exact[run.id]["resnet_top1"] == record.top1:
            top1[run.seed] = exact[run.id]["top1"]
    teacher = next((one["teacher_flops"] for one in costs.get("ways", {}).values() if one["teacher_flops"]), 0)
    training = {"flops": 0, "teacher_flops": teacher} if costs else {}
    network = costs.get("networks", {}).get(RMNET, {})
    lacks = "" if len(top1) == len(resnet.runs) else measure
    rate = resnet.runs[0].recipe.learning_rate
    return Line(RMNET, TEACHER, top1, len(resnet.runs), False, False, rate, training, network, lacks)


def one_of(found: Sequence[Line], which: tuple[str, str]) -> Line:
    """The line of a way and a start, such as PLAIN or JOINTRD."""
    return next(line for line in found if (line.way, line.start) == which)


def table(profile: Profile, store: Store, which: str = "rivals", path: Path | None = None) -> pd.DataFrame:
    """All that is known of every way, as text; a notebook prints it in parts.

    Differences are paired over seeds, with their 95 % interval (Student's t). TFLOP are of the whole training. Traffic
    and peak are of feature maps, one image in float32, added out of place; "fused" is the peak where convolution and
    addition are one operator. An empty cell names its command.
    """
    found, lines_ = lines(profile, store, which, path), []
    for line in found:
        plain, jointrd = one_of(found, PLAIN), one_of(found, JOINTRD)
        known: dict[str, str] = {
            "way": line.way,
            "start": line.start,
            "test top-1 (%)": str(line.cell),
            "n": f"{len(line.top1)}/{line.wanted}",
            "minus plain [95 %]": "" if line is plain else gap(line.minus(plain)),
            "minus JointRD [95 %]": "" if line is jointrd else gap(line.minus(jointrd)),
        }
        lines_.append(known | training(line, plain) | deployed(line.network) | {"to fill": line.to_fill})
    result = pd.DataFrame(lines_)
    return result if result.empty or result["to fill"].any() else result.drop(columns="to fill")


def accuracy(whole: pd.DataFrame) -> pd.DataFrame:
    """Of `table`: who reached what, and the paired difference to the plain network."""
    columns = ["way", "start", "test top-1 (%)", "n", "minus plain [95 %]", "to fill"]
    return whole[[name for name in columns if name in whole]]


def training(line: Line, plain: Line) -> dict[str, str]:
    """The columns TRAINING of a way; a step's interval is in the record."""
    if not line.training or not plain.training:
        return dict.fromkeys(TRAINING, "")
    step, teacher = line.training.get("step"), line.training["teacher_flops"]
    values = [
        f"{step['ratio'][0]:.2f}" if step else "none",
        f"{step['images_per_second']:.0f}" if step else "none",
        f"{line.training['flops'] / 1e12:.2f}",
        f"{teacher / 1e12:.2f}" if teacher else "none",
        f"{(line.training['flops'] + teacher) / plain.training['flops']:.2f}",
        "yes" if teacher else "no",
    ]
    return dict(zip(TRAINING, values, strict=True))


def deployed(network: Mapping[str, Any]) -> dict[str, str]:
    """The columns COUNTED and TIMED of a network."""
    if not network:
        return dict.fromkeys((*COUNTED, *TIMED), "")
    ratio, low, high = network["speedup"]
    values = [
        f"{network['parameters']:,}",
        f"{network['macs'] / 1e6:,.2f}",
        str(network["additions"]),
        *(f"{network[what][how] / 1024:,.0f}" for what, how in MEMORY),
        f"{network['milliseconds']:.3g} [{network['quartiles'][0]:.3g}, {network['quartiles'][1]:.3g}]",
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
    ]
    return dict(zip((*COUNTED, *TIMED), values, strict=True))


MEMORY = (("traffic", OUT_OF_PLACE), ("peak", OUT_OF_PLACE), ("peak", FUSED))


def networks(
    profile: Profile, store: Store, part: str = "networks", columns: Sequence[str] = COUNTED, path: Path | None = None
) -> pd.DataFrame:
    """Each distinct deployed network once, as text; part: those of the "networks", or of "paper_size"; columns: COUNTED
    or TIMED. Empty without a record, which `rival_costs.measure` makes."""
    costs = rival_costs.RECORD.read(profile, store, path) or {part: {}, "ways": {}}
    uses = [one["deploys"] for one in costs["ways"].values()]
    counted = part == "networks" and columns is COUNTED
    lines_: list[dict[str, str]] = []
    for name, one in costs[part].items():
        ways = {"ways": str(uses.count(name) or 1)} if counted else {}  # RMNet is a way without training
        lines_.append({"network": name} | ways | {key: deployed(one)[key] for key in columns})
    return pd.DataFrame(lines_)


def exactness(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """RMNet's rewrite against each trained ResNet, as text; empty without a record, or where it had no weights."""
    exact = (rival_costs.RECORD.read(profile, store, path) or {"rmnet": {}})["rmnet"]
    known = [(run, exact[run.id]) for run in rival_costs.resnets(profile) if run.id in exact]
    return pd.DataFrame(
        [
            {
                "ResNet": run.id,
                "learning rate": f"{run.recipe.learning_rate:g}",
                "seed": str(run.seed),
                "top-1 (%)": f"{one['resnet_top1']:.2f}",
                "rewritten": f"{one['top1']:.2f}",
                "equal top-1": f"{one['equal_top1']}/{one['compared']}",
                "largest difference of a logit": f"{one['largest_difference']:.0e}",
                "largest logit": f"{one['largest_logit']:.0f}",
            }
            for run, one in known
        ]
    )


def gap(of: Cell) -> str:
    """Mean paired difference and its 95 % interval, which takes three pairs."""
    if not of.values:
        return ""
    low, _, high = interval(of).partition(" to ")
    return f"{of.mean:+.1f} [{low}, {high}]" if low else f"{of.mean:+.1f}"


SAYS = {"above": "Above", "below": "Below", "not told apart": "Not told apart from"}


def says(of: Cell) -> str:
    """A key of SAYS. Above or below only where the whole 95 % interval is; else the two are not told apart."""
    low, high = bounds(of)
    return "above" if low > 0 else "below" if high < 0 else "not told apart"


def ranked(found: Sequence[Line], adds: bool = False) -> list[Line]:
    """The ways that have a record of every seed, the highest mean top-1 first: of the networks without additions, or of
    those with them."""
    return sorted((line for line in found if line.adds == adds and line.whole), key=lambda line: -line.cell.mean)


def ranking(found: Sequence[Line], adds: bool = False) -> pd.DataFrame:
    """`ranked` as text, each held against JointRD from scratch by the rule of `says`."""
    jointrd = one_of(found, JOINTRD)
    return pd.DataFrame(
        [
            {
                "rank": str(i + 1),
                "way": line.way,
                "start": line.start,
                "test top-1 (%)": str(line.cell),
                "minus JointRD [95 %]": "" if line is jointrd else gap(line.minus(jointrd)),
                "against JointRD": "" if line is jointrd else says(line.minus(jointrd)),
            }
            for i, line in enumerate(ranked(found, adds))
        ]
    )


def verdict(found: Sequence[Line]) -> list[str]:
    """Sentences that follow by rule: who is best without additions, who on the plain network itself, who with additions
    at its cost, and who is above or below JointRD from scratch. Only ways that have a record of every seed count."""
    if not found or not one_of(found, JOINTRD).whole:
        return []
    jointrd, bare = one_of(found, JOINTRD), ranked(found)
    cut = [line for line in ranked(found, adds=True) if line.way != RESNET]
    firsts = {
        "Best without additions": bare,
        "Best on the plain network itself": [line for line in bare if line.plain],
        "Best ResNet made as cheap": cut,
    }
    sentences = [
        f"{what}: {some[0].name}, {some[0].cell} %{against(some[0], jointrd)}." for what, some in firsts.items() if some
    ]
    rest = [line for line in (*bare, *cut) if line is not jointrd]
    for word, what in SAYS.items():
        named = [line for line in rest if says(line.minus(jointrd)) == word]
        listed = "; ".join(f"{line.name} {line.minus(jointrd).mean:+.1f}" for line in named)
        sentences.append(f"{what} JointRD: {len(named)} of {len(rest)}{f' ({listed})' if listed else ''}.")
    unfinished = sum(not line.whole for line in found)
    return (
        [*sentences, f"Not ranked, for want of runs: {unfinished} of {len(found)} ways."] if unfinished else sentences
    )


def against(line: Line, jointrd: Line) -> str:
    """Half a sentence: by how much a way is above or below JointRD, and whether that is shown."""
    if line is jointrd:
        return ""
    of = line.minus(jointrd)
    word = "above" if of.mean > 0 else "below" if of.mean < 0 else "level with"
    by = f" by {abs(of.mean):.1f} points" if of.mean else ""
    shown = "not shown" if says(of) == "not told apart" else "shown"
    return f", {word} JointRD{by} (95 % {interval(of)}: {shown})" if len(of.values) > 2 else f", {word} JointRD{by}"

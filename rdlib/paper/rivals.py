"""Every way to lose the shortcut in one line: how accurate, how it was trained, what it deploys; and who wins, by rule.

Accuracies come from the records of runs, costs from the record of `rival_costs`; what neither has stays empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE
from rdlib.experiments import rows as taught
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell, cell, fill_command, lean, records_of, rows_of
from rdlib.measure import rival_costs
from rdlib.measure.rival_costs import RMNET
from rdlib.paper.statistics import NO, UNDECIDED, YES, Estimate, holm, minus
from rdlib.rivals.finetuned import FineTuned
from rdlib.rivals.register import METHODS, WAYS
from rdlib.runs.store import Store

SCRATCH, TEACHER = "scratch", "teacher"
RESNET = "ResNet, cross-entropy"
PLAIN, JOINTRD = (taught.CROSS_ENTROPY.name, SCRATCH), (taught.JOINTRD.name, SCRATCH)
TRAINING = ("step (x plain)", "TFLOP", "teacher's", "both (x plain)")
ACCURACY = ("way", "start", "test top-1 (%)", "n", "minus plain", "above plain?", "to fill")
COUNTED = ("parameters", "MACs (M)", "adds", "traffic (KiB)", "peak (KiB)", "fused")
TIMED = ("latency (ms) [quartiles]", "x ResNet [95 %]")


@dataclass(frozen=True)
class Line:
    """One way. top1: percent by seed, where known. training and network: its parts of the cost record, or empty.

    exact: whether it is RMNet's rewrite of the ResNets of its row: no training but theirs, and a network of its own.
    """

    row: Row
    top1: Mapping[int, float]
    training: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    to_fill: str = ""
    exact: bool = False
    diverged: int = 0
    images: int | None = None  # that each was evaluated on

    @property
    def cell(self) -> Cell:
        return Cell(tuple(self.top1.values()), len(self.row.runs), self.diverged, self.images)

    @property
    def adds(self) -> bool:
        """Whether the deployed network has additions."""
        return self.row.shortcuts == "all" and not self.exact

    @property
    def start(self) -> str:
        run = self.row.runs[0]
        heir = self.exact or METHODS[run.method].starts_as_teacher or run.options.get("init") == "teacher"
        return TEACHER if heir else SCRATCH

    @property
    def pruned(self) -> bool:
        return self.row.teaching.method == FineTuned.__name__

    @property
    def made(self) -> str:
        """How its network was taught and made smaller, in words."""
        return RMNET if self.exact else self.row.cut if self.pruned else self.row.method

    @property
    def way(self) -> str:
        return f"ResNet, {self.made}" if self.adds else self.made

    @property
    def name(self) -> str:
        heir = self.row.shortcuts == "none" and self.start == TEACHER
        return f"{self.way} (from the teacher)" if heir else self.way

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return self.row.runs[0].recipe.learning_rate

    def minus(self, other: "Line") -> Estimate:
        """The difference of the means, in points of top-1."""
        return minus(self.cell, other.cell)


def lines(profile: Profile, store: Store, table: str = "rivals", path: Path | None = None) -> list[Line]:
    """The ways of table "rivals" or "rivals-tuned", in its order, and RMNet after the ResNet that it rewrites.

    Costs depend neither on learning rates nor on weights, so both tables take those of the way of that name in table
    "rivals". Raises RecordError for a record that is damaged or was edited.
    """
    rows, costs = rows_of(profile, table), rival_costs.RECORD.read(profile, store, path) or {}
    train, measure = fill_command(profile, table, store), rival_costs.RECORD.command(profile, store)
    measured = {(row.network, row.method, row.heir): rival_costs.key(row) for row in rows_of(profile, "rivals")}
    found = []
    for row in rows:
        top1 = {record.run.seed: record.top1 for record in records_of(row, store)}
        training = costs.get("ways", {}).get(measured[row.network, row.method, row.heir], {})
        network = costs["networks"][training["deploys"]] if training else {}
        ours = cell(row, store)
        lacks = [train] * (not ours.whole) + [measure] * (not training)
        found.append(Line(row, top1, training, network, "; ".join(lacks), False, ours.diverged, ours.images))
    return [found[0], rmnet_line(rows[0], store, costs, measure), *found[1:]] if rows else []


def rmnet_line(resnet: Row, store: Store, costs: Mapping[str, Any], measure: str) -> Line:
    """RMNet's rewrite of the ResNets of a row.

    Only of ResNets as accurate as their records say: weights that were made again elsewhere may be others.
    """
    exact, known = costs.get("rmnet", {}), {record.run: record.top1 for record in records_of(resnet, store)}
    same = [run for run in known if run.id in exact and exact[run.id]["resnet_top1"] == known[run]]
    top1 = {run.seed: exact[run.id]["top1"] for run in same}
    teacher = next((one["teacher_flops"] for one in costs.get("ways", {}).values() if one["teacher_flops"]), 0)
    training = {"flops": 0, "teacher_flops": teacher} if costs else {}
    network = costs.get("networks", {}).get(RMNET, {})
    ours = cell(resnet, store)
    to_fill = "" if len(top1) + ours.diverged == len(resnet.runs) else measure
    return Line(resnet, top1, training, network, to_fill, True, ours.diverged, ours.images)


def waiting(found: Sequence[Line]) -> list[str]:
    """Each command that makes what the lines lack, once."""
    told = [command for line in found for command in line.to_fill.split("; ") if command]
    return [f"to fill: {command}" for command in dict.fromkeys(told)]


def one_of(found: Sequence[Line], which: tuple[str, str]) -> Line:
    """The line of a plain network's way and start, such as PLAIN or JOINTRD."""
    return next(line for line in found if (line.way, line.start) == which and line.row.shortcuts == "none")


def comparable(profile: Profile, store: Store) -> tuple[str, list[Line]]:
    """How the ways were set, in words, and their lines: tuned, once each has been chosen and run; as published before.

    Empty for a profile without rivals.
    """
    tuned = lines(profile, store, "rivals-tuned")
    chosen = {line.way for line in tuned if line.cell.whole}
    if tuned and {way.name for way in WAYS if way.tried} <= chosen:
        return "each tuned on the same grid", tuned
    return "with published weights", lines(profile, store)


def overview(profile: Profile, store: Store, which: str = "rivals", path: Path | None = None) -> pd.DataFrame:
    """All that is known of every way, as text; a notebook shows it in parts, by ACCURACY and TRAINING.

    Differences have their interval; all to the plain network are one family, all to JointRD another. TFLOP are of the
    whole training. Traffic and peak are of feature maps, one image in float32, added out of place; "fused" is the peak
    where convolution and addition are one operator. An empty cell names its command.
    """
    found, lines_ = lines(profile, store, which, path), []
    beside = {name: one_of(found, of) for name, of in (("plain", PLAIN), ("JointRD", JOINTRD)) if found}
    held = {name: against(found, reference) for name, reference in beside.items()}
    for index, line in enumerate(found):
        known: dict[str, str] = {
            "way": line.way,
            "start": line.start,
            "test top-1 (%)": str(line.cell),
            "n": line.cell.count,
        }
        for name, reference in beside.items():
            gap, error = held[name][index]
            known |= {f"minus {name}": gap.text(error=error)}
            known |= {f"above {name}?": "" if line is reference else gap.verdict(error=error)}
        lines_.append(known | training(line, beside["plain"]) | deployed(line.network) | {"to fill": line.to_fill})
    return lean(lines_, "to fill")


def training(line: Line, plain: Line) -> dict[str, str]:
    """The columns TRAINING of a way; a step's interval is in the record."""
    if not line.training or not plain.training:
        return dict.fromkeys(TRAINING, "")
    step, teacher = line.training.get("step"), line.training["teacher_flops"]
    values = [
        f"{step['ratio'][0]:.2f}" if step else "none",
        f"{line.training['flops'] / 1e12:.2f}",
        f"{teacher / 1e12:.2f}" if teacher else "none",
        f"{(line.training['flops'] + teacher) / plain.training['flops']:.2f}",
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
                "seed": str(run.seed),
                "ResNet (%)": f"{one['resnet_top1']:.2f}",
                "rewritten (%)": f"{one['top1']:.2f}",
                "same answers": f"{one['equal_top1']}/{one['compared']}",
                "largest difference of a logit": f"{one['largest_difference']:.0e}",
                "largest logit": f"{one['largest_logit']:.0f}",
            }
            for run, one in known
        ]
    )


def against(found: Sequence[Line], reference: Line) -> list[tuple[Estimate, float]]:
    """Every line minus the reference, and how often that interval may err: all others are one family."""
    gaps = [line.minus(reference) for line in found if line is not reference]
    held = zip(gaps, holm((gap, 0.0) for gap in gaps), strict=True)
    return [(Estimate(), 1.0) if line is reference else next(held) for line in found]


def ranked(found: Sequence[Line], adds: bool = False) -> list[Line]:
    """The ways of which every seed finished, the highest mean top-1 first: of the networks without additions, or of
    those with them."""
    return sorted(
        (line for line in found if line.adds == adds and line.cell.finished), key=lambda line: -line.cell.mean
    )


def ranking(found: Sequence[Line], adds: bool = False) -> pd.DataFrame:
    """`ranked` as text, each held against JointRD from scratch."""
    shown = ranked(found, adds)
    held = against([one_of(found, JOINTRD), *shown], one_of(found, JOINTRD))[1:]
    return pd.DataFrame(
        [
            {
                "rank": str(rank),
                "way": line.way,
                "start": line.start,
                "test top-1 (%)": str(line.cell),
                "minus JointRD": gap.text(error=error),
                "above JointRD?": gap.verdict(error=error) if gap.n else "",
            }
            for rank, (line, (gap, error)) in enumerate(zip(shown, held, strict=True), 1)
        ]
    )


def winners(found: Sequence[Line]) -> list[str]:
    """Sentences that follow by rule: who has the highest mean without additions, on the plain network itself, and with
    additions at its cost, and how many are above or below JointRD. Only ways of which every seed finished count."""
    if not found or not one_of(found, JOINTRD).cell.finished:
        return []
    jointrd, bare = one_of(found, JOINTRD), ranked(found)
    cut = [line for line in ranked(found, adds=True) if line.row.cut]
    firsts = {
        "without additions": bare,
        "of the plain network itself": [line for line in bare if line.row.shortcuts == "none"],
        "of a ResNet made as cheap": cut,
    }
    sentences = [f"Best {what}: {some[0].name}, {some[0].cell} %." for what, some in firsts.items() if some]
    rest = [line for line in (*bare, *cut) if line is not jointrd]
    said = [gap.verdict(error=error) for gap, error in against([jointrd, *rest], jointrd)[1:]]
    counts = ", ".join(f"{said.count(verdict)} {verdict}" for verdict in (YES, NO, UNDECIDED))
    sentences.append(f"Above JointRD ({jointrd.cell} %)? Of {len(rest)} ways: {counts}.")
    lacking = sum(not line.cell.whole for line in found)
    gone = sum(line.cell.whole and not line.cell.finished for line in found)
    sentences += [f"Not ranked, for want of runs: {lacking} of {len(found)} ways."] * (lacking > 0)
    return sentences + [f"Not ranked, since a run diverged: {gone} of {len(found)} ways."] * (gone > 0)

"""Every record of a store as a line of one table, and means over seeds that say what else they are taken over."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rdlib.errors import RecordError
from rdlib.experiments.comparisons import ABLATIONS, MATCHED
from rdlib.experiments.rows import HEIR, TAUGHT
from rdlib.methods import JointRD
from rdlib.models import SHORTCUTS
from rdlib.recipe import PAPER_OPTIONS, Recipe
from rdlib.rivals.register import METHODS, WAYS
from rdlib.runs.run import Record, Run, defaults_of
from rdlib.runs.store import Store

TOP1 = "top-1 (%)"  # of the last epoch, on the split that the column "split" names
APART = ("dataset", "split")  # runs that differ here are never averaged
OTHERS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("JointRD, widened", "Widened", {}, "plain"),
    ("transfer", "Transfer", {}, "plain"),
    ("transfer, backbone frozen", "Transfer", {"backbone": "frozen"}, "plain"),
)
IntArray = npt.NDArray[np.int64]
RECIPE = tuple(f.name.replace("_", " ") for f in sorted(fields(Recipe), key=lambda f: f.default is not None))
# What decides a run besides its seed, what a reader asks first in front: `mixes` names the first that explains.
FIRST = ("method", "shortcuts", "depth", "width", "conv", "network", "init", "learning rate")
SETTINGS = (
    *(*APART, *FIRST),
    *(name for name in RECIPE if name not in (*FIRST, "holdout")),  # those that are usually absent before the others
    *("protocol", "data", "device", "teacher setup"),
)
OUTCOMES = (TOP1, "top-5 (%)", "train loss", "seconds")
COLUMNS = ("id", *SETTINGS, "seed", *OUTCOMES, "commit", "teacher")
PERCENT = ("mean", "std", "min", "max")
STATISTICS = ("n", *PERCENT, "mixes")


def catalogue(store: Store) -> tuple[pd.DataFrame, list[str]]:
    """The readable records of a store as a table of COLUMNS, and one sentence for each record that is skipped, such as
    that of a run that diverged.

    Accuracies in percent, seconds of training, train loss the sum of the last epoch's terms.
    """
    records, skipped = dict[str, Record](), []
    for path in sorted(store.root.glob("runs/*/*.json")):
        try:
            record = Record.read(path)
            _ = record.top1, record.provenance["protocol"]
            records[record.run.id] = record
        except RecordError as error:
            skipped.append(str(error))
        except (KeyError, TypeError, ValueError):
            skipped.append(f"record {path.name} lacks its top-1 or its protocol: delete it and run the sweep again")
    runs = {name: record.run for name, record in records.items()}
    lines = [described(record, runs) for record in records.values()]
    return pd.DataFrame(lines, columns=pd.Index(COLUMNS)), skipped


def described(record: Record, runs: Mapping[str, Run]) -> dict[str, Any]:
    """The COLUMNS of a record; `runs` are all of its store, by id."""
    run, origin = record.run, record.provenance
    recipe = {name.replace("_", " "): value for name, value in asdict(run.recipe).items()}
    same = {name: getattr(run, name) for name in ("id", "dataset", "depth", "width", "conv", "seed")}
    dirty = "+" if origin.get("dirty") else ""  # files of rdlib were changed and not committed
    return (
        recipe
        | same
        | {
            "split": record.split,
            "method": method_name(run, runs.get(run.teacher or "")),
            "network": network_of(run),
            "shortcuts": SHORTCUTS[run.shortcuts],
            "init": "teacher" if METHODS[run.method].starts_as_teacher else run.options.get("init", "scratch"),
            "milestones": " ".join(f"{share:g}" for share in run.recipe.milestones),
            "protocol": origin["protocol"],
            "data": str(origin.get("data_sha256") or "")[:12],
            "device": origin.get("device", ""),
            "teacher setup": setup_of(run, runs),
            TOP1: record.top1,
            "top-5 (%)": record.metrics.get(f"{record.split}_top5"),
            "train loss": record.metrics.get("train_loss"),
            "seconds": origin.get("seconds"),
            "commit": str(origin.get("commit") or "")[:7] + dirty,
            "teacher": run.teacher or "",
        }
    )


def network_of(run: Run) -> str:
    return "ResNet" if run.shortcuts == "all" else "plain"


@cache
def known_ways(dataset: str) -> dict[tuple[str, str, frozenset[tuple[str, Any]]], str]:
    """What the tables call a way of teaching, by its method, convolution and options; ways come before ablations."""
    named: list[tuple[str, str, Mapping[str, Any], str]] = []
    for way in WAYS:
        named.append((way.name, way.method, {}, way.conv))
        if way.both:
            heir, inherited = way.started_from_the_teacher()
            named.append((f"{way.name}, {HEIR}", heir, inherited, way.conv))
    named += [(taught.name, taught.method, taught.options, "plain") for taught in TAUGHT.values()]
    ablated = (one for one in ABLATIONS if issubclass(METHODS[one.method], JointRD))
    named += [(f"JointRD, {one.name}", one.method, one.options, one.conv) for one in ablated]
    names: dict[tuple[str, str, frozenset[tuple[str, Any]]], str] = {}
    for name, method, options, conv in (*named, *OTHERS):
        names.setdefault((method, conv, frozenset(usual(dataset, method, options).items())), name)
    return names


def usual(dataset: str, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method on a data set, as the tables fill them in."""
    filled = defaults_of(method) | PAPER_OPTIONS.get(dataset, {}).get(method, {}) | dict(options)
    return {name: value for name, value in filled.items() if value is not None}


def method_name(run: Run, teacher: Run | None = None) -> str:
    """How a network was taught, in the tables' words; where they have none, the class name with its unusual options.

    A teacher of another depth or width than the student's is part of the name, and how the source of a transfer learnt.
    """
    names, options = known_ways(run.dataset), frozenset(run.options.items())
    name = names.get((run.method, run.conv, options)) or names.get((run.method, "plain", options))
    for match in MATCHED.get((run.depth, run.width), ()) if run.method == "FineTuned" else ():
        if run.options == {"ratio": match.ratio, "stages": match.stages, "round_to": match.round_to}:
            name = f"pruned to {match.what}, fine-tuned"
    if name is None:
        expected = usual(run.dataset, run.method, {})
        special = ", ".join(f"{key}={value}" for key, value in run.options.items() if value != expected.get(key))
        name = f"{run.method} ({special})" if special else run.method
    if (run.method, run.conv, options) not in names and run.conv != "plain":
        name += f", {run.conv} convolutions"
    if run.other_stem is not None:
        name += f", {run.other_stem} stem"
    if run.method == "Transfer" and teacher:
        name += f", source taught by {method_name(teacher)}"
    for size in ("depth", "width") if teacher else ():
        if getattr(teacher, size) != getattr(run, size):
            name += f", teacher of {size} {getattr(teacher, size)}"
    return name


def setup_of(run: Run, runs: Mapping[str, Run]) -> str:
    """The trained teacher of a run in words: its network, and whatever in its training differs from the run's."""
    if run.teacher is None:
        return ""
    teacher = runs.get(run.teacher)
    if teacher is None:  # the id keeps such runs from passing for equally taught ones
        return f"{run.teacher}, not in this store"
    ours, theirs = asdict(run.recipe) | {"seed": run.seed}, asdict(teacher.recipe) | {"seed": teacher.seed}
    words = [f"on {teacher.dataset}"] if teacher.dataset != run.dataset else []
    words += [f"{network_of(teacher)}-{teacher.depth}", f"width {teacher.width}"]
    words += [SHORTCUTS[teacher.shortcuts]] if teacher.shortcuts != "all" else []
    words += [name for name in [method_name(teacher, runs.get(teacher.teacher or ""))] if name != "cross-entropy"]
    words += [f"{key.replace('_', ' ')} {value}" for key, value in theirs.items() if value != ours[key]]
    words += [f"itself taught by {setup_of(teacher, runs)}"] if teacher.teacher else []
    return ", ".join(words)


def values(frame: pd.DataFrame, column: str) -> list[Any]:
    """The values that a column has, in the tables' order where there is one, else ascending; absent ones left out."""
    known: list[str] = [*SHORTCUTS.values(), "ResNet", "plain"]
    if column == "method":
        known = [name for dataset in frame["dataset"].unique() for name in known_ways(dataset).values()]
    places = {name: place for place, name in reversed(list(enumerate(known)))}
    return sorted(frame[column].dropna().unique().tolist(), key=lambda value: (places.get(value, len(places)), value))


def select(frame: pd.DataFrame, filters: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """The runs that have one of the values of every column named; no values admit all: `{"depth": (18, 34)}`."""
    for column, admitted in filters.items():
        frame = frame[frame[column].isin(admitted)] if admitted else frame
    return frame


def grouped(frame: pd.DataFrame, by: Iterable[str] = ("method",)) -> pd.DataFrame:
    """Top-1 in percent of each group of runs: n, mean, sample standard deviation (NaN for one run), min and max.

    Data sets and splits are always kept apart. `mixes` names what differs within a group besides the seed: where the
    settings named are equal, all are; empty, the group is one run over its seeds.
    """
    keys = list(dict.fromkeys((*APART, *by)))
    if frame.empty:
        return pd.DataFrame(columns=[*keys, *STATISTICS])
    places = {column: {value: place for place, value in enumerate(values(frame, column))} for column in keys}
    groups = frame.groupby(keys, sort=False, dropna=False)
    result = groups[TOP1].agg(n="count", mean="mean", std="std", min="min", max="max").reset_index()
    others = [column for column in SETTINGS if column not in keys]
    number = groups.ngroup().to_numpy()
    codes = np.column_stack([pd.factorize(frame[name], use_na_sentinel=False)[0] for name in others])
    mixes = [mixed(codes[number == group], others) for group in range(len(result))]
    result["mixes"] = pd.Series(mixes, dtype=object)
    return result.sort_values(
        keys, key=lambda column: column.map(places[str(column.name)]), kind="stable", ignore_index=True
    )


def mixed(codes: IntArray, settings: Sequence[str]) -> str:
    """The settings that tell runs apart, codes [runs, settings]; one that follows from those before is left out."""
    found, kinds = [], np.zeros(len(codes), dtype=np.int64)
    for place in np.flatnonzero((codes != codes[0]).any(axis=0)):
        finer = np.unique(kinds * (codes.max() + 1) + codes[:, place], return_inverse=True)[1]
        if finer.max() > kinds.max():
            found.append(settings[int(place)])
            kinds = finer
    return ", ".join(found)

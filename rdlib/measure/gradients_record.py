"""The record of who teaches which stage: every ResNet, plain and JointRD run of a profile, trained again and watched.

Watching changes nothing, and the record says so: whether the weights are, byte for byte, those of the published run.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.errors import ConfigError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import rows_of
from rdlib.measure import retrain
from rdlib.measure.gradients import PARTS, evidence, probe_of, teacher_grams
from rdlib.measure.record import ProfileRecord, Tell, origin, readable, require_writable, rounded, write
from rdlib.methods import JointRD
from rdlib.models import STAGES
from rdlib.runs.provenance import code_digest
from rdlib.runs.run import Run
from rdlib.runs.store import Store

RECORD = ProfileRecord("teaching")
HALF = 48  # images of each half of the probe
PHASES = (0, 1, 4, 11, 21)  # the epochs with which the phases of `over_phases` begin
SINGLE = tuple(f"mixed_{k}" for k in range(1, STAGES))
PATHS = ("own", "mixed", "all", *SINGLE)
COLUMNS = [
    *("network", "depth", "rate", "seed", "epoch", "part", "m"),
    *(f"{what}_{path}" for what in ("norm", "agreement") for path in PATHS),
    *("cosine", "share", "share_at_1", "cka"),
]


def rows(profile: Profile) -> list[Row]:
    """ResNet, strictly plain network and JointRD (frozen teacher), for each depth and learning rate."""
    found = [row for table in ("3-high-rate", "3") for row in rows_of(profile, table)]
    wanted = (("all", CROSS_ENTROPY), ("none", CROSS_ENTROPY), ("none", JOINTRD))
    return [row for row in found if (row.shortcuts, row.teaching) in wanted]


def teacher_of(run: Run, among: list[Row]) -> Run:
    """The ResNet of a run's depth, seed and recipe: JointRD's teacher, and what a plain network is held against."""
    resnets = (one for row in among for one in row.runs if one.shortcuts == "all")
    return next(one for one in resnets if (one.depth, one.seed, one.recipe) == (run.depth, run.seed, run.recipe))


def measure(profile: Profile, store: Store, path: Path, tell: Tell = lambda line: None) -> None:
    """Train every run of `rows` again on one thread of the CPU and write what its stages are told after every epoch.

    The record is written after each run; started again, finished runs of the same code are kept. Runs that diverged,
    or whose teacher has no weights here, are told and left out. Raises RecordError, before anything is trained, where
    the record cannot be written, ConfigError for a profile without such runs or a data set that is not held in memory.
    """
    among, code = rows(profile), code_digest()
    if not among:
        raise ConfigError(f"profile {profile.name} has no networks of table 3: choose another profile")
    require_writable(path)
    known = RECORD.runs(profile, store, path)
    with retrain.one_thread():
        for run in (run for row in among for run in row.runs):
            teacher = teacher_of(run, among)
            if known.get(run.id, {}).get("code_sha256") == code:
                tell(f"{run.label}: kept")
            elif store.diverged(run):
                tell(f"{run.label}: it diverged, left out")
            elif not store.has_weights(teacher):
                tell(f"{run.label}: its teacher has no weights here, left out")
            else:
                known[run.id] = found = watch(run, store, teacher) | {"half": HALF, "code_sha256": code}
                write(path, {"provenance": origin("torch"), "runs": known}, listed="epochs")
                share = 100 * found["seconds"]["recording"] / found["seconds"]["training"]
                equal = found["weights_equal"]
                tell(f"{run.label}: recording took {share:.0f} % of the training's time; weights as published: {equal}")


def watch(run: Run, store: Store, teacher: Run) -> dict[str, Any]:
    """Train a run and record its evidence before training and after each epoch; the store is not touched.

    The times are of the whole run, in seconds: training alone, as in its published record, and recording alone.
    """
    images, method = retrain.begin(run, store)
    probe, started = probe_of(images, HALF), time.perf_counter()
    grams = teacher_grams(store.network(teacher), probe) if run.id != teacher.id else []
    epochs, training, recording = [], 0.0, time.perf_counter() - started
    for epoch, seconds in retrain.epochs(run, images, method):
        started = time.perf_counter()
        progress = epoch / run.recipe.epochs
        often = epoch <= 3 or epoch % 5 == 0  # telling the mixed paths apart costs two more backward passes
        found = evidence(method, probe, progress, grams, each=often)
        recording, training = recording + time.perf_counter() - started, training + seconds
        m = method.m(progress) if isinstance(method, JointRD) else None
        epochs.append(rounded({"epoch": epoch, "m": m} | found))
    return {
        "run": run.value,
        "epochs": epochs,
        "seconds": {"training": round(training, 3), "recording": round(recording, 3)},
        "weights_equal": retrain.weights_equal(method.student, store.record(run), images),
    }


def overview(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """What the record has: runs, those with the weights of the published run, and recording's share of the time."""
    known, lines = RECORD.runs(profile, store, path), []
    for row in rows(profile):
        found = [known[run.id] for run in row.runs if run.id in known]
        training, recording = (sum(one["seconds"][what] for one in found) for what in ("training", "recording"))
        asked = [one["weights_equal"] for one in found if one["weights_equal"] is not None]
        line = {
            "network": f"{short_name(row)}, depth {row.depth}",
            "learning rate": f"{row.runs[0].recipe.learning_rate:g}",
            "recording / training time": f"{100 * recording / training:.1f} %" if found else "",
            "weights as published": f"{sum(asked)}/{len(asked)}" if asked else "",
        }
        lines.append((line, len(found), len(row.runs)))
    return RECORD.table(profile, store, lines)


def short_name(row: Row) -> str:
    return "JointRD" if row.teaching == JOINTRD else row.network


def by_epoch(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """The record of a store (or at `path`) as a table, one line a run, epoch and part; no line where there is none.

    Columns: network, depth, rate, seed, epoch, part, m; for each path norm and agreement (of a network without mixed
    paths "all" is "own"; single mixed paths at some epochs only); cosine; share = |mixed| / (|mixed| + |own|), and
    share_at_1, the same had m(t) stayed 1; cka.
    Raises RecordError where the record is damaged or was edited.
    """
    known, lines = RECORD.runs(profile, store, path), []
    for row in rows(profile):
        for run in (run for run in row.runs if run.id in known):
            with readable(path or RECORD.path(profile, store), RECORD.command(profile, store)):
                lines += [line for epoch in known[run.id]["epochs"] for line in by_part(row, run, epoch)]
    return pd.DataFrame(lines, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[6:], float))


def by_part(row: Row, run: Run, epoch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An epoch of a run as one line a part."""
    about = {"network": short_name(row), "depth": run.depth, "rate": run.recipe.learning_rate, "seed": run.seed}
    for i, part in enumerate(PARTS):
        line: dict[str, Any] = about | {"epoch": epoch["epoch"], "part": part, "m": epoch["m"]}
        for path in PATHS:
            known = path if path in epoch["norm"] else "own" if path == "all" else None
            for what in ("norm", "agreement"):
                line[f"{what}_{path}"] = None if known is None else epoch[what][known][i]
        if epoch["cosine"] is not None:
            own, mixed = line["norm_own"], line["norm_mixed"]
            at_1 = mixed / line["m"]
            line |= {"cosine": epoch["cosine"][i], "share": share(mixed, own), "share_at_1": share(at_1, own)}
        if epoch["cka"] is not None and i > 0:
            line["cka"] = epoch["cka"][i - 1]
        yield line


def share(one: float, other: float) -> float | None:
    return one / (one + other) if one + other else None


def by_phase(found: pd.DataFrame, value: str) -> pd.DataFrame:
    """One column of `by_epoch` averaged over the epochs of each phase, since single epochs scatter.

    A line each (rate, network, part, seed), which is the index, and a column a phase; the first is before training.
    """
    chosen = found[found[value].notna()]
    phase = pd.cut(chosen["epoch"], [*PHASES, math.inf], labels=phase_names(), right=False)
    keys = ["rate", "network", "part", "seed"]
    wide = chosen.assign(phase=phase.astype(str)).pivot_table(index=keys, columns="phase", values=value, sort=False)
    return wide.rename_axis(columns=None)


def over_phases(found: pd.DataFrame, value: str, form: str = ".2f") -> pd.DataFrame:
    """`by_phase` as text: mean over the seeds (lowest to highest)."""
    return over_seeds(by_phase(found, value), lambda v: f"{v.mean():{form}} ({v.min():{form}} to {v.max():{form}})")


def seeds_where(answers: pd.DataFrame) -> pd.DataFrame:
    """How many seeds say yes, as text: yes or no in the form of `by_phase`, or selected from it."""
    return over_seeds(answers, lambda v: f"{int(v.sum())}/{len(v)}")


def over_seeds(values: pd.DataFrame, text: Callable[["pd.Series[Any]"], str]) -> pd.DataFrame:
    groups = values.groupby(level=[name for name in values.index.names if name != "seed"], sort=False)
    return groups.agg(text).reset_index().rename(columns={"rate": "learning rate"})


def phase_names() -> list[str]:
    between = [f"epochs {low} to {high - 1}" for low, high in itertools.pairwise(PHASES[1:])]
    return ["before training", *between, f"epochs {PHASES[-1]} on"]

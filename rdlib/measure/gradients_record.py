"""The record of who teaches which stage: every ResNet, plain and JointRD run of a profile, trained again and watched.

Watching changes nothing, and the record says so: whether the weights are, byte for byte, those of the published run.
"""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import in_store, rows_of
from rdlib.files import digest
from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.measure import record as measured
from rdlib.measure.gradients import PARTS, evidence, probe_of, teacher_grams
from rdlib.methods import JointRD, Method
from rdlib.models import STAGES
from rdlib.runs.execute import build, require_same_images
from rdlib.runs.provenance import code_digest, provenance
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.train import fit

HALF = 48  # images of each half of the probe
DIGITS = 5  # significant, of every number
PHASES = (0, 1, 4, 11, 21)  # the epochs with which the phases of `over_phases` begin
SINGLE = tuple(f"mixed_{k}" for k in range(1, STAGES))
PATHS = ("own", "mixed", "all", *SINGLE)
COLUMNS = [
    *("network", "depth", "rate", "seed", "epoch", "part", "m"),
    *(f"{what}_{path}" for what in ("norm", "agreement") for path in PATHS),
    *("cosine", "share", "share_at_1", "cka"),
]


def command(profile: Profile, store: Store) -> str:
    return in_store(f"python -m rdlib measure teaching {profile.name}", store)


def path_of(profile: Profile, store: Store) -> Path:
    return measured.folder(store) / f"teaching-{profile.name}.json"


def rows(profile: Profile) -> list[Row]:
    """ResNet, strictly plain network and JointRD (frozen teacher), for each depth and learning rate."""
    found = [row for table in ("3", "3-low-rate") for row in rows_of(profile, table)]
    wanted = (("all", "cross-entropy"), ("none", "cross-entropy"), ("none", "JointRD"))
    return [row for row in found if (row.shortcuts, row.method) in wanted]


def teacher_of(run: Run, among: list[Row]) -> Run:
    """The ResNet of a run's depth, seed and recipe: JointRD's teacher, and what a plain network is held against."""
    resnets = (one for row in among for one in row.runs if one.shortcuts == "all")
    return next(one for one in resnets if (one.depth, one.seed, one.recipe) == (run.depth, run.seed, run.recipe))


def measure(profile: Profile, store: Store, path: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Train every run of `rows` again on one thread of the CPU and write what its stages are told after every epoch.

    The record is written after each run; started again, finished runs of the same code are kept. Runs whose teacher
    has no weights here are told and left out. Raises RecordError, before anything is trained, where the record cannot
    be written, ConfigError for a profile without such runs or a data set that is not held in memory.
    """
    among, code = rows(profile), code_digest()
    if not among:
        raise ConfigError(f"profile {profile.name} has no networks of table 3: choose another profile")
    measured.require_writable(path)
    known = measured.read(path, command(profile, store))["runs"] if path.exists() else {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as sweeps train, so that the weights can be compared
    try:
        for run in (run for row in among for run in row.runs):
            if known.get(run.id, {}).get("code_sha256") == code:
                tell(f"{run.label}: kept")
                continue
            if not store.has_weights(teacher_of(run, among)):
                tell(f"{run.label}: its teacher has no weights here, left out")
                continue
            known[run.id] = watch(run, store, teacher_of(run, among)) | {"half": HALF, "code_sha256": code}
            write(path, {"provenance": measured.origin("torch"), "runs": known})
            tell(f"{run.label}: {summary(known[run.id])}")
    finally:
        torch.set_num_threads(threads)


def watch(run: Run, store: Store, teacher: Run) -> dict[str, Any]:
    """Train a run and record its evidence before training and after each epoch; the store is not touched.

    The times are of the whole run, in seconds: training alone, as in its published record, and recording alone.
    """
    images = load(run.dataset)
    if not isinstance(images, Dataset):
        raise ConfigError(
            f"the probe is taken from images in memory, {run.dataset} is a folder: choose another profile"
        )
    require_same_images(run, store, images)
    method, probe = build(run, store, len(images.classes)), probe_of(images, HALF)
    started = time.perf_counter()
    grams = teacher_grams(store.network(teacher), probe) if run.id != teacher.id else []
    epochs, training, recording = [], 0.0, time.perf_counter() - started
    for epoch, seconds in moments(method, images, run):
        started = time.perf_counter()
        progress = epoch / run.recipe.epochs
        found = evidence(method, probe, progress, grams, each=is_dense(epoch))
        recording, training = recording + time.perf_counter() - started, training + seconds
        m = method.m(progress) if isinstance(method, JointRD) else None
        epochs.append(rounded({"epoch": epoch, "m": m} | found))
    return {
        "run": run.value,
        "epochs": epochs,
        "seconds": {"training": round(training, 3), "recording": round(recording, 3)},
        "weights_equal": weights_equal(method.student, store.record(run), images),
    }


def is_dense(epoch: int) -> bool:
    """Whether the mixed paths are also told apart after this epoch, which costs two more backward passes."""
    return epoch <= 3 or epoch % 5 == 0


def moments(method: Method, images: Dataset, run: Run) -> Iterator[tuple[int, float]]:
    """Epoch and seconds of training: 0 before any, then after each one."""
    yield 0, 0.0
    for epoch in fit(method, images, run.recipe, seed=run.seed, progress=False):
        yield epoch.epoch, epoch.seconds


def weights_equal(network: nn.Module, record: Record | None, images: Dataset) -> bool | None:
    """Whether a network's weights are, byte for byte, those a record describes.

    None where that cannot be asked: no record, or one made on another kind of processor or by another torch.
    """
    if record is None:
        return None
    here = provenance(images, images.device, 1.0, 0)
    if any(here[key] != record.provenance[key] for key in ("device", "threads", "versions")):
        return None
    file = safetensors.torch.save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})
    return bool(hashlib.sha256(file).hexdigest() == record.provenance["weights_sha256"])


def summary(entry: dict[str, Any]) -> str:
    share = 100 * entry["seconds"]["recording"] / entry["seconds"]["training"]
    return f"recording took {share:.0f} % of the training's time; weights as published: {entry['weights_equal']}"


def rounded(value: Any) -> Any:
    """Floats within lists and dicts to `DIGITS` significant digits; what is not finite becomes None."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def write(path: Path, body: dict[str, Any]) -> None:
    """As `measured.write`, but one epoch a line, which keeps a diff readable."""
    content = {"schema": measured.SCHEMA, **body}
    text = json.dumps(content | {"runs": {}, "digest": digest(content)}, indent=1)
    entries = ",\n".join(f'  "{key}": {entry_text(entry)}' for key, entry in body["runs"].items())
    measured.save(path, text.replace('"runs": {}', f'"runs": {{\n{entries}\n }}') + "\n")


def entry_text(entry: dict[str, Any]) -> str:
    epochs = ",\n".join("   " + json.dumps(epoch) for epoch in entry["epochs"])
    return json.dumps(entry | {"epochs": []}).replace('"epochs": []', f'"epochs": [\n{epochs}\n  ]')


def entries_of(profile: Profile, store: Store, path: Path | None = None) -> dict[str, dict[str, Any]]:
    """By id, what the record of a store (or at `path`) holds of each run; empty without one. Raises RecordError where
    it is damaged."""
    path = path or path_of(profile, store)
    return dict(measured.read(path, command(profile, store))["runs"]) if path.exists() else {}


def overview(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """What the record has: runs, those with the weights of the published run, and recording's share of the time."""
    entries, lines = entries_of(profile, store, path), []
    for row in rows(profile):
        found = [entries[run.id] for run in row.runs if run.id in entries]
        training, recording = (sum(one["seconds"][what] for one in found) for what in ("training", "recording"))
        asked = [one["weights_equal"] for one in found if one["weights_equal"] is not None]
        lines.append(
            {
                "network": f"{short_name(row)}, depth {row.depth}",
                "learning rate": f"{row.runs[0].recipe.learning_rate:g}",
                "recording / training time": f"{100 * recording / training:.1f} %" if found else "",
                "weights as published": f"{sum(asked)}/{len(asked)}" if asked else "",
                "n": f"{len(found)}/{len(row.runs)}",
                "to fill": "" if len(found) == len(row.runs) else command(profile, store),
            }
        )
    result = pd.DataFrame(lines)
    return result if lines and result["to fill"].any() else result.drop(columns="to fill", errors="ignore")


def short_name(row: Row) -> str:
    return "JointRD" if row.method == "JointRD" else row.network


def read(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """The record of a store (or at `path`) as a table, one line a run, epoch and part; no line where there is none.

    Columns: network, depth, rate, seed, epoch, part, m; for each path norm and agreement (of a network without mixed
    paths "all" is "own"; single mixed paths at some epochs only); cosine; share = |mixed| / (|mixed| + |own|), and
    share_at_1, the same had m(t) stayed 1; cka.
    Raises RecordError where the record is damaged or was edited.
    """
    entries = entries_of(profile, store, path)
    found = [(row, run, entries[run.id]) for row in rows(profile) for run in row.runs if run.id in entries]
    try:
        lines = [line for row, run, entry in found for epoch in entry["epochs"] for line in flat(row, run, epoch)]
    except (KeyError, TypeError, IndexError) as error:
        raise RecordError(
            f"{(path or path_of(profile, store)).name} lacks {error}: measure again with `{command(profile, store)}`"
        ) from error
    return pd.DataFrame(lines, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[6:], float))


def flat(row: Row, run: Run, epoch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An epoch of a run as one line a part."""
    for i, part in enumerate(PARTS):
        line: dict[str, Any] = {
            "network": short_name(row),
            "depth": run.depth,
            "rate": run.recipe.learning_rate,
            "seed": run.seed,
        }
        line |= {"epoch": epoch["epoch"], "part": part, "m": epoch["m"]}
        for path in PATHS:
            known = path if path in epoch["norm"] else "own" if path == "all" else None
            for what in ("norm", "agreement"):
                line[f"{what}_{path}"] = None if known is None else epoch[what][known][i]
        if epoch["cosine"] is not None:
            own, mixed = line["norm_own"], line["norm_mixed"]
            line |= {
                "cosine": epoch["cosine"][i],
                "share": ratio(mixed, own),
                "share_at_1": ratio(mixed / line["m"], own),
            }
        if epoch["cka"] is not None and i > 0:
            line["cka"] = epoch["cka"][i - 1]
        yield line


def ratio(a: float, b: float) -> float | None:
    return a / (a + b) if a + b else None


def by_phase(found: pd.DataFrame, value: str) -> pd.DataFrame:
    """One column of `read` averaged over the epochs of each phase, since single epochs scatter.

    A line each (rate, network, part, seed), which is the index, and a column a phase; the first is before training.
    """
    chosen = found[found[value].notna()]
    phase = pd.cut(chosen["epoch"], [*PHASES, math.inf], labels=phase_names(), right=False)
    keys = ["rate", "network", "part", "seed"]
    wide = chosen.assign(phase=phase.astype(str)).pivot_table(index=keys, columns="phase", values=value, sort=False)
    return wide.rename_axis(columns=None)


def over_phases(found: pd.DataFrame, value: str, form: str = ".2f") -> pd.DataFrame:
    """`by_phase` as text: mean over the seeds (lowest to highest)."""

    def text(v: "pd.Series[float]") -> str:
        return f"{v.mean():{form}} ({v.min():{form}} to {v.max():{form}})"

    groups = by_phase(found, value).groupby(level=["rate", "network", "part"], sort=False)
    return groups.agg(text).reset_index().rename(columns={"rate": "learning rate"})


def seeds_where(answers: pd.DataFrame) -> pd.DataFrame:
    """How many seeds say yes, as text: yes or no in the form of `by_phase`, or selected from it."""
    groups = answers.groupby(level=[name for name in answers.index.names if name != "seed"], sort=False)
    return groups.agg(count).reset_index().rename(columns={"rate": "learning rate"})


def count(answers: "pd.Series[bool]") -> str:
    return f"{int(answers.sum())}/{len(answers)}"


def phase_names() -> list[str]:
    between = [f"epochs {low} to {high - 1}" for low, high in itertools.pairwise(PHASES[1:])]
    return ["before training", *between, f"epochs {PHASES[-1]} on"]

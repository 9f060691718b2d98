"""Train one seed or more of a profile afresh, run the notebooks on it, and hold it against the published records."""

import hashlib
import importlib.util
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdlib.commands.notebooks import execute_if_changed, parameters_of, require_notebooks
from rdlib.errors import ConfigError, RdlibError
from rdlib.experiments.profiles import SMOKE, Profile, profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import Cell, as_text, cell, rows_of, runs_of
from rdlib.files import NOTEBOOKS, PACKAGE, ROOT
from rdlib.images import load
from rdlib.runs.run import Divergence
from rdlib.runs.store import Store
from rdlib.runs.sweep import sweep
from rdlib.runs.workers import require_jobs


def reproduce(
    name: str, seeds: int, jobs: int | None, published: Store, reproduced: Store, say: Callable[[str], None]
) -> bool:
    """Train `seeds` seeds of every run of a profile into the store `reproduced`, execute the notebooks on it and hold
    it against the published store; tells whether all went well."""
    whole, wanted = profile(name), profile(name, seeds)
    require_jobs(jobs)
    require_notebooks()
    require_notebook_packages()
    runs = runs_of(compared_rows(wanted))
    set_aside_stale(reproduced, say)
    say(f"1/3  training {len(runs)} runs of {name} into {reproduced.root.name}/ (done ones are kept)")
    outcome = sweep(runs, reproduced, jobs)
    failures = [f"{run.id}  {run.label}: {sentence}" for run, sentence in outcome.failures.items()]
    shown = [path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if name != SMOKE.name or path.stem not in LIVE]
    shown.sort(key=lambda path: path.stem not in LIVE)  # the longest first, or one of them ends alone
    say(f"2/3  running {len(shown)} notebooks on these records")
    inputs = digest_of(CODE, *(reproduced.record_path(run) for run in runs))
    failures += run_notebooks(shown, name, reproduced, jobs, inputs, say)
    say("3/3  published against reproduced")
    return report(compare(whole, wanted, published, reproduced), failures, say)


def compared_rows(profile: Profile, table: str | None = None) -> list[Row]:
    """The rows that are trained again, each once: of both readings of "plain" the strict one, which the questions are
    about, and of both regimes the frozen teacher. Of a cell that stands in two tables, the later's seeds."""
    rows = [row for row in rows_of(profile, table) if row.shortcuts != "downsample"]
    return list({row.runs[0]: row for row in rows if not row.runs[0].trains_teacher}.values())


def run_notebooks(
    shown: Sequence[Path], name: str, store: Store, jobs: int | None, inputs: str, say: Callable[[str], None]
) -> list[str]:
    """Execute notebooks, as many at a time as there are cores; returns what went wrong. Ctrl-C stops them all."""
    told = [(path, store.root / "notebooks" / path.name, parameters_for(path, name, store), inputs) for path in shown]
    failures, spawn = [], multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or os.cpu_count(), spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        waiting = {pool.submit(execute_if_changed, *one): one[0].name for one in told}
        try:
            for done in as_completed(waiting):
                try:
                    say(f"     {waiting[done]} {'done' if done.result() else 'unchanged'}")
                except RdlibError as error:
                    failures.append(str(error))
                except BrokenProcessPool:
                    failures.append(f"{waiting[done]} was killed, perhaps for memory: run it again, with --jobs 1")
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()  # its kernel ends when its parent is gone
            raise
    return failures


def parameters_for(notebook: Path, profile_name: str, store: Store) -> dict[str, Any]:
    """What a notebook is told: the store, and the profile where it reads one; never a parameter that it lacks."""
    wanted = {"store": str(store.root.resolve()), "profile": profile_name}
    if notebook.stem in LIVE:
        del wanted["profile"]
    known = parameters_of(notebook)
    return {name: value for name, value in wanted.items() if name in known}


def report(compared: pd.DataFrame, failures: Sequence[str], say: Callable[[str], None]) -> bool:
    """Print how every cell compares and what failed; tells whether nothing disagrees, is missing or failed."""
    say(as_text(compared))
    for sentence in failures:
        say(f"FAILED  {sentence}")
    count = {verdict: int((compared["agree"] == verdict).sum()) for verdict in compared["agree"].unique()}
    say(", ".join(f"{verdict}: {number}" for verdict, number in count.items()))
    agree = not {"NO", "missing"} & count.keys() and not failures
    say(f"{'no' if agree else 'SOME'} cell disagrees with the published one, is missing or failed")
    return agree


# They train in front of the reader whatever the profile; all others read records.
LIVE = {"00_start_here", "01_joint_training_by_hand", "11_take_your_own_resnet"}
CODE = [*sorted(PACKAGE.rglob("*.py")), ROOT / "uv.lock"]


def require_notebook_packages() -> None:
    """Raise ConfigError now rather than after days of training."""
    for package in ("nbformat", "papermill", "scipy"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"reproduce needs {package}, which is not installed: use `sweep` alone, or `make reproduce`"
            )


def set_aside_stale(store: Store, say: Callable[[str], None]) -> None:
    """Records of other code are no reproduction: move such a store away, and stamp a fresh one.

    Raises ConfigError for a folder that is no store of `reproduce`'s own making, so that nothing else is ever moved.
    """
    store.root = store.root.resolve()
    stamp, code = store.root / "code.sha256", digest_of(CODE)
    if store.root.is_file() or (store.root.exists() and not stamp.exists() and any(store.root.iterdir())):
        raise ConfigError(
            f"{store.root.name} is no store that reproduce made: name an empty folder, or one that is new"
        )
    if stamp.exists() and stamp.read_text() != code:
        aside = store.root.with_name(f"{store.root.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        os.replace(store.root, aside)
        say(f"     {store.root.name}/ was made by other code: moved to {aside.name}/")
    store.root.mkdir(parents=True, exist_ok=True)
    stamp.write_text(code)


def digest_of(files: list[Path], *more: Path) -> str:
    """SHA-256 over the files that exist."""
    digest = hashlib.sha256()
    for file in [*files, *more]:
        if file.exists():
            digest.update(file.read_bytes())
    return digest.hexdigest()


CONFIDENCE = 0.99
WIDE = 50.0  # points: agreement with an interval wider than this would say little
ENOUGH = 5  # seeds that tell a cell's own deviation


def compare(
    profile: Profile, wanted: Profile, published: Store, reproduced: Store, table: str | None = None
) -> pd.DataFrame:
    """Published against reproduced, cell by cell of one table or of all; `wanted` is the profile with the seeds that
    were reproduced.

    "identical": every reproduced seed gave exactly its published value, or diverged at the same step, as it should on
    an equal processor with equal versions. Else "yes" where the mean of the reproduced seeds lies in the published
    seeds' prediction interval and "NO" where it does not; "cannot tell" where that interval is wider than WIDE points;
    "missing" without a record. Where runs diverged: "NO" if all published seeds finished and a reproduced one did not,
    or none did and a reproduced one does; "yes" if none does in either; else those that finished are compared.

    The interval is taken on the logit of the accuracy, so that it stays within 0 and 100 %, for n published and m
    reproduced seeds: mean ± t(0.995, f) s sqrt(1/n + 1/m). s is the cell's own deviation, but at least what as many
    test images leave open; for fewer than ENOUGH seeds, which may agree by luck, at least that of all such cells of
    these tables.
    """
    data = load(profile.dataset, image_size=profile.recipe.image_size)
    counts = {"test": len(data.test), "tune": len(data.tune)}
    cells = [
        (row.name, counts[row.runs[0].recipe.holdout], cell(row, published), cell(new, reproduced), new)
        for row, new in zip(compared_rows(profile, table), compared_rows(wanted, table), strict=True)
    ]
    few = [(cell(row, published).values, counts[row.runs[0].recipe.holdout]) for row in rows_of(profile, table)]
    several = [logits(values, images) for values, images in few if 1 < len(values) < ENOUGH]
    freedom = sum(len(values) - 1 for values in several)
    pooled = sum(float(np.var(values)) * len(values) for values in several) / freedom if freedom else math.nan
    lines = []
    for name, images, old, new, row in cells:
        low, high = interval(old, len(new.values), images, pooled, freedom)
        if not new.whole or not (old.values or old.diverged):
            verdict = "missing"
        elif ends(row, published) == ends(row, reproduced):
            verdict = "identical"
        elif (new.diverged and not old.diverged) or (new.values and not old.values):
            verdict = "NO"
        elif not old.values:
            verdict = "yes"
        elif not high - low <= WIDE:
            verdict = "cannot tell"
        else:
            verdict = "yes" if low <= from_logit(float(logits(new.values, images).mean())) <= high else "NO"
        lines.append(
            {
                "cell": name,
                "published (%)": str(old),
                "n": len(old.values),
                "expected (%)": "" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
                "reproduced (%)": str(new),
                "m": len(new.values),
                "agree": verdict,
            }
        )
    return pd.DataFrame(lines)


def ends(row: Row, store: Store) -> list[float | Divergence | None]:
    """How each run of a row ended: with an accuracy, or where it diverged; None without a record."""
    records = [store.record(run) for run in row.runs]
    return [None if one is None else one.top1 if one.diverged is None else one.diverged for one in records]


def interval(old: Cell, m: int, images: int, pooled: float, freedom: int) -> tuple[float, float]:
    """Between which percentages the mean of m more seeds of a cell is expected; NaN where nothing can be expected."""
    from scipy.stats import t as student_t

    n = len(old.values)
    if n < 2 or not m:
        return math.nan, math.nan
    values = logits(old.values, images)
    share = 1 / (1 + np.exp(-values.mean()))
    spread = max(float(np.var(values, ddof=1)), float(1 / (images * share * (1 - share))))
    if n < ENOUGH:
        spread = max(spread, pooled)
    else:
        freedom = n - 1
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(spread * (1 / n + 1 / m))
    return from_logit(float(values.mean()) - half), from_logit(float(values.mean()) + half)


def logits(percents: Sequence[float], images: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """log(right / wrong) with half an image added to both, so that 0 and 100 % are finite (Haldane, 1956)."""
    right = np.asarray(percents, dtype=np.float64) / 100 * images
    return np.log((right + 0.5) / (images - right + 0.5))


def from_logit(logit: float) -> float:
    """The percentage of a logit."""
    return float(100 / (1 + np.exp(-logit)))

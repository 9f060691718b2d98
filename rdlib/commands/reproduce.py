"""Train everything of a profile afresh, run the notebooks on it, and hold it against the published records."""

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from rdlib.commands.notebooks import NOTEBOOKS, execute_if_changed, parameters_of
from rdlib.errors import ConfigError, RdlibError
from rdlib.experiments.profiles import Profile, profile
from rdlib.experiments.tables import as_text, cell, rows_of, runs_of
from rdlib.paper.scorecard import card, summary
from rdlib.runs.store import ROOT, Store
from rdlib.runs.sweep import sweep


def reproduce(
    name: str, seeds: int, jobs: int | None, published: Store, reproduced: Store, say: Callable[[str], None]
) -> bool:
    """Train `seeds` seeds of every run of a profile into the store `reproduced`, execute the notebooks on it, hold it
    against the published store, and end with the scorecard of what was reproduced; tells whether all went well."""
    whole, wanted = profile(name), profile(name, seeds)
    require_notebook_packages()
    runs = runs_of(rows_of(wanted))
    set_aside_stale(reproduced, say)
    say(f"1/3  training {len(runs)} runs of {name} into {reproduced.root.name}/ (done ones are kept)")
    outcome = sweep(runs, reproduced, jobs)
    failures = [f"{run.id}  {run.label}: {sentence}" for run, sentence in outcome.failures.items()]
    say("2/3  running the notebooks on these records (the first one trains live, two minutes)")
    inputs = digest_of(CODE, *(reproduced.record_path(run) for run in runs))
    for notebook in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        output = reproduced.root / "notebooks" / notebook.name
        known = parameters_of(notebook)
        parameters = {"store": str(reproduced.root.resolve())} if "store" in known else {}
        if notebook.stem not in LIVE and "profile" in known:
            parameters["profile"] = name
        try:
            fresh = execute_if_changed(notebook, output, parameters, inputs)
            say(f"     {notebook.name} {'done' if fresh else 'unchanged'}")
        except RdlibError as error:
            failures.append(str(error))
    say("3/3  published against reproduced")
    agree = report(compare(whole, wanted, published, reproduced), failures, say)
    say(f"\nScorecard of the store {reproduced.root.name}/ (fresh records of this machine; the published one stands in")
    say("notebooks/12_scorecard.ipynb). What `make reproduce` does not train or measure says: not run.")
    say(str(summary(card(wanted, reproduced))))
    return agree


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


LIVE = {"00_start_here", "01_joint_training_by_hand"}  # they train in front of the reader, always at quick
CODE = [*sorted((ROOT / "rdlib").rglob("*.py")), ROOT / "uv.lock"]


def require_notebook_packages() -> None:
    """Raise ConfigError now rather than after days of training."""
    for package in ("nbformat", "papermill", "scipy"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"reproduce needs {package}, which is not installed: use `sweep` alone, or `make reproduce`"
            )


def set_aside_stale(store: Store, say: Callable[[str], None]) -> None:
    """Records of other code are no reproduction: move such a store away, and stamp a fresh one."""
    stamp, code = store.root / "code.sha256", digest_of(CODE)
    if store.root.exists() and (not stamp.exists() or stamp.read_text() != code):
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


RESOLUTION = 0.5  # points: a cell's deviation is taken as at least this, since three seeds may agree by luck
BLURRED = 10.0  # points: where the allowed difference is larger, agreement would say nothing


def compare(profile: Profile, wanted: Profile, published: Store, reproduced: Store) -> pd.DataFrame:
    """Published against reproduced, cell by cell; `wanted` is the profile with the seeds that were reproduced.

    "identical": every reproduced seed gave exactly its published value, as it should on an equal processor with equal
    versions. Else "yes" where the means differ by no more than the 99 % prediction interval of the published seeds,
    t(0.995, n - 1) * max(std, RESOLUTION) * sqrt(1/n + 1/m) for n published and m reproduced seeds; "cannot tell"
    where that is more than BLURRED points; "NO" otherwise; "missing" without a record.
    """
    from scipy.stats import t as student_t

    lines = []
    for old_row, new_row in zip(rows_of(profile), rows_of(wanted), strict=True):
        old, new = cell(old_row, published), cell(new_row, reproduced)
        n, m = len(old.values), len(new.values)
        allowed = math.nan
        if n > 1 and m:
            spread = max(old.std, RESOLUTION)
            allowed = float(student_t.ppf(0.995, n - 1)) * spread * math.sqrt(1 / n + 1 / m)
        if m < new.wanted or n < old.wanted:
            verdict = "missing"
        elif old.values[:m] == new.values:
            verdict = "identical"
        elif not allowed <= BLURRED:
            verdict = "cannot tell"
        else:
            verdict = "yes" if abs(new.mean - old.mean) <= allowed else "NO"
        lines.append(
            {
                "cell": old_row.name,
                "published (%)": str(old),
                "n": n,
                "reproduced (%)": str(new),
                "m": m,
                "difference": f"{new.mean - old.mean:+.1f}" if n and m else "",
                "allowed": "" if math.isnan(allowed) else f"± {allowed:.1f}",
                "agree": verdict,
            }
        )
    return pd.DataFrame(lines)

"""Reproduced against published: what is identical, what agrees, what does not, and what nobody can tell."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from records import JOINTRD, put, put_row
from scipy.stats import t as student_t

from rdlib.commands import reproduce
from rdlib.commands.reproduce import compare
from rdlib.experiments.profiles import PROFILES, profile
from rdlib.experiments.tables import rows_of, table3
from rdlib.paper import scorecard
from rdlib.paper.statistics import find
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]
IMAGES = 500  # of the test split of digits


def everything(store: Store, base: float = 90.0) -> None:
    for i, row in enumerate(rows_of(QUICK)):
        put_row(store, row, *(base + i / 10 + seed for seed in QUICK.seeds))


def test_a_store_agrees_with_itself_in_every_cell(store):
    everything(store)
    table = compare(QUICK, QUICK, store, store)
    assert list(table["cell"]) == [row.name for row in rows_of(QUICK)]
    assert set(table["agree"]) == {"identical"}


def test_a_cell_moved_by_thirty_points_disagrees_alone(store, tmp_path):
    everything(store)
    everything(moved := Store(tmp_path / "moved"))
    jointrd = find(table3(QUICK), 34, *JOINTRD)
    put_row(moved, jointrd, 60.0, 60.0, 60.0)
    table = compare(QUICK, QUICK, store, moved).set_index("cell")
    assert table["agree"][jointrd.name] == "NO"
    assert (table["agree"] == "NO").sum() == 1


def logit(percent):
    right = np.asarray(percent) / 100 * IMAGES
    return np.log((right + 0.5) / (IMAGES - right + 0.5))


@pytest.mark.parametrize(
    ("published", "spread"),
    [
        ((70.0, 80.0, 90.0), None),  # the cell's own deviation is the largest
        ((93.0, 93.0, 93.0), 1 / math.sqrt(IMAGES * 465.5 / 501 * 35.5 / 501)),  # what so many images leave open
    ],
)
def test_compare_allows_a_prediction_interval(published, spread, store, tmp_path):
    """t(0.995, 2) s sqrt(1/3 + 1) on either side of the mean logit, for three published seeds and one reproduced."""
    other, row, values = Store(tmp_path / "other"), rows_of(QUICK)[0], logit(published)
    put_row(store, row, *published)
    spread = spread or np.std(values, ddof=1)
    half = student_t.ppf(0.995, 2) * spread * math.sqrt(4 / 3)
    low, high = (100 / (1 + np.exp(-(values.mean() + sign * half))) for sign in (-1, 1))
    inside = "cannot tell" if high - low > reproduce.WIDE else "yes"
    outside = "cannot tell" if high - low > reproduce.WIDE else "NO"
    for value, verdict in ((low + 0.2, inside), (low - 0.2, outside), (min(100, high + 0.2), outside)):
        put(other, row.runs[0], value)
        line = compare(QUICK, profile("quick", 1), store, other).iloc[0]
        assert (line["n"], line["m"], line["agree"]) == (3, 1, verdict)
        assert line["expected (%)"] == f"{low:.1f} to {high:.1f}"
    put(other, row.runs[0], published[0])
    assert compare(QUICK, profile("quick", 1), store, other)["agree"][0] == "identical"


def test_what_is_not_in_both_stores_is_missing(store, tmp_path):
    everything(store)
    for pair in ((store, Store(tmp_path / "empty")), (Store(tmp_path / "empty"), store)):
        assert set(compare(QUICK, QUICK, *pair)["agree"]) == {"missing"}


def test_reproduce_ends_with_the_scorecard_of_the_fresh_store(tmp_path, monkeypatch):
    fresh, published_ = Store(tmp_path / "fresh"), Store(tmp_path / "old")
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(reproduce, "sweep", lambda runs, store, jobs: SimpleNamespace(failures={}))
    runs = [run for row in rows_of(QUICK) for run in row.runs]
    for run in runs:
        put(published_, run, 97.0)
    said: list[str] = []
    assert not reproduce.reproduce("quick", 1, None, published_, fresh, said.append)  # nothing was trained: missing
    assert said[-1] == str(scorecard.summary(scorecard.card(QUICK, fresh)))
    (label,) = [i for i, line in enumerate(said) if "Scorecard of the store fresh/" in line]
    assert said.index("SOME cell disagrees with the published one, is missing or failed") < label
    for run in runs:
        put(fresh, run, 97.0)
    agreed: list[str] = []
    assert reproduce.report(reproduce.compare(QUICK, QUICK, published_, fresh), [], agreed.append)
    assert agreed[-1] == "no cell disagrees with the published one, is missing or failed"
    assert not reproduce.report(reproduce.compare(QUICK, QUICK, published_, fresh), ["a run"], agreed.append)
    assert "FAILED  a run" in agreed

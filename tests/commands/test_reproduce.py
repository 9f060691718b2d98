"""Fresh runs against published ones: every cell can agree, and every cell can disagree."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from records import put, put_diverged, put_row

from rdlib.commands import reproduce
from rdlib.commands.notebooks import check_parameters
from rdlib.commands.reproduce import compare, compared_rows, from_logit, logits
from rdlib.errors import ConfigError
from rdlib.experiments.controls import EQUAL_EPOCHS, controls
from rdlib.experiments.profiles import PROFILES, SMOKE, TWENTY_EPOCHS, profile
from rdlib.experiments.rows import JOINT_TEACHER
from rdlib.experiments.tables import rows_of
from rdlib.runs.flops import run_flops
from rdlib.runs.store import Store

QUICK, ONE, TABLE = PROFILES["quick"], profile("quick", 1), "3"
held = partial(compare, table=TABLE)


def everything(store: Store, values: tuple[float, ...] = (90.4, 91.0, 91.6)) -> Store:
    for row in compared_rows(QUICK, TABLE):
        for run, value in zip(row.runs, values, strict=True):
            put(store, run, value)
    return store


@pytest.fixture
def published(store: Store) -> Store:
    return everything(store)


def test_every_run_is_trained_once_however_many_tables_show_it():
    shown = rows_of(QUICK)
    rows = compared_rows(QUICK)
    assert len({row.runs[0] for row in shown}) < len(shown), "no cell stands in two tables: this says nothing"
    assert len({row.runs[0] for row in rows}) == len(rows)
    assert max(len(row.runs) for row in shown) == len(rows[0].runs), "the cell of fewer seeds was kept"
    assert not any(row.runs[0].trains_teacher for row in rows)


def test_a_store_agrees_with_itself_in_every_cell(published):
    table = held(QUICK, QUICK, published, published)
    assert list(table["cell"]) == [row.name for row in compared_rows(QUICK, TABLE)]
    assert set(table["agree"]) == {"identical"}


def test_what_is_not_in_both_stores_is_missing(published, tmp_path):
    empty = Store(tmp_path / "empty")
    for pair in ((published, empty), (empty, published)):
        assert set(held(QUICK, QUICK, *pair)["agree"]) == {"missing"}


def test_a_cell_far_off_disagrees_alone(published, tmp_path):
    moved, row = everything(Store(tmp_path / "moved")), compared_rows(QUICK, TABLE)[0]
    for run in row.runs:
        put(moved, run, 60.0)
    table = held(QUICK, QUICK, published, moved).set_index("cell")
    assert table["agree"][row.name] == "NO"
    assert (table["agree"] == "NO").sum() == 1


def test_the_interval_is_that_of_the_formula(published, tmp_path):
    """All cells equal, so the pooled deviation is the cell's; the binomial one of 500 images is larger here."""
    values = logits((90.4, 91.0, 91.6), 500)
    share = 1 / (1 + math.exp(-values.mean()))
    deviation = max(values.std(ddof=1), math.sqrt(1 / (500 * share * (1 - share))))
    freedom = 2 * len(compared_rows(QUICK, TABLE))
    from scipy.stats import t

    half = t.ppf(0.995, freedom) * deviation * math.sqrt(1 / 3 + 1)
    low, high = from_logit(values.mean() - half), from_logit(values.mean() + half)
    other, row = everything(Store(tmp_path / "other")), compared_rows(QUICK, TABLE)[0]
    for value, verdict in ((low - 0.3, "NO"), (low + 0.3, "yes"), (high - 0.3, "yes"), (high + 0.3, "NO")):
        put(other, row.runs[0], value)
        line = held(QUICK, ONE, published, other).iloc[0]
        assert (line["agree"], line["n"], line["m"]) == (verdict, 3, 1)
        assert line["expected (%)"] == f"{low:.1f} to {high:.1f}"


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (100.0, 100.0, 100.0), (20.2, 56.0, 91.0), (7.4, 7.4, 7.4)])
def test_no_interval_leaves_0_to_100_and_equal_seeds_leave_one(values, published, tmp_path):
    row = compared_rows(QUICK, TABLE)[0]
    for run, value in zip(row.runs, values, strict=True):
        put(published, run, value)
    line = held(QUICK, QUICK, published, published).iloc[0]
    low, high = map(float, line["expected (%)"].split(" to "))
    assert 0 <= low < high <= 100


def test_where_published_seeds_scatter_nobody_can_tell(published, tmp_path):
    other, row = everything(Store(tmp_path / "other")), compared_rows(QUICK, TABLE)[0]
    for run, value in zip(row.runs, (20.2, 56.0, 62.4), strict=True):
        put(published, run, value)
    put(other, row.runs[0], 50.0)
    assert held(QUICK, ONE, published, other)["agree"][0] == "cannot tell"


N = None  # a run that diverged


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((90.4, 91.0, N), (90.4, 91.0, N), "identical"),
        ((N, N, N), (N, N, N), "identical"),
        ((N, 91.0, 91.6), (N,), "identical"),
        ((90.4, 91.0, 91.6), (N,), "NO"),
        ((90.4, 91.0, 91.6), (90.4, 91.0, N), "NO"),
        ((N, N, N), (90.4,), "NO"),
        ((N, 91.0, 91.6), (91.2,), "yes"),
        ((N, 91.0, 91.6), (60.0,), "NO"),
        ((90.4, N, 91.6), (N,), "cannot tell"),
        ((90.4, N, N), (91.0,), "cannot tell"),
    ],
)
def test_cells_with_runs_that_diverged(old, new, verdict, published, tmp_path):
    other, row = everything(Store(tmp_path / "other")), compared_rows(QUICK, TABLE)[0]
    for store, values in ((published, old), (other, new)):
        for run, value in zip(row.runs, values, strict=False):
            put_diverged(store, run) if value is None else put(store, run, value)
    assert held(QUICK, profile("quick", len(new)), published, other)["agree"][0] == verdict


def test_all_diverged_elsewhere_is_the_same_result(published, tmp_path):
    other, row = everything(Store(tmp_path / "other")), compared_rows(QUICK, TABLE)[0]
    for run in row.runs:
        put_diverged(published, run, 2)
        put_diverged(other, run, 5)
    line = held(QUICK, QUICK, published, other).iloc[0]
    assert (line["agree"], line["published (%)"], line["n"]) == ("yes", "diverged", 0)


def test_smoke_is_published_whole_and_in_no_list():
    assert SMOKE.name not in PROFILES
    assert profile("smoke") is SMOKE
    rows = [row for row in rows_of(SMOKE) if row.teaching != JOINT_TEACHER]  # whose own are trained anew
    assert all(Store().record(run) for row in rows for run in row.runs)


def test_smoke_runs_every_notebook_that_reads_records():
    names = {path.stem for path in reproduce.NOTEBOOKS.glob("[0-9]*.ipynb")}
    assert names > reproduce.LIVE
    assert len(names - reproduce.LIVE) >= 10


@pytest.mark.parametrize("notebook", sorted(reproduce.NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_told_only_what_it_knows(notebook, store):
    """`make reproduce` ended with exit 1 on every machine, since one notebook has no parameter "store"."""
    told = reproduce.parameters_for(notebook, "quick", store)
    check_parameters(notebook, told)
    if notebook.stem not in reproduce.LIVE:
        assert told["store"] == str(store.root.resolve())


@pytest.mark.parametrize("name", EQUAL_EPOCHS)
def test_the_control_of_equal_arithmetic_has_jointrds_operations_to_half_an_epoch(name):
    of = TWENTY_EPOCHS if name == TWENTY_EPOCHS.name else PROFILES[name]
    _, plain, longer, jointrd = controls(of)[:4]
    side, classes = (16 if "small" in of.dataset else 32), (100 if "cifar100" in of.dataset else 10)
    cost = [run_flops(row.runs[0], 50_000, side, classes) for row in (plain, longer, jointrd)]
    assert longer.runs[0].recipe.epochs == EQUAL_EPOCHS[name]
    assert abs(cost[1] - cost[2]) <= cost[0] / of.recipe.epochs / 2


def test_the_control_at_full_width_is_published():
    assert all(Store().record(run) for row in controls(TWENTY_EPOCHS) for run in row.runs)


def test_reproduce_says_what_is_missing_and_what_agrees(tmp_path, monkeypatch):
    fresh, published_ = Store(tmp_path / "fresh"), Store(tmp_path / "old")
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(reproduce, "sweep", lambda runs, store, jobs: SimpleNamespace(failures={}))
    runs = [run for row in rows_of(QUICK) for run in row.runs]
    for run in runs:
        put(published_, run, 97.0)
    said: list[str] = []
    assert not reproduce.reproduce("quick", 1, None, published_, fresh, said.append)  # nothing was trained: missing
    assert said[-1] == "SOME cell disagrees with the published one, is missing or failed"
    for run in runs:
        put(fresh, run, 97.0)
    agreed: list[str] = []
    assert reproduce.report(reproduce.compare(QUICK, QUICK, published_, fresh), [], agreed.append)
    assert agreed[-1] == "no cell disagrees with the published one, is missing or failed"
    assert not reproduce.report(reproduce.compare(QUICK, QUICK, published_, fresh), ["a run"], agreed.append)
    assert "FAILED  a run" in agreed


@pytest.mark.parametrize(("table", "n"), [("3", 3), ("depth", 10)])
@pytest.mark.parametrize("deviation", [2.0, 3.0])
def test_a_cell_moved_by_five_of_its_deviations_disagrees_and_one_drawn_alike_agrees(table, n, deviation, tmp_path):
    """All cells scatter by so many points around 80 %, more than 500 images would; so do the other seeds."""
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    draw, rows = np.random.default_rng(0), compared_rows(QUICK, table)
    for row in rows:
        values = draw.normal(size=n)
        put_row(old, row, *(80 + deviation * (values - values.mean()) / values.std(ddof=1)))
        put_row(new, row, *(80 + deviation * draw.normal(size=3)))
    three = profile("quick", 3)
    alike = compare(QUICK, three, old, new, table)
    assert list(alike["n"]) == [n] * len(rows)
    assert set(alike["agree"]) == {"yes"}
    for way in (-1, 1):
        put_row(new, rows[0], *[80 + 5 * way * deviation] * 3)
        assert list(compare(QUICK, three, old, new, table)["agree"]) == ["NO", *["yes"] * (len(rows) - 1)]


def test_tune_cells_are_compared_by_the_images_of_the_tune_split(published, tmp_path):
    """129 images leave open twice as much as 500."""
    other, widths = Store(tmp_path / "other"), []
    for table in (TABLE, "learning-rate"):
        row = compared_rows(QUICK, table)[0]
        put_row(published, row, 91.0, 91.0, 91.0)
        put(other, row.runs[0], 90.0)
        line = compare(QUICK, ONE, published, other, table).iloc[0]
        low, high = map(float, line["expected (%)"].split(" to "))
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("name", ["mine", "."])
def test_no_folder_but_one_of_its_own_is_ever_moved(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(ConfigError, match="is no store that reproduce made"):
        reproduce.set_aside_stale(Store(name), print)
    assert (tmp_path / "mine" / "thesis").exists()

"""The catalogue: every record once, means recomputed from the files, and no mean over more than it says."""

import json
import statistics
from collections import defaultdict
from dataclasses import fields, replace

import pandas as pd
import pytest

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import COMPARISONS, TABLES, rows_of
from rdlib.explorer.catalogue import (
    APART,
    COLUMNS,
    SETTINGS,
    TOP1,
    catalogue,
    grouped,
    known_ways,
    method_name,
    select,
    values,
)
from rdlib.files import RESULTS
from rdlib.recipe import Recipe
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store

RECIPE = PROFILES["quick"].recipe


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    frame, skipped = catalogue(Store())
    assert all("diverged" in sentence for sentence in skipped)
    return frame


def a_run(method: str = "Supervised", shortcuts: str = "none", seed: int = 0, **fields: object) -> Run:
    recipe = replace(RECIPE, **{k: fields.pop(k) for k in ("learning_rate", "holdout", "cutout") if k in fields})
    given = {"dataset": "digits", "depth": 34, "width": 8} | fields
    return Run(**given, method=method, shortcuts=shortcuts, seed=seed, recipe=recipe)


def test_means_are_those_of_the_files(published):
    """By depth, and by shortcuts and learning rate, recomputed without rdlib."""
    by_depth, by_rate = defaultdict(list), defaultdict(list)
    for path in RESULTS.glob("runs/*/*.json"):
        body = json.loads(path.read_text())
        if "diverged" in body:
            continue
        run, split = body["run"], body["run"]["recipe"]["holdout"]
        top1 = body["metrics"][f"{split}_top1"]
        by_depth[run["dataset"], split, run["depth"]].append(top1)
        kept = {"all": "all", "downsample": "downsampling kept", "none": "strictly plain"}[run["shortcuts"]]
        by_rate[run["dataset"], split, kept, run["recipe"]["learning_rate"]].append(top1)
    for by, files in ((["depth"], by_depth), (["shortcuts", "learning rate"], by_rate)):
        table = grouped(published, by)
        assert set(map(tuple, table[[*APART, *by]].to_numpy().tolist())) == set(files)
        for line in table.to_dict("records"):
            found = files[tuple(line[column] for column in (*APART, *by))]
            assert (line["n"], line["min"], line["max"]) == (len(found), min(found), max(found))
            assert line["mean"] == pytest.approx(statistics.mean(found))
            assert len(found) < 2 or line["std"] == pytest.approx(statistics.stdev(found))


@pytest.mark.parametrize("by", [[], ["depth"], ["shortcuts", "learning rate"], ["method", "init"]])
def test_what_a_group_mixes_is_named_and_is_all_there_is(published, by):
    """Once the runs of a group are parted by what it mixes, each part is one run over its seeds."""
    table = grouped(published, by)
    assert table["n"].sum() == len(published)
    for line in table.to_dict("records"):
        runs = select(published, {column: [line[column]] for column in (*APART, *by)})
        named = line["mixes"].split(", ") if line["mixes"] else []
        assert not set(named) & {"seed", *APART, *by}
        assert all(runs[column].nunique(dropna=False) > 1 for column in named)
        assert not grouped(runs, [*by, *named])["mixes"].any()
        if not named:
            assert runs["seed"].is_unique
            assert all(runs[column].nunique(dropna=False) == 1 for column in SETTINGS)
        for _, part in runs.groupby(list(named) or list(APART), dropna=False):
            assert part["seed"].is_unique


def test_splits_and_data_sets_are_never_averaged(store, put):
    put(a_run(), 10.0)
    put(a_run(holdout="tune"), 30.0)
    put(a_run(dataset="cifar10"), 50.0)
    table = grouped(catalogue(store)[0], ["depth"])
    assert table[[*APART, "mean", "mixes"]].to_numpy().tolist() == [
        ["cifar10", "test", 50.0, ""],
        ["digits", "test", 10.0, ""],
        ["digits", "tune", 30.0, ""],
    ]


def test_what_differs_is_named_by_what_explains_it(store, put):
    for seed, rate, depth in ((0, 0.1, 18), (1, 0.1, 34), (2, 0.3, 34)):
        put(a_run(seed=seed, learning_rate=rate, depth=depth), 50.0 + seed)
    assert grouped(catalogue(store)[0])["mixes"].tolist() == ["depth, learning rate"]
    assert grouped(catalogue(store)[0], ["method", "depth"])["mixes"].tolist() == ["", "learning rate"]
    put(a_run(shortcuts="all", learning_rate=0.1), 99.0)  # also another network, which follows
    assert grouped(catalogue(store)[0])["mixes"].tolist() == ["shortcuts, depth, learning rate"]


@pytest.mark.parametrize(
    ("run", "origin", "named"),
    [
        ({"cutout": 4}, {}, "cutout"),  # one of the two has no value at all
        ({"learning_rate": 0.9}, {}, "learning rate"),
        ({"width": 4}, {}, "width"),
        ({"seed": 1}, {"device": "another"}, "device"),
        ({"seed": 1}, {"protocol": "another"}, "protocol"),
        ({"seed": 1}, {"data_sha256": "another"}, "data"),
    ],
)
def test_another_recipe_network_machine_protocol_or_data_is_another_setting(store, put, run, origin, named):
    put(a_run(), 50.0)
    put(a_run(**run), 60.0, **origin)
    frame = catalogue(store)[0]
    (line,) = grouped(frame).to_dict("records")
    assert (line["n"], line["mean"], line["mixes"]) == (2, 55.0, named)
    apart = grouped(frame, [named])
    assert (len(apart), apart["mixes"].any()) == (2, False)


def test_teachers_that_were_trained_otherwise_are_told_apart(store, put):
    """By depth in the method's name, else in the setup; the same network of another seed of the run's own is none."""
    usual, other_seed = a_run(shortcuts="all"), a_run(shortcuts="all", seed=1)
    gentle, deeper = a_run(shortcuts="all", learning_rate=0.1), a_run(shortcuts="all", depth=66)
    for teacher in (usual, other_seed, gentle, deeper):
        put(teacher, 99.0)

    def taught(*teachers: Run) -> pd.DataFrame:
        for path in store.root.glob("runs/digits/*.json"):
            if Record.read(path).run.method == "JointRD":
                path.unlink()
        for seed, teacher in enumerate(teachers):
            put(a_run("JointRD", seed=seed, teacher=teacher.id), 90.0 + seed)
        frame = catalogue(store)[0]
        return frame[frame["network"] == "plain"]

    assert grouped(taught(usual, other_seed))["mixes"].tolist() == [""]
    assert grouped(taught(usual, gentle))["mixes"].tolist() == ["teacher setup"]
    assert grouped(taught(usual, usual))["mixes"].tolist() == ["teacher setup"]
    frame = taught(usual, deeper)
    assert grouped(frame)["method"].tolist() == ["JointRD", "JointRD, teacher of depth 66"]
    store.record_path(usual).unlink()
    lost = taught(usual, other_seed)
    assert lost["teacher setup"].iloc[lost["seed"].tolist().index(0)] == f"{usual.id}, not in this store"
    assert grouped(lost)["mixes"].tolist() == ["teacher setup"]


def test_every_field_of_a_run_has_its_column():
    """A field added later must not be averaged over unseen."""
    assert {field.name.replace("_", " ") for field in fields(Recipe)} - {"holdout"} <= set(SETTINGS)
    assert {field.name for field in fields(Run)} == {
        *("dataset", "method", "depth", "width", "shortcuts", "conv"),  # by name
        *("recipe", "options", "teacher", "seed"),  # split and recipe's columns; method's name; teacher setup; seed
        "other_stem",  # method's name
    }
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_methods_are_called_as_in_the_tables():
    for profile in PROFILES.values():
        for table in TABLES:
            for row in rows_of(profile, table):
                assert method_name(row.runs[0]) == row.method


def test_a_name_stands_for_one_method_with_its_options():
    for profile in PROFILES.values():
        names: dict[object, set[str]] = defaultdict(set)
        for table in TABLES | COMPARISONS:
            for run in (run for row in rows_of(profile, table) for run in row.runs):
                what = (run.method, run.conv, json.dumps(run.options))
                names[run.depth, run.width, method_name(run)].add(what)
        assert all(len(whats) == 1 for whats in names.values())
    assert method_name(a_run("JointRD", teacher="0" * 12, options={"m_min": 0.25})) == "JointRD (m_min=0.25)"
    assert method_name(a_run("JointRD", teacher="0" * 12, options={"init": "teacher"})).endswith(
        "the teacher's weights"
    )
    dirac = a_run("FeatureDistillation", teacher="0" * 12, conv="dirac")
    assert method_name(dirac) == "feature distance, dirac convolutions"


def test_what_a_transfer_started_from_is_in_its_name():
    source = a_run("JointRD", dataset="digits-low", teacher="0" * 12)
    run = a_run("Transfer", dataset="digits-high", teacher=source.id, options={"backbone": "frozen"})
    assert method_name(run, source) == "transfer, backbone frozen, source taught by JointRD"


def test_a_damaged_record_is_skipped_and_named(store, put):
    put(a_run(), 50.0)
    put(a_run(seed=1), 60.0)
    put(a_run(seed=2), None)
    edited = store.record_path(a_run(seed=1))
    edited.write_text(edited.read_text().replace("60.0", "90.0"))
    (store.root / "runs" / "digits" / "broken.json").write_text("{")
    frame, skipped = catalogue(store)
    assert frame[TOP1].tolist() == [50.0]
    assert len(skipped) == 3
    for name in (edited.name, "broken.json", store.record_path(a_run(seed=2)).name):
        assert sum(name in sentence for sentence in skipped) == 1


def test_selection(published):
    some = select(published, {"dataset": ("digits",), "depth": (18, 50), "split": ()})
    assert set(some["depth"]) == {18, 50}
    assert len(some) == int(((published["dataset"] == "digits") & published["depth"].isin([18, 50])).sum())


def test_values_come_in_a_readers_order(published):
    assert values(published, "shortcuts") == ["all", "downsampling kept", "strictly plain"]
    assert values(published, "depth") == sorted(set(published["depth"]))
    methods = values(published, "method")
    assert methods[0] == "cross-entropy"
    assert methods.index("logit distillation") < methods.index("JointRD") < methods.index("RepVGG")
    assert set(known_ways("digits").values()) & set(methods)


def test_an_empty_store_has_an_empty_catalogue(store):
    frame, skipped = catalogue(store)
    assert (list(frame.columns), len(frame), skipped) == (list(COLUMNS), 0, [])
    assert grouped(frame).empty
    assert select(frame, {"depth": [34]}).empty

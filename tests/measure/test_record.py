"""Records of measurements are whole or absent, refused once edited, and name the command that makes them again."""

import json
from functools import partial

import pytest

from rdlib.errors import RecordError
from rdlib.experiments.profiles import PROFILES
from rdlib.measure import gradients_record, int8, memory, paths_record, record, rival_costs
from rdlib.measure.candidates import Candidate
from rdlib.measure.latency_record import LatencyRecord
from rdlib.measure.record import ProfileRecord
from rdlib.runs.store import Store

QUICK, TEACHING = PROFILES["quick"], ProfileRecord("teaching")
BODY = {"provenance": {"quoted": 'a "b" \\ c'}, "cells": [{"n": 1, "times": [88.0, 2.5]}, {"n": 2, "times": []}]}


@pytest.mark.parametrize("listed", ["", "cells"])
def test_a_record_reads_back_as_it_was_written_and_leaves_nothing_beside_it(listed, tmp_path):
    path = tmp_path / "new" / "one.json"
    record.write(path, BODY, listed)
    assert record.read(path, "again") == {"schema": 1, **BODY}
    assert list(path.parent.iterdir()) == [path]
    assert ('\n  {"n": 1, "times": [88.0, 2.5]},\n' in path.read_text()) == (listed == "cells")


@pytest.mark.parametrize("path", sorted(record.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_published_record_is_whole_and_without_a_place_on_a_machine(path):
    record.read(path, "again")
    assert "/home/" not in path.read_text()


def test_a_latency_record_is_written_as_the_published_ones_are(tmp_path):
    LatencyRecord.read(record.FOLDER / "latency-5.json").write(tmp_path / "latency-5.json")
    assert (tmp_path / "latency-5.json").read_text() == (record.FOLDER / "latency-5.json").read_text()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda text: "", "Expecting value"),
        (lambda text: text[:-20], "Unterminated"),
        (lambda text: "[]", ""),
        (lambda text: '{"rows": []}', "digest"),
        (lambda text: text.replace("88.0", "98.0"), "it does not match its own digest"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9, expected 1"),
    ],
)
def test_a_record_that_was_edited_or_damaged_is_refused_in_a_sentence(damage, named, store):
    path = TEACHING.path(QUICK, store)
    record.write(path, BODY)
    path.write_text(damage(path.read_text()))
    again = f"`python -m rdlib measure teaching quick --store {store.root}`"
    with pytest.raises(
        RecordError, match=rf"^teaching-quick\.json cannot be read \(.*({named}).*\).*{again}$"
    ) as caught:
        TEACHING.read(QUICK, store)
    assert "\n" not in str(caught.value)


def test_a_store_shows_its_own_record_and_no_other(store):
    assert TEACHING.read(QUICK, store) is None
    assert TEACHING.runs(QUICK, store) == {}
    record.write(TEACHING.path(QUICK, store), {"runs": {"one": 1}})
    assert TEACHING.runs(QUICK, store) == {"one": 1}
    assert TEACHING.command(QUICK, Store()) == "python -m rdlib measure teaching quick"


def test_a_table_names_the_command_only_where_runs_are_lacking(store):
    table = TEACHING.table(QUICK, store, [({"a": "1"}, 2, 2), ({"a": "2"}, 0, 3)])
    assert table["n"].tolist() == ["2/2", "0/3"]
    assert table["to fill"].tolist() == ["", TEACHING.command(QUICK, store)]
    assert list(TEACHING.table(QUICK, store, [({"a": "1"}, 2, 2)])) == ["a", "n"]
    assert TEACHING.table(QUICK, store, []).empty


MEASURED = [
    (int8, "deliver", partial(int8.measure, QUICK, Store())),
    (gradients_record, "watch", partial(gradients_record.measure, QUICK, Store())),
    (paths_record, "watch", partial(paths_record.measure, QUICK, Store())),
    (rival_costs, "shaped", partial(rival_costs.measure, QUICK, Store())),
    (memory, "measured_row", partial(memory.measure_all, [Candidate(18, "all", 32)])),
]


@pytest.mark.parametrize(("module", "work", "measure"), MEASURED, ids=lambda one: getattr(one, "__name__", ""))
def test_a_record_that_cannot_be_written_is_told_before_anything_is_measured(
    module, work, measure, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, work, lambda *given, **more: pytest.fail("measured all the same"))
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "one.json", tmp_path):
        with pytest.raises(RecordError, match=rf"cannot write {path.name} "):
            measure(path)


def test_an_origin_names_code_and_machine():
    origin = record.origin_of_times("torch", "no-such-package")
    assert {"commit", "dirty", "code_sha256", "created", "cpu", "cores", "gpu", "load_before"} <= origin.keys()
    assert origin["versions"]["no-such-package"] is None
    json.dumps(origin)

"""The reproducibility checklist: its numbers are counted again from the raw files, its answers follow from them."""

import json
import re
import statistics
import tomllib
from collections import Counter

import pytest

from rdlib.experiments.profiles import PROFILES, profile
from rdlib.experiments.tables import rows_of, runs_of, table3
from rdlib.paper import checklist, facts
from rdlib.runs.run import Record
from rdlib.runs.store import RESULTS, ROOT, Store

RAW = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("runs/*/*.json"))]
QUICK = PROFILES["quick"]
VERSIONS = {"python": "3.11.7", "torch": "2.15.0"}


def put(store: Store, seeds: int, **provenance: object) -> None:
    """Records of the first seeds of one cell."""
    made = {"versions": VERSIONS, "device": "cpu (here)", "threads": 1, "seconds": 36.0, "data_sha256": "a" * 64}
    made |= {"protocol": "reduced", "dirty": False, "commit": "c", "weights_sha256": "w"}
    for run in table3(QUICK)[0].runs[:seeds]:
        path = store.record_path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Record(run, {"test_top1": 90.0}, [], made | provenance).to_json())


def by_question(store: Store) -> dict[str, checklist.Item]:
    return {item.question: item for item in checklist.checklist(store).items}


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,.]*\d|\d", text))


@pytest.fixture(scope="module")
def published() -> dict[str, checklist.Item]:
    return by_question(Store(RESULTS))


def test_numbers_of_the_published_checklist_are_counted_again(published):
    seconds = [record["provenance"]["seconds"] for record in RAW]
    splits = Counter(record["run"]["recipe"]["holdout"] for record in RAW)
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    commits = {record["provenance"]["commit"] for record in RAW}
    dirty = sum(record["provenance"]["dirty"] is not False for record in RAW)
    hashed = sum("weights_sha256" in record["provenance"] for record in RAW)
    wanted = {
        "splits": {str(splits["test"]), str(splits["tune"])},
        "dependencies": {str(len(packages))},
        "trained models": {str(hashed), str(len(RAW))},
        "exact number of training and evaluation runs": {str(len(RAW))},
        "average runtime or energy": {f"{statistics.mean(seconds):.0f}", f"{sum(seconds) / 3600:.1f}"},
        "code of every number": {str(len(commits)), str(dirty), str(len(RAW))},
        "statistics of the data": {str(len({record["run"]["dataset"] for record in RAW}))},
    }
    for question, counted in wanted.items():
        assert counted <= numbers(published[question].fact), question
    for record in RAW:
        for name, version in record["provenance"]["versions"].items():
            assert f"{name} {version}" in published["dependencies"].fact
        assert record["provenance"]["device"] in published["computing infrastructure"].fact


def test_tables_of_compute_and_data_are_counted_again():
    records = Store(RESULTS).records()
    table = facts.compute(records).table
    for name in {record["run"]["dataset"] for record in RAW}:
        seconds = [record["provenance"]["seconds"] for record in RAW if record["run"]["dataset"] == name]
        of = table[table["data"] == name]
        assert sum(map(int, of["runs"])) == len(seconds)
        if len(of) == 1:
            said = f"{statistics.mean(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})"
            assert (of["hours"].iloc[0], of["seconds a run"].iloc[0]) == (f"{sum(seconds) / 3600:.1f}", said)
    sums = {(record["run"]["dataset"], record["provenance"]["data_sha256"][:12]) for record in RAW}
    data = facts.sets(records).table
    assert set(zip(data["data"], data["SHA-256"], strict=True)) == sums
    digits = data.set_index("data").loc["digits"]
    assert (digits["train"], digits["of it tune"], digits["test"], digits["side"]) == ("1,297", "129", "500", "16")


def test_every_data_set_of_the_records_has_its_sizes_and_the_halves_of_cifar100_are_halves():
    data = facts.sets(Store(RESULTS).records()).table.set_index("data")
    assert (data[["classes", "side", "train", "of it tune", "test"]] != "").all(axis=None)
    for half in ("cifar100-first", "cifar100-second"):
        assert list(data.loc[half][:5]) == ["50", "32", "25,000", "2,500", "5,000"]
    for split in ("train", "test"):
        halves, whole = (
            sum(int(data[split][name].replace(",", "")) for name in names)
            for names in (("digits-low", "digits-high"), ("digits",))
        )
        assert halves == whole


def test_the_readme_says_how_many_runs_make_reproduce_trains(published):
    runs = runs_of(rows_of(profile("quick", 1)))
    assert f"{len(runs)} runs" in published["training code"].fact
    assert f"its {len(runs)} runs" in (ROOT / "README.md").read_text()


def test_published_sizes_of_data_are_those_of_what_is_prepared_here():
    from rdlib.images import load
    from rdlib.images.dataset import ROOT as DATA

    for name in (*facts.EXAMPLES, "cifar100-first", "cifar100-second"):
        if (DATA / f"{name.partition('-')[0]}.safetensors").exists():
            images, said = load(name), facts.sizes(name)
            here = (len(images.classes), images.side, len(images.train), len(images.tune), len(images.test))
            assert list(said.values()) == [f"{count:,}" for count in here]


def test_every_item_has_an_answer_a_fact_and_a_place_that_exists(published):
    answers = {checklist.YES, checklist.IN_PART, checklist.NO, checklist.NOT_APPLICABLE}
    assert len(published) == len(checklist.checklist(Store(RESULTS)).items) >= 21
    assert {item.answer for item in published.values()} == answers
    for item in published.values():
        assert item.fact.endswith(".")
        assert "{" not in item.fact + item.answer + item.look
        for look in item.look.split(", "):
            there = (ROOT / look).exists() or (ROOT / "notebooks" / f"{look}.ipynb").exists()
            assert there or look.startswith("the table of"), look


def test_answers_follow_from_the_records(store):
    asked = by_question(store)
    assert asked["central tendency and variation"].answer == checklist.NO
    assert asked["code of every number"].answer == checklist.NO
    assert asked["computing infrastructure"].answer == checklist.NO
    put(store, 1)
    assert by_question(store)["central tendency and variation"].answer == checklist.NO
    put(store, 3)
    asked = by_question(store)
    assert asked["central tendency and variation"].answer == checklist.YES
    assert asked["code of every number"].answer == checklist.YES
    assert "36 seconds a run" in asked["average runtime or energy"].fact
    assert "cpu (here), 1 thread: 3" in asked["computing infrastructure"].fact
    put(store, 1, dirty=True, threads=2, data_sha256="b" * 64)
    asked = by_question(store)
    assert asked["code of every number"].answer == checklist.IN_PART
    assert "cpu (here), 2 threads: 1" in asked["computing infrastructure"].fact
    assert "in all of its records: no" in asked["statistics of the data"].fact
    assert f"quick {len({r.id for row in rows_of(QUICK) for r in row.runs}) - 3} of" in asked["what was not run"].fact


def test_one_cell_of_few_seeds_makes_the_answer_in_part(store):
    put(store, 3)
    run = table3(QUICK)[1].runs[0]
    store.record_path(run).write_text(store.record_path(table3(QUICK)[0].runs[0]).read_text())
    assert sorted(facts.seeds_of_cells(store)) == [1, 3]
    counted = checklist.known(Store(RESULTS))
    assert counted["varied"] == (checklist.YES if counted["several"] == counted["cells"] else checklist.IN_PART)


def test_the_checklist_prints_for_a_terminal_and_with_links(published):
    whole = checklist.checklist(Store(RESULTS))
    text, page = str(whole), whole._repr_markdown_()
    assert max(map(len, text.splitlines())) <= 120
    plain = " ".join(text.split())
    for item in whole.items:
        assert f"- {item.question}: {item.answer.upper()}. {item.fact} Look: {item.look}" in plain
        assert f"| **{item.answer}** | " in page
    assert "[01_joint_training_by_hand](01_joint_training_by_hand.ipynb)" in page
    assert text.endswith(whole.counts)
    assert sum(map(int, re.findall(r"\d+", whole.counts))) == len(whole.items)


def test_the_recipes_are_those_of_the_profiles():
    table = facts.recipes().table.set_index("profile")
    assert list(table.index) == list(PROFILES)
    assert (table["rate"]["quick"], table["epochs"]["cifar100"]) == ("0.9", "200")
    assert table["crop"]["imagenet"] == "224 at random"
    assert {name for name in PROFILES if table["protocol"][name] == "full"} == {"cifar10", "cifar100", "imagenet"}

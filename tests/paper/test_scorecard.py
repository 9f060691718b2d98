"""The scorecard says what the records say: every printed number is computed again from the raw JSON files."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from raw_records import FROZEN, Raw, expected, gaps, judged, parse, top1

from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import paper, table3
from rdlib.paper import scorecard
from rdlib.paper.readings import Reading, overall
from rdlib.paper.rendering import Linked
from rdlib.runs.store import RESULTS, ROOT, Store

QUICK = PROFILES["quick"]


@pytest.fixture(scope="module")
def published() -> dict[str, scorecard.Part]:
    return scorecard.card(QUICK, Store(RESULTS))


def test_every_number_and_verdict_is_computed_again_from_the_raw_records(published):
    """Every cell of every part that rests on runs of ours; what is not in a line was said by all of them alike."""
    for name, lines in expected(RESULTS).items():
        text = str(published[name].shown)
        printed = parse(text)
        assert printed.keys() == lines.keys(), name
        for reading, line in lines.items():
            assert {key: printed[reading].get(key, "") for key in line} == line, (name, reading)
            assert set(printed[reading]) - set(line) <= {"reading", "protocol"}, name


def test_transfer_and_reported_numbers_are_computed_again_too(published):
    """As far as they have run. Which runs a line is made of is asked of rdlib here; what they say is not."""
    raw = Raw(RESULTS)

    def recorded(row: Row) -> dict[int, dict]:
        return {run.seed: raw.runs[run.id] for run in row.runs if run.id in raw.runs}

    wanted = {}
    for profile in PROFILES.values():
        whole = {(x.task.name, x.start, x.network): x.row for x in transfer_rows.lines(profile) if x.shots is None}
        for (task, start, network), row in whole.items():
            kept = {"plain, JointRD": "strictly plain", "plain, downsampling kept, JointRD": "downsampling kept"}
            if network in kept and start in ("frozen", "full") and "20 epochs" not in task:
                gap = gaps(recorded(row), recorded(whole[task, start, "ResNet"]))
                wanted |= {f"{task}, {kept[network]}, {transfer_rows.START[start]}": judged(gap)} if gap else {}
    printed = parse(str(published["transfer"].shown)) if wanted else {}
    assert printed.keys() == wanted.keys()
    assert all(printed[name].get(key, "") == value for name, line in wanted.items() for key, value in line.items())
    rows = {f"{name}, {row.name}": row for name in ("cifar10", "cifar100") for row in table3(PROFILES[name])}
    for one in published["reported"].readings:
        values = [top1(record) for record in recorded(rows[one.reading]).values()]
        assert (one.ours, one.n) == (f"{np.mean(values):.2f}" if values else "", len(values))


def test_the_summary_says_lowest_highest_and_how_often_a_claim_holds(published):
    lines = parse(str(scorecard.summary(published)))
    groups: dict[str, list[Reading]] = {}
    for one in (one for part in published.values() for one in part.readings):
        groups.setdefault(one.claim, []).append(one)
    assert lines.keys() == groups.keys()
    for claim, line in lines.items():
        ran = [one for one in groups[claim] if one.n]
        assert (line["ours"], line["n"], line["holds in"]) == ("", "", "") or ran
        if ran:
            values = [float(text.strip("x% ")) for one in ran for text in one.ours.split(" to ")]
            shown = [float(text.strip("x% ")) for text in line["ours"].split(" to ")]
            assert shown == sorted({min(values), max(values)}), claim
            holds, tested, *partly = map(int, re.findall(r"\d+", line["holds in"]))
            given = [one.verdict for one in ran]
            assert (holds, tested) == (given.count("holds"), len(given))
            assert sum(partly) == given.count("holds in part")
            assert set(line["n"].split(" to ")) == {str(min(one.n for one in ran)), str(max(one.n for one in ran))}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (("holds", "holds"), "holds"),
        (("holds", "does not hold"), "holds in part"),
        (("holds", "cannot tell"), "holds in part"),
        (("holds in part", "does not hold"), "holds in part"),
        (("does not hold", "does not hold"), "does not hold"),
        (("does not hold", "cannot tell"), "does not hold"),
        (("cannot tell", "cannot tell"), "cannot tell"),
        (("holds", "not run"), "holds"),
        (("not run", "not tested"), "not run"),
        (("not tested",), "not tested"),
        (("holds", "full: does not hold"), "does not hold"),
        (("does not hold", "full: holds", "full, other device: holds"), "holds"),
        (("does not hold", "full: does not hold", "full, other device: holds"), "holds in part"),
        (("other device: holds", "full: does not hold"), "does not hold"),
        (("other device: holds", "other device: does not hold"), "holds in part"),
        (("holds", "full: not run"), "holds"),
    ],
)
def test_a_claim_is_judged_over_its_readings_those_of_the_papers_protocol_first(given, verdict):
    parts = [one.rpartition(": ") for one in given]
    assert overall([Reading("c", "r", protocol=how or "reduced", verdict=said) for how, _, said in parts]) == verdict


def edit(path: Path, change) -> None:
    """Change a record as its maker would have written it, with a digest that fits."""
    body = json.loads(path.read_text())
    body.pop("digest")
    change(body)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(body | {"digest": hashlib.sha256(canonical.encode()).hexdigest()}))


def change_run(root: Path, options: dict, **wanted: object) -> None:
    """Seed 0 of quick JointRD or a change of it becomes 7 points worse, and its best epoch better."""
    record = Raw(root).quick(wanted.pop("method", "JointRD"), wanted.pop("rate"), options=FROZEN | options, **wanted)[0]

    def worse(body: dict) -> None:
        body["metrics"][f"{body['run']['recipe']['holdout']}_top1"] -= 7
        body["history"][3]["tune_top1"] = 101.0

    edit(root / "runs" / "digits" / f"{record['id']}.json", worse)


def test_a_changed_record_changes_what_is_printed_and_only_that(tmp_path, published):
    for folder in ("runs", "measured"):
        shutil.copytree(RESULTS / folder, tmp_path / folder)
    change_run(tmp_path, {}, rate=0.1)
    change_run(tmp_path, {"m_min": 0.005}, rate=0.9, holdout="tune")
    change_run(tmp_path, {"quarter": True}, rate=0.9, holdout="tune")

    def plain_takes_more(body: dict) -> None:
        (row,) = [row for row in body["rows"] if row["name"] == "plain-50, strictly plain" and row["side"] == 224]
        row["arena"]["ExecuTorch, portable"] *= 3

    def openvino_is_slow(body: dict) -> None:
        for cell in body["cells"]:
            if (cell["engine"], cell["network"]) == ("OpenVINO", "plain-50, strictly plain"):
                cell["milliseconds"] = [2 * time for time in cell["milliseconds"]]

    def mixed_paths_grow(body: dict) -> None:
        watched = next(w for w in body["runs"].values() if w["run"]["method"] == "JointRD")
        for epoch in watched["epochs"][1:4]:
            epoch["norm"]["mixed"] = [50 * norm for norm in epoch["norm"]["mixed"]]

    def pruned_writes_more(body: dict) -> None:
        body["networks"]["ResNet-34, pruned to traffic"]["traffic"]["add out of place"] *= 4

    edit(tmp_path / "measured" / "memory.json", plain_takes_more)
    for path in tmp_path.glob("measured/latency-*.json"):
        edit(path, openvino_is_slow)
    edit(tmp_path / "measured" / "teaching-quick.json", mixed_paths_grow)
    edit(tmp_path / "measured" / "rivals-quick.json", pruned_writes_more)
    changed = scorecard.card(QUICK, Store(tmp_path))
    for name, lines in expected(tmp_path).items():
        now, before = parse(str(changed[name].shown)), parse(str(published[name].shown))
        assert all(now[one].get(key, "") == text for one, line in lines.items() for key, text in line.items()), name
        moved = {one for one in now if now[one] != before[one]}
        if name == "best epoch":
            assert not moved
        else:
            assert moved
            assert len(moved) < len(now) or name in ("pruned", "narrowed")
    assert str(scorecard.summary(changed)) != str(scorecard.summary(published))


THRESHOLDS = {  # numbers that a rule, a unit or the paper needs; none is a result of ours
    *("0", "1", "2", "3", "95", "5.0", "1.0", "0.0", "50", "224", "100", "10", "4", "18", "34", "3600"),
}


def test_no_number_of_ours_is_typed(published):
    """Neither in the notebook's cells nor in what computes the scorecard: every literal is a threshold or a format."""
    cells = nbformat.read(ROOT / "notebooks" / "12_scorecard.ipynb", 4).cells
    names = re.compile(r"\d\d_[a-z]\w*")
    typed = [number for cell in cells for number in re.findall(r"\d+(?:\.\d+)?", names.sub("", cell.source))]
    assert set(typed) <= THRESHOLDS
    assert len(typed) < 12
    printed = "\n".join([str(scorecard.summary(published)), *(str(part.shown) for part in published.values())])
    ours = set(re.findall(r"(?<![\w.])[+-]?\d+\.\d+(?=x? |x?$|,| %)", printed, re.MULTILINE))
    ours = {number.lstrip("+-") for number in ours} - {f"{value:g}" for value in paper()["value"].dropna()}
    assert len(ours) > 100
    for path in sorted((ROOT / "rdlib" / "paper").glob("*.py")):
        source = re.sub(r"\{[^{}]*\}", "", path.read_text())
        literals = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", source))
        assert literals & ours <= {"0.0", "1.0", "5.0"}, path.name


def test_an_empty_store_claims_nothing_and_names_the_commands(store):
    card = scorecard.card(QUICK, store)
    lines = parse(str(scorecard.summary(card)))
    assert {line["verdict"] for line in lines.values()} <= {"not run", "not tested"}
    assert not any(line["ours"] or line["n"] or line["holds in"] for line in lines.values())
    for name, part in card.items():
        assert all((one.ours, one.interval, one.n, one.protocol) == ("", "", 0, "") for one in part.readings), name
        commands = [command for one in part.readings for command in one.fill.split("; ")]
        assert commands, name
        assert all(re.fullmatch(rf"python -m rdlib .* --store {store.root}", command) for command in commands), name
    readings = sum(len(part.readings) for part in card.values())
    assert sum(map(int, re.findall(r": (\d+)", scorecard.verdicts(card)))) == readings


def test_a_profile_without_rivals_and_ablations_says_not_tested(store):
    card = scorecard.card(PROFILES["imagenet"], store)
    for name in ("early", "later", "pruned", "narrowed", "ablations", "settings", "best epoch"):
        assert [one.verdict for one in card[name].readings] == ["not tested"]
        assert "not tested" in str(card[name].shown)


def test_tables_fit_a_page_and_link_to_notebooks_that_exist(published):
    every = {"summary": scorecard.summary(published)} | {name: part.shown for name, part in published.items()}
    for name, shown in every.items():
        assert max(map(len, str(shown).splitlines())) <= 122, name
        linked = re.findall(r"\]\(([^)]+)\)", shown.markdown("notebooks/"))
        assert linked or name == "transfer"
        assert all((ROOT / target).exists() for target in linked)
        assert {line.count("|") for line in shown.markdown().splitlines() if line.startswith("|")} == {
            len(shown.table.columns) + 1
        }


def test_links_are_made_once_of_what_exists():
    from pandas import DataFrame

    shown = Linked(
        DataFrame([{"notebook": "04, 99"}]), ["look: 04_table3_cifar, 99_nowhere", "run python -m rdlib show"]
    )
    assert shown.markdown("n/").splitlines()[2] == "| [04](n/04_table3_cifar.ipynb), 99 |"
    assert "look: [04_table3_cifar](n/04_table3_cifar.ipynb), 99_nowhere" in shown.markdown("n/")
    assert "`python -m rdlib show`" in shown.markdown()
    assert "](" not in str(shown)


def test_what_is_reported_and_claimed_has_its_line(published):
    known = paper()
    values = known[known["value"].notna() & (known["unit"] == "%") & (known["table"] == "3")]["value"]
    assert {one.paper for one in published["reported"].readings} == {f"{value:.2f}" for value in values}
    said = {one.paper for part in published.values() for one in part.readings}
    for key in known[known["comparison"].notna()].index:
        assert any(one.startswith(known.loc[key, "comparison"]) for one in said), key

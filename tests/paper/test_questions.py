"""The questions: written down before their runs, and answered by what the raw records say."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import raw_records
from records import put, put_diverged, put_row

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE
from rdlib.errors import RecordError
from rdlib.experiments.controls import EQUAL_EPOCHS
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import fill_command, paper, table3
from rdlib.files import RESULTS, ROOT
from rdlib.measure import bits
from rdlib.measure.latency_record import Cell as Timed
from rdlib.measure.latency_record import LatencyRecord, Settings, provenance
from rdlib.measure.record import write
from rdlib.paper import deployed, questions, reported
from rdlib.paper.rendering import Shown
from rdlib.runs.store import Store

WRITTEN = RESULTS / "questions.csv"
DEPLOYED = ("Are shortcuts", "Does the peak", "Is it 1.4 times", "Does the SRAM")
MEASURED = {"bits": RESULTS / "measured" / "bits-cifar10-small.json"}  # of networks that were trained before
LATE = {"depth", "depth-level"}  # asked when some of their seeds had run


def lines_of(text: str) -> dict[str, dict[str, str]]:
    return {line["id"]: line for line in csv.DictReader(io.StringIO(text))}


def printed(store: Store) -> dict[str, dict[str, str]]:
    """The table, by what is asked."""
    return {line["question"]: line for line in questions.table(store).table.to_dict("records")}


def require_answers(store: Store, expected: dict[str, raw_records.Line]) -> None:
    shown = printed(store)
    assert {question for question in shown if not question.startswith(DEPLOYED)} == expected.keys()
    for question, line in expected.items():
        assert {key: shown[question][key] for key in line} == line, question


GRID = ("learning_rate", "weight_decay", "optimizer")  # of a recipe, which a grid may choose


def test_what_is_compared_is_what_was_written_down():
    written, asked = lines_of(WRITTEN.read_text()), questions.primary()
    assert list(written) == list(asked) == list(raw_records.PAIRS)
    families = [line["family"] for line in written.values()]
    assert families == ["main"] * 7 + ["parts"] * 3 + ["beyond"] * 8, "as the rule below says"
    for name, line in written.items():
        one = asked[name]
        bars = {text.partition(" ")[::2] for text in (line["yes"], line["no"])}
        assert bars == {("above", f"{one.bar:g}"), ("below", f"{one.bar:g}")}
        first, last = map(int, line["seeds"].split(" to "))
        recipe = PROFILES["quick" if line["data"] == "digits" else line["data"]].recipe
        words = f"{recipe.epochs} epochs, {recipe.schedule}, peak rate {recipe.learning_rate:g}"
        by_grid = f"{recipe.epochs} epochs, {recipe.schedule}, peak rate and decay by a grid"
        assert line["recipe"] in (words, by_grid) or line["recipe"].endswith("; else as above")
        for row in (one.ours, one.theirs):
            longer = "equal training arithmetic" in line["compared"] and row is one.theirs
            narrower = "few channels" in line["compared"] and row is one.theirs
            assert [run.seed for run in row.runs] == list(range(first, last + 1))
            for run in row.runs:
                assert (run.dataset, str(run.depth)) == (line["data"], line["depth"])
                assert (str(run.width) == line["width"]) != narrower
                chosen = {name: getattr(run.recipe, name) for name in GRID if line["recipe"] == by_grid}
                epochs = EQUAL_EPOCHS["cifar10-small"] if longer else recipe.epochs
                assert run.recipe == replace(recipe, epochs=epochs, **chosen)


def test_every_answer_is_computed_again_from_the_raw_records():
    store = Store()
    require_answers(store, raw_records.questions(RESULTS, WRITTEN))
    shown = [line for question, line in printed(store).items() if question.startswith(DEPLOYED)]
    expected = raw_records.deployed(RESULTS)
    assert [{key: line[key] for key in expected[0]} for line in shown] == expected


@pytest.mark.parametrize("case", range(4))
def test_answers_of_made_up_records_are_those_of_the_raw_files(case, store):
    """Differences of no to many points, seeds that agree or scatter, and in two cases a run that is missing or
    diverged."""
    draw, changes = np.random.default_rng(case), {}
    rows = [row for one in questions.primary().values() for row in (one.ours, one.theirs)]
    for row in {row.runs[0].id: row for row in rows}.values():
        put_row(store, row, *(draw.uniform(60, 75) + draw.choice([0.0, 0.5, 4.0]) * draw.normal(size=len(row.runs))))
    asked = questions.primary()["bits"]
    for row, many in ((asked.ours, 5), (asked.theirs, 5 - case)):
        for run in row.runs[:many]:
            changes[run.id] = {"float32": 70.0, "W4A4": 70.0 + draw.normal() - 3 * (row is asked.theirs)}
    write(store.root / "measured" / "bits-cifar10-small.json", {"runs": changes})
    if case == 1:
        put_diverged(store, questions.primary()["start"].theirs.runs[0])
        put_diverged(store, questions.primary()["depth"].theirs.runs[9])
        for run in questions.primary()["smaller"].theirs.runs:
            put_diverged(store, run)
    if case == 2:
        for run in questions.primary()["paths"].theirs.runs[2:]:
            store.record_path(run).unlink()
    require_answers(store, raw_records.questions(store.root, WRITTEN))


def test_yes_no_and_what_an_undecided_one_would_take(store):
    asked = questions.primary()
    put_row(store, asked["help"].ours, 75.0, 76.0, 77.0, 76.0, 76.0)  # JointRD
    put_row(store, asked["help"].theirs, 70.0, 70.0, 71.0, 69.0, 70.0)
    put_row(store, asked["level"].theirs, 76.5, 76.5, 77.5, 75.5, 76.5)
    put_row(store, asked["teaching"].theirs, 82.0, 82.0, 83.0, 81.0, 82.0)
    put_row(store, asked["start"].theirs, *[80.0] * 5)
    put_row(store, asked["beyond-start"].ours, *[80.0] * 5)
    said = {name: answer.said for name, answer in questions.answers(store).items()}
    assert (said["help"], said["teaching"], said["start"]) == ("yes", "no", "no")
    assert (said["arithmetic"], said["smaller"]) == ("not run", "not run")
    assert re.fullmatch(r"undecided \(\d+ seeds might tell\)", said["level"])
    assert said["beyond-start"] == "undecided (a hundred seeds would not tell)"
    store.record_path(asked["help"].theirs.runs[0]).unlink()
    put_diverged(store, asked["level"].theirs.runs[0])
    for run in asked["start"].theirs.runs[1:]:
        store.record_path(run).unlink()
    said = {name: answer.said for name, answer in questions.answers(store).items()}
    assert (said["help"], said["level"], said["start"]) == (
        *("yes", "undecided (a run diverged)", "undecided (fewer than 3 seeds)"),
    )


def test_an_empty_store_says_not_run_and_names_the_commands(store):
    shown = questions.table(store)
    assert set(shown.table["verdict"]) == {"not run"}
    assert not shown.table["ours"].any()
    assert {count.partition("/")[0] for count in shown.table["n"]} == {"0", ""}
    small, quick = PROFILES["cifar10-small"], PROFILES["quick"]
    commands = [
        fill_command(of, table, store)
        for of, table in (
            (small, "controls"),
            (quick, "depth"),
            (small, "rivals"),
            (quick, "deeper"),
            (quick, "alone"),
            (small, "sampled"),
        )
    ]
    commands += [bits.RECORD.command(small, store), fill_command(small, "redistill", store)]
    commands += [f"python -m rdlib measure {what} --store {store.root}" for what in ("memory", "latency", "npu")]
    assert list(shown.lines[1:]) == [f"to fill: {command}" for command in commands]
    assert all(one.fill.endswith(f"--store {store.root}") for one in deployed.answers(store))
    assert all(" Not run." in line for line in questions.findings(store, ""))
    head = questions.verdicts(store, "help", "level")
    assert head.table[["question", "verdict"]].to_numpy().tolist() == [
        ["Does JointRD help the plain network on real images?", "not run"],
        ["Does it reach the ResNet of its depth?", "not run"],
    ]
    assert head.lines == [f"to fill: {fill_command(small, 'controls', store)}"]


def test_a_family_is_shown_alone_and_all_families_are_the_whole_table():
    whole = questions.table(Store()).table["question"].tolist()
    families = [*questions.written()["family"].unique(), questions.DEPLOYED]
    assert families == ["main", "parts", "beyond", "deployed"], "notebook 13 has a table for each"
    assert [line for family in families for line in questions.table(Store(), family).table["question"]] == whole
    deployed_alone = questions.table(Store(), questions.DEPLOYED)
    assert deployed_alone.table["question"].tolist() == [one.question for one in deployed.answers(Store())]


def edit(path: Path, change, sign: bool = True) -> None:
    """Change a file that may be a link, with or without a digest that fits."""
    body = json.loads(path.read_text())
    digest = body.pop("digest")
    change(body)
    if sign:
        digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.unlink()
    path.write_text(json.dumps(body | {"digest": digest}))


def test_a_changed_record_changes_the_answer_or_is_found_out(tmp_path):
    for folder in ("runs", "measured"):
        shutil.copytree(RESULTS / folder, tmp_path / folder, copy_function=os.link)
    store, before = Store(tmp_path), printed(Store())
    deep = questions.primary()["depth"].ours.runs[0]

    def worse(body: dict) -> None:
        body["metrics"]["test_top1"] -= 7

    def plain_holds_less(body: dict) -> None:
        (row,) = [row for row in body["rows"] if row["name"] == "plain-50, strictly plain" and row["side"] == 224]
        row["traffic"][OUT_OF_PLACE] //= 2
        row["peak"][FUSED] //= 2

    def plain_is_fast(body: dict) -> None:
        for cell in body["cells"]:
            if cell["network"] == "plain-50, strictly plain":
                cell["milliseconds"] = [time / 2 for time in cell["milliseconds"]]

    def plain_moves_nothing(body: dict) -> None:
        for row in body["rows"]:
            if row["name"] == "plain-50, strictly plain" and "refused" not in row:
                row["used"]["sram"] //= 4
                row["cycles"], row["milliseconds"] = row["cycles"] // 4, row["milliseconds"] / 4

    edit(tmp_path / "measured" / "npu.json", plain_moves_nothing)
    edit(store.record_path(deep), worse)
    edit(tmp_path / "measured" / "memory.json", plain_holds_less)
    for path in tmp_path.glob("measured/latency-*.json"):
        edit(path, plain_is_fast)
    require_answers(store, raw_records.questions(tmp_path, WRITTEN))
    after = printed(store)
    moved = [question for question in after if after[question] != before[question]]
    asked = lines_of(WRITTEN.read_text())
    assert {asked["depth"]["question"], asked["depth-level"]["question"], *list(before)[-5:]} <= set(moved)
    assert [line["verdict"] for line in list(after.values())[-5:]] == ["no", "yes", "yes", "yes", "yes"]
    edit(store.record_path(deep), worse, sign=False)
    with pytest.raises(RecordError, match=deep.id):
        questions.table(store)


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def test_every_question_was_written_down_before_its_difference_could_be_seen():
    """Its line, as it stands but for its family, is in a commit older than the first record of the later of its two
    cells. The depth questions are excepted, as their lines say: three of their ten seeds were known."""
    if git("rev-parse", "--is-shallow-repository").strip() != "false":
        pytest.skip("no history here")

    def asked(line: dict[str, str]) -> dict[str, str]:
        return {key: text for key, text in line.items() if key != "family"}

    committed: dict[str, datetime] = {}
    now = lines_of(WRITTEN.read_text())
    for entry in git("log", "--format=%H %cI", "--", "results/questions.csv").splitlines():
        commit, when = entry.split()
        for name, line in lines_of(git("show", f"{commit}:results/questions.csv")).items():
            if name in now and asked(line) == asked(now[name]):
                earliest = committed.get(name, datetime.fromisoformat(when))
                committed[name] = min(earliest, datetime.fromisoformat(when))
    assert set(committed) == set(now)
    raw = raw_records.Raw(RESULTS)
    for name, (*pair, _) in ((name, of[:3]) for name, of in raw_records.PAIRS.items() if name not in MEASURED):
        made = [[datetime.fromisoformat(body["provenance"]["created"]) for body in raw.of(one, 100)] for one in pair]
        if name in LATE:
            assert now[name]["seen before this was written"].startswith("seeds 0 to 2: ")
        elif all(made):
            assert committed[name] < max(map(min, made)), name
    for name, path in MEASURED.items():
        for when in git("log", "--format=%cI", "--", str(path)).split():
            assert committed[name] < datetime.fromisoformat(when), name


def timed(store: Store, session: int, plain: float) -> None:
    """A session in which ResNet-50 takes 14 ms, and the plain network half of the rounds a little less or more."""
    kinds = {"ResNet-50": ("all", 14.0), "plain-50, strictly plain": ("none", plain)}
    cells = {
        Timed(224, 1, 50, engine, "float32", name, kept, ""): [time * (1 if engine == "ONNX Runtime" else 9)] * 9
        for name, (kept, time) in kinds.items()
        for engine in ("ONNX Runtime", "OpenVINO")
    }
    LatencyRecord(Settings(1, 9, 1), cells, provenance()).write(store.root / "measured" / f"latency-{session}.json")


@pytest.mark.parametrize(
    ("sessions", "verdict", "ours"),
    [
        ((10.0,), "yes", "1.40x [1.40x, 1.40x]"),
        ((12.0,), "no", "1.17x [1.17x, 1.17x]"),
        ((12.0, 9.0, 8.0), "undecided", "1.56x [1.17x, 1.75x]"),
    ],
)
def test_all_sessions_that_timed_it_must_agree_on_the_speed(sessions, verdict, ours, store):
    for session, plain in enumerate(sessions):
        timed(store, session, plain)
    found = deployed.time(store)
    assert (found.verdict, found.line["ours"]) == (verdict, ours)


@pytest.mark.parametrize(
    ("plain", "verdicts"), [(60, ("yes", "yes")), (66, ("no", "yes")), (80, ("no", "yes")), (81, ("no", "no"))]
)
def test_memory_is_judged_by_the_papers_numbers(plain, verdicts, store):
    sizes = {"ResNet-50": 100, "plain-50, strictly plain": plain}
    rows = [
        {"name": name, "side": 224, "variant": "", "traffic": {OUT_OF_PLACE: size}, "peak": {FUSED: size}}
        for name, size in sizes.items()
    ]
    write(store.root / "measured" / "memory.json", {"rows": rows})
    assert tuple(one.verdict for one in deployed.answers(store)[:2]) == verdicts


def test_reported_accuracies_stand_beside_ours(store):
    at34 = [row for row in table3(PROFILES["cifar10"]) if row.depth == 34]
    put(store, at34[0].runs[0], 95.0)
    put(store, at34[1].runs[0], 92.0)
    shown = reported.table(store)
    known = paper()
    values = known[known["value"].notna() & (known["unit"] == "%") & (known["table"] == "3")]["value"]
    assert set(shown["reported (%)"]) == {f"{value:.2f}" for value in values}
    ran = shown[shown["ours (%)"] != ""]
    assert ran[["ours (%)", "n", "same?"]].to_numpy().tolist() == [["95.0", "1/3", "yes"], ["92.0", "1/3", "no"]]


def test_the_size_of_a_released_file_shows_which_reading_of_plain_it_is():
    """Each is within half a tenth of one of our folded networks of its depth, but the doubtful one."""
    shown = reported.released().set_index("file")
    for name, of in shown.items():
        listed, sizes = float(of["listed (Mb)"]), of.filter(like="(MiB)").astype(float)
        near = list(sizes[(sizes - listed).abs() < 0.05].index)
        expected = [] if of["so it is"].startswith("doubtful") else [f"CIFAR form, {of['so it is']} (MiB)"]
        assert near == expected, name
    doubtful, of_50 = (shown[f"plain-CNN-ResNet{depth}"] for depth in (18, 50))
    assert abs(float(doubtful["listed (Mb)"]) - float(of_50["ImageNet form, downsampling kept (MiB)"])) < 0.05
    assert doubtful["so it is"] == "doubtful: none of these"


def test_a_released_value_stands_beside_its_own_reading_of_plain_alone():
    hub = reported.table(Store())
    hub = hub[hub["by"].str.startswith("MindSpore")]
    beside = [(line["network"], line["shortcuts"], line["by"]) for line in hub.to_dict("records")]
    assert sorted(beside) == [
        ("plain-18", "downsampling kept", "MindSpore, doubtful"),
        ("plain-18", "strictly plain", "MindSpore, doubtful"),
        ("plain-34", "strictly plain", "MindSpore"),
        ("plain-50", "downsampling kept", "MindSpore"),
    ]


def test_tables_fit_a_page_and_link_to_notebooks_that_exist():
    for shown in (questions.table(Store()), questions.table(Store(), "main", questions.DEPLOYED)):
        assert max(map(len, str(shown).splitlines())) <= 180
        linked = re.findall(r"\]\(([^)]+)\)", shown.markdown("notebooks/"))
        assert len(linked) == len(shown.table)
        assert all((ROOT / target).exists() for target in linked)
    made = Shown(
        pd.DataFrame([{"notebook": "02, 99"}]), ["look: 02_table3_accuracy, 99_nowhere", "run python -m rdlib show"]
    )
    assert made.markdown("n/").splitlines()[2] == "| [02](n/02_table3_accuracy.ipynb), 99 |"
    assert "look: [02_table3_accuracy](n/02_table3_accuracy.ipynb), 99_nowhere" in made.markdown("n/")
    assert "`python -m rdlib show`" in made.markdown()
    assert "](" not in str(made)


def test_no_number_of_ours_is_typed_where_answers_are_made():
    ours = set(re.findall(r"\d+\.\d+", " ".join(questions.table(Store()).table["ours"])))
    for path in sorted((ROOT / "rdlib" / "paper").glob("*.py")):
        literals = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", re.sub(r"\{[^{}]*\}", "", path.read_text())))
        assert literals & ours <= {"0.0", "1.0", "5.0", "100.0"}, path.name

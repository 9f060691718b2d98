"""The scorecard says what the records say: every printed number is computed again from the raw JSON files.

`Raw` uses json, numpy and scipy alone; no arithmetic and no choice of runs is rdlib's.
"""

import hashlib
import json
import math
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from scipy.stats import t as student_t
from test_tables import JOINTRD, PLAIN, RESNET, fill, put

from rdlib.commands import reproduce
from rdlib.experiments import tables
from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import paper, table3
from rdlib.measure.latency_record import Cell as Timed
from rdlib.measure.latency_record import LatencyRecord, Settings, provenance
from rdlib.measure.record import write
from rdlib.paper import claims, questions, scorecard
from rdlib.paper.differences import find
from rdlib.paper.readings import Reading, overall
from rdlib.paper.rendering import Linked
from rdlib.runs.store import RESULTS, ROOT, Store

QUICK = PROFILES["quick"]
Cells = dict[str, dict[str, str]]
FROZEN = {"distance_weight": 0.001, "init": "scratch", "m_end": 0.3, "m_min": 0.5, "m_start": 1.0}
FROZEN |= {"quarter": False, "regime": "frozen"}
CHANGES = {  # what 07 changes, as it stands in a record
    "without the mixed cross-entropy": ("WithoutMixedCrossEntropy", {}),
    "without the mixed feature distance": ("WithoutMixedDistance", {}),
    "without any feature distance": ("JointRD", {"distance_weight": 0.0}),
    "without mixed paths (m = 0)": ("FeatureDistillation", None),
    "only the path after stage 1": ("PathAfter1", {}),
    "only the path after stage 2": ("PathAfter2", {}),
    "only the path after stage 3": ("PathAfter3", {}),
    "m = 1 throughout": ("JointRD", {"m_min": 1.0}),
    "m = 0.5 throughout": ("JointRD", {"m_start": 0.5}),
    "m linear, 1 to 0.5": ("LinearFall", {}),
    "m cosine, 1 to 0.005 (ImageNet command)": ("JointRD", {"m_min": 0.005}),
    "m cosine, 1 to 0 over 90 % of training": ("JointRD", {"m_min": 0.0, "m_end": 0.9}),
    "lambda 1e-2": ("JointRD", {"distance_weight": 0.01}),
    "lambda 1e-4": ("JointRD", {"distance_weight": 0.0001}),
    "mean squared distance": ("MeanSquared", {}),
    "without connectors": ("WithoutConnectors", {}),
}


def parse(text: str) -> Cells:
    """A printed table, its lines by their first column; the rule under the header says where columns begin."""
    header, rule, *lines = text.split("\n\n")[0].splitlines()
    places = [found.span() for found in re.finditer("-+", rule)]
    names, *rows = [[line[a:b].strip() for a, b in places] for line in (header, *lines)]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


class Raw:
    """The records of a store as they lie on the disk."""

    def __init__(self, root: Path):
        self.root = root
        self.runs = {path.stem: json.loads(path.read_text()) for path in sorted(root.glob("runs/*/*.json"))}

    def measured(self, name: str) -> dict:
        return json.loads((self.root / "measured" / name).read_text())

    def of(self, **wanted: object) -> dict[int, dict]:
        """By seed, the records whose run has these fields, recipe fields among them; a teacher of another shape, as of
        two ablations, is not meant."""
        found = {}
        for record in self.runs.values():
            run = {"conv": "plain"} | record["run"]["recipe"] | record["run"]
            teacher = self.runs.get(run["teacher"] or "", record)["run"]
            alike = (teacher["depth"], teacher["width"]) == (run["depth"], run["width"]) or run["width"] < 8
            if alike and all(run.get(key) == value for key, value in wanted.items()):
                assert run["seed"] not in found, wanted
                found[run["seed"]] = record
        return found

    def quick(self, method: str, rate: float, kept: str = "none", options: dict | None = None, **more: object) -> dict:
        usual = {"dataset": "digits", "depth": 34, "width": 8, "epochs": 30, "holdout": "test", "conv": "plain"}
        known = {} if options is None else {"options": options}
        return self.of(method=method, learning_rate=rate, shortcuts=kept, **usual | known | more)

    def small(self, method: str, kept: str, options: dict | None = None) -> dict:
        known = {} if options is None else {"options": options}
        usual = {"dataset": "cifar100", "depth": 18, "width": 16, "epochs": 2, "holdout": "test", "conv": "plain"}
        return self.of(method=method, learning_rate=0.1, shortcuts=kept, **usual | known)

    def like(self, reading: str, method: str, kept: str, options: dict | None = None) -> dict:
        """The records meant by a reading such as "quick-34, strictly plain, learning rate 0.1"."""
        if reading.startswith("cifar100-small"):
            return self.small(method, kept, options)
        return self.quick(method, 0.1 if reading.endswith("learning rate 0.1") else 0.9, kept, options)


def top1(record: dict) -> float:
    return record["metrics"][f"{record['run']['recipe']['holdout']}_top1"]


def gaps(ours: dict[int, dict], theirs: dict[int, dict]) -> list[float]:
    return [top1(ours[seed]) - top1(theirs[seed]) for seed in sorted(ours) if seed in theirs]


def limits(values: list[float]) -> tuple[float, float]:
    if len(values) < 3:
        return -math.inf, math.inf
    half = student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def numbers(values: list[float], form: str = "{:+.1f}") -> dict[str, str]:
    """What a line must print of these values, one a seed."""
    low, high = limits(values)
    interval = f"{form.format(low)} to {form.format(high)}" if len(values) > 2 else ""
    return {"ours": form.format(np.mean(values)), "95 %": interval, "n": str(len(values))}


def side(values: list[float], bar: float = 0.0) -> str:
    low, high = limits(values)
    return "holds" if low > bar else "does not hold" if high < bar else "cannot tell"


def judged(values: list[float], form: str = "{:+.1f}", bar: float = 0.0) -> dict[str, str]:
    return numbers(values, form) | {"verdict": side(values, bar)}


def kept_in(reading: str) -> str:
    return "downsample" if "downsampling kept" in reading else "none"


def level(jointrd: dict[int, dict], resnet: dict[int, dict], plain: dict[int, dict]) -> dict[str, str]:
    gap, half = gaps(jointrd, resnet), np.mean(gaps(resnet, plain)) / 2
    low, high = limits(gap)
    between = "holds in part" if -np.mean(gap) <= half else "cannot tell"
    return numbers(gap) | {"verdict": "does not hold" if high < -1 else "holds" if low >= -1 else between}


def expected_levels(raw: Raw) -> Cells:
    found = {}
    for depth in (18, 50, 66, 98):
        methods = (("JointRD", "none"), ("Supervised", "all"), ("Supervised", "none"))
        three = [
            raw.quick(method, 0.1, kept, FROZEN if method == "JointRD" else None, depth=depth)
            for method, kept in methods
        ]
        found[f"quick-{depth}, strictly plain, learning rate 0.1"] = level(*three) | {"notebook": "08"}
    for start, rates in (("quick-34", ("", ", learning rate 0.1")), ("cifar100-small-18", ("",))):
        for kept in ("strictly plain", "downsampling kept"):
            for teacher in ("", ", joint teacher"):
                for rate in rates:
                    reading = f"{start}, {kept}{teacher}{rate}"
                    of = partial(raw.like, reading)
                    options = FROZEN | ({"regime": "joint"} if teacher else {})
                    resnet, plain = of("Supervised", "all"), of("Supervised", kept_in(reading))
                    jointrd = of("JointRD", kept_in(reading), options)
                    found[reading] = level(jointrd, resnet, plain) | {"notebook": "04"}
    return found


def expected_memory(raw: Raw, share: bool) -> Cells:
    rows = {row["name"]: row for row in raw.measured("memory.json")["rows"] if row["side"] == 224}
    resnet, found = rows["ResNet-50"], {}
    for kept in ["strictly plain"] if share else ["strictly plain", "downsampling kept"]:
        plain = rows[f"plain-50, {kept}"]
        for kind, name in (("traffic", "written"), ("peak", "planned peak"), ("arena", "measured peak")):
            for how, taken in resnet[kind].items():
                same = [
                    one for one in resnet[kind] if (resnet[kind][one], plain[kind][one]) == (taken, plain[kind][how])
                ]
                names = " or ".join(same) if kind == "traffic" else how
                if taken is not None:
                    value = 100 - 100 * plain[kind][how] / taken if share else taken / plain[kind][how]
                    holds = 35 <= value <= 45 if share else value >= 1.25
                    line = {"ours": f"{value:.1f} %" if share else f"{value:.2f}x", "n": "1"}
                    found[f"{kept}, {name}, {names}"] = line | {"verdict": "holds" if holds else "does not hold"}
    return found


def bootstrapped(resnet: list[float], plain: list[float]) -> tuple[float, float, float]:
    """Ratio of medians, and the ends of its interval."""
    pairs = np.array([resnet, plain])
    drawn = pairs[:, np.random.default_rng(0).integers(len(plain), size=(2000, len(plain)))]
    ratios = np.median(drawn[0], axis=-1) / np.median(drawn[1], axis=-1)
    return np.median(pairs[0]) / np.median(pairs[1]), *np.percentile(ratios, [2.5, 97.5])


def expected_speed(raw: Raw) -> Cells:
    """All published sessions are of one machine, which is said beneath."""
    sessions: dict[str, list[tuple[float, float, float]]] = {}
    passes: dict[str, int] = {}
    for record in (json.loads(path.read_text()) for path in raw.root.glob("measured/latency-*.json")):
        here = [cell for cell in record["cells"] if (cell["side"], cell["batch"], cell["depth"]) == (224, 1, 50)]
        by = {(c["engine"], c["precision"], c["network"]): c["milliseconds"] for c in here if not c["variant"]}
        for (engine, precision, network), times in by.items():
            if network != "ResNet-50" and (engine, precision, "ResNet-50") in by:
                reading = f"{network.removeprefix('plain-50, ')}, {engine}, {precision}"
                ratio = bootstrapped(by[engine, precision, "ResNet-50"], times)
                sessions.setdefault(reading, []).append(ratio)
                passes[reading] = passes.get(reading, 0) + len(times)
    found: Cells = {}
    for reading, of in sessions.items():
        ratios, lows, highs = zip(*of, strict=True)
        verdict = "holds" if min(lows) >= 1.4 else "cannot tell" if max(highs) >= 1.4 else "does not hold"
        ends = dict.fromkeys((f"{min(ratios):.2f}x", f"{max(ratios):.2f}x"))
        line = {"ours": " to ".join(ends), "95 %": f"{min(lows):.2f}x to {max(highs):.2f}x", "verdict": verdict}
        found[reading] = line | {"sessions": str(len(of)), "n": str(passes[reading])}
    return found


def expected_gradients(raw: Raw) -> tuple[Cells, Cells]:
    parts, early, late = {"stem": (0, 3), "stage 1": (1, 3), "stage 2": (2, 2), "stage 3": (3, 1)}, {}, {}
    watched = [w for w in raw.measured("teaching-quick.json")["runs"].values() if w["run"]["method"] == "JointRD"]
    for how in ("as trained", "m(t) taken out"):
        for rate in (0.9, 0.1):
            runs = [
                w for w in watched if w["run"]["method"] == "JointRD" and w["run"]["recipe"]["learning_rate"] == rate
            ]
            for part, (i, paths) in parts.items():
                first, fall = [], []
                for run in sorted(runs, key=lambda w: w["run"]["seed"]):
                    share = {}
                    for epoch in run["epochs"]:
                        own, mixed = (epoch["norm"][path][i] for path in ("own", "mixed"))
                        mixed /= epoch["m"] if how != "as trained" else 1
                        share[epoch["epoch"]] = mixed / (mixed + own)
                    at_first = np.mean([share[epoch] for epoch in (1, 2, 3)])
                    first.append(at_first)
                    fall.append(at_first - np.mean([value for epoch, value in share.items() if epoch >= 21]))
                bar = 0.5 if how == "as trained" else paths / (paths + 1)
                reading = f"rate {rate}, {part}, {how}"
                early[reading] = judged(first, "{:.2f}", bar) | {"above": f"{bar:.2f}"}
                late[reading] = judged(fall, "{:+.2f}")
    return early, late


def expected_cheaper(raw: Raw, what: str) -> Cells:
    costs, found = raw.measured("rivals-quick.json"), {}
    plain = costs["networks"]["plain-34, strictly plain"]
    jointrd, resnet = raw.quick("JointRD", 0.1, options=FROZEN), raw.quick("Supervised", 0.1, "all")
    for run_id, way in costs["ways"].items():
        if what in way["name"]:
            like = {key: raw.runs[run_id]["run"][key] for key in ("method", "width", "options")}
            ours = raw.quick(like.pop("method"), 0.1, "all", **like)
            network = costs["networks"][way["deploys"]]
            times = [network[key]["add out of place"] / plain[key]["add out of place"] for key in ("traffic", "peak")]
            name = (
                way["name"].removeprefix("ResNet-34, ").removesuffix(", learning rate 0.1").removesuffix(", fine-tuned")
            )
            line = {"traffic, peak, MACs": ", ".join(f"{x:.2f}" for x in (*times, network["macs"] / plain["macs"]))}
            line["drop"] = f"{np.mean(gaps(ours, resnet)):+.1f}"
            found[f"rate 0.1, {name}"] = judged(gaps(jointrd, ours)) | line
    return found


def on_tune(raw: Raw, method: str, options: dict | None, kept: str = "none", conv: str = "plain") -> list[float]:
    """JointRD minus a change of it with the same shortcuts, quick on the tune split."""
    known = None if options is None else FROZEN | options
    change = raw.quick(method, 0.9, kept, known, holdout="tune", conv=conv)
    return gaps(raw.quick("JointRD", 0.9, kept, FROZEN, holdout="tune"), change)


def expected_command(raw: Raw) -> Cells:
    found = {}
    for start, rates in (("quick-34", ("", ", learning rate 0.1")), ("cifar100-small-18", ("",))):
        for kept in ("strictly plain", "downsampling kept"):
            for rate in rates:
                reading = f"{start}, {kept}{rate}"
                of = partial(raw.like, reading)
                own = {"distance_weight": 0.001, "init": "scratch"}
                ours = of("JointRD", kept_in(reading), FROZEN)
                found[reading] = judged(gaps(ours, of("FeatureDistillation", kept_in(reading), own)))
    return found


def expected_settings(raw: Raw) -> Cells:
    wanted = {
        "CIFAR scripts: --dis_weight 0": ("JointRD", {"distance_weight": 0.0}),
        "JOINT: all terms times 1/4": ("JointRD", {"quarter": True}),
        "README's CIFAR command: plain baseline": ("Supervised", None, "downsample"),
        "README's ImageNet command: TA, Dirac": ("FeatureDistillation", None, "downsample", "dirac"),
    }
    return {reading: judged(on_tune(raw, *how)) for reading, how in wanted.items()}


def expected_best(raw: Raw) -> Cells:
    wanted = {
        "ResNet-34, cross-entropy": ("Supervised", "all", None),
        "plain-34, strictly plain, cross-entropy": ("Supervised", "none", None),
        "plain-34, strictly plain, JointRD": ("JointRD", "none", FROZEN),
    }
    found = {}
    for reading, (method, kept, options) in wanted.items():
        records = raw.quick(method, 0.9, kept, options, holdout="tune")
        curves = [[epoch["tune_top1"] for epoch in record["history"]] for _, record in sorted(records.items())]
        gains = [max(curve) - curve[-1] for curve in curves]
        always = min(gains) > 0 and side(gains) == "holds"
        verdict = "holds" if always else "holds in part" if any(gain > 0 for gain in gains) else "does not hold"
        found[reading] = numbers(gains) | {"verdict": verdict}
    return found


def expected(root: Path) -> dict[str, Cells]:
    raw = Raw(root)
    early, later = expected_gradients(raw)
    return {
        "same level": expected_levels(raw),
        "share": expected_memory(raw, share=True),
        "memory": expected_memory(raw, share=False),
        "speed": expected_speed(raw),
        "early": early,
        "later": later,
        "pruned": expected_cheaper(raw, "pruned"),
        "narrowed": expected_cheaper(raw, "narrowed"),
        "ablations": {name: judged(on_tune(raw, *how)) for name, how in CHANGES.items()},
        "command": expected_command(raw),
        "settings": expected_settings(raw),
        "best epoch": expected_best(raw),
    }


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
    for name in ("claims", "questions", "readings", "scorecard", "differences"):
        source = re.sub(r"\{[^{}]*\}", "", (ROOT / "rdlib" / f"{name}.py").read_text())
        literals = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", source))
        assert literals & ours <= {"0.0", "1.0", "5.0"}, name


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


@pytest.mark.parametrize(
    ("resnet", "plain", "jointrd", "verdict"),
    [
        (98.0, 80.0, 97.3, "holds"),
        (98.0, 80.0, 99.0, "holds"),
        (98.0, 80.0, 97.2, "holds in part"),
        (98.0, 80.0, 96.8, "holds in part"),
        (98.0, 80.0, 96.7, "does not hold"),
        (98.0, 80.0, 70.0, "does not hold"),
        (98.0, 97.5, 96.5, "does not hold"),
        (98.0, 97.5, 97.0, "cannot tell"),
        (98.0, 80.0, None, "not run"),
        (None, 80.0, 97.0, "not run"),
        (98.0, None, 96.0, "not run"),
    ],
)
def test_verdict_of_the_papers_claim(resnet, plain, jointrd, verdict, store):
    rows = table3(QUICK)
    values = {RESNET: resnet, PLAIN: plain, JOINTRD: jointrd}
    # Deviation 0.1 of JointRD's three seeds: the interval reaches 4.303 * 0.1 / sqrt(3) = 0.25 below the mean.
    spread = {RESNET: 0.0, PLAIN: 0.0, JOINTRD: 0.1}
    fill(store, rows, {k: (v - spread[k], v, v + spread[k]) for k, v in values.items() if v is not None})
    found = claims.same_level(*(find(rows, 34, *key) for key in (JOINTRD, RESNET, PLAIN)), store)
    assert found == verdict
    (line,) = [one for one in claims.levels(store) if one.reading == "quick-34, strictly plain"]
    assert line.verdict == verdict


def test_claims_on_memory_follow_from_the_measured_record(store):
    """ResNet-50 writes and holds 100, the plain networks as much less as each case says."""

    def row(name: str, taken: int, in_place: int) -> dict[str, object]:
        written = {"e": taken, "in place": in_place}
        return {"name": name, "side": 224, "traffic": written, "peak": {"e": 100}, "arena": {"r": taken, "gpu": None}}

    for taken, share, times in (
        (60, "holds", "holds"),
        (75, "does not hold", "holds"),
        (90, "does not hold", "does not hold"),
    ):
        plain = row("plain-50, strictly plain", taken, taken), row("plain-50, downsampling kept", 95, 40)
        write(store.root / "measured" / "memory.json", {"rows": [row("ResNet-50", 100, 100), *plain]})
        shares, reductions = (
            {one.reading: one.verdict for one in claims.memory_claim(key, store)}
            for key in ("claim_shortcut_share", "claim_memory")
        )
        for reading in ("written, e or in place", "measured peak, r"):
            assert shares[f"strictly plain, {reading}"] == share
            assert reductions[f"strictly plain, {reading}"] == times
        assert reductions["strictly plain, planned peak, e"] == "does not hold"
        assert reductions["downsampling kept, written, e"] == "does not hold"
        assert reductions["downsampling kept, written, in place"] == "holds", "other figures, another reading"
        assert (len(shares), len(reductions)) == (3, 7), "of the share strictly plain alone is judged"


def timed(store: Store, session: int, plain: dict[str, list[float]], kept: float = 19.0) -> None:
    """A session in which ResNet-50 takes 20 ms in every engine."""
    cells = {
        Timed(224, 1, 50, engine, "float32", name, kind, ""): milliseconds
        for engine, times in plain.items()
        for name, kind, milliseconds in (
            ("ResNet-50", "all", [20.0] * len(times)),
            ("plain-50, strictly plain", "none", times),
            ("plain-50, downsampling kept", "downsample", [kept] * len(times)),
        )
    }
    path = store.root / "measured" / f"latency-{session}.json"
    LatencyRecord(Settings(1, 9, 1), cells, provenance()).write(path)


def test_claims_on_speed_follow_from_all_sessions(store):
    assert [one.verdict for one in claims.speed_claim(store)] == ["not run"]
    fast, slow = [10.0] * 9, [19.0] * 9
    first = {"holds": fast, "does not hold": slow, "cannot tell": fast[:5] + slow[:4]}
    timed(store, 1, first)
    one_session = {one.reading: one for one in claims.speed_claim(store)}
    assert len(one_session) == 6
    for engine in first:
        one = one_session[f"strictly plain, {engine}, float32"]
        assert (one.verdict, one.n, one.more["sessions"], one.protocol) == (engine, 9, "1", "other device")
        assert one.more["machine"].endswith("1 thread")
        assert one_session[f"downsampling kept, {engine}, float32"].verdict == "does not hold"
    timed(store, 2, {"holds": slow}, kept=16.0)
    both = {one.reading: one for one in claims.speed_claim(store)}
    torn = both["strictly plain, holds, float32"]
    assert (torn.verdict, torn.n, torn.more["sessions"], torn.ours) == ("cannot tell", 18, "2", "1.05x to 2.00x")
    assert (torn.low, torn.high) == (pytest.approx(20 / 19), 2.0), "the interval covers both sessions"
    assert both["downsampling kept, holds, float32"].ours == "1.05x to 1.25x"
    untouched = "strictly plain, does not hold, float32"
    assert both[untouched] == one_session[untouched]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.4, 0.5, 0.6), "holds"),
        ((0.1, 5.0, 0.1), "holds in part"),
        ((0.0, 0.0, 0.2), "holds in part"),
        ((0.2,), "holds in part"),
        ((0.0, 0.0, 0.0), "does not hold"),
        ((0.0, 0.0), "cannot tell"),
    ],
)
def test_the_best_epoch_flatters_where_any_seeds_is_above_its_last(gains, verdict):
    assert questions.flatters(tables.Cell(gains, 3)) == verdict


def test_the_loss_is_held_against_settings_of_the_same_shortcuts(store):
    """The released plain baseline keeps its downsampling shortcuts: so must the JointRD that is compared with it."""
    rows = tables.rows_of(QUICK, "ablations")
    for name, value in (
        ("JointRD", 50.0),
        ("downsampling shortcuts kept", 90.0),
        ("CIFAR: cross-entropy alone", 80.0),
        ("all terms times 1/4", 45.0),
    ):
        for run in next(row for row in rows if row.method == name).runs:
            put(store, run, value)
    found = {one.reading: one.ours for one in questions.settings_released(QUICK, store) if one.n}
    assert found == {"README's CIFAR command: plain baseline": "+10.0", "JOINT: all terms times 1/4": "+5.0"}


def test_one_seed_is_not_enough_for_a_verdict(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.0,), PLAIN: (80.0,), JOINTRD: (99.0,)})
    assert claims.same_level(*(find(rows, 34, *key) for key in (JOINTRD, RESNET, PLAIN)), store) == "cannot tell"


def test_our_numbers_in_the_claims_come_from_the_records(store):
    quick, ten = table3(QUICK), table3(PROFILES["cifar10"])
    at34 = [row for row in ten if row.depth == 34]
    fill(store, quick, {RESNET: (98.0, 97.0), PLAIN: (80.0, 81.0), JOINTRD: (96.0, 95.5)})
    fill(store, at34, {RESNET: (95.0,), PLAIN: (92.0,), JOINTRD: (94.9,)})

    def numbers() -> tuple[list[str], dict[str, tuple[str, str]]]:
        ours = [one.ours for one in claims.levels(store) if one.n]
        lines = {one.reading.removeprefix("cifar10, "): one for one in claims.reported(store) if one.n}
        return ours, {name: (one.ours, one.verdict) for name, one in lines.items()}

    resnet, plain, jointrd = (find(at34, 34, *key) for key in (RESNET, PLAIN, JOINTRD))
    others = {plain.name: ("92.00", "does not hold"), jointrd.name: ("94.90", "holds")}
    assert numbers() == (["-0.1", "-1.8"], {resnet.name: ("95.00", "holds")} | others)
    put(store, quick[0].runs[0], 99.0)
    put(store, resnet.runs[0], 93.0)
    assert numbers() == (["+1.9", "-2.2"], {resnet.name: ("93.00", "does not hold")} | others)


def test_reproduce_ends_with_the_scorecard_of_the_fresh_store(tmp_path, monkeypatch):
    fresh, published_ = Store(tmp_path / "fresh"), Store(tmp_path / "old")
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(reproduce, "sweep", lambda runs, store, jobs: SimpleNamespace(failures={}))
    runs = [run for row in tables.rows_of(QUICK) for run in row.runs]
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

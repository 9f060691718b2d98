"""What the table of questions must print, computed again from the raw JSON files with csv, json, numpy and scipy alone.

No arithmetic and no choice of runs is rdlib's.
"""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

Line = dict[str, str]
FROZEN = {"distance_weight": 0.001, "init": "scratch", "m_end": 0.3, "m_min": 0.5, "m_start": 1.0}
FROZEN |= {"quarter": False, "regime": "frozen"}
SMALL = {"dataset": "cifar10-small", "depth": 34, "width": 16, "epochs": 10}
DEEP = {"dataset": "digits", "depth": 66, "width": 8, "epochs": 30}
DEEPEST = DEEP | {"depth": 98}
WIDE = {"dataset": "cifar100", "depth": 18, "width": 64, "epochs": 20}
USUAL = {"conv": "plain", "holdout": "test", "learning_rate": 0.1, "shots": None, "optimizer": None}
USUAL |= {"weight_decay": 0.0005}
RESNET = {"method": "Supervised", "shortcuts": "all"}
PLAIN = {"method": "Supervised", "shortcuts": "none"}
JOINTRD = {"method": "JointRD", "shortcuts": "none", "options": FROZEN}
START = {"method": "Inherited", "shortcuts": "none"}
PATHS = {key: FROZEN[key] for key in ("distance_weight", "init", "m_end", "m_min", "m_start")} | {"cuts": 12}
MANY = {"method": "JointRDAtBlocks", "shortcuts": "none", "options": PATHS}
OWN = {"method": "FeatureDistillation", "shortcuts": "none", "options": {"distance_weight": 0.001, "init": "scratch"}}
PAIRS = {  # by id: whose runs are compared, and the bar
    "help": (SMALL | JOINTRD, SMALL | PLAIN, 0),
    "level": (SMALL | JOINTRD, SMALL | RESNET, -1),
    "teaching": (SMALL | JOINTRD, SMALL | JOINTRD | {"shortcuts": "all"}, -1),
    "arithmetic": (SMALL | JOINTRD, SMALL | PLAIN | {"epochs": 24}, 0),
    "start": (SMALL | JOINTRD, SMALL | START, 0),
    "depth": (DEEP | JOINTRD, DEEP | PLAIN, 0),
    "depth-level": (DEEP | JOINTRD, DEEP | RESNET, -1),
    "paths": (SMALL | JOINTRD, SMALL | OWN, 0),
    "beyond-start": (SMALL | JOINTRD | {"options": FROZEN | {"init": "teacher"}}, SMALL | START, 0),
    "smaller": (SMALL | JOINTRD, SMALL | RESNET | {"width": 10}, 0),
    "cuts": (DEEPEST | MANY, DEEPEST | JOINTRD, 0),
    "cuts-level": (DEEPEST | MANY, DEEPEST | RESNET, -2),
    "muon": (DEEP | PLAIN | {"optimizer": "muon", "weight_decay": 0.1}, DEEP | JOINTRD, 0),
    "orthogonal": (DEEP | PLAIN | {"method": "OrthogonalStart"}, DEEP | JOINTRD, 0),
    "faded": (DEEP | PLAIN | {"method": "Faded", "options": {"gone_by": 0.6}}, DEEP | JOINTRD, 0),
    "sampled": (SMALL | JOINTRD | {"options": FROZEN | {"paths": "sampled"}}, SMALL | JOINTRD, -1),
    "bits": (SMALL | JOINTRD, SMALL | RESNET, 0, "W4A4"),
    "redistill": (SMALL | JOINTRD, SMALL | {"method": "ReDistill", "shortcuts": "all", "options": {"weight": 50.0}}, 0),
}
FULL_WIDTH = (WIDE | JOINTRD, WIDE | PLAIN | {"epochs": 47}, 0)
TEST_IMAGES = {"digits": 500, "cifar10-small": 10_000, "cifar100": 10_000}


class Raw:
    """The records of a store as they lie on the disk."""

    def __init__(self, root: Path):
        self.root = root
        measured = root / "measured" / "bits-cifar10-small.json"
        self.bits = json.loads(measured.read_text())["runs"] if measured.exists() else {}
        self.runs = {path.stem: json.loads(path.read_text()) for path in sorted(root.glob("runs/*/*.json"))}

    def of(self, wanted: dict, seeds: int) -> list[dict]:
        """The records of so many seeds whose run has these fields, recipe fields among them, and whose teacher is the
        usual one: the ResNet of the same size, length and seed."""
        found = {}
        for name, body in self.runs.items():
            run = USUAL | body["run"]["recipe"] | body["run"]
            teacher = self.runs.get(body["run"]["teacher"] or "", body)["run"]
            alike = all(teacher[key] == run[key] for key in ("depth", "width", "seed", "recipe"))
            if alike and run["seed"] < seeds and all(run[key] == value for key, value in (USUAL | wanted).items()):
                assert run["seed"] not in found, name
                found[run["seed"]] = body
        return list(found.values())


def top1(body: dict) -> float:
    return body["metrics"][f"{body['run']['recipe']['holdout']}_top1"]


def welch(raw: Raw, seeds: int, one: dict, other: dict, bar: float, bits: str = "") -> dict | None:
    """Difference, standard error, degrees of freedom, p and n; None where one has no run that ended. bits: of the
    changes in accuracy that these make."""
    records = [raw.of(one, seeds), raw.of(other, seeds)]
    samples = [[top1(body) for body in of if "diverged" not in body] for of in records]
    if bits:
        names = [{name for name, body in raw.runs.items() if body in of} & raw.bits.keys() for of in records]
        samples = [[raw.bits[name][bits] - raw.bits[name]["float32"] for name in sorted(of)] for of in names]
    diverged = not bits and any("diverged" in body for of in records for body in of)
    if not all(samples):
        return {"n": 0, "p": 1.0, "bar": bar, "diverged": True} if diverged else None
    value = round(np.mean(samples[0]) - np.mean(samples[1]), 9)
    found = {"value": value, "n": min(map(len, samples)), "p": 1.0, "bar": bar, "diverged": diverged}
    if diverged or found["n"] < 3:
        return found
    images, shares = TEST_IMAGES[one["dataset"]], []
    for sample in samples:
        right = min(max(np.mean(sample), 50 / images), 100 - 50 / images)
        floor = 0 if bits else right * (100 - right) / images
        shares.append(max(np.var(sample, ddof=1), floor) / len(sample))
    error = math.sqrt(sum(shares))
    freedom = error**4 / sum(share**2 / (len(sample) - 1) for share, sample in zip(shares, samples, strict=True))
    p = 2 * student_t.sf(abs(value - bar) / error, freedom)
    return found | {"error": error, "freedom": freedom, "p": p}


def printed(gap: dict | None, level: float, seeds: int) -> Line:
    """How a line must read whose interval may err in `level`."""
    if gap is None:
        return {"ours": "", "n": f"0/{seeds}", "verdict": "not run"}
    line = {"n": f"{gap['n']}/{seeds}", "ours": f"{gap['value']:+.1f}" if gap["n"] else ""}
    if gap["diverged"] or gap["n"] < 3:
        return line | {"verdict": f"undecided ({'a run diverged' if gap['diverged'] else 'fewer than 3 seeds'})"}

    def half(n: int) -> float:
        quantile = student_t.ppf(1 - level / 2, gap["freedom"] * (n - 1) / (gap["n"] - 1))
        return quantile * gap["error"] * math.sqrt(gap["n"] / n)

    low, high = max(gap["value"] - half(gap["n"]), -100), min(gap["value"] + half(gap["n"]), 100)
    needed = next((n for n in range(gap["n"], 101) if half(n) < abs(gap["value"] - gap["bar"])), None)
    cost = f"{needed} seeds might tell" if needed else "a hundred seeds would not tell"
    verdict = "yes" if low > gap["bar"] else "no" if high < gap["bar"] else f"undecided ({cost})"
    return line | {"ours": f"{gap['value']:+.1f} [{low:+.1f}, {high:+.1f}]", "verdict": verdict}


def holm(chances: list[float]) -> list[float]:
    """The level at which each is read."""
    levels, level, going = dict[int, float](), 0.0, True
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        level = 0.05 / (len(chances) - rank) if going else level
        going = going and chances[index] < level
        levels[index] = level
    return [levels[index] for index in range(len(chances))]


def deployed(root: Path) -> list[Line]:
    """The lines of memory and time, of the ImageNet form of 50 layers at 224x224."""
    rows = json.loads((root / "measured" / "memory.json").read_text())["rows"]
    resnet, plain = (
        next(row for row in rows if (row["name"], row["side"], row["variant"]) == (name, 224, ""))
        for name in ("ResNet-50", "plain-50, strictly plain")
    )
    share = 100 - 100 * plain["traffic"]["add out of place"] / resnet["traffic"]["add out of place"]
    times = resnet["peak"]["conv and add fused"] / plain["peak"]["conv and add fused"]
    ratios = []
    for path in sorted(root.glob("measured/latency-*.json")):
        timed = {
            cell["network"]: cell["milliseconds"]
            for cell in json.loads(path.read_text())["cells"]
            if (cell["side"], cell["batch"], cell["engine"], cell["precision"]) == (224, 1, "ONNX Runtime", "float32")
        }
        if {"ResNet-50", "plain-50, strictly plain"} <= timed.keys():
            pairs = np.array([timed["ResNet-50"], timed["plain-50, strictly plain"]])
            drawn = pairs[:, np.random.default_rng(0).integers(pairs.shape[1], size=(2000, pairs.shape[1]))]
            ends = np.percentile(np.divide(*np.median(drawn, axis=-1)), [2.5, 97.5])
            ratios.append((float(np.divide(*np.median(pairs, axis=-1))), *ends))
    middle = float(np.median([ratio for ratio, *_ in ratios]))
    low, high = min(low for _, low, _ in ratios), max(high for *_, high in ratios)
    faster = "yes" if low >= 1.4 else "no" if high < 1.4 else "undecided"
    return [
        {"ours": f"{share:.0f} %", "n": "", "verdict": "yes" if 35 <= share <= 45 else "no"},
        {"ours": f"{times:.2f}x", "n": "", "verdict": "yes" if times >= 1.25 else "no"},
        {"ours": f"{middle:.2f}x [{low:.2f}x, {high:.2f}x]", "n": "", "verdict": faster},
        compiled(root, lambda row: row["used"]["sram"], 1.25, only="Shared_Sram"),
        compiled(root, lambda row: row["milliseconds"], 1.4),
    ]


def compiled(root: Path, number: Callable[[Any], float], bar: float, only: str = "") -> Line:
    """What an NPU's compiler says on all targets, both networks compiled alike."""
    known = dict[tuple[str, str], float]()
    for row in json.loads((root / "measured" / "npu.json").read_text())["rows"]:
        wanted = row["name"] in ("ResNet-50", "plain-50, strictly plain") and row["side"] == 224
        if wanted and only in row["target"] and "refused" not in row:
            known[row["target"], row["name"]] = number(row)
    ratios = [known[place, "ResNet-50"] / known[place, "plain-50, strictly plain"] for place in {at for at, _ in known}]
    verdict = "yes" if min(ratios) >= bar else "no" if max(ratios) < bar else "undecided"
    return {"ours": f"{np.median(ratios):.2f}x [{min(ratios):.2f}x, {max(ratios):.2f}x]", "n": "", "verdict": verdict}


def questions(root: Path, written: Path) -> dict[str, Line]:
    """By what is asked, what the table must say of the runs of a store."""
    raw, found = Raw(root), dict[str, Line]()
    with written.open(newline="") as file:
        known = list(csv.DictReader(file))
    for family in {line["family"] for line in known}:
        asked = [line for line in known if line["family"] == family]
        seeds = [int(line["seeds"].split()[-1]) + 1 for line in asked]
        gaps = [welch(raw, n, *PAIRS[line["id"]]) for n, line in zip(seeds, asked, strict=True)]
        levels = holm([gap["p"] if gap else 1.0 for gap in gaps])
        for line, gap, level, n in zip(asked, gaps, levels, seeds, strict=True):
            found[line["question"]] = printed(gap, level, n)
    found["And at full width? (written down after its runs)"] = printed(welch(raw, 3, *FULL_WIDTH), 0.05, 3)
    return found

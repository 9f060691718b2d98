"""What the scorecard must print, computed again from the raw JSON files with json, numpy and scipy alone.

No arithmetic and no choice of runs is rdlib's.
"""

import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t

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
        every = {path.stem: json.loads(path.read_text()) for path in sorted(root.glob("runs/*/*.json"))}
        self.runs = {name: body for name, body in every.items() if "diverged" not in body}

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
        if reading.startswith("cifar100-2-epochs"):
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
    for reading in levels("", ", joint teacher"):
        of, kept = partial(raw.like, reading), kept_in(reading)
        options = FROZEN | ({"regime": "beside"} if "joint teacher" in reading else {})
        three = of("JointRD", kept, options), of("Supervised", "all"), of("Supervised", kept)
        found[reading] = level(*three) | {"notebook": "04"}
    return found


def levels(*teachers: str) -> Iterator[str]:
    """The readings of table 3 that have run."""
    for start, rates in (("quick-34", ("", ", learning rate 0.1")), ("cifar100-2-epochs-18", ("",))):
        for kept in ("strictly plain", "downsampling kept"):
            yield from (f"{start}, {kept}{teacher}{rate}" for teacher in teachers for rate in rates)


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
    for reading in levels(""):
        of, kept = partial(raw.like, reading), kept_in(reading)
        own = of("FeatureDistillation", kept, {"distance_weight": 0.001, "init": "scratch"})
        found[reading] = judged(gaps(of("JointRD", kept, FROZEN), own))
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

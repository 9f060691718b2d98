"""The verdicts: every claim of the paper beside our number, and published records beside reproduced ones."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rdlib.runs import Store
from rdlib.tables import PROFILES, SHORTCUTS, Cell, Profile, Row, cell, fill_command, paper, reported, rows_of, table3

SAME_LEVEL = 1.0  # points of top-1: about two seed deviations of a CIFAR-100 ResNet
RESOLUTION = 0.5  # points: a cell's deviation is taken as at least this, since three seeds may agree by luck


def find(rows: Sequence[Row], depth: int, method: str, shortcuts: str) -> Row:
    """The row of a depth, method and kind of shortcuts."""
    return next(r for r in rows if (r.depth, r.method, r.shortcuts) == (depth, method, shortcuts))


def difference(row: Row, other: Row, store: Store) -> Cell:
    """Paired over seeds: row minus other, in points of top-1; only seeds where both have a record count."""
    pairs = [(store.record(a), store.record(b)) for a, b in zip(row.runs, other.runs, strict=True)]
    gaps = tuple(a.top1 - b.top1 for a, b in pairs if a is not None and b is not None)
    return Cell(gaps, len(row.runs))


def signed(gap: Cell) -> str:
    return f"{gap.mean:+.1f}" + (f" ± {gap.std:.1f}" if len(gap.values) > 1 else "") if gap.values else ""


def interval(gap: Cell) -> str:
    """95 % confidence interval of a mean paired difference (Student's t), or nothing for fewer than two pairs."""
    from scipy.stats import t as student_t

    n = len(gap.values)
    if n < 2:
        return ""
    half = float(student_t.ppf(0.975, n - 1)) * gap.std / math.sqrt(n)
    return f"{gap.mean - half:+.1f} to {gap.mean + half:+.1f}"


def compared_to_baselines(profile: Profile, store: Store) -> pd.DataFrame:
    """Every taught network of table 3 against the plain and the ResNet of its depth: paired difference, interval, n."""
    lines = []
    rows = table3(profile)
    for row in rows:
        if row.method == "cross-entropy":
            continue
        line: dict[str, object] = {"cell": row.name}
        for name, kept in (("plain", row.shortcuts), ("ResNet", "all")):
            gap = difference(row, find(rows, row.depth, "cross-entropy", kept), store)
            line |= {f"minus {name}": signed(gap), f"95 % interval ({name})": interval(gap), "n": len(gap.values)}
        lines.append({"cell": line.pop("cell"), "n": line.pop("n"), **line})
    return pd.DataFrame(lines)


def same_level(jointrd: Row, resnet: Row, plain: Row, store: Store) -> tuple[str, str]:
    """Our paired difference to ResNet, and the verdict.

    Holds: at most SAME_LEVEL below ResNet. Holds in part: at least half of the gap between plain and ResNet is closed.
    """
    to_resnet, gap = difference(jointrd, resnet, store), difference(resnet, plain, store)
    if not to_resnet.values or not gap.values:
        return signed(to_resnet), "not run"
    if to_resnet.mean >= -SAME_LEVEL:
        return signed(to_resnet), "holds"
    return signed(to_resnet), "holds in part" if -to_resnet.mean <= gap.mean / 2 else "does not hold"


def claims(store: Store) -> dict[str, pd.DataFrame]:
    """Every claim and reported number with ours, its protocol, the verdict and where to look: the three parts
    "same level" (JointRD against its ResNet), "reported" (accuracies) and "untested"."""
    level, accuracies = [], []
    for profile in PROFILES.values():
        rows = table3(profile)
        for depth in profile.depths:
            resnet = find(rows, depth, "cross-entropy", "all")
            for kept in ("none", "downsample"):
                plain, jointrd = (find(rows, depth, method, kept) for method in ("cross-entropy", "JointRD"))
                gap = difference(jointrd, resnet, store)
                ours, verdict = same_level(jointrd, resnet, plain, store)
                level.append(
                    {
                        "data": profile.dataset,
                        "depth": depth,
                        "student": SHORTCUTS[kept],
                        "paper": "same level" if profile.name != "quick" else "",
                        "ours": ours,
                        **evidence(gap, profile, verdict),
                    }
                )
        for row in rows:
            theirs, ours_cell = reported(row), cell(row, store)
            if theirs is not None:
                close = abs(ours_cell.mean - theirs) <= SAME_LEVEL
                verdict = "not run" if not ours_cell.values else "holds" if close else "does not hold"
                accuracies.append(
                    {
                        "data": profile.dataset,
                        "network": row.name,
                        "reported": f"{theirs:.2f}",
                        "ours": str(ours_cell),
                        **evidence(ours_cell, profile, verdict),
                    }
                )
    untested = []
    known = paper().to_dict("index")
    for key, notebook in UNTESTED.items():
        entry = known[key]
        value = "" if math.isnan(entry["value"]) else f" {entry['value']:g} {entry['unit']}"
        untested.append(
            {
                "claim": entry["quantity"],
                "of": f"{entry['network']}-{entry['depth']:.0f}, {entry['dataset']}",
                "paper": f"{entry['comparison']}{value}",
                "verdict": "not tested",
                "look": f"{notebook} (to come)",
            }
        )
    return {name: pd.DataFrame(part) for name, part in zip(PARTS, (level, accuracies, untested), strict=True)}


PARTS = ("same level", "reported", "untested")
UNTESTED = {
    "claim_memory": "02_table1_memory",
    "claim_shortcut_share": "02_table1_memory",
    "claim_speedup": "03_table2_latency",
    "claim_transfer": "06_transfer",
}


def evidence(ours: Cell, profile: Profile, verdict: str) -> dict[str, object]:
    """The columns every line of the scorecard ends with."""
    done = bool(ours.values)
    return {
        "n": len(ours.values),
        "protocol": ("reduced" if profile.name == "quick" else "full") if done else "",
        "verdict": verdict,
        "look": "04_table3_cifar" if done else fill_command(profile, "3"),
    }


def verdicts(card: dict[str, pd.DataFrame]) -> str:
    """How often each verdict was given."""
    counts = pd.concat([part["verdict"] for part in card.values()]).value_counts()
    return ", ".join(f"{verdict}: {count}" for verdict, count in counts.sort_index().items())


def compare(profile: Profile, wanted: Profile, published: Store, reproduced: Store) -> pd.DataFrame:
    """Published against reproduced, cell by cell; `wanted` is the profile with the seeds that were reproduced.

    Agree: the two means differ by no more than a 95 % prediction interval of the published seeds allows,
    t(0.975, n - 1) * max(std, RESOLUTION) * sqrt(1/n + 1/m) for n published and m reproduced seeds.
    """
    from scipy.stats import t as student_t

    lines = []
    for old_row, new_row in zip(rows_of(profile), rows_of(wanted), strict=True):
        old, new = cell(old_row, published), cell(new_row, reproduced)
        n, m = len(old.values), len(new.values)
        verdict, allowed = "missing", float("nan")
        if n > 1 and m:
            spread = max(old.std, RESOLUTION)
            allowed = float(student_t.ppf(0.975, n - 1)) * spread * math.sqrt(1 / n + 1 / m)
            verdict = "yes" if abs(new.mean - old.mean) <= allowed else "NO"
        lines.append(
            {
                "cell": old_row.name,
                "published (%)": str(old),
                "n": n,
                "reproduced (%)": str(new),
                "m": m,
                "difference": "" if not (n and m) else f"{new.mean - old.mean:+.1f}",
                "allowed": "" if np.isnan(allowed) else f"± {allowed:.1f}",
                "agree": verdict,
            }
        )
    return pd.DataFrame(lines)

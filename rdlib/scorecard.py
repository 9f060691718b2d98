"""The verdicts: every claim of the paper beside our number, and published records beside reproduced ones."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rdlib.runs import Store
from rdlib.tables import PROFILES, Cell, Profile, Row, cell, fill_command, paper, reported, rows_of, table3

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


def same_level(jointrd: Row, resnet: Row, plain: Row, store: Store) -> tuple[str, str]:
    """Our paired difference to ResNet, and the verdict.

    Holds: at most SAME_LEVEL below ResNet. Holds in part: at least half of the gap between plain and ResNet is closed.
    """
    to_resnet, gap = difference(jointrd, resnet, store), difference(resnet, plain, store)
    if not to_resnet.values:
        return "", "not run"
    if to_resnet.mean >= -SAME_LEVEL:
        return signed(to_resnet), "holds"
    return signed(to_resnet), "holds in part" if -to_resnet.mean <= gap.mean / 2 else "does not hold"


def claims(store: Store) -> pd.DataFrame:
    """Every claim and reported number with ours, its protocol, the verdict and where to look."""
    lines: list[dict[str, object]] = []
    for name, profile in PROFILES.items():
        rows = table3(profile)
        for depth in profile.depths:
            resnet = find(rows, depth, "cross-entropy", "all")
            for shortcuts in ("none", "downsample"):
                plain, jointrd = (find(rows, depth, method, shortcuts) for method in ("cross-entropy", "JointRD"))
                ours, verdict = same_level(jointrd, resnet, plain, store)
                kept = "strictly plain" if shortcuts == "none" else "downsampling kept"
                lines.append(
                    {
                        "claim": f"JointRD plain-{depth} reaches ResNet-{depth} on {profile.dataset} ({kept})",
                        "paper": "" if name == "quick" else "the same level",
                        "ours": ours,
                        "unit": "points of top-1",
                        "n": len(difference(jointrd, resnet, store).values),
                        "protocol": protocol(profile) if ours else "",
                        "verdict": verdict,
                        "look": "04_table3_cifar" if ours else fill_command(profile, "3"),
                    }
                )
        lines += [reported_line(row, profile, store) for row in rows if reported(row) is not None]
    known = paper().to_dict("index")
    for key, notebook in UNTESTED.items():
        entry = known[key]
        value = "" if math.isnan(entry["value"]) else f"{entry['value']:g}"
        lines.append(
            {
                "claim": f"{entry['quantity']}, {entry['network']}, {entry['dataset']}",
                "paper": f"{entry['comparison']} {value}".strip(),
                "ours": "",
                "unit": entry["unit"],
                "n": 0,
                "protocol": "",
                "verdict": "not tested",
                "look": f"{notebook} (to come)",
            }
        )
    return pd.DataFrame(lines)


UNTESTED = {
    "claim_memory": "02_table1_memory",
    "claim_shortcut_share": "02_table1_memory",
    "claim_speedup": "03_table2_latency",
    "claim_transfer": "06_transfer",
}


def protocol(profile: Profile) -> str:
    return "reduced" if profile.name == "quick" else "full"


def reported_line(row: Row, profile: Profile, store: Store) -> dict[str, object]:
    """A reported accuracy beside ours; holds within SAME_LEVEL."""
    ours, theirs = cell(row, store), reported(row)
    assert theirs is not None
    verdict = "not run" if not ours.values else "holds" if abs(ours.mean - theirs) <= SAME_LEVEL else "does not hold"
    return {
        "claim": f"{row.name}, {profile.dataset}",
        "paper": f"{theirs:.2f}",
        "ours": str(ours),
        "unit": "% top-1",
        "n": len(ours.values),
        "protocol": protocol(profile) if ours.values else "",
        "verdict": verdict,
        "look": "04_table3_cifar" if ours.values else fill_command(profile, "3"),
    }


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

"""The verdicts: every claim of the paper beside our number, and published records beside reproduced ones."""

import math
from collections.abc import Sequence
from itertools import product

import pandas as pd

from rdlib import memory, speedup
from rdlib.latency_record import records as latency_records
from rdlib.profiles import PROFILES, Profile
from rdlib.rows import SHORTCUTS, Row
from rdlib.runs import Store
from rdlib.tables import (
    Cell,
    cell,
    fill_command,
    paper,
    records_of,
    rows_of,
    table3,
)

SAME_LEVEL = 1.0  # points of top-1: about two seed deviations of a CIFAR-100 ResNet
RESOLUTION = 0.5  # points: a cell's deviation is taken as at least this, since three seeds may agree by luck
BLURRED = 10.0  # points: where the allowed difference is larger, agreement would say nothing


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


def bounds(gap: Cell) -> tuple[float, float]:
    """95 % confidence interval of a mean paired difference (Student's t).

    Infinite for fewer than three pairs: two may agree by luck to the last digit, and would then claim certainty.
    """
    from scipy.stats import t as student_t

    n = len(gap.values)
    if n < 3:
        return -math.inf, math.inf
    half = float(student_t.ppf(0.975, n - 1)) * gap.std / math.sqrt(n)
    return gap.mean - half, gap.mean + half


def interval(gap: Cell) -> str:
    return "{:+.1f} to {:+.1f}".format(*bounds(gap)) if len(gap.values) > 2 else ""


def compared_to_baselines(rows: Sequence[Row], store: Store) -> pd.DataFrame:
    """Every taught network of table 3 against the plain and the ResNet of its depth: paired difference, n, interval."""
    lines = []
    for row in rows:
        if row.method != "cross-entropy":
            line: dict[str, object] = {"cell": row.name}
            for name, kept in (("plain", row.shortcuts), ("ResNet", "all")):
                gap = difference(row, find(rows, row.depth, "cross-entropy", kept), store)
                line |= {f"minus {name}": signed(gap), f"n ({name})": len(gap.values), f"95 % ({name})": interval(gap)}
            lines.append(line)
    return pd.DataFrame(lines)


def same_level(jointrd: Row, resnet: Row, plain: Row, store: Store) -> str:
    """The verdict on "JointRD plain reaches its ResNet".

    Holds: the whole 95 % interval of the paired difference lies above -SAME_LEVEL. Holds in part: the mean closes at
    least half of the gap between plain and ResNet. Otherwise it does not hold.
    """
    to_resnet, gap = difference(jointrd, resnet, store), difference(resnet, plain, store)
    if not to_resnet.values or not gap.values:
        return "not run"
    if bounds(to_resnet)[0] >= -SAME_LEVEL:
        return "holds"
    return "holds in part" if -to_resnet.mean <= gap.mean / 2 else "does not hold"


def claims(store: Store) -> dict[str, pd.DataFrame]:
    """Every claim and reported number with ours, its protocol, the verdict and where to look: the three parts
    "same level" (JointRD against its ResNet), "reported" (accuracies), "deployment" and "untested"."""
    known = paper().to_dict("index")
    level, accuracies, untested = [], [], []
    for profile in PROFILES.values():
        claimed = known["claim_accuracy_imagenet" if profile.dataset == "imagenet" else "claim_accuracy"]["comparison"]
        for table, rows in [(table, rows_of(profile, table)) for table in ("3", "3-low-rate", "4")]:
            for resnet in (row for row in rows if row.network == "ResNet"):
                for kept, taught_by in product(("none", "downsample"), ("JointRD", "JointRD, joint teacher")):
                    plain, jointrd = (find(rows, resnet.depth, m, kept) for m in ("cross-entropy", taught_by))
                    gap = difference(jointrd, resnet, store)
                    what = [SHORTCUTS[kept], taught_by.removeprefix("JointRD, "), resnet.setting]
                    level.append(
                        {
                            "profile": profile.name,
                            "depth": resnet.depth,
                            "student": ", ".join(part for part in what if part not in ("", "JointRD")),
                            "paper": claimed if profile.full else "",
                            "ours": signed(gap),
                            "95 % interval": interval(gap),
                            **evidence(jointrd, gap, profile, table, same_level(jointrd, resnet, plain, store), store),
                        }
                    )
        for row in table3(profile):
            for key in (row.reported, f"{row.reported}_hub"):
                if key in known:
                    theirs, ours = float(known[key]["value"]), cell(row, store)
                    close = abs(ours.mean - theirs) <= SAME_LEVEL
                    verdict = "not run" if not ours.values else "holds" if close else "does not hold"
                    accuracies.append(
                        {
                            "data": profile.dataset,
                            "network": row.name,
                            "reported": f"{theirs:.2f}",
                            "by": known[key]["source"].partition(",")[0],
                            "ours": str(ours),
                            **evidence(row, ours, profile, "3", verdict, store),
                        }
                    )
    for key, notebook in UNTESTED.items():
        entry = known[key]
        value = "" if math.isnan(entry["value"]) else f" {entry['value']:g} {entry['unit']}"
        depth = "" if math.isnan(entry["depth"]) else f"-{entry['depth']:.0f}"
        untested.append(
            {
                "claim": entry["quantity"],
                "of": f"{entry['network']}{depth}, {entry['dataset']}",
                "paper": f"{entry['comparison']}{value}",
                "verdict": "not tested",
                "look": f"{notebook} (to come)",
            }
        )
    return {
        name: pd.DataFrame(part)
        for name, part in zip(PARTS, (level, accuracies, deployment(store), untested), strict=True)
    }


PARTS = ("same level", "reported", "deployment", "untested")
UNTESTED = {"claim_transfer": "06_transfer"}
NEAR = 5.0  # points within which a share is "about" the claimed one
DEPLOYED = (50, 224)  # depth and side of the paper's claims on memory and speed


def deployment(store: Store) -> list[dict[str, object]]:
    """The claims on memory and speed, strictly plain-50 against ResNet-50 at 224x224, in every reading we can measure.

    A share holds within NEAR points of the claimed one. A reduction or speed-up holds at the claimed number or above;
    of times the whole 95 % interval must be (where the number lies within, it cannot be told).
    """
    lines = [line for key in ("claim_shortcut_share", "claim_memory") for line in memory_claims(key, store)]
    return [*lines, *speed_claims(store)]


def claim_line(key: str, reading: str, ours: str, verdict: str, look: str) -> dict[str, object]:
    known = paper().to_dict("index")[key]
    claimed = f"{known['comparison']} {known['value']:g} {known['unit']}"
    claim: dict[str, object] = {"claim": known["quantity"], "paper": claimed}
    return claim | {"read as": reading, "ours": ours, "verdict": verdict, "look": look}


def claimed_value(key: str) -> float:
    return float(paper()["value"].to_dict()[key])


def memory_claims(key: str, store: Store) -> list[dict[str, object]]:
    path = store.root / "measured" / memory.RECORD.name
    if not path.exists():
        return [claim_line(key, "", "", "not run", memory.COMMAND)]
    (depth, side), claimed = DEPLOYED, claimed_value(key)
    record, lines = memory.read(path), []
    resnet, plain = (
        memory.find(record, name.format(depth), side) for name in ("ResNet-{}", "plain-{}, strictly plain")
    )
    for kind, reading in (("traffic", "written, {}"), ("peak", "planned peak, {}"), ("arena", "measured peak, {}")):
        for executor, whole in resnet[kind].items():
            if whole is None:
                continue
            share, times = 100 * (1 - plain[kind][executor] / whole), whole / plain[kind][executor]
            holds = abs(share - claimed) <= NEAR if key == "claim_shortcut_share" else times >= claimed
            ours = f"{share:.1f} %" if key == "claim_shortcut_share" else f"{times:.2f}x"
            verdict = "holds" if holds else "does not hold"
            lines.append(claim_line(key, reading.format(executor), ours, verdict, "02_table1_memory"))
    return lines


def speed_claims(store: Store) -> list[dict[str, object]]:
    (depth, side), claimed = DEPLOYED, claimed_value("claim_speedup")
    lines = []
    for machine, of in speedup.by_machine(latency_records(store.root / "measured")).items():
        for cell_, one in speedup.first_of_each(of.values()).items():
            if (cell_.depth, cell_.side, cell_.batch, cell_.shortcuts) == (depth, side, 1, "none"):
                verdict = "holds" if one.low >= claimed else "cannot tell" if one.high >= claimed else "does not hold"
                reading = f"{cell_.engine}, {cell_.precision}, batch 1, {machine}"
                lines.append(claim_line("claim_speedup", reading, str(one), verdict, "03_table2_latency"))
    return lines or [claim_line("claim_speedup", "", "", "not run", "python -m rdlib measure latency")]


NOTEBOOK_OF = {"3": "04_table3_cifar", "3-low-rate": "04_table3_cifar", "4": "05_table4_imagenet"}


def evidence(row: Row, ours: Cell, profile: Profile, table: str, verdict: str, store: Store) -> dict[str, object]:
    """The columns every line of the scorecard ends with."""
    protocols = sorted({record.provenance["protocol"] for record in records_of(row, store)})
    return {
        "n": len(ours.values),
        "protocol": " and ".join(protocols),
        "verdict": verdict,
        "look": NOTEBOOK_OF[table] if ours.values else fill_command(profile, table),
    }


def verdicts(card: dict[str, pd.DataFrame]) -> str:
    """How often each verdict was given."""
    counts = pd.concat([part["verdict"] for part in card.values()]).value_counts()
    return ", ".join(f"{verdict}: {count}" for verdict, count in counts.sort_index().items())


def compare(profile: Profile, wanted: Profile, published: Store, reproduced: Store) -> pd.DataFrame:
    """Published against reproduced, cell by cell; `wanted` is the profile with the seeds that were reproduced.

    "identical": every reproduced seed gave exactly its published value, as it should on an equal processor with equal
    versions. Else "yes" where the means differ by no more than the 99 % prediction interval of the published seeds,
    t(0.995, n - 1) * max(std, RESOLUTION) * sqrt(1/n + 1/m) for n published and m reproduced seeds; "cannot tell"
    where that is more than BLURRED points; "NO" otherwise; "missing" without a record.
    """
    from scipy.stats import t as student_t

    lines = []
    for old_row, new_row in zip(rows_of(profile), rows_of(wanted), strict=True):
        old, new = cell(old_row, published), cell(new_row, reproduced)
        n, m = len(old.values), len(new.values)
        allowed = math.nan
        if n > 1 and m:
            spread = max(old.std, RESOLUTION)
            allowed = float(student_t.ppf(0.995, n - 1)) * spread * math.sqrt(1 / n + 1 / m)
        if m < new.wanted or n < old.wanted:
            verdict = "missing"
        elif old.values[:m] == new.values:
            verdict = "identical"
        elif not allowed <= BLURRED:
            verdict = "cannot tell"
        else:
            verdict = "yes" if abs(new.mean - old.mean) <= allowed else "NO"
        lines.append(
            {
                "cell": old_row.name,
                "published (%)": str(old),
                "n": n,
                "reproduced (%)": str(new),
                "m": m,
                "difference": f"{new.mean - old.mean:+.1f}" if n and m else "",
                "allowed": "" if math.isnan(allowed) else f"± {allowed:.1f}",
                "agree": verdict,
            }
        )
    return pd.DataFrame(lines)

"""What the paper says that can be measured: the same level, reported accuracies, memory, speed, transfer; and ours."""

from dataclasses import replace
from itertools import product

from rdlib import memory, speedup
from rdlib.differences import LEAST, SAME_LEVEL, bounds, difference, find
from rdlib.latency_record import LatencyRecord
from rdlib.latency_record import records as latency_records
from rdlib.profiles import PROFILES
from rdlib.readings import (
    FAILS,
    FULL,
    HOLDS,
    IN_PART,
    NOT_RUN,
    UNDECIDED,
    Reading,
    claimed,
    claimed_value,
    told,
)
from rdlib.rows import SHORTCUTS, Row
from rdlib.runs import Store
from rdlib.tables import cell, fill_command, paper, records_of, rows_of, table3

DATA = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
NOTEBOOK_OF = {"3": "04_table3_cifar", "3-low-rate": "04_table3_cifar", "4": "05_table4_imagenet"}
NEAR = 5.0  # points within which a share is "about" the claimed one
DEPLOYED = (50, 224)  # depth and side of the paper's claims on memory and speed
ELSEWHERE = f"{FULL}, other device"  # than the paper's mobile NPU, which is not at hand
TOLD = {
    "claim_shortcut_share": "of feature maps: shortcuts",
    "claim_memory": "less memory",
    "claim_speedup": "faster",
}


def protocol_of(row: Row, store: Store) -> str:
    return " and ".join(sorted({record.provenance["protocol"] for record in records_of(row, store)}))


def same_level(jointrd: Row, resnet: Row, plain: Row, store: Store) -> str:
    """The verdict on "JointRD plain reaches its ResNet".

    Holds: the whole 95 % interval of the paired difference lies above -SAME_LEVEL. Holds in part: the mean closes at
    least half of the gap between plain and ResNet. Does not hold: the whole interval lies below -SAME_LEVEL. Cannot
    tell: anything else, and fewer than LEAST pairs.
    """
    to_resnet, gap = difference(jointrd, resnet, store), difference(resnet, plain, store)
    if not to_resnet.values or not gap.values:
        return NOT_RUN
    low, high = bounds(to_resnet)
    if len(to_resnet.values) < LEAST:
        return UNDECIDED
    if low >= -SAME_LEVEL:
        return HOLDS
    if -to_resnet.mean <= gap.mean / 2:
        return IN_PART
    return FAILS if high < -SAME_LEVEL else UNDECIDED


def levels(store: Store) -> list[Reading]:
    """JointRD minus the ResNet of its depth, paired over seeds: every profile, reading of "plain" and teacher."""
    found = []
    papers_first = sorted(PROFILES.values(), key=lambda profile: profile.dataset == "digits")
    for profile, table in product(papers_first, NOTEBOOK_OF):
        rows = rows_of(profile, table)
        for resnet in (row for row in rows if row.network == "ResNet"):
            for kept, taught_by in product(("none", "downsample"), ("JointRD", "JointRD, joint teacher")):
                plain, jointrd = (find(rows, resnet.depth, how, kept) for how in ("cross-entropy", taught_by))
                gap, verdict = difference(jointrd, resnet, store), same_level(jointrd, resnet, plain, store)
                what = (SHORTCUTS[kept], taught_by.removeprefix("JointRD").removeprefix(", "), resnet.setting)
                key = "claim_accuracy_imagenet" if profile.dataset == "imagenet" else "claim_accuracy"
                blank = Reading(
                    f"same level as ResNet, {DATA[profile.dataset]}",
                    f"{profile.name}-{resnet.depth}, {', '.join(part for part in what if part)}",
                    told(key) if profile.full else "",
                    protocol=protocol_of(jointrd, store),
                    look=NOTEBOOK_OF[table],
                    fill=fill_command(profile, table),
                )
                found.append(blank if verdict == NOT_RUN else blank.filled(gap, verdict))
    return found


def reported(store: Store) -> list[Reading]:
    """Every reported accuracy beside the mean of our seeds; where "plain" has two readings, beside both."""
    known, found = paper().to_dict("index"), []
    for profile in PROFILES.values():
        for row in table3(profile):
            for key in (row.reported, f"{row.reported}_hub"):
                if key in known:
                    theirs, ours = float(known[key]["value"]), cell(row, store)
                    blank = Reading(
                        f"reported accuracies, {DATA[profile.dataset]}",
                        f"{profile.name}, {row.name}",
                        f"{theirs:.2f}",
                        form="{:.2f}",
                        protocol=protocol_of(row, store),
                        look="04_table3_cifar",
                        fill=fill_command(profile, "3"),
                        more={"by": known[key]["source"].partition(" ")[0]},
                    )
                    close = abs(ours.mean - theirs) <= SAME_LEVEL
                    found.append(blank.filled(ours, HOLDS if close else FAILS))
    return found


def sources() -> list[str]:
    """Who reports accuracies."""
    known = paper()
    return list(dict.fromkeys(known[known["value"].notna() & (known["table"] == "3")]["source"]))


def memory_claim(key: str, store: Store) -> list[Reading]:
    """Strictly plain-50 against ResNet-50 at 224x224, one image: as written, planned and measured, for each executor.

    Raises RecordError where the record is damaged or lacks these networks.
    """
    claim, look = f"{claimed(key)} {TOLD[key]}", "02_table1_memory"
    path = store.root / "measured" / memory.RECORD.name
    if not path.exists():
        return [Reading(claim, "", told(key), look=look, fill=memory.COMMAND)]
    (depth, side), bar, found = DEPLOYED, claimed_value(key), []
    record = memory.read(path)
    resnet, plain = (
        memory.find(record, name.format(depth), side) for name in ("ResNet-{}", "plain-{}, strictly plain")
    )
    is_share = key == "claim_shortcut_share"
    for kind, reading in (("traffic", "written, {}"), ("peak", "planned peak, {}"), ("arena", "measured peak, {}")):
        for executor, whole in resnet[kind].items():
            if whole is None:
                continue
            share, times = 100 * (1 - plain[kind][executor] / whole), whole / plain[kind][executor]
            holds = abs(share - bar) <= NEAR if is_share else times >= bar
            found.append(
                Reading(
                    claim,
                    reading.format(executor),
                    told(key),
                    share if is_share else times,
                    form="{:.1f} %" if is_share else "{:.2f}x",
                    n=1,
                    protocol=ELSEWHERE if kind == "arena" else FULL,
                    verdict=HOLDS if holds else FAILS,
                    look=look,
                )
            )
    return found


def speed_claim(store: Store) -> list[Reading]:
    """Strictly plain-50 against ResNet-50 at 224x224, one image: every engine, precision and machine."""
    (depth, side), bar, found = DEPLOYED, claimed_value("claim_speedup"), []
    claim, look = f"{claimed('claim_speedup')} {TOLD['claim_speedup']}", "03_table2_latency"
    for machine, of in speedup.by_machine(latency_records(store.root / "measured")).items():
        here = [cells_at(one, depth, side) for one in of.values()]
        for key, one in speedup.first_of_each(here).items():
            if key.shortcuts == "none":
                found.append(
                    Reading(
                        claim,
                        f"{key.engine}, {key.precision}, {machine}",
                        told("claim_speedup"),
                        value=one.ratio,
                        low=one.low,
                        high=one.high,
                        form="{:.2f}x",
                        n=next(len(record.times[key]) for record in here if key in record.times),
                        protocol=ELSEWHERE,
                        verdict=HOLDS if one.low >= bar else UNDECIDED if one.high >= bar else FAILS,
                        look=look,
                    )
                )
    return found or [Reading(claim, "", told("claim_speedup"), look=look, fill="python -m rdlib measure latency")]


def cells_at(record: LatencyRecord, depth: int, side: int) -> LatencyRecord:
    """A record's cells of that depth and side, one image at a time."""
    kept = {key: times for key, times in record.times.items() if (key.depth, key.side, key.batch) == (depth, side, 1)}
    return replace(record, times=kept)

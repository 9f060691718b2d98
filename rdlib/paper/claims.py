"""What the paper says that can be measured: the same level, reported accuracies, memory, speed, transfer; and ours."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, JOINT_TEACHER, JOINTRD, Row, listed
from rdlib.experiments.tables import cell, fill_command, in_store, paper, records_of, rows_of, table3
from rdlib.measure import memory, speedup
from rdlib.measure.latency_record import COMMAND, LatencyRecord
from rdlib.measure.latency_record import records as latency_records
from rdlib.models import KINDS, SHORTCUTS, Shortcuts
from rdlib.paper.readings import FULL, Reading, claimed, claimed_value, told
from rdlib.paper.statistics import (
    FAILS,
    HOLDS,
    IN_PART,
    LEAST,
    NOT_RUN,
    SAME_LEVEL,
    UNDECIDED,
    bounds,
    difference,
    find,
)
from rdlib.recipe import PAPER_RECIPES
from rdlib.runs.store import Store

DATA = {
    "digits": "digits",
    "cifar10-small": "CIFAR-10 at 16x16",
    "cifar100-small": "CIFAR-100 at 16x16",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
}
NOTEBOOK_OF = {
    "3": "04_table3_cifar",
    "3-low-rate": "04_table3_cifar",
    "4": "05_table4_imagenet",
    "depth": "08_who_teaches_early_layers",
}
STUDENTS = (JOINTRD, JOINT_TEACHER)
NEAR = 5.0  # points within which a share is "about" the claimed one
DEPLOYED = (50, 224)  # depth and side of the paper's claims on memory and speed
OTHER_DEVICE = "other device"  # than the paper's mobile NPU, which is not at hand
ALLOCATED = f"{FULL}, {OTHER_DEVICE}"  # bytes follow from shapes and executor, on any device; times do not
TOLD = {
    "claim_shortcut_share": "of feature maps: shortcuts",
    "claim_memory": "less memory",
    "claim_speedup": "faster",
}


def protocol_of(row: Row, store: Store) -> str:
    return " and ".join(sorted({record.provenance["protocol"] for record in records_of(row, store)}))


def same_level(jointrd: Row, resnet: Row, plain: Row, store: Store) -> str:
    """The verdict on "JointRD plain reaches its ResNet".

    Does not hold: the whole 95 % interval of the paired difference lies below -SAME_LEVEL. Holds: it lies above. Holds
    in part: neither, and the mean closes at least half of the gap between plain and ResNet. Cannot tell: anything else,
    and fewer than LEAST pairs.
    """
    to_resnet, gap = difference(jointrd, resnet, store), difference(resnet, plain, store)
    if not to_resnet.values or not gap.values:
        return NOT_RUN
    low, high = bounds(to_resnet)
    if len(to_resnet.values) < LEAST:
        return UNDECIDED
    if high < -SAME_LEVEL:
        return FAILS
    if low >= -SAME_LEVEL:
        return HOLDS
    return IN_PART if -to_resnet.mean <= gap.mean / 2 else UNDECIDED


def levels(store: Store) -> list[Reading]:
    """JointRD minus the ResNet of its depth, paired over seeds: every profile, depth, plain network and teacher."""
    found, seen = [], set()
    papers_first = sorted(PROFILES.values(), key=lambda profile: profile.dataset not in PAPER_RECIPES)
    for profile, table in product(papers_first, NOTEBOOK_OF):
        rows = rows_of(profile, table)
        for jointrd in (row for row in rows if row.teaching in STUDENTS and row.runs not in seen):
            seen.add(jointrd.runs)  # a cell that stands in two tables is one reading
            resnet, plain = (find(rows, jointrd.depth, CROSS_ENTROPY, kept) for kept in ("all", jointrd.shortcuts))
            gap, verdict = difference(jointrd, resnet, store), same_level(jointrd, resnet, plain, store)
            what = listed(
                f"{profile.name}-{resnet.depth}",
                SHORTCUTS[jointrd.shortcuts],
                "joint teacher" * (jointrd.teaching == JOINT_TEACHER),
                resnet.setting,
            )
            key = "claim_accuracy_imagenet" if profile.dataset == "imagenet" else "claim_accuracy"
            blank = Reading(
                f"same level as ResNet, {DATA[profile.dataset]}",
                what,
                told(key) if profile.full else "",
                protocol=protocol_of(jointrd, store),
                look=NOTEBOOK_OF[table],
                fill=fill_command(profile, table, store),
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
                        fill=fill_command(profile, "3", store),
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
    """Plain-50 against ResNet-50 at 224x224, one image: as written, planned and measured, for each executor.

    Both readings of "plain"; of the share of shortcuts strictly plain alone, since it alone removes them all. Raises
    RecordError where the record is damaged or lacks these networks.
    """
    path, found = store.root / "measured" / memory.RECORD.name, list[Reading]()
    blank = deployed(key, "02_table1_memory", in_store(memory.COMMAND, store))
    if not path.exists():
        return [blank]
    (depth, side), record = DEPLOYED, memory.read(path)
    resnet = memory.find(record, KINDS["all"].format(depth), side)
    is_share = key == "claim_shortcut_share"
    students: tuple[Shortcuts, ...] = ("none",) if is_share else ("none", "downsample")
    for kept in students:
        plain = memory.find(record, KINDS[kept].format(depth), side)
        for kind, name in (("traffic", "written"), ("peak", "planned peak"), ("arena", "measured peak")):
            for executors, whole, ours in alike(resnet[kind], plain[kind], together=kind == "traffic"):
                value = 100 * (1 - ours / whole) if is_share else whole / ours
                holds = abs(value - claimed_value(key)) <= NEAR if is_share else value >= claimed_value(key)
                one = replace(
                    blank,
                    reading=f"{SHORTCUTS[kept]}, {name}, {executors}",
                    value=value,
                    form="{:.1f} %" if is_share else "{:.2f}x",
                    n=1,
                    protocol=ALLOCATED if kind == "arena" else FULL,
                    verdict=HOLDS if holds else FAILS,
                    fill="",
                )
                found.append(one)
    return found


def deployed(key: str, look: str, fill: str) -> Reading:
    """A claim on deployed networks, not run yet."""
    return Reading(f"{claimed(key)} {TOLD[key]}", "", told(key), look=look, fill=fill)


def alike(
    resnet: Mapping[str, int | None], plain: Mapping[str, int | None], together: bool
) -> list[tuple[str, int, int]]:
    """Executors with the bytes of both networks; `together`: those with the same bytes are one, for nothing in what is
    written tells them apart."""
    groups: dict[tuple[object, ...], list[str]] = {}
    taken = {executor: (whole, ours) for executor, whole in resnet.items() if whole and (ours := plain[executor])}
    for executor, pair in taken.items():
        groups.setdefault(pair if together else (executor,), []).append(executor)
    return [(" or ".join(names), *taken[names[0]]) for names in groups.values()]


def speed_claim(store: Store) -> list[Reading]:
    """Plain-50 against ResNet-50 at 224x224, one image: both readings of "plain", every engine, precision and machine,
    over all sessions that timed them; the interval covers those of the sessions."""
    bar, found = claimed_value("claim_speedup"), list[Reading]()
    blank = deployed("claim_speedup", "03_table2_latency", in_store(COMMAND, store))
    for machine, of in speedup.by_machine(latency_records(store.root / "measured")).items():
        sessions = [cells_at(one, *DEPLOYED) for one in of.values()]
        ratios = [speedup.speedups(one) for one in sessions]
        timed = sorted({cell for one in ratios for cell in one if cell.shortcuts != "all"})
        for key in sorted(timed, key=lambda cell: cell.shortcuts != "none"):
            times = [one[key] for one in ratios if key in one]
            passes = [len(one.times[key]) for one, here in zip(sessions, ratios, strict=True) if key in here]
            low, high = min(one.low for one in times), max(one.high for one in times)
            one = replace(
                blank,
                reading=f"{SHORTCUTS[key.shortcuts]}, {key.engine}, {key.precision}",
                value=min(one.ratio for one in times),
                highest=max(one.ratio for one in times),
                low=low,
                high=high,
                form="{:.2f}x",
                n=sum(passes),
                protocol=OTHER_DEVICE,
                verdict=HOLDS if low >= bar else UNDECIDED if high >= bar else FAILS,
                more={"machine": machine, "sessions": str(len(times))},
                fill="",
            )
            found.append(one)
    return found or [blank]


def cells_at(record: LatencyRecord, depth: int, side: int) -> LatencyRecord:
    """A record's cells of that depth and side, one image at a time."""
    kept = {key: times for key, times in record.times.items() if (key.depth, key.side, key.batch) == (depth, side, 1)}
    return replace(record, times=kept)

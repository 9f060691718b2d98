"""What the NPU's compiler estimates, in tables: time and memory against the ResNet's, order, and random weights.

Every table names a target in two columns: the processor with its system and memory, and what the compiler saves.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from rdlib.deploy.vela import add_share
from rdlib.measure.npu import UNTRAINED, for_size, system_of
from rdlib.models import KINDS, SHORTCUTS

Row = Mapping[str, Any]  # of the record: a network on a target
Record = Mapping[str, Any]
Number = Callable[[Row], float]
KIB = 2**10


def cycles(row: Row) -> float:
    return float(row["cycles"])


def sram(row: Row) -> float:
    """Bytes of SRAM in use at the peak."""
    return float(row["used"]["sram"])


def feature_maps(row: Row, *memories: str) -> float:
    """Bytes of feature maps that one inference reads and writes, in these memories or in all."""
    moved = [row["moved"].get(memory, {}) for memory in memories or row["moved"]]
    return float(sum(count for each in moved for access, count in each.items() if access.startswith("feature_map")))


def by_target(record: Record, side: int, depth: int) -> dict[str, dict[str, Row]]:
    """Rows of untrained networks of one side and depth, by target and name; targets on which the ResNet was tried."""
    found: dict[str, dict[str, Row]] = {}
    for row in record["rows"]:
        if (row["side"], row["depth"], row["weights"]) == (side, depth, UNTRAINED):
            found.setdefault(row["target"], {})[row["name"]] = row
    return {target: of for target, of in found.items() if KINDS["all"].format(depth) in of}


def named(row: Row) -> dict[str, str]:
    """The target of a row in two columns."""
    return {"target": place(row), "compiled for": "size" if for_size(row) else "speed"}


def place(row: Row) -> str:
    """The target without what the compiler saves."""
    accelerator, system, memory = system_of(row)
    _, family, size = accelerator.upper().split("-")
    system = system.removeprefix(f"Ethos_{family}_").removeprefix("SYS_")
    return f"{family}-{size} {system} {memory.replace('Dedicated_Sram_', '').replace('Shared_Sram', 'shared SRAM')}"


def said(row: Row, what: Callable[[Row], str]) -> str:
    """Something of a row, or that the compiler found no room for that network on its target."""
    return "no room" if "refused" in row else what(row)


def times_less(whole: Row, row: Row, number: Number) -> str:
    """How many times less than the ResNet, which itself may have had no room."""
    return said(row, lambda row: "fits" if "refused" in whole else f"{number(whole) / number(row):.2f}x")


def compared(
    record: Record,
    side: int,
    depth: int,
    number: Number,
    unit: float,
    head: str,
    variants: bool = False,
    more: Mapping[str, Callable[[Row], str]] | None = None,
) -> pd.DataFrame:
    """A line a target: a number of the ResNet in units, under `head`, and how many times less the others have.

    variants: of the ResNets made as cheap as the plain network, instead of those with fewer shortcuts. more: columns
    of the ResNet besides.
    """
    lines = []
    for of in by_target(record, side, depth).values():
        whole = of[KINDS["all"].format(depth)]
        line = named(whole) | {f"ResNet-{depth} ({head})": shown(whole, number, unit)}
        for row in of.values():
            if row is not whole and bool(row["variant"]) == variants:
                line[row["variant"] or SHORTCUTS[row["shortcuts"]]] = times_less(whole, row, number)
        lines.append(line | {name: said(whole, what) for name, what in (more or {}).items()})
    return pd.DataFrame(lines)


def shown(row: Row, number: Number, unit: float) -> str:
    """A number in units: three digits, or as many as its whole part has."""
    return said(row, lambda row: f"{number(row) / unit:{'.3g' if number(row) < 100 * unit else '.0f'}}")


def times(record: Record, side: int, depth: int, variants: bool = False) -> pd.DataFrame:
    """Milliseconds of the ResNet, how many times as fast the others are, and Add's share of the ResNet's cycles."""
    more = {} if variants else {"Add's cycles": lambda row: f"{add_share(row['operators'], row['cycles']):.1%}"}
    return compared(record, side, depth, lambda row: row["milliseconds"], 1, "ms", variants, more)


def overview(record: Record, side: int, depth: int) -> pd.DataFrame:
    """A line a target: the ResNet's milliseconds and SRAM, and of the two readings of plain how many times less."""
    shown = times(record, side, depth)
    if shown.empty:
        return shown
    shown = shown.drop(columns="Add's cycles")
    used = compared(record, side, depth, sram, KIB, "KiB of SRAM").drop(columns=["target", "compiled for"])
    plain = [SHORTCUTS[kind] for kind in SHORTCUTS if kind != "all"]
    faster, less = ({name: f"{name}, {what}" for name in plain} for what in ("faster", "less SRAM"))
    return shown.rename(columns=faster).join(used.rename(columns=less))


def best_of_both(record: Record, side: int, depth: int) -> pd.DataFrame:
    """A line a target, without what is saved: how many times as fast as the ResNet, each network with the faster of its
    two compilations."""
    best: dict[str, dict[str, float]] = {}
    for of in by_target(record, side, depth).values():
        for row in of.values():
            if not row["variant"] and "refused" not in row:
                least = best.setdefault(place(row), {})
                least[row["shortcuts"]] = min(cycles(row), least.get(row["shortcuts"], float("inf")))
    lines = []
    for target, least in best.items():
        known = [kind for kind in SHORTCUTS if kind != "all" and {"all", kind} <= least.keys()]
        lines.append({"target": target} | {SHORTCUTS[kind]: f"{least['all'] / least[kind]:.2f}x" for kind in known})
    return pd.DataFrame(lines).fillna("no room")


def order(record: Record, planned: Record, executor: str) -> pd.DataFrame:
    """A line a target: of all pairs of untrained networks of one side, in how many the planner's traffic (bytes
    written, float32) and the compiler's (int8) name the same as the smaller: by what it writes, and by what it reads
    and writes."""
    plans = {(row["name"], row["side"]): row["traffic"][executor] for row in planned["rows"]}
    lines = []
    for target in dict.fromkeys(row["target"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["target"] == target and "refused" not in row]
        rows = [row for row in rows if row["weights"] == UNTRAINED and (row["name"], row["side"]) in plans]
        pairs = [(a, b) for a, b in combinations(rows, 2) if a["side"] == b["side"]]
        if pairs:
            same = {"same by writes": written, "by reads and writes": feature_maps}
            agreed = {name: sum(agree(*pair, plans, number) for pair in pairs) for name, number in same.items()}
            lines.append({**named(rows[0]), "pairs": len(pairs), **agreed})
    return pd.DataFrame(lines)


def written(row: Row) -> float:
    """Bytes of feature maps that one inference writes, in all memories."""
    return float(sum(each["feature_map_write"] for each in row["moved"].values()))


def agree(a: Row, b: Row, plans: Mapping[tuple[str, int], float], number: Number) -> bool:
    planned = plans[a["name"], a["side"]] - plans[b["name"], b["side"]]
    return planned * (number(a) - number(b)) >= 0


def trained(record: Record) -> pd.DataFrame:
    """What trained weights change against random ones in the same network: its size as the compiler encodes it, and its
    cycles, from the least to the greatest change over all targets."""
    rows = {(row["name"], row["weights"], row["target"]): row for row in record["rows"] if "refused" not in row}
    changes: dict[str, list[tuple[float, float]]] = {}
    for (name, weights, target), row in rows.items():
        if weights != UNTRAINED and (bare := rows.get((name, UNTRAINED, target))):
            encoded, more = (row[key] / bare[key] - 1 for key in ("encoded_weights", "cycles"))
            changes.setdefault(weights, []).append((encoded, more))
    lines = []
    for weights, of in changes.items():
        encoded, more = (f"{min(each):+.1%} to {max(each):+.1%}" for each in zip(*of, strict=True))
        lines.append({"trained weights": weights, "targets": len(of), "encoded size": encoded, "cycles": more})
    return pd.DataFrame(lines)


def additions(record: Record) -> dict[str, set[int]]:
    """By reading of plain, how many additions the compiler has in its networks, on any target."""
    found: dict[str, set[int]] = {}
    for row in record["rows"]:
        if "refused" not in row:
            found.setdefault(row["shortcuts"], set()).add(row["operators"].get("Add", {"count": 0})["count"])
    return found


def on_cpu(record: Record) -> int:
    """How many operators of all rows are left to the CPU."""
    return sum(row["on_cpu"] + sum(row["outside"].values()) for row in record["rows"] if "refused" not in row)

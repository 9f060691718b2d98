"""What the shortcut costs when deployed, as one reading a question: ResNet-50 against strictly plain-50 at 224x224.

Notebooks 08 and 09 have every executor, engine, depth and size; these are the readings that the front page answers by.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import pandas as pd

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE
from rdlib.experiments.handwritten import paper
from rdlib.experiments.tables import in_store
from rdlib.measure import latency_record, memory, npu, speedup
from rdlib.models import KINDS
from rdlib.paper.npu import Number, by_target, cycles, sram
from rdlib.paper.rendering import Shown
from rdlib.paper.statistics import NO, NOT_RUN, UNDECIDED, YES
from rdlib.runs.store import Store

DEPTH, SIDE = 50, 224
NEAR = 5.0  # points within which a share is "about" the claimed one
COMPILER = "an NPU's compiler, estimated"
ENGINE, PRECISION = "ONNX Runtime", "float32"


@dataclass(frozen=True)
class Deployed:
    """A question on the deployed network. low and high: bounds of the value, from the sessions that timed it, or the
    targets that it was compiled for."""

    question: str
    look: str
    fill: str
    form: str = "{:.2f}x"
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = NOT_RUN

    @property
    def line(self) -> dict[str, str]:
        """A line of the table of questions."""
        ours = "" if math.isnan(self.value) else self.form.format(self.value)
        ends = "" if math.isnan(self.low) else f" [{self.form}, {self.form}]".format(self.low, self.high)
        return {
            "question": self.question,
            "on": f"ImageNet form, {DEPTH} layers",
            "ours": ours + ends,
            "n": "",
            "verdict": self.verdict,
            "notebook": self.look,
        }


def answers(store: Store) -> list[Deployed]:
    """Traffic, planned peak and time; then memory and time by an NPU's compiler. Raises RecordError for a damaged
    record."""
    return [written_bytes(store), peak(store), time(store), compiled_sram(store), compiled_time(store)]


def shown(store: Store, notebook: str) -> Shown:
    """What a notebook, by its number, opens with: its answers, and what makes those that are missing."""
    found = [one for one in answers(store) if one.look == notebook]
    lines = [{name: one.line[name] for name in ("question", "ours", "verdict")} for one in found]
    return Shown(pd.DataFrame(lines), [f"to fill: {one.fill}" for one in found if one.verdict == NOT_RUN])


def claimed(key: str) -> float:
    """The paper's value of a claim."""
    return float(paper()["value"].to_dict()[key])


def bytes_of(store: Store, what: str, executor: str) -> tuple[float, float]:
    """Of ResNet-50 and of strictly plain-50; NaN without a record."""
    path = store.root / "measured" / memory.RECORD.name
    if not path.exists():
        return math.nan, math.nan
    record = memory.read(path)
    resnet, plain = (memory.find(record, KINDS[kept].format(DEPTH), SIDE)[what][executor] for kept in ("all", "none"))
    return resnet, plain


def written_bytes(store: Store) -> Deployed:
    """Are shortcuts about 40 % of the feature-map bytes that are written?"""
    share = claimed("claim_shortcut_share")
    resnet, plain = bytes_of(store, "traffic", OUT_OF_PLACE)
    question = f"Are shortcuts about {share:g} % of the feature maps written? (not fused)"
    ours = 100 * (1 - plain / resnet)
    return from_memory(question, ours, abs(ours - share) <= NEAR, store, "{:.0f} %")


def peak(store: Store) -> Deployed:
    """Does the peak fall as the paper says where convolution and addition are one operator, as on many NPUs?"""
    bar = claimed("claim_memory")
    resnet, plain = bytes_of(store, "peak", FUSED)
    question = f"Does the peak memory fall by {bar:g} times? (addition fused)"
    return from_memory(question, resnet / plain, resnet / plain >= bar, store)


def from_memory(question: str, ours: float, holds: bool, store: Store, form: str = "{:.2f}x") -> Deployed:
    """The answer by the record of memory."""
    verdict = NOT_RUN if math.isnan(ours) else YES if holds else NO
    return Deployed(question, "08", in_store(memory.COMMAND, store), form, ours, verdict=verdict)


def time(store: Store) -> Deployed:
    """Is it as much faster as the paper says on a CPU, one image, one thread? The paper's mobile NPU is not at hand.

    The median of the sessions that timed it; the bounds cover those of all.
    """
    bar, ratios = claimed("claim_speedup"), []
    for record in latency_record.records(store.root / "measured").values():
        times = {key: of for key, of in record.times.items() if asked(key)}
        ratios += [one for one in speedup.speedups(replace(record, times=times)).values() if not one.is_resnet]
    question = f"Is it {bar:g} times as fast? (a CPU, {ENGINE})"
    blank = Deployed(question, "09", in_store(latency_record.COMMAND, store))
    if not ratios:
        return blank
    low, high = min(one.low for one in ratios), max(one.high for one in ratios)
    return within(blank, bar, median(one.ratio for one in ratios), low, high)


def within(blank: Deployed, bar: float, value: float, low: float, high: float) -> Deployed:
    """The answer where all bounds are on one side of the bar, else undecided."""
    verdict = YES if low >= bar else NO if high < bar else UNDECIDED
    return replace(blank, value=value, low=low, high=high, verdict=verdict)


def compiled_sram(store: Store) -> Deployed:
    """Does the SRAM that an NPU's compiler uses fall as the paper says, where feature maps lie in it?"""
    bar = claimed("claim_memory")
    blank = Deployed(f"Does the SRAM fall by {bar:g} times? ({COMPILER})", "08", in_store(npu.COMMAND, store))
    return by_compiler(blank, bar, sram, [system for system in npu.SYSTEMS if system[2] == "Shared_Sram"], store)


def compiled_time(store: Store) -> Deployed:
    """Is it as much faster as the paper says, by the estimate of an NPU's compiler?"""
    bar = claimed("claim_speedup")
    blank = Deployed(f"Is it {bar:g} times as fast? ({COMPILER})", "09", in_store(npu.COMMAND, store))
    return by_compiler(blank, bar, cycles, npu.SYSTEMS, store)


def by_compiler(
    blank: Deployed, bar: float, number: Number, systems: Sequence[tuple[str, str, str]], store: Store
) -> Deployed:
    """The answer over these systems, both networks compiled for speed and both for size: the median of the ratios, and
    the least and the greatest as bounds."""
    path, names = store.root / "measured" / npu.RECORD.name, [KINDS[kept].format(DEPTH) for kept in ("all", "none")]
    if not path.exists():
        return blank
    ratios = []
    for of in by_target(npu.read(path), SIDE, DEPTH).values():
        rows = [of[name] for name in names if name in of and "refused" not in of[name]]
        if len(rows) == len(names) and npu.system_of(rows[0]) in systems:
            ratios.append(number(rows[0]) / number(rows[1]))
    return within(blank, bar, median(ratios), min(ratios), max(ratios)) if ratios else blank


def asked(key: latency_record.Cell) -> bool:
    """Whether a cell is one of the two that `time` compares."""
    same = (key.depth, key.side, key.batch, key.engine, key.precision) == (DEPTH, SIDE, 1, ENGINE, PRECISION)
    return same and key.shortcuts in ("all", "none") and not key.variant

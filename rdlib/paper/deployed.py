"""What the shortcut costs when deployed, as one reading a question: ResNet-50 against strictly plain-50 at 224x224.

Notebooks 02 and 03 have every executor, engine, depth and size; these are the readings that the front page answers by.
"""

import math
from dataclasses import dataclass, replace
from statistics import median

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE
from rdlib.experiments.handwritten import paper
from rdlib.experiments.tables import in_store
from rdlib.measure import latency_record, memory, speedup
from rdlib.models import KINDS
from rdlib.paper.statistics import NO, NOT_RUN, UNDECIDED, YES
from rdlib.runs.store import Store

DEPTH, SIDE = 50, 224
NEAR = 5.0  # points within which a share is "about" the claimed one
ENGINE, PRECISION = "ONNX Runtime", "float32"


@dataclass(frozen=True)
class Deployed:
    """A question on the deployed network. low and high: bounds of the value, from the sessions that timed it."""

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
    """Traffic, planned peak and time. Raises RecordError for a damaged record."""
    return [written_bytes(store), peak(store), time(store)]


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
    question = f"Are shortcuts about {share:g} % of the feature maps written?"
    ours = 100 * (1 - plain / resnet)
    return from_memory(question, ours, abs(ours - share) <= NEAR, store, "{:.0f} %")


def peak(store: Store) -> Deployed:
    """Does the peak fall 1.25 times where convolution and addition are one operator, as compilers for NPUs have it?"""
    bar = claimed("claim_memory")
    resnet, plain = bytes_of(store, "peak", FUSED)
    question = f"Does the peak memory fall by {bar:g} times? (addition fused)"
    return from_memory(question, resnet / plain, resnet / plain >= bar, store)


def from_memory(question: str, ours: float, holds: bool, store: Store, form: str = "{:.2f}x") -> Deployed:
    """The answer by the record of memory."""
    verdict = NOT_RUN if math.isnan(ours) else YES if holds else NO
    return Deployed(question, "02", in_store(memory.COMMAND, store), form, ours, verdict=verdict)


def time(store: Store) -> Deployed:
    """Is it 1.4 times as fast on a CPU, one image, one thread? The paper's mobile NPU is not at hand.

    The median of the sessions that timed it; the bounds cover those of all.
    """
    bar, ratios = claimed("claim_speedup"), []
    for record in latency_record.records(store.root / "measured").values():
        times = {key: of for key, of in record.times.items() if asked(key)}
        ratios += [one for one in speedup.speedups(replace(record, times=times)).values() if not one.is_resnet]
    question = f"Is it {bar:g} times as fast? (a CPU, {ENGINE})"
    blank = Deployed(question, "03", in_store(latency_record.COMMAND, store))
    if not ratios:
        return blank
    low, high = min(one.low for one in ratios), max(one.high for one in ratios)
    verdict = YES if low >= bar else NO if high < bar else UNDECIDED
    return replace(blank, value=median(one.ratio for one in ratios), low=low, high=high, verdict=verdict)


def asked(key: latency_record.Cell) -> bool:
    """Whether a cell is one of the two that `time` compares."""
    same = (key.depth, key.side, key.batch, key.engine, key.precision) == (DEPTH, SIDE, 1, ENGINE, PRECISION)
    return same and key.shortcuts in ("all", "none") and not key.variant

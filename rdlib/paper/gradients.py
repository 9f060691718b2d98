"""The paper's claim that gradients of the ResNet part dominate early and fade later, by learning rate and stage."""

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import Cell
from rdlib.measure import gradients_record
from rdlib.measure.gradients import PARTS
from rdlib.models import STAGES
from rdlib.paper.statistics import Estimate, holm, mean
from rdlib.runs.store import Store

EARLY, LATE = gradients_record.phase_names()[1], gradients_record.phase_names()[-1]
HOW = {"share": "as trained", "share_at_1": "m(t) taken out"}


def judged(profile: Profile, store: Store) -> pd.DataFrame:
    """A line a learning rate, part of the student and way to weigh, over the seeds.

    share = |mixed| / (|mixed| + |own|). "early?": is it above one half in EARLY; with m(t) taken out, above what as
    many aligned paths of the own one's length would give. "fades?": has it fallen in LATE. Each is a family for Holm.
    Empty without a record; raises RecordError where it is damaged.
    """
    found = gradients_record.by_epoch(profile, store)
    lines: list[dict[str, str]] = []
    early, later = list[tuple[Estimate, float]](), list[tuple[Estimate, float]]()
    for column, how in HOW.items():
        phases = gradients_record.by_phase(found[found["network"] == "JointRD"], column)
        for (rate, part), of in phases.groupby(level=["rate", "part"], sort=False):
            if paths := paths_into(str(part)):
                bar = paths / (paths + 1) if column == "share_at_1" else 1 / 2
                first, last = of[EARLY], of[LATE]
                share, fall = (Cell(tuple(one.dropna()), len(profile.seeds)) for one in (first, first - last))
                early.append((mean(share, (0.0, 1.0)), bar))
                later.append((mean(fall, (-1.0, 1.0)), 0.0))
                lines.append({"learning rate": f"{rate:g}", "part": str(part), "weights": how, "n": share.count})
    for line, (share_, bar), error, (fall_, _), other in zip(
        lines, early, holm(early), later, holm(later), strict=True
    ):
        line |= {
            "share early": share_.text("{:.2f}", error),
            "above": f"{bar:.2f}",
            "early?": share_.verdict(bar, error),
        }
        line |= {"fall": fall_.text("{:+.2f}", other), "fades?": fall_.verdict(0.0, other)}
    return pd.DataFrame(lines)


def paths_into(part: str) -> int:
    """How many mixed paths give a part of the student a gradient: those that leave after its stage or a later one."""
    return STAGES - max(PARTS.index(part), 1)

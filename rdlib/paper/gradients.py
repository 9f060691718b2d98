"""The paper's claim that gradients of the ResNet part dominate early and fade later, by learning rate and stage."""

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.experiments.tables import Cell
from rdlib.measure import gradients_record
from rdlib.measure.gradients import PARTS
from rdlib.models import STAGES
from rdlib.paper.statistics import YES, Estimate, holm, mean
from rdlib.runs.store import Store

_, EARLY, _, MIDDLE, LATE = gradients_record.phase_names()
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
        phases = phases.reindex(columns=gradients_record.phase_names())  # a short training has not all
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


def said(lines: pd.DataFrame) -> str:
    """What `judged` answers, in a sentence."""
    if lines.empty:
        return "By the rule: no record"
    early, fades = ((lines[column] == YES).sum() for column in ("early?", "fades?"))
    return f"By the rule, of {len(lines)} lines: it dominates early in {early}, and has faded at the end in {fades}"


def in_seeds(found: pd.DataFrame) -> pd.DataFrame:
    """How many seeds agree with each half of the claim: a line a learning rate and part.

    Early: is the share above one half, and with m(t) taken out above what equal paths give? Later: is it lower than
    early, as trained and with m(t) taken out (*)?
    """
    shares, without = (gradients_record.by_phase(found[found["part"].map(paths_into) > 0], value) for value in HOW)
    if shares.empty:
        return pd.DataFrame()
    paths = without.index.get_level_values("part").map(paths_into)
    answers = {"over half": shares[EARLY] > 1 / 2, "over equal paths*": without[EARLY] > paths / (paths + 1)}
    for phase in (phase for phase in (MIDDLE, LATE) if phase in shares):
        for value, star in ((shares, ""), (without, "*")):
            answers[f"lower{star}, {phase.removeprefix('epochs ')}"] = value[phase] < value[EARLY]
    return gradients_record.seeds_where(pd.DataFrame(answers)).drop(columns="network")


def directions(found: pd.DataFrame) -> pd.DataFrame:
    """Cosines in stage 1 of JointRD's student, mean of the seeds: of two halves of the probe, and of the two paths."""
    asked = {"own path": "agreement_own", "mixed paths": "agreement_mixed", "own and mixed": "cosine"}
    of = found[(found["network"] == "JointRD") & (found["part"] == PARTS[1])]
    if of.empty:
        return pd.DataFrame()
    tables = [gradients_record.by_phase(of, value).assign(between=what) for what, value in asked.items()]
    means = pd.concat(tables).groupby(["rate", "between"], sort=False).mean()
    means = means.sort_index(level="rate", ascending=False, sort_remaining=False)
    return means.map("{:.2f}".format).reset_index().rename(columns={"rate": "learning rate"})


def paths_into(part: str) -> int:
    """How many mixed paths give a part of the student a gradient: those that leave after its stage or a later one."""
    return STAGES - max(PARTS.index(part), 1)

"""The scorecard: every claim of the paper, reported number and reviewers' question, with our number and a verdict.

Everything is computed from a store's records; nothing of ours is typed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rdlib.experiments.profiles import Profile
from rdlib.paper import claims, questions
from rdlib.paper import transfers as transfer_table
from rdlib.paper.claims import NEAR, OTHER_DEVICE
from rdlib.paper.questions import EARLY, LATE
from rdlib.paper.readings import FULL, TESTED, Reading, decisive, overall, span
from rdlib.paper.rendering import NUMBERS, Linked
from rdlib.paper.statistics import HOLDS, IN_PART, SAME_LEVEL
from rdlib.runs.store import Store

ABOVE = "Holds where the whole 95 % interval lies above {0}, does not hold where it lies below; else: cannot tell."
CHEAPER = (
    f"Ours: JointRD's plain network minus the ResNet, points of test top-1. {ABOVE.format(0)} Drop: that ResNet minus "
    "the whole one. Traffic, peak and MACs: of that ResNet, in multiples of the plain network's."
)
RULES = {
    "same level": "Ours: JointRD minus ResNet, points of test top-1. Does not hold where the whole 95 % interval lies "
    f"below -{SAME_LEVEL:g}, holds where it lies above; else in part where the mean closes at least half of the gap "
    "between plain and ResNet; else, and for fewer than three seeds: cannot tell.",
    "reported": f"Ours: test top-1 (%), last epoch. Holds within {SAME_LEVEL:g} point of the reported value.",
    "share": "Ours: how much less plain-50 takes than ResNet-50. The claim is about the shortcuts; strictly plain "
    f"alone removes them all, so it alone is judged. Holds within {NEAR:g} points of the claim, on either side.",
    "memory": "Ours: what ResNet-50 takes over what plain-50 takes. Holds at the claimed number or above. Executors "
    "that write the same are one reading.",
    "speed": "Ours: time of ResNet-50 over time of plain-50, one image, lowest to highest session; n: timed passes of "
    "all sessions; the interval covers those of the sessions. Holds where all of it is at the claimed number or above, "
    "does not hold where it stays below; else: cannot tell.",
    "transfer": transfer_table.RULE,
    "early": f"Ours: |mixed| / (|mixed| + |own|), gradients in {EARLY}. {ABOVE.format('the value named')}",
    "later": f"Ours: how far that share has fallen in {LATE}. {ABOVE.format(0)}",
    "pruned": CHEAPER,
    "narrowed": CHEAPER,
    "ablations": f"Ours: JointRD minus the change, points of top-1. {ABOVE.format(0)}",
    "command": f"Ours: the full loss minus the own path alone, points of test top-1. {ABOVE.format(0)}",
    "settings": "Ours: JointRD minus what is named, both with the same shortcuts, points of top-1. " + ABOVE.format(0),
    "best epoch": "Ours: best minus last epoch, points of top-1, never negative. Holds where every seed gains and the "
    "whole 95 % interval lies above 0; in part where any seed's best epoch is above its last; does not hold where none "
    "is, of three seeds or more.",
}
OVERALL = (
    "Holds: in every reading. Does not hold: in none, not even in part, and fails in one at least. Cannot tell: no "
    f"reading can. Else in part. Where a reading has protocol {FULL}, or {FULL} on an{OTHER_DEVICE}, only such count. "
    "Ours: lowest to highest reading; its unit is said under the table of the claim."
)


SAID_BENEATH = ("paper", "machine", "protocol", "look")  # columns, where all lines have the same


@dataclass(frozen=True)
class Part:
    """The readings of one or a few claims that are judged by one rule. whole: also print what was not run."""

    name: str
    readings: Sequence[Reading]
    whole: bool = False
    note: str = ""

    @property
    def shown(self) -> Linked:
        """One line a reading; what is the same in every line is said beneath, with the rule and what lacks records."""
        lines = [tested(one) for one in self.readings if self.whole or one.verdict in TESTED]
        table, beneath = pd.DataFrame(lines or [untested(one) for one in self.readings[:1]]), [RULES[self.name]]
        for column in [name for name in SAID_BENEATH if name in table]:
            if table[column].nunique() == 1:
                beneath += [f"{column}: {table[column].iloc[0]}"] if table[column].iloc[0] else []
                table = table.drop(columns=column)
        if "look" in table:
            numbers = table["look"].map(number_of)
            table = table.drop(columns="look").assign(**{NUMBERS: numbers})
        empty = [column for column in table if not any(table[column])]
        beneath += [self.note] if self.note else []
        return Linked(table.drop(columns=empty), [*beneath, *to_fill(self.readings)])


def number_of(notebook: str) -> str:
    return notebook.partition("_")[0]


def tested(one: Reading) -> dict[str, str]:
    return {
        "reading": one.reading,
        "paper": one.paper,
        **one.more,
        "ours": one.ours,
        "95 %": one.interval,
        "n": str(one.n),
        "protocol": one.protocol,
        "verdict": one.verdict,
        "look": one.look,
    }


def untested(one: Reading) -> dict[str, str]:
    return {"claim": one.claim, "paper": one.paper, "verdict": one.verdict, "look": one.look}


def to_fill(readings: Sequence[Reading]) -> list[str]:
    """Each command that makes missing records, once."""
    waiting = Counter(one.fill for one in readings if one.fill)
    return [f"to fill {count} of {len(readings)} readings: {command}" for command, count in waiting.items()]


def card(profile: Profile, store: Store) -> dict[str, Part]:
    """Every part by its name. The paper's own claims are held against all profiles; what is asked about gradients,
    smaller ResNets and the loss, against `profile`. Raises RecordError for a damaged record; missing ones are not run.
    """
    early, later = questions.gradients(profile, store)
    pruned, narrowed = questions.smaller_resnets(profile, store)
    parts = {
        "same level": claims.levels(store),
        "reported": claims.reported(store),
        "share": claims.memory_claim("claim_shortcut_share", store),
        "memory": claims.memory_claim("claim_memory", store),
        "speed": claims.speed_claim(store),
        "transfer": transfer_table.transfer_claim(store),
        "early": early,
        "later": later,
        "pruned": pruned,
        "narrowed": narrowed,
        "ablations": questions.ablations(profile, store),
        "command": questions.command_published(store),
        "settings": questions.settings_released(profile, store),
        "best epoch": questions.best_epochs(profile, store),
    }
    found = {name: Part(name, readings) for name, readings in parts.items()}
    found["reported"] = replace(found["reported"], whole=True, note=f"by: {'; '.join(claims.sources())}")
    return found


def summary(parts: Mapping[str, Part]) -> Linked:
    """One line a claim: ours from lowest to highest reading, how often it holds, and the verdict by `overall`."""
    groups: dict[str, list[Reading]] = {}
    for part in parts.values():
        for one in part.readings:
            groups.setdefault(one.claim, []).append(one)
    return Linked(pd.DataFrame([judged(claim, readings) for claim, readings in groups.items()]), [OVERALL])


def judged(claim: str, readings: Sequence[Reading]) -> dict[str, str]:
    """The line of one claim."""
    counted = decisive(readings)
    ranked = sorted((value, one.form.format(value)) for one in counted for value in one.values)
    given = [one.verdict for one in counted]
    partly = f", {given.count(IN_PART)} in part" if IN_PART in given else ""
    return {
        "claim": claim,
        "ours": span([text for _, text in ranked]),
        "n": span([str(n) for n in sorted(one.n for one in counted)]),
        "holds in": f"{given.count(HOLDS)} of {len(given)}{partly}" if given else "",
        "protocol": ", ".join(sorted({one.protocol.partition(",")[0] for one in counted})),
        "verdict": overall(readings),
        NUMBERS: ", ".join(sorted({number_of(one.look) for one in counted or readings})),
    }


def verdicts(parts: Mapping[str, Part]) -> str:
    """How often each verdict was given."""
    counts = Counter(one.verdict for part in parts.values() for one in part.readings)
    return ", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items()))

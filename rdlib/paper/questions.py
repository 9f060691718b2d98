"""The questions, each with one primary reading that was written down before its runs, and the answer by rule.

`results/questions.csv` says what is compared and what would count as yes and as no; here are its rows, by id.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from rdlib.errors import RecordError
from rdlib.experiments import beyond
from rdlib.experiments.comparisons import depths, narrowed_to_traffic
from rdlib.experiments.controls import controls
from rdlib.experiments.handwritten import handwritten
from rdlib.experiments.profiles import PROFILES, TWENTY_EPOCHS
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.experiments.tables import cell, fill_command
from rdlib.files import RESULTS
from rdlib.measure import bits
from rdlib.paper import deployed
from rdlib.paper.rendering import Shown, numbered
from rdlib.paper.statistics import ERROR, LEAST, NOT_RUN, SAME_LEVEL, UNDECIDED, Estimate, difference, find, holm, minus
from rdlib.runs.store import Store

WITHOUT_TEACHER = {
    "muon": "cross-entropy, Muon",
    "orthogonal": "cross-entropy, orthogonal start",
    "faded": "cross-entropy, shortcuts faded",
}
DEPLOYED = "deployed"  # the family of questions that are measured on the network as it is deployed
NEARLY = 2  # points within which a network that goes deeper than ever is near enough
SMALL, QUICK = PROFILES["cifar10-small"], PROFILES["quick"]
RULE = (
    "Ours: points of test top-1, last epoch, one mean minus another, and its interval; n: seeds run, of those planned. "
    "Yes or no where the whole interval lies on that side of the bar: "
    f"{-SAME_LEVEL:g} where the question is whether it *reaches* or *is enough* "
    f"({-NEARLY:g} where it says *to within two points*), else 0. "
    "Otherwise undecided, with the seeds that might tell, were the difference as it seems. Intervals are Welch's, "
    "unpaired, with the binomial error of the test images as a floor under each deviation; together the questions of a "
    "family (seven main ones; three on its parts; eight beyond the paper) "
    f"err in {ERROR:.0%} (Holm); what was looked at later stands alone. Of deployed networks: a ratio, in brackets the "
    "least and the greatest over sessions or targets."
)

COLUMNS = (
    *("family", "question", "data", "depth", "width", "recipe", "seeds", "compared", "yes", "no"),
    "seen before this was written",
)


@dataclass(frozen=True)
class Question:
    """A primary reading: is `ours` more than `theirs` by more than `bar` points?

    bits: then of each the change in accuracy that so many bits make, such as "W4A4", in place of accuracy.
    """

    table: str
    ours: Row
    theirs: Row
    bar: float = 0.0
    look: str = "02_table3_accuracy"
    bits: str = ""

    def gap(self, store: Store) -> Estimate:
        """The difference as far as there are records."""
        if self.bits:
            return minus(*(bits.change(row, self.bits, store) for row in (self.ours, self.theirs)))
        return difference(self.ours, self.theirs, store)

    def to_fill(self, store: Store) -> str:
        """The command that makes what is missing; nothing where nothing is."""
        of = SMALL if "small" in self.ours.runs[0].dataset else QUICK
        if self.bits:
            whole = all(bits.change(row, self.bits, store).whole for row in (self.ours, self.theirs))
            return "" if whole else bits.RECORD.command(of, store)
        whole = all(cell(row, store).whole for row in (self.ours, self.theirs))
        return "" if whole else fill_command(of, self.table, store)


@cache
def primary() -> dict[str, Question]:
    """By id of questions.csv, in its order."""
    resnet, plain, longer, jointrd, alike, start, both, own = controls(SMALL)
    deep, alone, shallow = (
        find(depths(QUICK), 66, how, kept)
        for how, kept in ((JOINTRD, "none"), (CROSS_ENTROPY, "none"), (CROSS_ENTROPY, "all"))
    )
    deepest, _, three, many, *_ = beyond.deeper(QUICK)
    at_66 = {row.method: row for row in beyond.alone(QUICK) if row.depth == deep.depth}
    _, _, whole, third, _ = beyond.sampled(SMALL)
    *_, early = beyond.redistilled(SMALL)
    return {
        "help": Question("controls", jointrd, plain),
        "level": Question("controls", jointrd, resnet, -SAME_LEVEL),
        "teaching": Question("controls", jointrd, alike, -SAME_LEVEL),
        "arithmetic": Question("controls", jointrd, longer),
        "start": Question("controls", jointrd, start),
        "depth": Question("depth", deep, alone),
        "depth-level": Question("depth", deep, shallow, -SAME_LEVEL),
        "paths": Question("controls", jointrd, own, look="03_parts_of_jointrd"),
        "beyond-start": Question("controls", both, start, look="03_parts_of_jointrd"),
        "smaller": Question("rivals", jointrd, narrowed_to_traffic(SMALL), look="05_rivals"),
        "cuts": Question("deeper", many, three, look="06_beyond"),
        "cuts-level": Question("deeper", many, deepest, -NEARLY, look="06_beyond"),
        **{
            name: Question("alone", at_66[way], at_66[JOINTRD.name], look="06_beyond")
            for name, way in WITHOUT_TEACHER.items()
        },
        "sampled": Question("sampled", third, whole, -SAME_LEVEL, look="06_beyond"),
        "bits": Question("bits", jointrd, resnet, look="06_beyond", bits="W4A4"),
        "redistill": Question("redistill", jointrd, early, look="06_beyond"),
    }


def explored() -> dict[str, Question]:
    """By what is asked: looked at after its runs, so no primary reading."""
    _, _, longer, jointrd = controls(TWENTY_EPOCHS)
    return {"And at full width? (written down after its runs)": Question("controls", jointrd, longer)}


@cache
def written(path: Path = RESULTS / "questions.csv") -> pd.DataFrame:
    """What was written down, by id. Raises RecordError where the file cannot be read or asks what has no rows here."""
    table = handwritten(path, COLUMNS, primary())
    if unknown := set(table.index) - set(primary()):
        raise RecordError(
            f"{path.name} asks {min(unknown)!r}, which has no rows in paper/questions.py: write them there"
        )
    return table


@dataclass(frozen=True)
class Answer:
    """What the records say to a question. error: how often its interval may err, by Holm over its family."""

    id: str
    estimate: Estimate
    error: float
    question: Question

    @property
    def verdict(self) -> str:
        return self.estimate.verdict(self.question.bar, self.error)

    @property
    def n(self) -> str:
        """Runs of both cells, of those that were written down."""
        return f"{self.estimate.n}/{len(self.question.ours.runs)}"

    @property
    def said(self) -> str:
        """The verdict, and of one that is undecided what it would take."""
        if self.verdict != UNDECIDED:
            return self.verdict
        if self.estimate.blind:
            return f"{UNDECIDED} ({'a run diverged' if self.estimate.diverged else f'fewer than {LEAST} seeds'})"
        needed = self.estimate.needed(self.question.bar, self.error)
        return f"{UNDECIDED} ({f'{needed} seeds might tell' if needed else 'a hundred seeds would not tell'})"


def answers(store: Store) -> dict[str, Answer]:
    """By id. Raises RecordError for a damaged record; what has none is not run."""
    known, asked, found = written(), primary(), dict[str, Answer]()
    for family in known["family"].unique():
        ids = [name for name in known.index if known["family"][name] == family]
        gaps = [asked[name].gap(store) for name in ids]
        errors = holm((gap, asked[name].bar) for gap, name in zip(gaps, ids, strict=True))
        found |= {
            name: Answer(name, gap, error, asked[name]) for name, gap, error in zip(ids, gaps, errors, strict=True)
        }
    return found


def answer_line(answer: Answer) -> dict[str, str]:
    """A line of the table of questions."""
    text = {str(name): str(value) for name, value in written().loc[answer.id].items()}
    return {
        "question": text["question"],
        "on": f"{DATA.get(text['data'], text['data'])}, {text['depth']} layers",
        "ours": answer.estimate.text(error=answer.error) if answer.estimate.n else "",
        "n": answer.n,
        "verdict": answer.said,
        "notebook": answer.question.look.partition("_")[0],
    }


def table(store: Store, *families: str) -> Shown:
    """The questions of these families ("deployed": of the network as it is deployed), of all where none is named. Below
    it the rule, and the commands that make what is missing."""
    found = answers(store)
    shown = [one for one in found.values() if not families or written()["family"][one.id] in families]
    lines = [answer_line(one) for one in shown]
    place = next((index + 1 for index, one in enumerate(shown) if one.id == "arithmetic"), None)
    if place:
        lines[place:place] = [explored_line(asked, of, store) for asked, of in explored().items()]
    physical = deployed.answers(store) if not families or DEPLOYED in families else []
    lines += [one.line for one in physical]
    waiting = [f"to fill: {one.fill}" for one in physical if one.verdict == NOT_RUN]
    return Shown(pd.DataFrame(lines), [RULE, *to_fill(shown, store), *dict.fromkeys(waiting)])


def explored_line(asked: str, of: Question, store: Store) -> dict[str, str]:
    """A line of the table for what is no primary reading."""
    answer, run = Answer("", difference(of.ours, of.theirs, store), ERROR, of), of.ours.runs[0]
    return {
        "question": asked,
        "on": f"{DATA.get(run.dataset, run.dataset)}, {run.depth} layers",
        "ours": answer.estimate.text() if answer.estimate.n else "",
        "n": answer.n,
        "verdict": answer.said,
        "notebook": of.look.partition("_")[0],
    }


DATA = {"cifar10-small": "CIFAR-10 at 16x16", "cifar100": "CIFAR-100"}  # others are named as they are
FINDINGS = ("depth", "depth-level", "help", "level")


def findings(store: Store, folder: str) -> list[str]:
    """The front page's bullets, in Markdown: of six questions the verdict and one number; folder: of the notebooks."""
    found, bullets = answers(store), []
    for name in FINDINGS:
        line = answer_line(found[name])
        number = f" {line['ours']} points of test top-1 ({line['on']}, {line['n']} seeds)" if line["ours"] else ""
        bullets.append((line["question"], f"{line['verdict']}.{number}", line["notebook"]))
    for one in (deployed.written_bytes(store), deployed.time(store)):
        bullets.append((one.question, f"{one.verdict}. {one.line['ours']}".strip(), one.look))
    return [
        f"- **{question}** {answer[0].upper()}{answer[1:]} {numbered(number, folder)}"
        for question, answer, number in bullets
    ]


def verdicts(store: Store, *names: str) -> Shown:
    """These questions with their answers, as a table for a notebook's section; below it what makes missing records."""
    found = answers(store)
    asked = [found[name] for name in names]
    return Shown(pd.DataFrame(map(answer_line, asked)).drop(columns="notebook"), to_fill(asked, store))


def to_fill(found: list[Answer], store: Store) -> list[str]:
    """Each command that makes missing records, once."""
    commands = dict.fromkeys(one.question.to_fill(store) for one in found)
    return [f"to fill: {command}" for command in commands if command]

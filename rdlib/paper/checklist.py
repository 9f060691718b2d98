"""The reproducibility checklist of NeurIPS 2020, the paper's venue, filled in from records, code and files.

Questions after the Machine Learning Reproducibility Checklist (Pineau et al., JMLR 2021, arXiv 2003.12206), shortened;
the last group is from the conference's later paper checklists. What a record can decide is computed.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from rdlib.experiments.comparisons import by_question
from rdlib.experiments.profiles import profile
from rdlib.experiments.tables import rows_of, runs_of
from rdlib.images.dataset import TUNE_SHARE
from rdlib.images.subsets import SUBSETS
from rdlib.paper import facts
from rdlib.paper.differences import LEAST
from rdlib.paper.rendering import WIDTH, Linked
from rdlib.runs.store import ROOT, Store

YES, IN_PART, NO, NOT_APPLICABLE = "yes", "in part", "no", "not applicable"

# A paragraph an item: what is asked, the answer, the fact, where to look. In braces: computed by `known`.
ITEMS = """
# Models and algorithms

algorithm and model described
yes
As a formula and as a short code by hand, each step of which is asserted equal to the library.
01_joint_training_by_hand

assumptions explained
in part
The choices that the released code leaves open are named in the README and were run both ways, on digits; why the method
should work is open.
07_what_is_jointrd, 08_who_teaches_early_layers

complexity analysed (time, space, sample size)
in part
The arithmetic of a training step and the memory at every operator are counted; how many images are needed is not
analysed.
05_table4_imagenet, 02_table1_memory

# Theory

claims stated, proofs complete
not applicable
Neither the paper's abstract nor this repository states a theorem.
README.md

# Data

statistics of the data
{some}
{sets} data sets, {parts} of them some classes of another. Each has one SHA-256 in all of its records: {same_data}.
the table of data below

splits
{some}
The same for every seed: CIFAR's published test images, and 500 digits taken by a fixed permutation; {tune_share} of the
training images are the tune split, the only one on which an ablation is chosen. A seed draws its own images where only
a few of each class are trained on. Runs evaluated on test: {on_test}, on tune: {on_tune}.
rdlib/data.py

excluded data and pre-processing
yes
No image of what was run is excluded. The last, incomplete batch of an epoch is dropped. Pixels are normalised with mean
and deviation of the training images.
rdlib/data.py

where to get the data
yes
Digits come with scikit-learn; `data prepare` fetches CIFAR and checks it; ImageNet, MIT67 and Caltech101 are the
user's to bring.
README.md

new data described
not applicable
No data were collected.
README.md

# Code

dependencies
yes
uv.lock pins {pinned} packages. The runs were trained with {versions}.
uv.lock

training code
yes
`make reproduce` trains the quick accuracy tables afresh, one seed: {fresh} runs. It neither measures memory and latency
nor trains rivals, ablations and transfers; a sweep with the name of a table trains whatever that table lacks.
README.md

evaluation code
yes
The same library: on the test images once, after the last epoch; on the tune split after each.
rdlib/experiment.py, rdlib/train.py

trained models
no
Weights are not in the repository. {hashed} of {records} records hold the SHA-256 of theirs; `train --again` with the
id of a run makes them again, equal in every bit only on an equal processor with equal versions.
README.md

README with results and the commands that give them
yes
{blocks} blocks of results in it are generated from the records; `make tables` renders them.
README.md

# Results

hyper-parameters: range, choice, values
in part
Every record holds its whole recipe. Tried on the tune split: learning rates {rates}, and {ablations} changes of
JointRD or of its teacher; for CIFAR-100 the rates of fine-tuning alone. But rate and length of the quick profile were
taken after looking, in explorations that left no record, some of which printed test accuracies; and the question of
twenty epochs in 06 was asked after test images had been looked at.
04_table3_cifar, 07_what_is_jointrd

exact number of training and evaluation runs
{counted}
{records} trainings stand in the records, each evaluated on the test images once or not at all. Not counted:
explorations before them, trainings repeated to watch gradients and paths, and evaluations of int8 files.
the table of compute below

measure defined
yes
Top-1 accuracy in percent after the last epoch, never of the best epoch.
04_table3_cifar

central tendency and variation
{varied}
Mean ± sample standard deviation over seeds; 95 % intervals (Student's t) of differences paired over seeds. {several} of
the {cells} cells that have run have {least} seeds or more; the fewest are {fewest}. No interval is corrected for how
many were looked at.
12_scorecard

average runtime or energy
{counted}
{mean} seconds a run, {hours} hours of training in all, on machines that were sometimes shared. Energy was not measured.
the table of compute below

computing infrastructure
{counted}
Trained on {devices}. Timed on {machines}. The records of trainings name neither the processor's model nor how much
memory the machine had.
the table of compute below

what was not run
yes
Runs of tables 3 and 4 without a record: {missing}. Comparisons and transfers without one stand as empty cells with
their command in 06, 07 and 09.
05_table4_imagenet

# From the conference's later checklists

claims match results
yes
Every verdict of the scorecard follows from a rule that is printed under its table. The rules are ours.
12_scorecard

limitations
yes
The README lists them under "Limits and known bugs".
README.md

licences
in part
Ours: {licence}. The authors' code has none; nothing of it is used. Those of data sets and packages are not listed.
LICENSE

code of every number
{committed}
Each record names its commit: {commits} in all. {unclean} of {records} records were made with uncommitted changes of
rdlib, or without git.
results/runs
"""


@dataclass(frozen=True)
class Item:
    """answer: YES, IN_PART, NO or NOT_APPLICABLE. look: notebooks or files."""

    group: str
    question: str
    answer: str
    fact: str
    look: str


@dataclass(frozen=True, repr=False)
class Checklist:
    """The items: a list in a terminal; in JupyterLab a table with links."""

    items: Sequence[Item]

    def __repr__(self) -> str:
        lines = []
        for group, items in groupby(self.items, lambda item: item.group):
            said = [f"{one.question}: {one.answer.upper()}. {one.fact} Look: {one.look}" for one in items]
            wrapped = [textwrap.fill(one, WIDTH, initial_indent="- ", subsequent_indent="  ") for one in said]
            lines.append("\n".join([group, *wrapped]))
        return "\n\n".join([*lines, self.counts])

    def _repr_markdown_(self) -> str:
        lines = [
            {"asked": f"{one.group}: {one.question}", "answer": f"**{one.answer}**", "fact": one.fact, "look": one.look}
            for one in self.items
        ]
        return Linked(pd.DataFrame(lines), [self.counts]).markdown()

    @property
    def counts(self) -> str:
        """How often each answer was given."""
        given = Counter(item.answer for item in self.items)
        return ", ".join(f"{answer}: {given[answer]}" for answer in (YES, IN_PART, NO, NOT_APPLICABLE))


def checklist(store: Store) -> Checklist:
    """Every item, filled in from a store's records. Raises RecordError where one is damaged."""
    values, group, items = known(store), "", []
    for paragraph in ITEMS.strip().split("\n\n"):
        if paragraph.startswith("# "):
            group = paragraph.removeprefix("# ")
            continue
        question, answer, *fact, look = (line.format(**values) for line in paragraph.splitlines())
        items.append(Item(group, question, answer, " ".join(fact), look))
    return Checklist(items)


def known(store: Store) -> dict[str, str]:
    """What stands in the braces of ITEMS."""
    records, cells = store.records(), facts.seeds_of_cells(store)
    several = sum(count >= LEAST for count in cells)
    seconds = [record.provenance["seconds"] for record in records]
    data = {(record.run.dataset, record.provenance["data_sha256"]) for record in records}
    sets = {name for name, _ in data}
    licence = [line.strip() for line in (ROOT / "LICENSE").read_text().splitlines() if line.strip()]
    tuned = {record.run.recipe.learning_rate for record in records if record.split == "tune"}
    unclean = sum(record.provenance["dirty"] is not False for record in records)
    counts = {
        "records": len(records),
        "sets": len(sets),
        "parts": len(sets & SUBSETS.keys()),
        "fresh": len(runs_of(rows_of(profile("quick", 1)))),
        "on_test": sum(record.split == "test" for record in records),
        "on_tune": sum(record.split == "tune" for record in records),
        "pinned": len(re.findall(r"^\[\[package\]\]", (ROOT / "uv.lock").read_text(), re.MULTILINE)),
        "hashed": sum("weights_sha256" in record.provenance for record in records),
        "blocks": len(re.findall(r"^<!-- (?!end)", (ROOT / "README.md").read_text(), re.MULTILINE)),
        "ablations": sum(map(len, by_question(profile("quick")).values())),
        "several": several,
        "cells": len(cells),
        "least": LEAST,
        "fewest": min(cells, default=0),
        "commits": len({record.provenance["commit"] for record in records}),
        "unclean": unclean,
    }
    return {name: str(count) for name, count in counts.items()} | {
        "some": YES if records else NO,
        "counted": IN_PART if records else NO,
        "varied": NO if not several else YES if several == len(cells) else IN_PART,
        "committed": NO if not records else IN_PART if unclean else YES,
        "same_data": YES if len(data) == len(sets) else NO,
        "tune_share": f"{TUNE_SHARE:.0%}",
        "versions": facts.versions(records),
        "rates": ", ".join(f"{rate:g}" for rate in sorted(tuned)) or "none",
        "mean": f"{sum(seconds) / len(seconds):.0f}" if seconds else "no",
        "hours": f"{sum(seconds) / 3600:.1f}",
        "devices": facts.devices(records),
        "machines": facts.machines(store),
        "missing": facts.missing(store),
        "licence": f"{licence[0]}, {licence[1].partition(',')[0]}",
    }

"""Whatever is rendered from the published records keeps within what is possible and says one of four verdicts."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from rdlib.commands.publish import by_depth
from rdlib.experiments import transfers as transfer_rows
from rdlib.experiments.comparisons import by_question
from rdlib.experiments.profiles import PROFILES, UNLISTED
from rdlib.experiments.tables import NAMED, TABLES, frame, rows_of
from rdlib.files import RESULTS
from rdlib.paper import contrasts, fair, gradients, questions, reported, rivals, transfers
from rdlib.paper.statistics import VERDICTS
from rdlib.runs.store import Store

QUICK, STORE = PROFILES["quick"], Store()
EVERY = PROFILES | UNLISTED
NUMBER = r"[-+]?\d+(?:\.\d+)?"
MEAN = re.compile(rf"^({NUMBER})x?(?: %)?(?: ± ({NUMBER}))?(?: \[({NUMBER})x?, ({NUMBER})x?\])?")
INTERVAL = re.compile(rf"\[({NUMBER})x?, ({NUMBER})x?\]")
NAN = re.compile(r"\b(nan|inf|None)\b")
SHARES = {"share early": (0, 1), "above": (0, 1), "fall": (-1, 1)}
POINTS = {"points", "difference", "ours"}


def possible(column: str, cell: str) -> tuple[float, float] | None:
    """Between what the numbers of a column must lie."""
    if column in SHARES:
        return SHARES[column]
    if column in POINTS or column.startswith("minus "):
        return (0, np.inf) if "x" in cell else (-100, 100)
    percent = "(%)" in column or column.startswith("rate ") or column in ("ResNet", "plain, alone", "JointRD", "all")
    return (0, 100) if percent or column.isdecimal() else None


def require_possible(table: pd.DataFrame) -> None:
    for column in table:
        for cell in table[column].fillna("").astype(str):
            assert not NAN.search(cell), (column, cell)
            if column == "verdict" or column.endswith("?"):
                assert cell.startswith(VERDICTS) or cell == "", (column, cell)
            limits = possible(str(column), cell)
            assert limits or not INTERVAL.search(cell) or "latency" in column or "ResNet [95" in column, (column, cell)
            if limits and (found := MEAN.match(cell)):
                value, _, *ends = (None if number is None else float(number) for number in found.groups())
                assert limits[0] <= value <= limits[1], (column, cell)
                assert None in ends or limits[0] <= ends[0] <= value <= ends[1] <= limits[1], (column, cell)


def rendered() -> Iterator[tuple[str, pd.DataFrame]]:
    yield "questions", questions.table(STORE).table
    yield "reported", reported.table(STORE)
    yield "depths", by_depth(QUICK, STORE)
    for name, of in EVERY.items():
        for table in TABLES | NAMED:
            if rows := rows_of(of, table):
                groups = by_question(of) if table == "ablations" else {table: rows[1:]}
                yield f"{table} of {name}", frame(of, table, STORE)
                yield f"{table} of {name}, contrasts", contrasts.contrasts(of, table, groups, rows[0], STORE)
        if rows := rows_of(of, "3") or rows_of(of, "4"):
            yield f"baselines, {name}", contrasts.against_baselines(rows, STORE)
        if rows_of(of, "rivals"):
            yield f"rivals, {name}", rivals.overview(of, STORE)
            found = rivals.lines(of, STORE)
            yield from ((f"ranking, {name}", rivals.ranking(found, adds)) for adds in (False, True))
        if name in transfer_rows.TASKS:
            for make in (transfers.accuracies, transfers.tuning, transfers.gaps, transfers.worth):
                yield f"{make.__name__}, {name}", make(of, STORE)
        yield f"gradients, {name}", gradients.judged(of, STORE)
        yield f"grid, {name}", fair.grid_table(of, STORE)


def test_no_number_leaves_what_is_possible_and_every_verdict_is_one_of_four():
    count = 0
    for name, table in rendered():
        try:
            require_possible(table)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        count += len(table)
    assert count > 1000


def test_gradients_are_judged_as_the_raw_record_has_them():
    """Every share, bar and interval again, with json and scipy; both columns are families of all lines."""
    watched = json.loads((RESULTS / "measured" / "teaching-quick.json").read_text())["runs"].values()
    shown = gradients.judged(QUICK, STORE).set_index(["weights", "learning rate", "part"])
    samples: dict[str, dict[tuple, tuple]] = {"early?": {}, "fades?": {}}
    for how in ("as trained", "m(t) taken out"):
        for rate in (0.9, 0.1):
            for i, (part, paths) in enumerate({"stem": 3, "stage 1": 3, "stage 2": 2, "stage 3": 1}.items()):
                early, fall = [], []
                for run in (one for one in watched if one["run"]["method"] == "JointRD"):
                    if run["run"]["recipe"]["learning_rate"] == rate:
                        share = {}
                        for epoch in run["epochs"]:
                            own, mixed = (epoch["norm"][path][i] for path in ("own", "mixed"))
                            mixed /= epoch["m"] if how != "as trained" else 1
                            share[epoch["epoch"]] = mixed / (mixed + own)
                        early.append(np.mean([share[epoch] for epoch in (1, 2, 3)]))
                        fall.append(early[-1] - np.mean([value for epoch, value in share.items() if epoch >= 21]))
                bar = 0.5 if how == "as trained" else paths / (paths + 1)
                samples["early?"][how, f"{rate:g}", part] = early, bar
                samples["fades?"][how, f"{rate:g}", part] = fall, 0.0
    assert set(shown.index) == set(samples["early?"])
    for column, value, form, least in (("early?", "share early", "{:.2f}", 0), ("fades?", "fall", "{:+.2f}", -1)):
        of = samples[column]
        ranked = sorted(of, key=lambda key: stats.ttest_1samp(of[key][0], of[key][1]).pvalue)
        going, level = True, 0.0
        for rank, key in enumerate(ranked):
            sample, bar = of[key]
            level = 0.05 / (len(of) - rank) if going else level
            test = stats.ttest_1samp(sample, bar)
            going = going and test.pvalue < level
            low, high = np.clip(test.confidence_interval(1 - level), least, 1)
            assert shown.loc[key, value] == f"{form} [{form}, {form}]".format(np.mean(sample), low, high)
            assert column != "early?" or shown.loc[key, "above"] == f"{bar:.2f}"
            assert shown.loc[key, column] == ("yes" if low > bar else "no" if high < bar else "undecided")

"""What reviewers asked and what the released code leaves open: gradients, smaller ResNets, parts of the loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rdlib.deploy.planner import OUT_OF_PLACE
from rdlib.experiments import comparisons
from rdlib.experiments.comparisons import Ablation
from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.experiments.rows import CROSS_ENTROPY, FEATURES, JOINTRD, Row, listed
from rdlib.experiments.tables import Cell, cell, fill_command, records_of, rows_of
from rdlib.measure import gradients_record as evidence_record
from rdlib.measure import rival_costs
from rdlib.measure.gradients import PARTS
from rdlib.models import SHORTCUTS, STAGES
from rdlib.paper import rivals as rival_table
from rdlib.paper.claims import protocol_of
from rdlib.paper.readings import FULL, REDUCED, Reading, told
from rdlib.paper.rivals import Line
from rdlib.paper.statistics import FAILS, HOLDS, IN_PART, LEAST, UNDECIDED, beyond, difference, find
from rdlib.runs.store import Store

TEACHING, RIVALS, ABLATIONS = "08_who_teaches_early_layers", "09_rivals", "07_what_is_jointrd"
CIFAR = "04_table3_cifar"
EARLY, LATE = evidence_record.phase_names()[1], evidence_record.phase_names()[-1]
DOMINATES, FADES = "teacher's gradients dominate early", "teacher's gradients fade later"
COSTS = "traffic, peak, MACs"
LOSS = ("the loss", "which path", "m(t)", "lambda", "the distance")  # questions of 07 that are about the loss


def gradients(profile: Profile, store: Store) -> tuple[list[Reading], list[Reading]]:
    """The claim that the ResNet part's gradients "dominate early" and "fade later", per learning rate and stage.

    share = |mixed| / (|mixed| + |own|). Early: above one half as trained; and, with m(t) taken out, above what as many
    aligned paths of the own one's length would give. Later: how far it fell since, as trained and with m(t) taken out.
    Raises RecordError where the record is damaged.
    """
    found = evidence_record.by_epoch(profile, store)
    fill = evidence_record.RECORD.command(profile, store) if evidence_record.rows(profile) else ""
    protocol = protocol_name(profile)
    blank = Reading(DOMINATES, "", told("claim_gradients_early"), protocol=protocol, look=TEACHING, fill=fill)
    fading = replace(blank, claim=FADES, paper=told("claim_gradients_later"))
    early, late = [], []
    for column, how in (("share", "as trained"), ("share_at_1", "m(t) taken out")):
        phases = evidence_record.by_phase(found[found["network"] == "JointRD"], column)
        for (rate, part), of in phases.groupby(level=["rate", "part"], sort=False):
            paths, reading = paths_into(str(part)), f"rate {rate:g}, {part}, {how}"
            if paths:
                bar = paths / (paths + 1) if column == "share_at_1" else 1 / 2
                first, last = of[EARLY], of[LATE]
                share, fall = (Cell(tuple(one.dropna()), len(profile.seeds)) for one in (first, first - last))
                at_first = replace(blank, reading=reading, form="{:.2f}", more={"above": f"{bar:.2f}"})
                early.append(at_first.filled(share, beyond(share, bar)))
                late.append(replace(fading, reading=reading, form="{:+.2f}").filled(fall, beyond(fall)))
    return early or [blank.untested], late or [fading.untested]


def paths_into(part: str) -> int:
    """How many mixed paths give a part of the student a gradient: those that leave after its stage or a later one."""
    return STAGES - max(PARTS.index(part), 1)


def protocol_name(profile: Profile) -> str:
    return FULL if profile.full else REDUCED


def smaller_resnets(profile: Profile, store: Store) -> tuple[list[Reading], list[Reading]]:
    """JointRD's plain network minus ResNets pruned, and narrowed (alone or distilled), to what it costs; by rate.

    Beside it what such a ResNet loses against the whole one, and its cost as a multiple of the plain network's.
    """
    pruned, narrowed = (
        Reading(f"beats a ResNet {how} to its cost", "", told(key), look=RIVALS) for how, key in CUTS.items()
    )
    lines: tuple[list[Reading], list[Reading]] = ([], [])
    for table in rival_costs.TABLES:
        found = rival_table.lines(profile, store, table)
        for line in (line for line in found if line.row.cut):
            which = int(not line.pruned)
            gap, drop = rival_table.one_of(found, rival_table.JOINTRD).minus(line), line.minus(found[0])
            blank = replace(
                narrowed if which else pruned,
                reading=f"rate {line.rate:g}, {line.made}",
                protocol=protocol_name(profile),
                more={"drop": f"{drop.mean:+.1f}" if drop.values else "", COSTS: times_plain(line, found)},
            )
            lines[which].append(replace(blank.filled(gap, beyond(gap)), fill=line.to_fill))
    return lines[0] or [pruned.untested], lines[1] or [narrowed.untested]


CUTS = {"pruned": "question_pruned", "narrowed": "question_distilled"}


def times_plain(line: Line, among: Sequence[Line]) -> str:
    """Traffic, peak (additions out of place) and multiply-additions of what a way deploys, over the plain network's."""
    plain = rival_table.one_of(among, rival_table.PLAIN).network
    if not line.network or not plain:
        return ""
    pairs = [(line.network[what][OUT_OF_PLACE], plain[what][OUT_OF_PLACE]) for what in ("traffic", "peak")]
    pairs.append((line.network["macs"], plain["macs"]))
    return ", ".join(f"{ours / theirs:.2f}" for ours, theirs in pairs)


def ablations(profile: Profile, store: Store) -> list[Reading]:
    """JointRD minus JointRD with one part of its loss changed, on the tune split."""
    blank = Reading("the loss beats each change of it", "", told("question_ablations"), look=ABLATIONS)
    return changed(blank, {one.name: one for one in comparisons.ABLATIONS if one.question in LOSS}, profile, store)


def settings_released(profile: Profile, store: Store) -> list[Reading]:
    """JointRD minus what else the released code trains, with the same shortcuts, on the tune split."""
    blank = Reading("the loss beats the code's other settings", "", told("code_settings"), look=ABLATIONS)
    return changed(blank, {one.released: one for one in comparisons.ABLATIONS if one.released}, profile, store)


def changed(blank: Reading, changes: Mapping[str, Ablation], profile: Profile, store: Store) -> list[Reading]:
    """JointRD minus changes of it with the same shortcuts, each under the name of its reading."""
    rows, found = rows_of(profile, "ablations"), []
    if not rows:  # ImageNet has none
        return [blank.untested]
    jointrd = {row.shortcuts: row for row in rows if row.teaching in (JOINTRD, comparisons.KEPT.teaching)}
    for reading, one in changes.items():
        row = next(row for row in rows if row.teaching == one.teaching)
        gap = difference(jointrd[row.shortcuts], row, store)
        found.append(on_tune(replace(blank, reading=reading), row, profile, store).filled(gap, beyond(gap)))
    return found


def on_tune(blank: Reading, row: Row, profile: Profile, store: Store) -> Reading:
    protocol = f"{protocol_of(row, store)}, tune split"
    return replace(blank, protocol=protocol, look=ABLATIONS, fill=fill_command(profile, "ablations", store))


def command_published(store: Store) -> list[Reading]:
    """The full loss minus the student's own path alone, which is what the published JointRD command (TA) trains."""
    blank, found = Reading("the loss beats the JointRD command's", "", told("code_command"), look=CIFAR), []
    for profile in PROFILES.values():
        for table in ("3", "3-low-rate"):
            rows = rows_of(profile, table)
            for own in (row for row in rows if row.teaching == FEATURES):
                gap = difference(find(rows, own.depth, JOINTRD, own.shortcuts), own, store)
                reading = listed(f"{profile.name}-{own.depth}", SHORTCUTS[own.shortcuts], own.setting)
                fill = fill_command(profile, table, store)
                ran = replace(blank, reading=reading, protocol=protocol_of(own, store), fill=fill)
                found.append(ran.filled(gap, beyond(gap)))
    return found


def best_epochs(profile: Profile, store: Store) -> list[Reading]:
    """How far the best epoch flatters, which the released code prints: best minus last, on the tune split.

    It never falls below 0. Holds where every seed gains and the whole interval lies above 0; in part where any seed
    gains; does not hold where none does; cannot tell where none of fewer than LEAST does.
    """
    blank, found = Reading("the best epoch flatters", "", told("code_best_epoch"), look=ABLATIONS), []
    for row in rows_of(profile, "ablations"):
        if row.depth == profile.depths[0] and row.teaching in (CROSS_ENTROPY, JOINTRD):
            curves = [[epoch["tune_top1"] for epoch in record.history] for record in records_of(row, store)]
            gain = Cell(
                tuple(max(curve) - curve[-1] for curve in curves if curve), len(row.runs), cell(row, store).diverged
            )
            ran = on_tune(replace(blank, reading=row.title), row, profile, store)
            found.append(ran.filled(gain, flatters(gain)))
    return found or [blank.untested]


def flatters(gain: Cell) -> str:
    """The verdict of `best_epochs` on one network."""
    if all(gain.values) and beyond(gain) == HOLDS:
        return HOLDS
    return IN_PART if any(gain.values) else FAILS if len(gain.values) >= LEAST else UNDECIDED

"""Every rule of the scorecard on records made up for it."""

import pytest
from records import JOINTRD, PLAIN, RESNET, fill, put, put_row

from rdlib.experiments import tables
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import table3
from rdlib.measure.latency_record import Cell as Timed
from rdlib.measure.latency_record import LatencyRecord, Settings, provenance
from rdlib.measure.record import write
from rdlib.paper import claims, questions
from rdlib.paper.statistics import find
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]


@pytest.mark.parametrize(
    ("resnet", "plain", "jointrd", "verdict"),
    [
        (98.0, 80.0, 97.3, "holds"),
        (98.0, 80.0, 99.0, "holds"),
        (98.0, 80.0, 97.2, "holds in part"),
        (98.0, 80.0, 96.8, "holds in part"),
        (98.0, 80.0, 96.7, "does not hold"),
        (98.0, 80.0, 70.0, "does not hold"),
        (98.0, 97.5, 96.5, "does not hold"),
        (98.0, 97.5, 97.0, "cannot tell"),
        (98.0, 80.0, None, "not run"),
        (None, 80.0, 97.0, "not run"),
        (98.0, None, 96.0, "not run"),
    ],
)
def test_verdict_of_the_papers_claim(resnet, plain, jointrd, verdict, store):
    rows = table3(QUICK)
    values = {RESNET: resnet, PLAIN: plain, JOINTRD: jointrd}
    # Deviation 0.1 of JointRD's three seeds: the interval reaches 4.303 * 0.1 / sqrt(3) = 0.25 below the mean.
    spread = {RESNET: 0.0, PLAIN: 0.0, JOINTRD: 0.1}
    fill(store, rows, {k: (v - spread[k], v, v + spread[k]) for k, v in values.items() if v is not None})
    found = claims.same_level(*(find(rows, 34, *key) for key in (JOINTRD, RESNET, PLAIN)), store)
    assert found == verdict
    (line,) = [one for one in claims.levels(store) if one.reading == "quick-34, strictly plain"]
    assert line.verdict == verdict


def test_claims_on_memory_follow_from_the_measured_record(store):
    """ResNet-50 writes and holds 100, the plain networks as much less as each case says."""

    def row(name: str, taken: int, in_place: int) -> dict[str, object]:
        written = {"e": taken, "in place": in_place}
        return {"name": name, "side": 224, "traffic": written, "peak": {"e": 100}, "arena": {"r": taken, "gpu": None}}

    for taken, share, times in (
        (60, "holds", "holds"),
        (75, "does not hold", "holds"),
        (90, "does not hold", "does not hold"),
    ):
        plain = row("plain-50, strictly plain", taken, taken), row("plain-50, downsampling kept", 95, 40)
        write(store.root / "measured" / "memory.json", {"rows": [row("ResNet-50", 100, 100), *plain]})
        shares, reductions = (
            {one.reading: one.verdict for one in claims.memory_claim(key, store)}
            for key in ("claim_shortcut_share", "claim_memory")
        )
        for reading in ("written, e or in place", "measured peak, r"):
            assert shares[f"strictly plain, {reading}"] == share
            assert reductions[f"strictly plain, {reading}"] == times
        assert reductions["strictly plain, planned peak, e"] == "does not hold"
        assert reductions["downsampling kept, written, e"] == "does not hold"
        assert reductions["downsampling kept, written, in place"] == "holds", "other figures, another reading"
        assert (len(shares), len(reductions)) == (3, 7), "of the share strictly plain alone is judged"


def timed(store: Store, session: int, plain: dict[str, list[float]], kept: float = 19.0) -> None:
    """A session in which ResNet-50 takes 20 ms in every engine."""
    cells = {
        Timed(224, 1, 50, engine, "float32", name, kind, ""): milliseconds
        for engine, times in plain.items()
        for name, kind, milliseconds in (
            ("ResNet-50", "all", [20.0] * len(times)),
            ("plain-50, strictly plain", "none", times),
            ("plain-50, downsampling kept", "downsample", [kept] * len(times)),
        )
    }
    path = store.root / "measured" / f"latency-{session}.json"
    LatencyRecord(Settings(1, 9, 1), cells, provenance()).write(path)


def test_claims_on_speed_follow_from_all_sessions(store):
    assert [one.verdict for one in claims.speed_claim(store)] == ["not run"]
    fast, slow = [10.0] * 9, [19.0] * 9
    first = {"holds": fast, "does not hold": slow, "cannot tell": fast[:5] + slow[:4]}
    timed(store, 1, first)
    one_session = {one.reading: one for one in claims.speed_claim(store)}
    assert len(one_session) == 6
    for engine in first:
        one = one_session[f"strictly plain, {engine}, float32"]
        assert (one.verdict, one.n, one.more["sessions"], one.protocol) == (engine, 9, "1", "other device")
        assert one.more["machine"].endswith("1 thread")
        assert one_session[f"downsampling kept, {engine}, float32"].verdict == "does not hold"
    timed(store, 2, {"holds": slow}, kept=16.0)
    both = {one.reading: one for one in claims.speed_claim(store)}
    torn = both["strictly plain, holds, float32"]
    assert (torn.verdict, torn.n, torn.more["sessions"], torn.ours) == ("cannot tell", 18, "2", "1.05x to 2.00x")
    assert (torn.low, torn.high) == (pytest.approx(20 / 19), 2.0), "the interval covers both sessions"
    assert both["downsampling kept, holds, float32"].ours == "1.05x to 1.25x"
    untouched = "strictly plain, does not hold, float32"
    assert both[untouched] == one_session[untouched]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.4, 0.5, 0.6), "holds"),
        ((0.1, 5.0, 0.1), "holds in part"),
        ((0.0, 0.0, 0.2), "holds in part"),
        ((0.2,), "holds in part"),
        ((0.0, 0.0, 0.0), "does not hold"),
        ((0.0, 0.0), "cannot tell"),
    ],
)
def test_the_best_epoch_flatters_where_any_seeds_is_above_its_last(gains, verdict):
    assert questions.flatters(tables.Cell(gains, 3)) == verdict


def test_the_loss_is_held_against_settings_of_the_same_shortcuts(store):
    """The released plain baseline keeps its downsampling shortcuts: so must the JointRD that is compared with it."""
    rows = tables.rows_of(QUICK, "ablations")
    for name, value in (
        ("JointRD", 50.0),
        ("downsampling shortcuts kept", 90.0),
        ("CIFAR: cross-entropy alone", 80.0),
        ("all terms times 1/4", 45.0),
    ):
        put_row(store, next(row for row in rows if row.method == name), value, value, value)
    found = {one.reading: one.ours for one in questions.settings_released(QUICK, store) if one.n}
    assert found == {"README's CIFAR command: plain baseline": "+10.0", "JOINT: all terms times 1/4": "+5.0"}


def test_one_seed_is_not_enough_for_a_verdict(store):
    rows = table3(QUICK)
    fill(store, rows, {RESNET: (98.0,), PLAIN: (80.0,), JOINTRD: (99.0,)})
    assert claims.same_level(*(find(rows, 34, *key) for key in (JOINTRD, RESNET, PLAIN)), store) == "cannot tell"


def test_our_numbers_in_the_claims_come_from_the_records(store):
    quick, ten = table3(QUICK), table3(PROFILES["cifar10"])
    at34 = [row for row in ten if row.depth == 34]
    fill(store, quick, {RESNET: (98.0, 97.0), PLAIN: (80.0, 81.0), JOINTRD: (96.0, 95.5)})
    fill(store, at34, {RESNET: (95.0,), PLAIN: (92.0,), JOINTRD: (94.9,)})

    def numbers() -> tuple[list[str], dict[str, tuple[str, str]]]:
        ours = [one.ours for one in claims.levels(store) if one.n]
        lines = {one.reading.removeprefix("cifar10, "): one for one in claims.reported(store) if one.n}
        return ours, {name: (one.ours, one.verdict) for name, one in lines.items()}

    resnet, plain, jointrd = (find(at34, 34, *key) for key in (RESNET, PLAIN, JOINTRD))
    others = {plain.name: ("92.00", "does not hold"), jointrd.name: ("94.90", "holds")}
    assert numbers() == (["-0.1", "-1.8"], {resnet.name: ("95.00", "holds")} | others)
    put(store, quick[0].runs[0], 99.0)
    put(store, resnet.runs[0], 93.0)
    assert numbers() == (["+1.9", "-2.2"], {resnet.name: ("93.00", "does not hold")} | others)

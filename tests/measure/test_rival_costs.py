"""What the rivals cost agrees with independent counts, RMNet's line is exact, and who wins follows from the records."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from records import put_row
from torch import nn

from rdlib.deploy.planner import OUT_OF_PLACE
from rdlib.errors import ConfigError
from rdlib.experiments import fair
from rdlib.experiments.fair import Setting
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, LOGITS, TAUGHT, Row, Teaching, make_row
from rdlib.figures import rivals as rival_figures
from rdlib.measure import rival_costs
from rdlib.measure.candidates import deployed_graph
from rdlib.measure.latency_record import Settings
from rdlib.measure.rival_costs import RMNET
from rdlib.models import resnet
from rdlib.paper import rivals as rival_table
from rdlib.paper.rivals import SCRATCH, TEACHER, Line, winners
from rdlib.recipe import Recipe
from rdlib.rivals.register import WAYS
from rdlib.runs.execute import train
from rdlib.runs.store import Store

QUICK = PROFILES["quick"]


def with_rivals(patch: pytest.MonkeyPatch, ways) -> None:
    """Make those rows the table of rivals."""
    for part in (rival_costs, rival_table):
        patch.setattr(part, "rows_of", lambda profile, table=None: ways if table == "rivals" else [])


@pytest.fixture(scope="module")
def once(make_dataset, tmp_path_factory):
    """The record of a profile of width 4 on random images whose table of rivals has five ways, and a store with the
    weights of one of its two ResNets: measured once for all tests."""
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05, crop_padding=1)
    profile = replace(QUICK, dataset="tiny", depths=(18,), width=4, recipe=recipe, seeds=(0, 1))
    teachers = make_row(profile, 18, CROSS_ENTROPY, "all")
    ways = [
        teachers,
        make_row(profile, 18, CROSS_ENTROPY),
        make_row(profile, 18, JOINTRD, "none", teachers),
        make_row(profile, 18, Teaching("DiracNet", "Supervised", conv="dirac"), "none", teachers),
        make_row(profile, 18, LOGITS, "all", teachers, width=3, cut="narrowed to MACs"),
    ]
    folder, told = tmp_path_factory.mktemp("known"), []
    store = Store(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        dataset = make_dataset()
        patch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": dataset)
        patch.setattr("rdlib.measure.candidates.WIDTH", 4)
        patch.setattr(rival_costs, "PAPER_SIDE", 32)
        patch.setattr(rival_costs, "OFTEN", dict.fromkeys(rival_costs.OFTEN, Settings(repetitions=3, warmup=1)))
        with_rivals(patch, ways)
        train(ways[0].runs[0], store, "cpu", progress=False)
        rival_costs.measure(profile, store, folder / "rivals.json", told.append)
    return profile, ways, store, folder / "rivals.json", told


@pytest.fixture
def known(once, monkeypatch):
    with_rivals(monkeypatch, once[1])
    return once


def test_the_record_agrees_with_independent_counts_and_shares_networks(known):
    profile, ways, store, path, _ = known
    record = rival_costs.RECORD.read(profile, store, path)
    assert list(record["networks"]) == ["ResNet-18", "plain-18, strictly plain", "ResNet-18, narrowed to MACs", RMNET]
    deploys = [record["ways"][rival_costs.key(row)]["deploys"] for row in ways]
    assert deploys == [list(record["networks"])[i] for i in (0, 1, 1, 1, 2)]

    plain = record["networks"]["plain-18, strictly plain"]
    trained = resnet(18, 10, "none", 4)
    convolutions = [m for m in trained.modules() if isinstance(m, nn.Conv2d)]
    weights = sum(p.numel() for p in trained.parameters())
    shifts = sum(m.num_features for m in trained.modules() if isinstance(m, nn.BatchNorm2d))
    assert plain["parameters"] == weights - shifts  # folded, a BatchNorm's two numbers a channel are one bias
    pixels = {4: 64, 8: 16, 16: 4, 32: 1}  # 8x8 images, halved at each stage, by channels
    by_hand = sum(conv.weight.numel() * pixels[conv.out_channels] for conv in convolutions)
    assert plain["macs"] == by_hand + 32 * 10
    maps = sum(conv.out_channels * pixels[conv.out_channels] for conv in convolutions) + 32 + 10
    assert plain["traffic"][OUT_OF_PLACE] == 4 * maps
    additions = {name: one["additions"] for name, one in record["networks"].items()}
    assert list(additions.values()) == [8, 0, 8, 0]
    assert record["networks"][RMNET]["macs"] > 1.5 * plain["macs"]
    for one in (*record["networks"].values(), *record["paper_size"].values()):
        low, high = one["quartiles"]
        assert 0 < low <= one["milliseconds"] <= high
        assert one["speedup"][1] <= one["speedup"][0] <= one["speedup"][2]
        if one in record["networks"].values():
            faster = record["networks"]["ResNet-18"]["milliseconds"] / one["milliseconds"]
            assert one["speedup"][0] == pytest.approx(faster, rel=1e-3)
    assert record["networks"]["ResNet-18"]["speedup"] == [1, 1, 1]
    assert [one["additions"] for one in record["paper_size"].values()] == [8, 0, 0]


def test_training_costs_are_those_of_the_way(known):
    profile, ways, store, path, _ = known
    resnet_, plain, jointrd, dirac, narrowed = (
        rival_costs.RECORD.read(profile, store, path)["ways"][rival_costs.key(w)] for w in ways
    )
    assert plain["step"]["ratio"] == [1, 1, 1]
    assert jointrd["flops"] > 2 * plain["flops"] == 2 * dirac["flops"]
    assert narrowed["flops"] != resnet_["flops"]
    assert [one["teacher_flops"] for one in (resnet_, plain, jointrd, dirac, narrowed)] == [
        *(0, 0, resnet_["flops"], 0, resnet_["flops"])
    ]
    for one in (resnet_, jointrd, dirac, narrowed):
        slower = one["step"]["milliseconds"] / plain["step"]["milliseconds"]
        assert one["step"]["ratio"][0] == pytest.approx(slower, rel=1e-3)
    shown = rival_table.overview(profile, store, path=path).set_index("way")
    both = (jointrd["flops"] + resnet_["flops"]) / plain["flops"]
    assert shown.loc["JointRD", "both (x plain)"] == f"{both:.2f}"
    assert [cell == "none" for cell in shown["teacher's"]] == [True, False, True, False, True, False]
    assert list(shown["adds"]) == ["8", "0", "0", "0", "0", "8"]
    assert jointrd["step"]["images_per_second"] == pytest.approx(16e3 / jointrd["step"]["milliseconds"], rel=1e-3)


def test_rmnet_is_exact_where_there_are_weights_and_says_where_there_are_none(known):
    profile, ways, store, path, told = known
    exact = rival_costs.RECORD.read(profile, store, path)["rmnet"]
    assert list(exact) == [ways[0].runs[0].id]
    (one,) = exact.values()
    assert one["top1"] == one["resnet_top1"] == pytest.approx(store.record(ways[0].runs[0]).top1)
    assert (one["compared"], one["equal_top1"]) == (30, 30)
    assert 0 < one["largest_difference"] < 1e-4 * one["largest_logit"]
    assert told[-1].startswith(f"{RMNET}: 1 of 2 ResNets have no weights here")
    for command in (f"train --again {ways[0].runs[1].id}", "measure rivals quick"):
        assert f"`python -m rdlib {command} --store {store.root}`" in told[-1]
    table = rival_table.overview(profile, store, path=path).set_index("way")
    assert table.loc[RMNET, "n"] == "1/2"
    assert table.loc[RMNET, "to fill"] == f"python -m rdlib measure rivals quick --store {store.root}"
    assert table.loc[RMNET, "test top-1 (%)"] == table.loc["ResNet, cross-entropy", "test top-1 (%)"] != ""
    assert len(rival_table.exactness(profile, store, path)) == 1


def test_equal_networks_are_measured_once_and_no_others():
    run = next(row for row in rival_costs.rows_of(QUICK, "rivals") if row.method == "RepVGG").runs[0]
    teacher = rival_costs.rows_of(QUICK, "rivals")[0].runs[0]
    small = {name: replace(run, depth=18, width=4, conv=name) for name in ("plain", "dirac", "repvgg")}
    students = [rival_costs.shaped(one, teacher, 10) for one in small.values()]
    assert len({rival_costs.kind(student) for student in students}) == 1
    graphs = [deployed_graph(student, 16) for student in students[::2]]
    assert len({str(rival_costs.counted(graph)) for graph in graphs}) == 1
    others = [resnet(18, 10, kept, width).eval() for kept, width in (("all", 4), ("downsample", 4), ("none", 5))]
    assert len({rival_costs.kind(one) for one in (students[0], *others)}) == 4


def test_without_records_every_cell_is_empty_and_names_its_commands(tmp_path):
    table = rival_table.overview(QUICK, Store(tmp_path))
    sweep, measure = (
        f"python -m rdlib {what} --store {tmp_path}" for what in ("sweep quick --table rivals", "measure rivals quick")
    )
    assert set(table["to fill"]) == {f"{sweep}; {measure}", measure}  # the latter is RMNet's, which no sweep trains
    verdicts = {"cross-entropy": "above plain?", "JointRD": "above JointRD?"}
    for way, column in verdicts.items():
        itself = (table["way"] == way) & (table["start"] == SCRATCH)
        assert list(table[column]) == ["" if one else "not run" for one in itself]
    rest = table.drop(columns=["way", "start", "n", "to fill", *verdicts.values()])
    assert not rest.to_numpy().any()
    assert rival_table.networks(QUICK, Store(tmp_path)).empty
    assert rival_table.exactness(QUICK, Store(tmp_path)).empty
    assert rival_table.winners(rival_table.lines(QUICK, Store(tmp_path))) == []
    assert rival_table.lines(PROFILES["imagenet"], Store(tmp_path)) == []


def test_a_profile_without_rivals_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="imagenet has no table of rivals"):
        rival_costs.measure(PROFILES["imagenet"], Store(tmp_path), tmp_path / "rivals.json")


def line(way: str, *top1: float, start: str = SCRATCH, resnet: bool = False, cut: str = "", diverged: int = 0) -> Line:
    run = SimpleNamespace(method="Supervised", options={"init": "teacher"} if start == TEACHER else {})
    teaching = TAUGHT.get(way) or Teaching(way, "FineTuned" if cut else "Supervised")
    row = Row(34, "all" if resnet else "none", teaching, (run,) * 3, cut=cut)
    return Line(row, dict(enumerate(top1)), exact=way == RMNET, diverged=diverged)


MADE_UP = [
    line("cross-entropy", 99.5, 99.5, 99.5, resnet=True),
    line(RMNET, 99.0, 99.0, 99.1, resnet=True),
    line("cross-entropy", 30.0, 60.0, 90.0),
    line("JointRD", 98.0, 98.1, 98.2),
    line("JointRD", 99.6, 99.7, 99.8, start=TEACHER),
    line("RepVGG", 98.1, 98.0, 98.3),
    line("fine-tuned", 95.0, 95.1, 95.2, resnet=True, cut="narrowed to MACs"),
    line("DiracNet", 99.9, 99.9),  # one seed is missing
    line("SkipRemover", 99.9, 99.9, start=TEACHER, diverged=1),
]


def test_the_best_is_the_highest_mean_without_additions_and_rivals_may_win():
    ranked = [(one.way, one.start) for one in rival_table.ranked(MADE_UP)]
    assert ranked == [
        ("JointRD", TEACHER),
        (RMNET, TEACHER),
        ("RepVGG", SCRATCH),
        ("JointRD", SCRATCH),
        ("cross-entropy", SCRATCH),
    ]
    assert winners(MADE_UP) == [
        "Best without additions: JointRD (from the teacher), 99.7 ± 0.1 %.",
        "Best of the plain network itself: JointRD (from the teacher), 99.7 ± 0.1 %.",
        "Best of a ResNet made as cheap: ResNet, narrowed to MACs, 95.1 ± 0.1 %.",
        "Above JointRD (98.1 ± 0.1 %)? Of 5 ways: 2 yes, 1 no, 2 undecided.",
        "Not ranked, for want of runs: 1 of 9 ways.",
        "Not ranked, since a run diverged: 1 of 9 ways.",
    ]
    shown = rival_table.ranking(MADE_UP).set_index("rank")
    assert list(shown["above JointRD?"]) == ["yes", "yes", "undecided", "", "undecided"]
    assert list(shown["test top-1 (%)"])[:2] == ["99.7 ± 0.1", "99.0 ± 0.1"]


def test_all_others_are_one_family_those_without_runs_too():
    reference, ran = MADE_UP[3], MADE_UP[5]
    alone = rival_table.against([reference, ran], reference)
    assert [error for _, error in alone] == [1.0, 0.05]
    more = rival_table.against([reference, ran, line("DiracNet"), MADE_UP[8]], reference)
    assert [error for _, error in more] == pytest.approx([1.0, *[0.05 / 3] * 3])
    assert more[1][0] == alone[1][0] == ran.minus(reference)
    assert [gap.verdict() for gap, _ in more[2:]] == ["not run", "undecided"]


def test_the_starts_have_a_line_a_way_and_the_better_ones_further_up_and_right():
    (ax,) = rival_figures.starts(MADE_UP[:8]).axes
    assert [label.get_text() for label in ax.get_yticklabels()][:4] == ["ResNet", "DiracNet", "JointRD", "RMNet"]
    at = ax.transData.transform([(90, 0), (98, 0), (99, 0), (99.5, 0)])[:, 0]
    assert at[1] - at[0] > at[2] - at[1] > 0
    assert at[3] - at[2] == pytest.approx(at[2] - at[1])  # half the error is one step, wherever
    plt.close("all")


def test_every_point_over_costs_has_its_name_and_without_costs_or_accuracies_there_is_no_figure(known):
    profile, _, store, path, _ = known
    found = rival_table.lines(profile, store, path=path)
    trained = [replace(line, top1={0: 95.0 + place / 2, 1: 100.0}) for place, line in enumerate(found)]
    for draw, names in (
        (rival_figures.over_training, ["ResNet", "RMNet", "cross-entropy", "JointRD", "DiracNet"]),
        (
            rival_figures.over_traffic,
            ["ResNet", "RMNet", "plain, alone", "plain, JointRD", "narrowed to MACs, by logits"],
        ),
    ):
        (ax,) = draw(trained).axes
        points = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1]
        assert [text.get_text() for text in sorted(ax.texts, key=lambda text: text.xy[1])] == names
        assert sorted(tuple(text.xy) for text in ax.texts) == sorted(points)
        ax.figure.canvas.draw()  # which places the names
        column = {}  # an annotation's own extent has its line too
        for box in (Text.get_window_extent(text) for text in ax.texts):
            column.setdefault(round(box.x0), []).append(box)
        hidden = [a.overlaps(b) for boxes in column.values() for a, b in combinations(boxes, 2)]
        assert not any(hidden), "no name of a column hides another"
        assert draw([replace(line, top1={}) for line in found]) is None
        assert draw(MADE_UP) is None
    plt.close("all")


def test_places_that_are_one_stand_side_by_side_and_others_stay():
    assert rival_figures.beside([1.0, 3.0, 1.0, 1.05], 0.1) == pytest.approx([0.9, 3.0, 1.0, 1.15])
    assert rival_figures.apart(np.array([1.0, 1.0, 5.0])) == pytest.approx([0.91, 1.09, 5.0])


def test_only_a_whole_tuned_table_is_compared_before_the_published_weights(monkeypatch, store):
    ways = tuple(way for way in WAYS if way.name in ("cross-entropy", "JointRD"))
    for part in (fair, rival_table):
        monkeypatch.setattr(part, "WAYS", ways)
    monkeypatch.setattr(fair, "CHOSEN", {way.name: Setting(0.3, way.tried[0]) for way in ways})
    rows = fair.tuned_rows(QUICK)
    assert rival_table.comparable(QUICK, store)[0] == "with published weights"
    for row in rows[1:]:
        put_row(store, row, 90.0, 91.0, 92.0, 93.0, 94.0)
    how, found = rival_table.comparable(QUICK, store)
    assert (how, [line.way for line in found]) == (
        "each tuned on the same grid",
        ["ResNet, cross-entropy", RMNET, "cross-entropy", "JointRD"],
    )
    assert rival_table.winners(found)[-2].startswith("Above JointRD (92.0 ± 1.6 %)? Of 1 ways: 0 yes, 0 no")

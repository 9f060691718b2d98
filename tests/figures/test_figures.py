"""The pictures draw what the records have: every seed, their mean and range, and how many there were."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from records import put_row

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell, rows_of
from rdlib.figures import memory as memory_figures
from rdlib.figures.accuracy import accuracy, against_depth, against_learning_rate, tick
from rdlib.figures.curves import LiveCurves, mean_curves
from rdlib.figures.speedup import speedups
from rdlib.figures.style import band, counted, on_error, short_name
from rdlib.measure import memory, speedup
from rdlib.measure.latency_record import records
from rdlib.models import KINDS
from rdlib.paper.summary import keeps_up
from rdlib.runs.store import Store

QUICK, PUBLISHED = PROFILES["quick"], Store()


@pytest.fixture
def ax() -> Iterator[Axes]:
    yield plt.subplots()[1]
    plt.close("all")


def test_a_band_is_mean_and_range_and_leaves_out_epochs_that_a_seed_lacks(ax: Axes) -> None:
    values = np.array([[1.0, 2.0, np.nan, 4.0], [3.0, 6.0, 7.0, 4.0]])
    band(ax, values, [0, 2, 3, 9], color="red", label="both")
    assert np.array_equal(ax.lines[0].get_xydata(), [[0, 2], [2, 4], [9, 4]])
    assert ax.collections[0].get_datalim(ax.transData).extents.tolist() == [0, 1, 9, 6]
    band(ax, values[1:], color="blue")
    assert ax.lines[1].get_xdata().tolist() == [1, 2, 3, 4], "epochs count from 1"
    band(ax, np.full((2, 3), np.nan), color="green")
    assert (len(ax.lines), len(ax.collections)) == (2, 1), "one seed has no range, and no value no line"


def test_seeds_are_counted() -> None:
    assert [counted(each) for each in ([3, 3], [3, 0, 2], [0], [])] == ["n = 3", "n = 2 to 3", "", ""]
    assert counted([8, 10, 9]) == "n = 8 to 10"


def test_on_an_axis_of_the_error_every_value_has_its_place_and_lies_between_marks(ax: Axes) -> None:
    values = [68.8, 77.0, 100.0]
    ax.plot(values, values, "o", clip_on=False)
    on_error(ax, "x", values[:2])
    on_error(ax, values=values)
    assert ax.get_xlim() == (60, 80)
    assert ax.get_ylim() == (60, 100)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["60", "80", "90", "95", "98", "99", "100"]
    pixels = ax.transData.transform([(70, top1) for top1 in (80, 90, 98, 99, 100)])[:, 1]
    steps = np.diff(pixels)
    assert (steps[[0, 2, 3]] > steps.max() / 3).all(), "80 to 90 and 98 to 99 are seen alike"
    assert np.allclose(ax.transData.inverted().transform((0, pixels[0]))[1], 80)
    on_error(ax, "x", [])
    assert ax.get_xlim() == (0, 100)


def test_accuracy_draws_every_seed_and_mean_and_names_rows_without_records(store: Store) -> None:
    rows = rows_of(QUICK, "3")
    drawn = accuracy(rows, PUBLISHED, references=[50.0, *[None] * (len(rows) - 1)])
    dots = [tuple(dot) for line in drawn.lines if line.get_marker() == "o" for dot in line.get_xydata().tolist()]
    assert dots == [(top1, y) for y, row in enumerate(rows) for top1 in cell(row, PUBLISHED).values]
    assert [tuple(dot) for each in drawn.collections for dot in each.get_offsets().tolist()] == [(50.0, 0)]
    assert "diamond" in drawn.get_title("left")
    low, high = drawn.get_xlim()
    assert all(low <= top1 <= high for top1, _ in dots)
    means = [cell(row, PUBLISHED).mean for row in rows if cell(row, PUBLISHED).values]
    assert [text.get_text() for text in drawn.texts] == [f"{mean:.1f}" for mean in means]
    assert drawn.get_xlabel().endswith(", n = 3")
    empty = accuracy(rows, store)
    assert not empty.lines
    assert "diamond" not in empty.get_title("left")
    assert {text.get_text() for text in empty.texts} == {"not run"}
    for each in (drawn, empty):
        assert [text.get_text() for text in each.get_yticklabels()] == [tick(row) for row in rows]
        assert each.yaxis_inverted()
    plt.close("all")


def test_curves_are_the_mean_over_the_recorded_seeds(ax: Axes, store: Store) -> None:
    row = rows_of(QUICK, "3")[0]
    mean_curves([row], store, ax)
    assert not ax.lines
    mean_curves([row], PUBLISHED, ax)
    last = [record.history[-1]["train_top1"] for run in row.runs if (record := PUBLISHED.record(run))]
    assert ax.lines[0].get_ydata()[-1] == pytest.approx(np.mean(last))
    assert ax.lines[0].get_label() == f"{short_name(row)} (n = {len(last)})"


def test_an_axis_has_no_half_epochs() -> None:
    assert [LiveCurves(epochs).draw().axes[0].get_xticks().tolist() for epochs in (1, 4)] == [[1], [1, 2, 3, 4]]


def test_means_over_rates_are_drawn_where_there_are_records(store: Store) -> None:
    rows = rows_of(QUICK, "learning-rate")
    shown = against_learning_rate(rows, PUBLISHED)
    means = [y for line in shown.lines if line.get_linestyle() == "-" for y in line.get_ydata()]
    assert sorted(means) == pytest.approx(sorted(cell(row, PUBLISHED).mean for row in rows))
    seeds = [y for line in shown.lines if line.get_linestyle() == "None" for y in line.get_ydata()]
    assert sorted(seeds) == sorted(top1 for row in rows for top1 in cell(row, PUBLISHED).values)
    assert [text.get_text() for text in shown.texts] == ["ResNet", "plain, alone", "plain, by JointRD"]
    assert not against_learning_rate(rows, store).lines
    plt.close("all")


def test_depth_is_drawn_with_every_seed_a_line_of_means_a_network_and_how_deep_each_keeps_up(store: Store) -> None:
    rows = [row for row in rows_of(QUICK, "depth") if row.depth < 98]
    for place, row in enumerate(rows[:6]):  # of two of the four depths
        put_row(store, row, *(80.0 - place + seed for seed in range(3)))
    bars, ax = against_depth(rows, store).axes
    lines = {line.get_linestyle(): [] for line in ax.lines} | {"-": [], "None": []}
    for line in ax.lines:
        lines[line.get_linestyle()].append(list(line.get_ydata()))
    assert lines["-"] == [[81.0 - i, 78.0 - i] for i in range(3)]
    assert sorted(y for seeds in lines["None"] for y in seeds) == sorted(
        top1 for row in rows[:6] for top1 in cell(row, store).values
    )
    assert [text.get_text() for text in ax.texts] == ["ResNet", "plain, alone", "plain, by JointRD", "guessing"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["18", "34", "50\n(bottleneck)", "66"]
    assert "n = 3" in ax.get_xlabel()
    names = ("ResNet", "plain, alone", "plain, by JointRD")
    assert [text.get_text() for text in bars.texts] == [f"{name}: 34 layers" for name in names]
    nothing, empty = against_depth(rows[:1], Store(store.root / "empty")).axes
    assert [text.get_text() for text in (*nothing.texts, *empty.texts)] == ["guessing"]
    plt.close("all")


def test_bars_of_memory_are_the_records_and_a_mark_is_where_the_paper_puts_the_plain_network() -> None:
    rows = [memory.find(memory.read(), kind.format(50), 224) for kind in KINDS.values()]
    ax, _, _ = memory_figures.compared(rows, "peak", "traffic", "arena", claims={"peak": 1.25}).axes
    assert [bar.get_width() * memory.MIB for bar in ax.patches[:3]] == [row["peak"]["add out of place"] for row in rows]
    assert [mark.get_segments()[0][0][0] for mark in ax.collections] == pytest.approx(
        [whole / 1.25 / memory.MIB for whole in rows[0]["peak"].values()]
    )
    left, right = memory_figures.against_rivals(rows).axes
    assert {line.get_ydata()[0] for line in left.lines} == {row["macs"] / 1e9 for row in rows}
    assert len(left.lines) == len(right.lines) == len(rows)
    plt.close("all")


def test_speedups_have_a_panel_a_machine_and_the_papers_number_inside_its_frame() -> None:
    machines = speedup.by_machine(records(PUBLISHED.root / "measured"))
    found = {machine: speedup.over_sessions(of.values()) for machine, of in machines.items()}
    panels = speedups(found, 224, 1, (50,), 1.4).axes
    assert len(panels) == len(found)
    panels[0].figure.draw_without_rendering()
    for ax, of in zip(panels, found.values(), strict=True):
        shown = {x for bars in ax.containers for x in bars.lines[0].get_xdata()}
        wanted = (224, 1, 50, "")
        cells = [one for one in of.values() if not one.is_resnet]
        at_50 = [one for one in cells if (one.cell.side, one.cell.batch, one.cell.depth, one.cell.variant) == wanted]
        assert shown == {one.ratio for one in at_50}
        (word,) = ax.texts
        assert ax.get_window_extent().containsx(word.get_window_extent().x1)
    assert not speedups({}, 224, 1, (50,), 1.4).axes[0].containers
    plt.close("all")


def test_a_network_keeps_up_until_its_first_depth_below_the_bar() -> None:
    means = {"ResNet": (99, 98, 97), "plain": (98, 95, 96), "plain, JointRD": (96.9, 98, 97)}
    found = [(name, depth, top1) for name, of in means.items() for depth, top1 in zip((18, 34, 50), of, strict=True)]
    frame = pd.DataFrame(found, columns=["network", "depth", "top1"])
    assert keeps_up(frame) == {"ResNet": 50, "plain": 18}
    assert keeps_up(frame, 3.0) == {"ResNet": 50, "plain": 50, "plain, JointRD": 50}
    assert keeps_up(frame[frame["network"] != "ResNet"]) == {}

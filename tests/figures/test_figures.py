"""The pictures draw what the records have: every seed, their mean and range, and how many there were."""

import math
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from records import put_row

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell, rows_of
from rdlib.figures.accuracy import accuracy, against_depth, against_learning_rate, tick
from rdlib.figures.curves import LiveCurves, mean_curves
from rdlib.figures.style import band, counted, short_name
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


def test_accuracy_draws_every_seed_and_mean_and_names_rows_without_records(store: Store) -> None:
    rows = rows_of(QUICK, "3")
    drawn = accuracy(rows, PUBLISHED, references=[50.0, *[None] * (len(rows) - 1)])
    dots = [tuple(dot) for dots in drawn.collections for dot in dots.get_offsets().tolist()]
    expected = [(top1, y) for y, row in enumerate(rows) for top1 in cell(row, PUBLISHED).values]
    assert sorted(dots) == sorted([*expected, (50.0, 0)])
    means = [cell(row, PUBLISHED).mean for row in rows if cell(row, PUBLISHED).values]
    assert [text.get_text() for text in drawn.texts] == [f"{mean:.1f}" for mean in means]
    assert drawn.get_xlabel().endswith(", n = 3")
    empty = accuracy(rows, store)
    assert not empty.collections
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
    means = [y for line in shown.containers for y in line.lines[0].get_ydata()]
    assert sorted(means) == pytest.approx(sorted(cell(row, PUBLISHED).mean for row in rows))
    assert not any(math.isnan(y) for y in means)
    assert len(shown.figure.legends[0].get_texts()) == 3
    assert not against_learning_rate(rows, store).figure.legends
    plt.close("all")


def test_depth_is_drawn_with_every_seed_and_a_line_of_means_a_network(store: Store) -> None:
    rows = [row for row in rows_of(QUICK, "depth") if row.depth < 98]
    for place, row in enumerate(rows[:6]):  # of two of the four depths
        put_row(store, row, *(80.0 + place + seed for seed in range(3)))
    (ax,) = against_depth(rows, store).axes
    lines = {line.get_linestyle(): [] for line in ax.lines} | {"-": [], "None": []}
    for line in ax.lines:
        lines[line.get_linestyle()].append(list(line.get_ydata()))
    assert lines["-"] == [[81.0 + i, 84.0 + i] for i in range(3)]
    assert sorted(y for seeds in lines["None"] for y in seeds) == sorted(
        top1 for row in rows[:6] for top1 in cell(row, store).values
    )
    assert [text.get_text() for text in ax.texts] == ["ResNet", "plain, alone", "plain, by JointRD", "guessing"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["18", "34", "50\n(bottleneck)", "66"]
    assert "n = 3" in ax.get_xlabel()
    (empty,) = against_depth(rows[:1], Store(store.root / "empty")).axes
    assert [text.get_text() for text in empty.texts] == ["guessing"]
    plt.close("all")

"""The pictures draw what the records have: every seed, their mean and range, and how many there were."""

import math
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell, rows_of
from rdlib.figures.accuracy import accuracy, against_depth, against_learning_rate, tick
from rdlib.figures.curves import mean_curves
from rdlib.figures.style import band, counted, legend_below, short_name
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


def test_a_legend_names_every_label_once_and_nothing_has_none(ax: Axes) -> None:
    legend_below(ax)
    assert ax.get_legend() is None
    for _ in range(2):
        ax.plot([1], [1], label="one")
    figure = ax.get_figure(root=True)
    legend_below(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one"]


def test_seeds_are_counted() -> None:
    assert [counted(each) for each in ([3, 3], [3, 0, 2], [0], [])] == ["n = 3", "n = 2 or 3", "", ""]


def test_accuracy_draws_every_seed_and_mean_and_names_rows_without_records(store: Store) -> None:
    rows = rows_of(QUICK, "3")
    drawn = accuracy(rows, PUBLISHED, references=[50.0, *[None] * (len(rows) - 1)])
    dots = [tuple(dot) for dots in drawn.collections for dot in dots.get_offsets().tolist()]
    expected = [(top1, y) for y, row in enumerate(rows) for top1 in cell(row, PUBLISHED).values]
    assert sorted(dots) == sorted([*expected, (50.0, 0)])
    assert [text.get_text() for text in drawn.texts] == [f"{cell(row, PUBLISHED).mean:.1f}" for row in rows]
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


@pytest.mark.parametrize(("draw", "table"), [(against_depth, "depth"), (against_learning_rate, "learning-rate")])
def test_means_are_drawn_where_there_are_records(draw, table: str, store: Store) -> None:
    rows = rows_of(QUICK, table)
    shown = draw(rows, PUBLISHED)
    means = [y for line in shown.containers for y in line.lines[0].get_ydata()]
    assert sorted(means) == pytest.approx(sorted(cell(row, PUBLISHED).mean for row in rows))
    assert not any(math.isnan(y) for y in means)
    assert len(shown.figure.legends[0].get_texts()) == 3
    assert not draw(rows, store).figure.legends
    plt.close("all")

"""Panel (d): every control changes what is shown, and picture, table, links and records say the same numbers."""

import base64
import html
import io
import re

import numpy as np
import pandas as pd
import pytest
from records import put_row

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import TAUGHT
from rdlib.experiments.tables import frame, rows_of
from rdlib.explorer.catalogue import APART, TOP1, values
from rdlib.explorer.results import ANY, AXES, DRAWN, KEYED, NONE, ResultsPanel, plainly
from rdlib.recipe import Recipe
from rdlib.runs.run import Run

QUICK = PROFILES["quick"]


def cells_of(table: str) -> list[list[str]]:
    """The texts of a table, line by line."""
    rows = re.findall("<tr.*?>(.*?)</tr>", table, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def downloads(panel: ResultsPanel) -> dict[str, pd.DataFrame]:
    link = r'<a [^>]*download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)">'
    return {name: pd.read_csv(io.BytesIO(base64.b64decode(data))) for name, data in re.findall(link, panel.links.value)}


def require_consistent(panel: ResultsPanel) -> None:
    """The links hold what `runs` and `groups` hold, the table prints the same, the picture draws it."""
    files = downloads(panel)
    assert list(files) == ["rdlib-results.csv", "rdlib-results-groups.csv"]
    runs, groups = files.values()
    assert runs["id"].tolist() == panel.runs["id"].tolist()
    assert runs[TOP1].tolist() == panel.runs[TOP1].tolist()
    pd.testing.assert_frame_equal(groups, panel.groups.replace({"": None}), check_dtype=False, check_exact=True)
    head, *lines = cells_of(panel.table.value)
    for line, group in zip(lines, panel.groups.to_dict("records"), strict=True):
        shown = dict(zip(head, line, strict=True))
        several = group["n"] > 1
        assert shown[TOP1] == f"{group['mean']:.2f}" + several * f" ± {group['std']:.2f}"
        assert shown["lowest to highest"] == several * f"{group['min']:.2f} to {group['max']:.2f}"
        assert (shown["n"], shown.get("mixes", "")) == (str(group["n"]), group["mixes"])
        assert all(shown[key] == plainly(group[key]) for key in panel.groups.columns if key in shown and key != "n")
    said = {"mean", "std", "min", "max", *(column for column in APART if panel.groups[column].nunique() == 1)}
    said |= set() if panel.groups["mixes"].any() else {"mixes"}
    assert {*panel.groups.columns} - {*head} == said
    figure, drawn = panel.draw(), panel.drawn
    pd.testing.assert_frame_equal(drawn, panel.groups.head(len(drawn)))
    dots = [ax.collections[1].get_offsets()[:, 0] for ax in figure.axes]
    means = [ax.collections[2].get_offsets()[:, 0] for ax in figure.axes]
    np.testing.assert_allclose(np.concatenate(means), drawn["mean"])
    assert sum(map(len, dots)) == drawn["n"].sum()
    np.testing.assert_allclose(sum(map(np.sum, dots)), (drawn["mean"] * drawn["n"]).sum())
    faces = np.concatenate([ax.collections[2].get_facecolors() for ax in figure.axes])
    assert ((faces == 1).all(axis=1) == (drawn["mixes"] != "").to_numpy()).all()
    parts = drawn[list(APART)].drop_duplicates().to_numpy().tolist()
    assert [(ax.get_title(loc="left"), ax.get_xlabel()) for ax in figure.axes] == [
        (dataset, f"{split} top-1 (%)") for dataset, split in parts
    ]
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    wanted = [f"{n}, mixed" if mixes else f"{n}" for n, mixes in drawn[["n", "mixes"]].to_numpy()]
    assert sorted(text for text in texts if re.match(r"\d+(, mixed)?$", text)) == sorted(wanted)


def heading_of(panel: ResultsPanel) -> str:
    (heading,) = panel.draw().texts
    return heading.get_text().replace("\n", " ")


def test_picture_and_text_name_the_filters_that_are_set_and_the_learning_rates(panel):
    begun = "Filters: dataset digits, split test, depth 34, width 8, learning rate 0.1, method cross-entropy / "
    assert heading_of(panel).startswith(begun)
    assert panel.picture.alt.startswith(heading_of(panel))
    put_to(panel, dataset="digits", network="ResNet", method=("cross-entropy",))
    rates = " / ".join(f"{rate:g}" for rate in sorted(set(panel.runs["learning rate"])))
    named = f"Filters: dataset digits, network ResNet, method cross-entropy; learning rate of these runs {rates}"
    assert heading_of(panel) == named
    assert panel.picture.alt.startswith(named)
    put_to(panel)
    assert heading_of(panel).startswith("No filters; learning rate of these runs ")


def state(panel: ResultsPanel) -> tuple[object, ...]:
    return panel.message.value, panel.picture.value, panel.links.value, panel.table.value


def put_to(panel: ResultsPanel, draw: bool = True, **controls: object) -> ResultsPanel:
    """Set the controls, filters that are not named to any, and draw once or never instead of after each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel, "draw", lambda: None)
        patch.setattr(panel.picture, "show", lambda figure, alt: None)
        for column, control in panel.filters.items():
            control.value = controls.get(column, (ANY,) if column == "method" else ANY)
        panel.rows.value, panel.colour.value = controls.get("rows", "method"), controls.get("colour", NONE)
    if draw:
        panel.changed()
    return panel


@pytest.fixture(scope="module")
def shared() -> ResultsPanel:
    return ResultsPanel()


@pytest.fixture
def panel(shared: ResultsPanel) -> ResultsPanel:
    """The published records, as the panel shows them at first."""
    start = {column: shared.start(column) for column in shared.filters}
    return put_to(shared, **start, colour="shortcuts")


def test_it_starts_with_the_papers_ways(shared):
    panel = ResultsPanel()
    assert panel.groups["method"].isin(TAUGHT).all()
    assert set(panel.groups["method"]) >= {"cross-entropy", "logit distillation", "feature distance", "JointRD"}
    require_consistent(panel)
    assert f"digits, test top-1 of {len(panel.groups)} groups, mean from " in panel.picture.alt
    assert panel.message.value.startswith(f"{len(panel.runs)} runs of {len(panel.frame)} in {len(panel.groups)} groups")


def test_its_first_groups_are_clean_and_their_numbers_those_of_table_3(store):
    """Of records made up for it; the table is written by other code."""
    draw = np.random.default_rng(0)
    for row in rows_of(QUICK, "3"):
        put_row(store, row, *draw.uniform(80, 99, 3))
    panel = ResultsPanel(store)
    assert panel.message.value == "33 runs of 33 in 11 groups"
    ours = panel.groups.set_index(["shortcuts", "method"])
    for line in frame(QUICK, "3", store).to_dict("records"):
        group = ours.loc[(line["shortcuts"], line["taught by"])]
        assert line["test top-1 (%)"] == f"{group['mean']:.1f} ± {group['std']:.1f}"
        assert (group["n"], group["mixes"]) == (3, "")
    require_consistent(panel)


FILTERED = {
    "dataset": "cifar100",
    "split": "tune",
    "network": "ResNet",
    "depth": 18,
    "width": 16,
    "shortcuts": "strictly plain",
    "learning rate": 0.9,
    "protocol": "reduced",
}


def test_each_filter_admits_its_value_alone_and_any_admits_all(shared):
    few = {"method": ("cross-entropy",)}
    panel = put_to(shared, **few)
    before, every = state(panel), panel.runs
    assert {*FILTERED, "method"} == set(panel.filters)
    for column, value in FILTERED.items():
        panel.filters[column].value = value
        expected = every[every[column] == value]
        assert len(panel.runs) > 0
        assert panel.runs["id"].tolist() == expected["id"].tolist()
        assert (state(panel)[2:] == before[2:]) == (len(expected) == len(every))  # one protocol as yet
        assert state(panel)[1] != before[1]  # which names the filter
        (label, kept), *others = panel.filters[column].options
        assert (label, kept, [kept for _, kept in others]) == (ANY, ANY, values(panel.frame, column))
        put_to(panel, draw=False, **few)
    panel.changed()
    assert state(panel) == before


def test_methods_are_chosen_by_name(panel):
    before = state(panel)
    panel.filters["method"].value = ("JointRD", "RepVGG")
    assert set(panel.runs["method"]) == {"JointRD", "RepVGG"}
    assert all(now != then for now, then in zip(state(panel), before, strict=True))
    require_consistent(panel)
    panel.filters["method"].value = (ANY,)
    assert set(panel.runs["method"]) > {"JointRD", "RepVGG", "FitNets hint"}


def test_rows_and_colours_regroup(panel):
    put_to(panel, dataset="digits", split="test", method=("cross-entropy", "JointRD"), colour="shortcuts")
    before = state(panel)
    panel.rows.value = "depth"
    assert list(panel.groups.columns[:4]) == [*APART, "depth", "shortcuts"]
    between = state(panel)
    panel.colour.value = "method"
    assert list(panel.groups.columns[:4]) == [*APART, "depth", "method"]
    legend = [text.get_text() for text in panel.draw().legends[0].get_texts()]
    assert legend == ["cross-entropy", "JointRD"]
    for three in zip(before[1:], between[1:], state(panel)[1:], strict=True):  # picture, links and table
        assert len(set(three)) == 3
    require_consistent(panel)
    panel.colour.value = NONE
    assert list(panel.groups.columns[:4]) == [*APART, "depth", "n"]
    assert not panel.draw().legends
    require_consistent(panel)
    panel.colour.value = "depth"  # the same column twice is one
    assert list(panel.groups.columns[:4]) == [*APART, "depth", "n"]
    require_consistent(panel)


def test_what_is_mixed_or_left_out_is_said(panel):
    put_to(panel, colour="shortcuts")
    mixing, groups, drawn = int((panel.groups["mixes"] != "").sum()), len(panel.groups), len(panel.drawn)
    assert drawn == DRAWN or len(panel.draw().axes) == AXES
    left_out = f"The first {drawn} are drawn, {groups - drawn} left out: the table and the CSV have all"
    assert left_out in panel.message.value
    assert f"Hollow: {mixing} groups over more than seeds; " in panel.message.value
    put_to(panel, dataset="digits", split="test", colour="shortcuts")
    assert len(panel.drawn) == DRAWN < len(panel.groups)
    require_consistent(panel)
    height = panel.draw().get_figheight()
    put_to(panel, dataset="cifar100", split="test", width=16, colour="shortcuts")
    assert panel.draw().get_figheight() < height
    assert "left out" not in panel.message.value
    assert "Hollow" not in panel.message.value


def test_many_colours_are_named_beside_their_line(panel):
    put_to(panel, dataset="digits", split="test", rows="depth", colour="method")
    assert panel.drawn["method"].nunique() > KEYED
    figure = panel.draw()
    assert not figure.legends
    texts = [text.get_text().replace("\n", " ") for ax in figure.axes for text in ax.texts]
    for depth, method in panel.drawn[["depth", "method"]].to_numpy():
        assert f"depth {depth}: {method}" in texts
    require_consistent(panel)


def test_nothing_fits_is_one_sentence_and_clears_the_rest(panel):
    panel.filters["dataset"].value = "cifar100"  # of depth 18 alone
    assert panel.message.value.startswith("None of the ")
    assert state(panel)[1:] == ("", "", "")
    assert "image/png" not in panel._repr_mimebundle_()[0]


def a_run(dataset: str = "digits", **recipe: object) -> Run:
    return Run(dataset, "Supervised", 34, 8, "none", 0, Recipe(**recipe))


def test_an_empty_store_names_the_command(store):
    panel = ResultsPanel(store)
    assert panel.message.value == (
        f"This store has no records that can be read; `python -m rdlib sweep quick --store {store.root}` makes some"
    )
    for control in (*panel.filters.values(), panel.rows, panel.colour):
        panel.changed({"owner": control})
    assert state(panel)[1:] == ("", "", "")
    assert panel._repr_mimebundle_()[0]["text/plain"] == panel.message.value


def test_damaged_records_are_named_and_the_rest_is_shown(store, put):
    put(a_run(), 50.0)
    for name in ("broken", "worse"):
        (store.root / "runs" / "digits" / f"{name}.json").write_text("{")
    panel = ResultsPanel(store)
    assert "1 run of 1 in 1 group. Skipped: record broken.json cannot be read" in panel.message.value
    assert panel.message.value.endswith("1 more record skipped")
    require_consistent(panel)


def test_one_run_and_absent_values_can_be_shown(store, put):
    """No deviation from one run; a setting that some runs lack; an axis for each data set and split."""
    for top1, different in (
        (50.0, {}),
        (60.0, {"cutout": 4}),
        (70.0, {"dataset": "A-set"}),
        (80.0, {"holdout": "tune"}),
    ):
        put(a_run(**different), top1)
    panel = ResultsPanel(store)
    require_consistent(put_to(panel, rows="cutout"))
    assert (len(panel.groups), len(panel.drawn), len(panel.draw().axes)) == (4, 4, AXES)
    put_to(panel, colour="cutout")
    assert [text.get_text() for text in panel.draw().legends[0].get_texts()] == ["cutout 4", "cutout none"]
    require_consistent(panel)

"""Panel (d), results: filter all records of a store, group them, see means with every run, download the numbers."""

import base64
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import TAUGHT
from rdlib.experiments.tables import in_store
from rdlib.explorer.catalogue import APART, SETTINGS, STATISTICS, TOP1, catalogue, grouped, select, values
from rdlib.explorer.panel import Panel, breakable, choice, guarded, html_table
from rdlib.figures.style import COLOURS, NETWORK_COLOURS
from rdlib.models import SHORTCUTS
from rdlib.recipe import PAPER_RECIPE
from rdlib.runs.store import Store

FILTERS = {  # columns of the catalogue and what their control is called
    "dataset": "data set",
    "split": "measured on split",
    "network": "network",
    "depth": "depth (layers)",
    "width": "width (channels)",
    "shortcuts": "shortcuts",
    "learning rate": "learning rate (peak)",
    "protocol": "protocol",
}
METHODS = 7  # lines of their list
ANY, NONE = "any", "none"  # ipywidgets shows nothing where a choice is None
BELOW = 0.34  # of a line: where the runs are, under the mean
MISSING, ONE = "#999999", COLOURS["plain, JointRD"]
KEYED = 10  # colours that a legend can have
DRAWN, AXES = 20, 3  # groups, and data sets with their splits, that are drawn in 0.2 s; the table has all
WIDTH, LINE = 7.7, 0.19  # inches of the figure, inches a group
LABEL, TOLD = 44, 110  # characters of a line of a row's name, and of the filters
SHADES = {SHORTCUTS["all"]: COLOURS["ResNet"], "ResNet": COLOURS["ResNet"], "plain": COLOURS["plain"]}
SHADES |= {SHORTCUTS[kept]: colour for kept, colour in NETWORK_COLOURS.items()}
LINK = "color:var(--jp-content-link-color,#1a5fb4);text-decoration:underline"  # widgets show links as plain text


class ResultsPanel(Panel):
    """`filters`, by column, choose the `runs`; `rows` and `colour` make them `groups`.

    The records are read once. It starts with the quick profile's networks, taught in the ways of the paper's tables at
    the paper's learning rate, on the test split: there no mean is taken over more than seeds.
    """

    name = "results"

    def __init__(self, store: Store | None = None):
        super().__init__()
        self.store = store or Store()
        self.frame, self.skipped = catalogue(self.store)
        self.runs, self.groups = self.frame, grouped(self.frame)
        lists = {column: choice(label, self.options(column), self.start(column)) for column, label in FILTERS.items()}
        several = "methods (Ctrl-click for several)"
        lists["method"] = choice(several, self.options("method"), self.start("method"), rows=METHODS, many=True)
        self.filters = {name: self.add(name.replace(" ", "-"), one, self.changed) for name, one in lists.items()}
        varied = [name for name in SETTINGS if name not in APART and self.frame[name].nunique(dropna=False) > 1]
        by = varied if "method" in varied else ["method", *varied]
        colour = "shortcuts" if "shortcuts" in varied else NONE
        self.rows = self.add("rows", choice("a row for each", by, "method"), self.changed)
        self.colour = self.add("colour", choice("a colour for each", [NONE, *by], colour), self.changed)
        self.links, self.table = self.add("download", widgets.HTML()), self.add("table", widgets.HTML())
        self.lay_out([*self.filters.values(), self.rows, self.colour], [self.links, self.table])
        self.changed()

    def options(self, column: str) -> list[tuple[str, Any]]:
        return [(ANY, ANY), *((breakable(plainly(value)), value) for value in values(self.frame, column))]

    def start(self, column: str) -> Any:
        """What a filter shows at first: the quick profile's value, for methods the tables' ways; or any."""
        quick, known = PROFILES["quick"], values(self.frame, column)
        if column == "method":
            return [name for name in TAUGHT if name in known] or [ANY]
        wanted = {"dataset": quick.dataset, "split": "test", "depth": quick.depths[0], "width": quick.width}
        value = (wanted | {"learning rate": PAPER_RECIPE.learning_rate}).get(column)
        return value if value in known else ANY

    @property
    def admitted(self) -> dict[str, Any]:
        """The values that each filter admits, by column; none where it admits any."""
        chosen = {column: (control.value,) for column, control in self.filters.items()}
        chosen["method"] = self.filters["method"].value
        return {column: () if ANY in ticked else ticked for column, ticked in chosen.items()}

    @property
    def coloured(self) -> str | None:
        return None if self.colour.value == NONE else self.colour.value

    @guarded
    def changed(self, _: object = None) -> None:
        """Show what the controls ask for."""
        self.runs = select(self.frame, self.admitted)
        self.groups = grouped(self.runs, [column for column in (self.rows.value, self.coloured) if column])
        self.say(". ".join([self.summary(), *skipped_in_short(self.skipped)]))
        if self.groups.empty:
            self.picture.clear()
            self.links.value = self.table.value = ""
            return
        alt = f"{conditions(self.admitted, self.runs)}. {description(self.groups)}."
        self.picture.show(self.draw(), alt)
        runs, groups = link(self.runs, "runs", "rdlib-results"), link(self.groups, "groups", "rdlib-results-groups")
        self.links.value = f"{runs} &nbsp; {groups}"
        self.table.value = as_html(self.groups)

    def summary(self) -> str:
        """What is shown, in a sentence or two, or why nothing is."""
        if self.frame.empty:
            command = in_store("python -m rdlib sweep quick", self.store)
            return f"This store has no records that can be read; `{command}` makes some"
        if self.groups.empty:
            return f"None of the {len(self.frame)} runs has all that is asked for: set a filter to '{ANY}'"
        told = [f"{count(len(self.runs), 'run')} of {len(self.frame)} in {count(len(self.groups), 'group')}"]
        if left_out := len(self.groups) - len(self.drawn):
            told.append(f"The first {len(self.drawn)} are drawn, {left_out} left out: the table and the CSV have all")
        if mixing := int((self.groups["mixes"] != "").sum()):
            what = f"{count(mixing, 'group')} over more than seeds"
            told.append(f"Hollow: {what}; filter or group by what the table names under 'mixes'")
        return ". ".join(told)

    @property
    def drawn(self) -> pd.DataFrame:
        """The groups that the picture has."""
        number = self.groups.groupby(list(APART), sort=False).ngroup()
        return self.groups[number < AXES].head(DRAWN)

    def draw(self) -> Figure:
        """Mean and standard deviation of each group, every run a dot; one axis a data set and split."""
        rows, colour = self.rows.value, self.coloured
        groups = self.drawn
        shown = values(groups, colour) if colour else []
        shades = palette(colour, values(self.frame, colour), shown) if colour else {}
        parts = [part for _, part in groups.groupby(list(APART), sort=False)]
        single = len(shown) > KEYED  # as many colours could not be told apart: their names stand by them
        absent = [None] if colour and groups[colour].isna().any() else []
        keyed = [] if single else [*shown, *absent]
        labels = [labels_of(part, rows, colour if single else None) for part in parts]
        longest = max(len(text) for part in labels for name in part for text in name.split("\n"))
        left = 0.25 + (0.056 if single else 0.07) * longest
        keys = [named(colour, value) for value in keyed]
        columns = max(1, int(WIDTH / (0.6 + 0.085 * max(map(len, keys), default=1))))
        legend = 0.24 * -(-len(keys) // columns) + (0.15 if keys else 0)
        told = textwrap.wrap(conditions(self.admitted, self.runs), TOLD)
        heights = [LINE * (places(part[rows])[-1] + 1.7) for part in parts]
        above = 0.1 + 0.16 * len(told)
        height = above + sum(heights) + 0.82 * len(parts) + legend + 0.05
        figure, top = Figure(figsize=(WIDTH, height)), above
        figure.text(0.1 / WIDTH, 1 - 0.08 / height, "\n".join(told), fontsize=9, color="#555", va="top")
        for part, label, tall in zip(parts, labels, heights, strict=True):
            top += 0.32 + tall
            ax = figure.add_axes((left / WIDTH, 1 - top / height, (WIDTH - left - 1) / WIDTH, tall / height))
            self.draw_part(ax, part, label, single, shades)
            top += 0.5
        if keys:
            dots = [figure.axes[0].plot([], [], "o", color=shades.get(value, MISSING))[0] for value in keyed]
            figure.legend(dots, keys, loc="lower center", ncols=columns, frameon=False, fontsize=9)
        return figure

    def draw_part(self, ax: Axes, part: pd.DataFrame, labels: list[str], single: bool, shades: dict[Any, Any]) -> None:
        """The groups of one data set and split, from top to bottom."""
        rows, colour = self.rows.value, self.coloured
        y = places(part[rows])
        tints = [shades.get(value, MISSING) for value in part[colour]] if colour else [ONE] * len(y)
        keys = [column for column in part.columns if column not in STATISTICS]
        dots = self.runs.merge(part[keys].assign(y=y, tint=tints), on=keys)
        pure = (part["mixes"] == "").tolist()
        mean, std = part["mean"].to_numpy(), part["std"].fillna(0).to_numpy()
        ax.hlines(y, mean - std, mean + std, colors=tints, linewidth=1.6)
        ax.scatter(dots[TOP1], dots["y"] + BELOW, s=11, c=dots["tint"].tolist(), alpha=0.55, linewidths=0, zorder=2)
        faces = [tint if whole else "white" for tint, whole in zip(tints, pure, strict=True)]
        ax.scatter(mean, y, s=30, marker="D", c=faces, edgecolors=tints, linewidths=1.4, zorder=3)
        # Texts, because an axis with as many ticks takes twice as long to draw.
        beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9}
        size = 7 if single else 9  # points; two lines of 7 fit beside one group
        row = part[rows].ne(part[rows].shift()).cumsum().to_numpy()
        for (_, name), lines in pd.Series(y).groupby([row, labels], sort=False):
            ax.text(-0.01, lines.mean(), str(name), ha="right", linespacing=1, **beside | {"fontsize": size})
        for at, n, whole in zip(y, part["n"], pure, strict=True):
            ax.text(1.015, at, f"{n}" if whole else f"{n}, mixed", color="#555", **beside)
        ax.text(1.015, y[0] - 1.25, "n", color="#555", **beside)
        ax.set_yticks([])
        dataset, split = part[list(APART)].iloc[0]
        ax.set(xlabel=f"{split} top-1 (%)", ylim=(y[-1] + 0.85, y[0] - 0.85))
        ax.locator_params(axis="x", nbins=6)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -2), min(high, 102))
        ax.set_title(dataset, loc="left", y=1, fontsize=10, fontweight="bold")  # a given y is not searched for: faster
        ax.grid(axis="x", alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)


def skipped_in_short(skipped: list[str]) -> list[str]:
    """The first record that is skipped, with its reason, and how many more."""
    more = [f"{count(len(skipped) - 1, 'more record')} skipped"] if len(skipped) > 1 else []
    return [f"Skipped: {skipped[0]}", *more] if skipped else []


def labels_of(part: pd.DataFrame, rows: str, colour: str | None) -> list[str]:
    """The name that stands left of each group, in lines: its row's, or with its colour's where there is no legend."""
    names = part[rows].map(partial(named, rows))
    if colour:
        names += ": " + part[colour].map(partial(named, colour))
    return ["\n".join(textwrap.wrap(name, LABEL, break_on_hyphens=False)) for name in names]


def places(rows: "pd.Series[Any]") -> list[float]:
    """The y of each group: one apart, and half as much more between rows."""
    return [0.0, *np.cumsum(1 + 0.5 * rows.ne(rows.shift()).iloc[1:]).tolist()]


def palette(column: str, everything: list[Any], shown: list[Any]) -> dict[Any, Any]:
    """A colour for each value, the same whatever is filtered as long as there are at most ten values."""
    if all(value in SHADES for value in everything):
        return SHADES
    if column == "method":
        known = {value: COLOURS[f"plain, {value}"] for value in shown if f"plain, {value}" in COLOURS}
        known |= {"cross-entropy": COLOURS["plain"]}
        others = [value for value in shown if value not in known]
        return known | dict(zip(others, sns.husl_palette(len(others), l=0.5), strict=True))
    if not isinstance(everything[0], str):
        shades = sns.color_palette("viridis", len(everything) + 1)[:-1]  # without its yellow, which white swallows
        return dict(zip(everything, shades, strict=True))
    if len(everything) <= 10:
        return dict(zip(everything, sns.color_palette("colorblind", len(everything)), strict=True))
    return dict(zip(shown, sns.husl_palette(len(shown), l=0.5), strict=True))


def plainly(value: Any) -> str:
    return "none" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def named(column: str | None, value: Any) -> str:
    """A value as the picture names it: a number never without its column."""
    if value == SHORTCUTS["all"]:
        return "all shortcuts"
    return value if isinstance(value, str) and value else f"{column} {plainly(value)}"


def conditions(filters: Mapping[str, Sequence[Any]], runs: pd.DataFrame) -> str:
    """The filters that are set, by column, and in any case which learning rates the runs had."""
    told = [f"{column} {' / '.join(map(plainly, admitted))}" for column, admitted in filters.items() if admitted]
    sentence = f"Filters: {', '.join(told)}" if told else "No filters"
    if filters.get("learning rate"):
        return sentence
    rates = " / ".join(map(plainly, values(runs, "learning rate")))
    return f"{sentence}; learning rate of these runs {rates}"


def description(groups: pd.DataFrame) -> str:
    """The picture in words, for whom cannot see it; the table has all the numbers."""
    parts = []
    keys = [column for column in groups.columns if column not in (*APART, *STATISTICS)]
    for (dataset, split), part in groups.groupby(list(APART), sort=False):
        lines = part.sort_values("mean").iloc[[0, -1]].to_dict("records")
        ends = [f"{line['mean']:.2f} % ({', '.join(named(key, line[key]) for key in keys)})" for line in lines]
        parts.append(f"{dataset}, {split} top-1 of {count(len(part), 'group')}, mean from {' to '.join(ends)}")
    return "; ".join(parts)


def link(table: pd.DataFrame, what: str, name: str) -> str:
    """A link that holds the table itself as CSV, numbers in full."""
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    download = f'download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{data}"'
    return f'<a style="{LINK}" {download}>Download CSV of the {what} ({len(table)})</a>'


def with_spread(group: Mapping[Any, Any]) -> str:
    """Mean and standard deviation of a group, in percent; of one run no deviation."""
    return f"{group['mean']:.2f}" + ("" if group["n"] == 1 else f" ± {group['std']:.2f}")


def as_html(groups: pd.DataFrame) -> str:
    """The groups as a table, top-1 in percent to two digits; what all of them share, the filters say."""
    same = [column for column in APART if groups[column].nunique() == 1]
    keys = [column for column in groups.columns if column not in (*same, *STATISTICS)]
    mixing = ["mixes"] if groups["mixes"].any() else []
    lines = []
    for group in groups.to_dict("records"):
        across = "" if group["n"] == 1 else f"{group['min']:.2f} to {group['max']:.2f}"
        words = [plainly(group[key]) for key in keys] + [group[key] for key in mixing]
        lines.append([*words, str(group["n"]), with_spread(group), across])
    head = [*keys, *mixing, "n", TOP1, "lowest to highest"]
    return f'<div class="scrolls">{html_table(head, lines, len(keys + mixing))}</div>'

"""Runs and groups of the results panel as text: single values, sentences, a table, CSV to download."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rdlib.explorer.catalogue import APART, values
from rdlib.models import SHORTCUTS

PERCENT = ("mean", "std", "min", "max")
STATISTICS = ("n", *PERCENT, "mixes")
RATE = "learning rate"
LINK = "color:var(--jp-content-link-color,#1a5fb4);text-decoration:underline"  # widgets show links as plain text


def plainly(value: Any) -> str:
    return "none" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def percent(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


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
    if filters.get(RATE):
        return sentence
    return f"{sentence}; {RATE} of these runs {' / '.join(map(plainly, values(runs, RATE)))}"


def description(groups: pd.DataFrame) -> str:
    """The picture in words, for whom cannot see it; the table has all the numbers."""
    parts = []
    keys = [column for column in groups.columns if column not in (*APART, *STATISTICS)]
    for (dataset, split), part in groups.groupby(list(APART), sort=False):
        lines = part.sort_values("mean").iloc[[0, -1]].to_dict("records")
        ends = [f"{line['mean']:.2f} % ({', '.join(named(key, line[key]) for key in keys)})" for line in lines]
        parts.append(f"{dataset}, {split} top-1 of {count(len(part), 'group')}, mean from {' to '.join(ends)}")
    return "; ".join(parts)


def link(table: pd.DataFrame, text: str, name: str) -> str:
    """A link that holds the table itself as CSV, numbers in full."""
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    source = f"data:text/csv;charset=utf-8;base64,{data}"
    return f'<a style="{LINK}" download="{name}" href="{source}">{html.escape(text)}</a>'


def as_html(groups: pd.DataFrame) -> str:
    """The groups as a table, top-1 in percent to two digits; it scrolls where it is long."""
    shown = groups.copy()
    for column in groups.columns:
        exact = column not in PERCENT
        shown[column] = [plainly(value) if exact else percent(value) for value in groups[column]]
    shown.columns = pd.Index([f"{column} (%)" if column in PERCENT else column for column in groups.columns])
    return f'<div style="max-height:28em;overflow:auto">{shown.to_html(index=False, border=0, justify="left")}</div>'

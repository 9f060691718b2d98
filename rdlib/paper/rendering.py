"""The one way a notebook shows a table: text in a terminal; in JupyterLab and on a page with links, perhaps folded."""

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rdlib.experiments.tables import FILL, REPORTED, as_markdown, as_text, without_commands
from rdlib.files import ROOT

WIDTH = 120  # characters of a line of text
NUMBERS = "notebook"  # a column of two-digit numbers of notebooks
NOTEBOOK = re.compile(r"(?<![(/\w])\d\d_[a-z]\w*\b")
SPREAD = re.compile(r"± [\d.]+|(?<=[\d.x%] )\[[-+\d.x%, ]+\]")  # no line ends within one
COMMAND = re.compile(r"(?<!`)python -m rdlib [\w ./'-]*[\w']")


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """The last value of a notebook's cell: a table and lines under it, folded under a sentence if `fold` is one.

    A table whose every cell waits for its runs is one line. `repr` is the text.
    """

    table: pd.DataFrame
    lines: Sequence[str] = ()
    fold: str = ""

    def __repr__(self) -> str:
        wrapped = [textwrap.fill(line, WIDTH, break_on_hyphens=False, break_long_words=False) for line in self.lines]
        return "\n".join([waiting(self.table) or as_text(self.table), *([""] if wrapped else []), *wrapped])

    def _repr_markdown_(self) -> str:
        return SPREAD.sub(lambda match: match[0].replace(" ", "\u00a0"), self.markdown())

    def markdown(self, folder: str = "") -> str:
        """Markdown; folder: where the notebooks are, seen from the page that holds it, e.g. "notebooks/"."""
        table = self.table
        if NUMBERS in table:
            numbers = table[NUMBERS].map(lambda cell: re.sub(r"\d\d", lambda one: numbered(one[0], folder), cell))
            table = table.assign(**{NUMBERS: numbers})
        listed = [f"- {line}" for line in self.lines]
        whole = waiting(table) or as_markdown(table)
        text = "\n".join([linked(whole, folder), *linked("\n".join(["", *listed]), folder).splitlines()])
        opening = f"<details><summary>{html.escape(self.fold, quote=False)}</summary>\n\n"
        return f"{opening}{text}\n\n</details>" if self.fold and not waiting(table) else text


def waiting(table: pd.DataFrame) -> str:
    """The one line that stands for a table without any result, "33 cells not run: python -m rdlib ..."; else ""."""
    if table.empty or not {FILL, "n"} <= set(table) or REPORTED in table:
        return ""
    if not (table[FILL].all() and table["n"].astype(str).str.startswith("0/").all()):
        return ""
    return f"{len(table)} cell{'s' * (len(table) > 1)} not run: {', '.join(without_commands(table)[1])}"


def numbered(number: str, folder: str) -> str:
    """A notebook's number as a link to it."""
    name = next((path.stem for path in (ROOT / "notebooks").glob(f"{number}_*.ipynb")), None)
    return f"[{number}]({folder}{name}.ipynb)" if name else number


def linked(text: str, folder: str) -> str:
    """Names of notebooks that exist become links, commands of rdlib code."""

    def link(match: re.Match[str]) -> str:
        exists = (ROOT / "notebooks" / f"{match[0]}.ipynb").exists()
        return f"[{match[0]}]({folder}{match[0]}.ipynb)" if exists else match[0]

    return COMMAND.sub(lambda match: f"`{match[0]}`", NOTEBOOK.sub(link, text))

"""What each notebook asks, answers and takes, read from its first cell, for the table of the READMEs."""

import json
import re
from pathlib import Path

import pandas as pd

from rdlib.errors import NotebookError
from rdlib.files import NOTEBOOKS

OPENING = re.compile(
    r"# (?P<question>.+)\n\n\*\*Answer\.\*\* (?P<answer>.+?[.?!])(?: .*)?\n\n"
    r"\*(?P<minutes>\d+) minutes?; (?P<trains>[^.]+)\."
)
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def opening(path: Path) -> dict[str, str]:
    """question, answer (its first sentence), minutes and what it trains. Raises NotebookError where it does not say."""
    source = "".join(json.loads(path.read_text())["cells"][0]["source"])
    match = OPENING.match(source)
    if match is None:
        raise NotebookError(f"the first cell of {path.name} lacks its question, answer or minutes: see tests/project")
    return {name: LINK.sub(r"\1", said) for name, said in match.groupdict().items()}


def contents(folder: str) -> pd.DataFrame:
    """A line a notebook; folder: the way to them from the page that shows it, e.g. "notebooks/"."""
    lines = []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        said, number = opening(path), path.stem.partition("_")[0]
        lines.append(
            {
                "notebook": f"[{number}]({folder}{path.name})",
                "asks": said["question"],
                "answers": said["answer"],
                "minutes": said["minutes"],
                "trains": "no" if said["trains"].startswith("trains nothing") else "yes",
            }
        )
    return pd.DataFrame(lines)

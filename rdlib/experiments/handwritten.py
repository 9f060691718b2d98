"""What results/ holds that people wrote by hand: read as it stands, or refused with what is wrong in it."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from rdlib.errors import RecordError
from rdlib.files import RESULTS

COLUMNS = ("table", "dataset", "depth", "network", "plain", "quantity", "value", "unit", "comparison", "source")
PLAIN = ("none", "downsample", "doubtful")  # which shortcuts the plain network of a line has, as its file's size shows
CLAIMS = ("claim_speedup", "claim_memory", "claim_shortcut_share")  # whose values are compared with ours


def handwritten(path: Path, columns: Iterable[str], ids: Iterable[str]) -> pd.DataFrame:
    """A CSV file as text, by id; None in empty cells.

    Raises RecordError where it cannot be read, lacks one of the columns or ids, or has an id twice or empty.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.name} cannot be read as CSV in UTF-8: restore it from git") from error
    for name in ("id", *columns):
        if name not in table:
            raise wrong(path, f"has no column {name!r}")
    if table["id"].isna().any():
        raise wrong(path, "has a line without id")
    if table["id"].duplicated().any():
        raise wrong(path, f"has two lines {table['id'][table['id'].duplicated()].iloc[0]!r}")
    if missing := set(ids) - set(table["id"]):
        raise wrong(path, f"has no line {min(missing)!r}")
    return table.set_index("id")


def wrong(path: Path, what: str) -> RecordError:
    return RecordError(f"{path.name} {what}: correct it, or restore it from git")


@cache
def paper(path: Path = RESULTS / "paper.csv") -> pd.DataFrame:
    """The reported values, by id, each with its source; value and depth as numbers. Raises RecordError."""
    table = handwritten(path, COLUMNS, CLAIMS)
    text = table.copy()
    table["value"], table["depth"] = (pd.to_numeric(text[name], errors="coerce") for name in ("value", "depth"))
    top = np.where(table["unit"] == "%", 100.0, np.finfo(float).max)
    unvalued = text["value"].isna() & ~table.index.isin(CLAIMS)
    right = {
        "value": unvalued | table["value"].between(0, top),
        "depth": unvalued & text["depth"].isna() | (table["depth"] >= 1) & (table["depth"] % 1 == 0),
        "network": unvalued | text["network"].notna(),
        "dataset": unvalued | text["dataset"].notna(),
        "plain": text["plain"].isna() | text["plain"].isin(PLAIN),
        "source": text["source"].notna(),
    }
    for name, good in right.items():
        if not good.all():
            line = str(good.idxmin())
            found = "an empty" if text[name].isna()[line] else f"{text[name][line]!r} as"
            raise wrong(path, f"has {found} {name} in line {line!r}")
    return table

"""Render the published records: results/tables/*.csv, the README's tables and its figure. Trains nothing."""

import os
import re
from pathlib import Path

from rdlib import figures
from rdlib.errors import RecordError
from rdlib.profiles import PROFILES
from rdlib.runs import ROOT, Store
from rdlib.scorecard import claims
from rdlib.tables import TABLES, as_markdown, frame, rows_of

TABLE = re.compile(r"(<!-- table (?P<table>\S+) (?P<profile>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
SCORECARD = re.compile(r"(<!-- scorecard (?P<part>[^>]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def readme(text: str, store: Store) -> str:
    """The README, each `<!-- table NAME PROFILE -->` and `<!-- scorecard PART -->` block filled from the records."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}{as_markdown(frame(PROFILES[match['profile']], match['table'], store))}\n{match['end']}"

    def scorecard(match: re.Match[str]) -> str:
        return f"{match[1]}{as_markdown(claims(store)[match['part']])}\n{match['end']}"

    return SCORECARD.sub(scorecard, TABLE.sub(table, text))


def publish(store: Store) -> list[Path]:
    """Write every table, the claim figure, and the README; returns what was written."""
    folder = store.root / "tables"
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for profile in PROFILES.values():
            for name in TABLES:
                if rows_of(profile, name):
                    path = folder / f"table_{name}_{profile.name}.csv"
                    replace_text(path, frame(profile, name, store).to_csv(index=False))
                    written.append(path)
        strict = [row for row in rows_of(PROFILES["quick"], "3") if row.shortcuts != "downsample"]
        figures.claim(strict, store).savefig(folder / "claim.png", metadata={"Software": None})
        page = ROOT / "README.md"
        replace_text(page, readme(page.read_text(), store))
    except OSError as error:
        raise RecordError(
            f"cannot write the tables ({error.strerror}): make results/ and README.md writable"
        ) from error
    return [*written, folder / "claim.png", page]


def replace_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)

"""What a training would cost: its counted operations over the rate at which a device was measured to do real steps."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.errors import RecordError
from rdlib.files import ROOT


def measured(folder: Path = ROOT / "benchmarks" / "results") -> list[dict[str, Any]]:
    """What `python -m benchmarks imagenet` left, one entry a method and device; RecordError for a damaged file."""
    entries = []
    for path in sorted(folder.glob("imagenet-*.json")):
        try:
            entries += json.loads(path.read_text())["entries"]
        except (OSError, ValueError, KeyError) as error:
            raise RecordError(f"{path.name} cannot be read ({error}): restore it from git or measure again") from error
    return entries


def hours(work: Mapping[str, int], entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Hours of each training on each measured device, as text; `work`: operations by the name of a cell.

    A cell taught by JointRD is held against the measured JointRD step, any other against the supervised one.
    """
    lines = []
    for cell, operations in work.items():
        line = {"cell": cell}
        for entry in entries:
            method, how = entry["setting"]["method"], entry["provenance"]
            if (method == "JointRD") == ("JointRD" in cell):
                threads = f", {how['threads']} thread" if how["device"].startswith("cpu") else ""
                line[f"hours ({how['device']}{threads})"] = f"{operations / entry['rate'] / 3600:,.0f}"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")

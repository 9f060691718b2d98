"""Print environment.yml: the direct dependencies of pyproject.toml, pinned as uv.lock pins them for Python 3.11."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"


def pinned() -> list[str]:
    """`name==version` of every direct dependency, in alphabetical order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    names = sorted(re.match(r"[A-Za-z0-9_-]+", line).group() for line in direct)
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    pins = []
    for name in names:
        found = [p for p in packages if p["name"] == name]
        # A package with a version of its own for newer Pythons carries the marker that tells which is ours.
        ours = [p for p in found if len(found) == 1 or any("< '3.12'" in m for m in p["resolution-markers"])]
        pins.append(f"{name}=={ours[0]['version']}")
    return pins


def render() -> str:
    lines = [
        "# Made by `python .ci/environment.py > environment.yml` from uv.lock; a test compares the two.",
        "name: rdlib",
        "channels: [conda-forge]",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - pip",
        "  - pip:",
        *(f"      - {pin}" for pin in pinned()),
        "      - -e .",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")

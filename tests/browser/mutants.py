"""Is it noticed when a control of the explorer does nothing? `python tests/browser/mutants.py [WORD ...]`, by hand.

For every callback of the panels (a method under @guarded with one of the WORDs in its `panel.method`) a copy of the
repository is made in which its body is `pass`; the browser tests of the explorer then have to fail. Minutes each.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("rdlib", "tests/browser", "notebooks", "results", "pyproject.toml")
AFTER = 900  # seconds after which tests that still run count as failed


def callbacks(source: str) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "guarded" for one in node.decorator_list):
            yield node


def without_body(source: str, callback: ast.FunctionDef) -> str:
    """The source with this one callback doing nothing."""
    lines = source.splitlines(keepends=True)
    first, last = callback.body[0], callback.body[-1]
    assert first.lineno > callback.lineno, "a callback on one line"
    return "".join([*lines[: first.lineno - 1], " " * first.col_offset + "pass\n", *lines[last.end_lineno :]])


def copy_of_repository(place: Path) -> Path:
    for name in COPIED:
        source, target = ROOT / name, place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "weights", "reproduced*"))
        else:
            shutil.copy(source, target)
    return place


def failures(place: Path, panel: str) -> list[str]:
    """The tests of a panel that failed, or the end of what pytest said where it ran none."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command = [*pytest, "tests/browser/test_explorer.py", "-k", panel]
    environment = os.environ | {"PYTHONPATH": str(place)}
    try:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=AFTER)
    except subprocess.TimeoutExpired:
        return [f"not done after {AFTER} s"]
    if done.returncode == 0:
        return []
    named = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return named or (done.stdout + done.stderr).splitlines()[-3:]


def main(words: list[str]) -> int:
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        place = copy_of_repository(Path(folder) / "copy")
        for path in sorted((place / "rdlib" / "explorer").glob("*.py")):
            source = path.read_text()
            chosen = [one for one in callbacks(source) if any(word in f"{path.stem}.{one.name}" for word in words)]
            if chosen and (broken := failures(place, path.stem)):
                sys.exit(f"{path.stem}: its tests fail without a mutation: {broken[0]}")
            for callback in chosen:
                path.write_text(without_body(source, callback))
                found = failures(place, path.stem)
                survived += not found
                print(f"{path.stem}.{callback.name}: {'killed by ' + found[0] if found else 'SURVIVED'}", flush=True)
            path.write_text(source)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))

"""Every notebook is built alike: question, answer, minutes first; limits, two solved exercises, neighbours last.

And it reads well in JupyterLab: tables are rendered, lines and images fit their cell, set-up is collapsed.
"""

import base64
import re
import struct
from pathlib import Path

import nbformat
import pytest

from rdlib.files import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
WORDS = 900  # of prose in a notebook
LINE = 110  # characters of a printed line
WIDTH = 960  # CSS pixels of an image: what a cell offers in a window of 1440
LINES = 3  # of visible set-up before the content

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path) -> list[nbformat.NotebookNode]:
    found: list[nbformat.NotebookNode] = nbformat.read(path, 4).cells
    return found


def prose(path: Path) -> list[str]:
    return [cell.source for cell in cells(path) if cell.cell_type == "markdown"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def collapsed(cell: nbformat.NotebookNode) -> bool:
    """In JupyterLab, and on the site."""
    jupyter = bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
    assert jupyter == bool({"hide-input", "hide-cell"} & set(tags(cell))), cell.source[:80]
    return jupyter


@every_notebook
def test_it_opens_with_its_question_the_answer_the_minutes_and_what_to_have_read(path: Path) -> None:
    opening = cells(path)[0].source
    title, answer, day = opening.split("\n\n")[:3]
    assert re.fullmatch(r"# .+\?", title)
    assert answer.startswith("**Answer.** ")
    assert len(re.findall(r"[.?!](?= |$)", answer.removeprefix("**Answer.** "))) == 2, "two sentences"
    assert re.match(r"\*\d+ minutes?[;.]", day)
    assert "Read before:" in day


@every_notebook
def test_it_ends_with_limits_two_exercises_with_collapsed_solutions_and_its_neighbours(path: Path) -> None:
    all_cells = cells(path)
    headings = re.findall(r"^## (.+)$", "\n".join(prose(path)), re.MULTILINE)
    assert headings[-2:] == ["Limits", "Exercises"]
    assert headings.count("Limits") == 1
    solutions = [cell for cell in all_cells if "solution" in tags(cell)]
    assert len(solutions) == 2
    for cell in solutions:
        assert collapsed(cell)
        assert cell.metadata["jupyter"].get("outputs_hidden")
        assert "hide-cell" in tags(cell)
        assert cell.outputs, "a solution shows what it found"
    place = NOTEBOOKS.index(path)
    before, after = NOTEBOOKS[place - 1 : place], NOTEBOOKS[place + 1 : place + 2]
    wanted = [("Before", other) for other in before] + [("Next", other) for other in after]
    for word, other in wanted:
        assert re.search(rf"\*\*{word}:\*\* \[[^]]+\]\({other.name}\)", all_cells[-1].source), f"{word}: {other.name}"


@every_notebook
def test_its_prose_is_short_and_its_set_up_collapsed(path: Path) -> None:
    assert sum(len(text.split()) for text in prose(path)) <= WORDS
    visible = 0
    for cell in cells(path)[1:]:
        if cell.cell_type == "markdown":
            break
        if not collapsed(cell):
            visible += len([line for line in cell.source.splitlines() if line.strip()])
    assert visible <= LINES


@every_notebook
def test_it_links_notebooks_instead_of_naming_them(path: Path) -> None:
    for text in prose(path):
        assert not re.findall(r"`\d\d_\w+`", text), "a link, [its name](its_file.ipynb)"
        for target in re.findall(r"\]\((?!https?://)([^)#\s]+)", text):
            assert (path.parent / target).exists(), target


@every_notebook
def test_tables_are_rendered_and_lines_and_images_fit_their_cell(path: Path) -> None:
    for cell in (cell for cell in cells(path) if cell.cell_type == "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            if not {"text/markdown", "text/html", "image/png", "application/vnd.jupyter.widget-view+json"} & set(data):
                text = output.get("text", "") or data.get("text/plain", "")
                long = [line for line in text.splitlines() if len(line) > LINE]
                assert not long, long[0]
                assert not re.search(r"^-{3,}( {2}-+)+ *$", text, re.MULTILINE), "a table: Shown renders it"
            if "image/png" in data:
                wide = struct.unpack(">I", base64.b64decode(data["image/png"])[16:20])[0]
                shown = output.metadata.get("image/png", {}).get("width", wide)
                assert shown <= WIDTH, f"{shown} pixels: {cell.source[:60]}"

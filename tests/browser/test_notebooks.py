"""Every notebook, run in JupyterLab as a reader runs it: no error, every figure a picture, progress to be seen."""

import re
from typing import Any

import pytest

from browser.lab import NOTEBOOKS, Lab
from browser.sheet import Sheet

FINISHES_WITHIN = 600  # seconds on two busy cores; the longest takes 100 on two idle ones
LONGEST = ("00_start_here.ipynb", "11_take_your_own_resnet.ipynb")
OTHERS = sorted(path.name for path in NOTEBOOKS if path.name not in LONGEST)
# pytest-xdist begins with two tests for each worker: one of the longest and a short one.
NAMES = [LONGEST[0], *OTHERS[-1:], LONGEST[1], *OTHERS[:-1]]
TEXT_BAR = re.compile(r"\d+%\|.*\|\s*\d+/\d+ \[|\d+it \[\d")  # a tqdm bar that found no widget
WINDOWS = (1440, 1000)  # pixels: a laptop's whole screen, and a part of it
DRAWN_LIVE = 5  # different pictures of a training's curves, at least


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shows(cell: Any, kind: str) -> int:
    """How many outputs of a cell have this MIME type."""
    return sum(kind in output.get("data", {}) for output in cell.outputs)


def plain_text(output: Any) -> str:
    return output.get("data", {}).get("text/plain", "")


def has_widgets(cells: list[Any]) -> bool:
    return any(shows(cell, "application/vnd.jupyter.widget-view+json") for cell in cells)


@pytest.mark.parametrize("name", NAMES)
def test_opens_as_committed_runs_and_reopens_without_an_error(lab: Lab, open_notebook, name: str) -> None:
    """Before running: every committed figure, of the explorer its stills, and no shown output wider than its place.
    After it: figures and progress."""
    lab.lay(name)
    try:
        sheet = open_notebook(lab, name)
        check_committed(sheet)
        sheet.clear()
        sheet.watch()
        sheet.start()
        sheet.wait_until_done(FINISHES_WITHIN)
        shown, seen = sheet.pictures(), sheet.seen()
        sheet.shoot_all("run")
        saved = code_cells(sheet.save())
        sheet.refuse_complaints()
        bars = {i for i, cell in enumerate(saved) for output in cell.outputs if TEXT_BAR.search(plain_text(output))}
        if has_widgets(saved):
            sheet.page.context.close()
            again = open_notebook(lab, name, forgiven=bars)  # its kernel still runs; a closed progress bar is gone
            again.settle()
            again.refuse_errors()
            again.refuse_complaints()
            assert [len(widths) for widths in again.pictures()] == [len(widths) for widths in shown], (
                f"{name}, reopened"
            )
    finally:
        lab.stop_kernels()
    check_pictures(name, saved, shown)
    for number, cell in enumerate(saved, 1):
        where = f"{name}, code cell {number}"
        printed = [output.get("text", "") for output in cell.outputs]
        assert not [output for output in cell.outputs if output.output_type == "error"], where
        assert not [text for text in printed if TEXT_BAR.search(text)], f"{where}: a progress bar as raw text"
        if "LiveCurves(" in cell.source:
            assert seen["pictures"][number - 1] >= DRAWN_LIVE, f"{where}: the curves were not redrawn while training"
    assert seen["bars"] or not bars, f"{name}: no progress bar was seen"


def check_committed(sheet: Sheet) -> None:
    sheet.settle()
    sheet.refuse_errors()
    check_pictures(f"{sheet.name} as committed", code_cells(sheet.lab.read(sheet.name)), sheet.pictures())
    for width in WINDOWS:
        sheet.widen(width)
        sheet.refuse_overflow(unfold=width == WINDOWS[0])  # what is folded may have a bar in a narrow window
        sheet.shoot_all(f"{width}")
    sheet.refuse_complaints()


def check_pictures(what: str, cells: list[Any], shown: list[list[int]]) -> None:
    """All cells have run in their order, and each figure that was made is on the page."""
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), what
    for number, (cell, widths) in enumerate(zip(cells, shown, strict=True), 1):
        where = f"{what}, code cell {number}"
        unfolded = not cell.metadata.get("jupyter", {}).get("outputs_hidden")  # a solution waits to be asked for
        assert len(widths) >= unfolded * shows(cell, "image/png"), f"{where}: a figure was made and is not on the page"
        assert all(width > 0 for width in widths), f"{where}: a picture that cannot be shown, widths {widths}"

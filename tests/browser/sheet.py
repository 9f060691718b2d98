"""A notebook opened in JupyterLab: run it as a reader does, and read what the page shows."""

import re
from collections.abc import Set
from pathlib import Path
from typing import Any

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as TooLong

from browser.lab import Lab

HARMLESS: tuple[str, ...] = ()  # parts of console errors that mean nothing; none is known
OPENS_WITHIN = 120_000  # milliseconds; 5 to 10 s are usual
LOST_WIDGET = "Error displaying widget"
# JupyterLab shows an exception as it shows any text on stderr; no notebook is meant to have either. A collapsed cell
# shows no prompt: the application knows it.
STATE = """() => {
    const text = node => node ? node.textContent.trim() : "";
    const red = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]';
    const cells = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")];
    const outputs = (cell, what) => [...cell.querySelectorAll(what)].map(text);
    const sheets = [...window.jupyterapp.shell.widgets("main")].filter(shown => shown.content?.widgets);
    const codes = sheets.flatMap(sheet => sheet.content.widgets).filter(cell => cell.model.type === "code");
    return {
        prompts: codes.map(cell => text(cell.inputArea?.promptNode)),
        errors: cells.flatMap((cell, i) => [
            ...outputs(cell, red),
            ...outputs(cell, ".jupyter-widgets").filter(shown => shown.startsWith("LOST_WIDGET")),
        ].map(shown => [i, shown])),
        dialog: text(document.querySelector(".jp-Dialog")),
    };
}""".replace("LOST_WIDGET", LOST_WIDGET)
OVER = f"""count => {{
    const {{prompts, errors, dialog}} = ({STATE})();
    const done = prompts.filter(prompt => /^\\[\\d+\\]:$/.test(prompt)).length === count;
    return done || dialog !== "" || (errors.length > 0 && !prompts.includes("[*]:"));
}}"""
CLEARED = f"""() => {{
    const {{prompts}} = ({STATE})();
    return prompts.every(prompt => prompt === "[ ]:") && !document.querySelector(".jp-Notebook .jp-OutputArea-child");
}}"""
PICTURES = """() => [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")].map(cell =>
    [...cell.querySelectorAll(".jp-OutputArea img")].map(img => img.complete ? img.naturalWidth : -1))"""
LOADED = """() => [...document.querySelectorAll(".jp-Notebook .jp-OutputArea img")].every(img => img.complete)
    && [...document.querySelectorAll('.jp-OutputArea-output[data-mime-type*="widget-view"]')]
        .every(node => node.children.length > 0 || !["", "Loading widget..."].includes(node.textContent))"""
LAID_OUT = """() => {
    const right = document.querySelector(".jp-NotebookPanel").getBoundingClientRect().right;
    return right <= innerWidth && right > innerWidth - 60;
}"""
TOO_WIDE = """unfold => {
    const folded = unfold ? [...document.querySelectorAll(".jp-Notebook details:not([open])")] : [];
    folded.forEach(one => one.open = true);
    const found = [...document.querySelectorAll(".jp-Notebook .jp-Cell")].flatMap((cell, i) => {
        const shown = ".jp-OutputArea-output, .jp-MarkdownOutput";
        const bars = [...cell.querySelectorAll(shown)].filter(node => node.scrollWidth > node.clientWidth + 1)
            .map(node => [i, "an output", node.clientWidth, node.scrollWidth]);
        const images = [...cell.querySelectorAll(`:is(${shown}) img`)].map(img => [img, img.closest(shown)])
            .filter(([img, place]) => img.offsetWidth > place.clientWidth + 1)
            .map(([img, place]) => [i, "an image", place.clientWidth, img.offsetWidth]);
        return [...images, ...bars];
    });
    folded.forEach(one => one.open = false);
    return found;
}"""
# What appears and vanishes again while cells run: progress bars, and pictures that are redrawn in place.
WATCH = """() => {
window.rdlibSeen = {bars: [], pictures: {}};
new MutationObserver(() => {
    for (const bar of document.querySelectorAll(".jp-OutputArea .widget-hprogress")) {
        const shown = (bar.closest(".widget-hbox") ?? bar).textContent.trim();
        if (!window.rdlibSeen.bars.includes(shown)) window.rdlibSeen.bars.push(shown);
    }
    document.querySelectorAll(".jp-Notebook .jp-CodeCell").forEach((cell, i) => {
        const seen = window.rdlibSeen.pictures[i] ??= [];
        for (const img of cell.querySelectorAll(".jp-OutputArea img")) {
            const mark = img.src.length + img.src.slice(-200);
            if (!seen.includes(mark)) seen.push(mark);
        }
    });
}).observe(document, {subtree: true, childList: true, characterData: true, attributeFilter: ["src"]});
}"""


class TooLate(AssertionError):
    """Something did not come in time: on a busy machine another try may show that all is well."""


class Sheet:
    """One notebook on one page. Every failure names the notebook, the cell and what the page shows."""

    def __init__(self, page: Page, lab: Lab, name: str, artefacts: Path):
        self.page, self.lab, self.name, self.artefacts = page, lab, name, artefacts
        self.complaints: list[str] = []
        # Code cells whose progress bars were closed in an earlier life of the page.
        self.forgiven: Set[int] = frozenset()
        page.on("console", lambda message: self.hear(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.hear(f"exception in the page: {error}"))
        page.on("websocket", lambda socket: socket.on("framereceived", self.overhear))
        self.code_cells = sum(cell.cell_type == "code" for cell in lab.read(name).cells)

    def open(self, forgiven: Set[int] = frozenset()) -> "Sheet":
        """Until all cells are there and the kernel is idle: cells run while a kernel starts are sometimes lost."""
        self.forgiven = forgiven
        try:
            self.page.goto(self.lab.url(self.name), timeout=OPENS_WITHIN)
            attached = "count => document.querySelectorAll('.jp-Notebook .jp-CodeCell').length === count"
            self.page.wait_for_function(attached, arg=self.code_cells, timeout=OPENS_WITHIN)  # one by one
            self.idle(OPENS_WITHIN)
        except TooLong as late:
            raise self.failure(
                f"was not open with an idle kernel within {OPENS_WITHIN / 1000:.0f} s", TooLate
            ) from late
        return self

    def leave(self) -> None:
        """Away from the notebook, without saving; what it complained of is forgotten."""
        self.page.once("dialog", lambda dialog: dialog.accept())  # there are changes that were not saved
        self.page.goto("about:blank")
        self.complaints = []

    def hear(self, complaint: str) -> None:
        if self.forgiven and "widget model not found" in complaint:
            return
        if not any(known in complaint for known in HARMLESS):
            self.complaints.append(complaint)

    def overhear(self, frame: str | bytes) -> None:
        """An exception in a widget's callback is shown nowhere on the page; the kernel's messages have it."""
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        if (at := text.find("Traceback (most recent call last)")) >= 0:
            self.hear(f"exception in the kernel: {text[at:]}")

    def idle(self, timeout: float) -> None:
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").first.wait_for(timeout=timeout)

    def menu(self, title: str, entry: str) -> None:
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(title, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def clear(self) -> None:
        """Clear Outputs of All Cells: a committed output would hide that a cell now shows nothing."""
        self.menu("Edit", "Clear Outputs of All Cells")
        try:
            self.page.wait_for_function(CLEARED, timeout=30_000)
        except TooLong as late:
            raise self.failure("kept outputs that were to be cleared", TooLate) from late

    def watch(self) -> None:
        """From here on, `seen` tells what came and went; that takes time from whatever is timed."""
        self.page.evaluate(WATCH)

    def start(self) -> None:
        self.menu("Run", "Run All Cells")

    def wait_until_done(self, seconds: float) -> None:
        """Until the last cell of a notebook that had no outputs is done, or one has failed."""
        try:
            self.page.wait_for_function(OVER, arg=self.code_cells, timeout=seconds * 1000)
        except TooLong as late:
            waiting = [i + 1 for i, prompt in enumerate(self.state()["prompts"]) if not re.match(r"\[\d+\]", prompt)]
            raise self.failure(f"had not finished after {seconds:.0f} s: code cells {waiting} wait", TooLate) from late
        self.refuse_errors()
        self.idle(30_000)
        self.settle()

    def wait_for_picture(self, selector: str, seconds: float) -> None:
        """Until a picture can be seen, or a cell has failed."""
        there = "what => [...document.querySelectorAll(what)].some(img => img.complete && img.naturalWidth > 0)"
        try:
            self.page.wait_for_function(there, arg=selector, timeout=seconds * 1000)
        except TooLong as late:
            self.refuse_errors()
            raise self.failure(f"showed no picture {selector} within {seconds:.0f} s", TooLate) from late

    def state(self) -> dict[str, Any]:
        """Prompts of the code cells, what they show in red, and any dialog."""
        state = self.page.evaluate(STATE)
        lost = [one for one in state["errors"] if one[0] in self.forgiven and one[1].startswith(LOST_WIDGET)]
        return state | {"errors": [one for one in state["errors"] if one not in lost]}

    def refuse_errors(self) -> None:
        state = self.state()
        if state["errors"]:
            cell, shown = state["errors"][0]
            raise self.failure(f"shows an error in code cell {cell + 1}: {shown[-1500:]}")
        if state["dialog"]:
            raise self.failure(f"shows a dialog: {state['dialog']}")

    def settle(self) -> None:
        """Until every picture is loaded and every widget is there or given up."""
        try:
            self.page.wait_for_function(LOADED, timeout=60_000)
        except TooLong as late:
            raise self.failure("has pictures or widgets that do not load", TooLate) from late

    def refuse_complaints(self) -> None:
        """Errors on the browser's console, but for harmless ones."""
        heard, self.complaints = self.complaints, []
        if heard:
            raise self.failure(f"made the browser complain: {heard[0][:1500]}")

    def pictures(self) -> list[list[int]]:
        """For each code cell the widths of its pictures in their own pixels; 0 is one that cannot be shown."""
        return self.page.evaluate(PICTURES)

    def seen(self) -> dict[str, Any]:
        """Texts of the progress bars seen so far, and for each code cell how many different pictures it has shown."""
        found = self.page.evaluate("() => window.rdlibSeen")
        return {"bars": found["bars"], "pictures": {int(cell): len(of) for cell, of in found["pictures"].items()}}

    def save(self) -> Any:
        """File, Save Notebook; returns what the server then has on its disk."""
        with self.page.expect_response(
            lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url, timeout=60_000
        ):
            self.menu("File", "Save Notebook")
        return self.lab.read(self.name)

    def failure(self, what: str, kind: type[AssertionError] = AssertionError) -> AssertionError:
        shot = self.shoot("failure")
        return kind(f"{self.name} {what} (see {shot}; the server's log is {self.lab.log})")

    def widen(self, width: int) -> None:
        """A window of this width, from now on."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.wait_for_function(LAID_OUT, timeout=30_000)  # JupyterLab does it a little later

    def refuse_overflow(self, unfold: bool) -> None:
        """No output, at the page's present width, that is wider than its place: it would get a bar or be cut.

        unfold: of folded tables too. Outputs that a notebook hides until they are asked for are not looked at."""
        wide = self.page.evaluate(TOO_WIDE, unfold)
        if wide:
            cell, what, has, needs = wide[0]
            raise self.failure(f"shows in cell {cell + 1} {what} of {needs} px in {has} px")

    def shoot(self, what: str) -> Path:
        path = self.artefacts / f"{Path(self.name).stem}-{what}.png"
        self.page.screenshot(path=path, timeout=60_000)
        return path

    def shoot_all(self, what: str = "run") -> None:
        """The whole notebook, one screenful after the other."""
        panel = self.page.locator(".jp-Notebook .jp-WindowedPanel-outer")
        panel.evaluate("node => node.scrollTo(0, 0)")
        number, done = 1, False
        while not done:
            self.shoot(f"{what}-{number:02}")
            done = panel.evaluate(
                "node => { const before = node.scrollTop; node.scrollBy(0, node.clientHeight * 0.95);"
                " return node.scrollTop === before; }"
            )
            number += 1

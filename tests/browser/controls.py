"""The explorer's controls, found by their classes, moved as a reader moves them, and timed in the browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from playwright.sync_api import Locator
from playwright.sync_api import TimeoutError as TooLong

from browser.sheet import Sheet, TooLate

ANSWERS_WITHIN = 6_000  # milliseconds to wait for a new picture
# From the event that a reader's hand makes to the picture that answers it, by the browser's own clock.
ARM = """panel => {
    const root = document.querySelector(`.rdlib-${panel}`);
    const shown = () => [...root.querySelectorAll("img.rdlib-picture")].map(img => img.src).join();
    const said = () => root.querySelector(".rdlib-message").textContent;
    const before = [shown(), said()], timed = window.rdlibTimed = {event: null, answer: null};
    const hear = event => timed.event ??= event.timeStamp;
    for (const kind of ["input", "change", "click", "keydown"]) root.addEventListener(kind, hear, true);
    new MutationObserver((_, observer) => {
        if (timed.event === null || shown() === before[0]) return;
        if (shown() === "" && said() === before[1]) return;  // a picture may vanish only with a word
        timed.answer = performance.now();
        observer.disconnect();
        for (const kind of ["input", "change", "click", "keydown"]) root.removeEventListener(kind, hear, true);
    }).observe(root, {subtree: true, childList: true, attributeFilter: ["src"]});
}"""
CUT_OFF = """root => {
    const label = root.querySelector(".widget-label"), list = root.querySelector("select:not([multiple])");
    if (label !== null && label.scrollWidth > label.clientWidth) return true;
    if (list === null) return false;
    if (list.size > 1) return [...list.options].some(option => option.scrollWidth > option.clientWidth);
    const needed = list.cloneNode(true);
    Object.assign(needed.style, {width: "auto", minWidth: "0", maxWidth: "none", flex: "none", position: "absolute"});
    list.parentNode.append(needed);
    const cut = needed.offsetWidth > list.offsetWidth;
    needed.remove();
    return cut;
}"""
NAMES = """(root, panel) => [...root.querySelectorAll(`[class*="rdlib-${panel}-"]`)]
    .filter(node => node.offsetParent !== null && !node.disabled)
    .map(node => [...node.classList].find(name => name.startsWith(`rdlib-${panel}-`)))"""


class PanelOnPage:
    """One panel of the explorer, such as `network`."""

    def __init__(self, sheet: Sheet, name: str):
        self.sheet, self.name, self.root = sheet, name, sheet.page.locator(f".rdlib-{name}")

    @property
    def picture(self) -> tuple[str, str]:
        """Source and alternative text of what is shown; empty where nothing is."""
        images = self.root.locator("img.rdlib-picture")
        read = images.evaluate_all("all => all.map(img => [img.src, img.alt])")
        return "".join(source for source, _ in read), " ".join(alt for _, alt in read)

    @property
    def message(self) -> str:
        return plain(" ".join(self.root.locator(".rdlib-message").all_text_contents()))

    def part(self, name: str) -> Locator:
        return self.root.locator(f".rdlib-{self.name}-{name}")

    def controls(self) -> list["Control"]:
        """Every control that is visible, can be used, and chooses a value."""
        names = self.root.evaluate(NAMES, self.name)
        found = [Control.of(self, name) for name in dict.fromkeys(names)]
        return [control for control in found if control is not None]

    def control(self, name: str) -> "Control":
        found = Control.of(self, f"rdlib-{self.name}-{name}")
        assert found is not None, f"panel {self.name} has no control {name}"
        return found

    def wait(self, condition: str, argument: object, seconds: float, what: str) -> None:
        """Until a JavaScript condition on (root, argument) holds."""
        try:
            self.sheet.page.wait_for_function(
                f"([root, argument]) => ({condition})(root, argument)",
                arg=[self.root.element_handle(), argument],
                timeout=seconds * 1000,
            )
        except TooLong as late:
            raise self.sheet.failure(
                f"panel {self.name}: {what} within {seconds:.0f} s; its message is {self.message!r}, "
                f"its picture's text {self.picture[1]!r}",
                TooLate,
            ) from late


KINDS = {
    "list": "select",
    "slider": ".noUi-handle",
    "buttons": ".widget-toggle-button",
    "tick": "input[type=checkbox]",
    "number": "input[type=number]",
}


Position = int | tuple[int, ...]  # from 0; -1 is a list that shows nothing, a tuple what a list of many has chosen


@dataclass
class Control:
    """A list, slider, row of buttons, tick box or number whose `count` positions are numbered from 0."""

    panel: PanelOnPage
    name: str
    kind: str
    root: Locator
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, panel: PanelOnPage, name: str) -> "Control | None":
        root = panel.root.locator(f".{name}").first
        for kind, selector in KINDS.items():
            if root.locator(selector).count():
                return cls(panel, name, kind, root)
        return None

    @property
    def handle(self) -> Locator:
        return self.root.locator(KINDS[self.kind])

    @property
    def many(self) -> bool:
        """A list in which many can be chosen, or none."""
        return self.root.locator("select[multiple]").count() > 0

    @property
    def label(self) -> str:
        return plain(self.root.locator(".widget-label").first.text_content() or "")

    @property
    def is_cut_off(self) -> bool:
        """Whether the label, or any choice of a list, has less room than it needs."""
        return self.root.evaluate(CUT_OFF)

    @property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest value of a slider; SelectionSlider counts its options from 0."""
        low, high = (self.handle.first.get_attribute(f"aria-value{end}") for end in ("min", "max"))
        return round(float(low or 0)), round(float(high or 0))

    @property
    def count(self) -> int:
        if self.kind == "list":
            return self.root.locator("option").count()
        if self.kind == "buttons":
            return self.handle.count()
        return 2 if self.kind in ("tick", "number") else self.bounds[1] - self.bounds[0] + 1

    @property
    def at(self) -> Position:
        if self.many:
            return tuple(self.handle.evaluate("node => [...node.selectedOptions].map(option => option.index)"))
        if self.kind == "list":
            return self.handle.evaluate("node => node.selectedIndex")
        if self.kind == "buttons":
            return self.handle.evaluate_all("all => all.findIndex(node => node.classList.contains('mod-active'))")
        if self.kind == "tick":
            return int(self.handle.is_checked())
        if self.kind == "number":
            return 0
        return round(float(self.handle.first.get_attribute("aria-valuenow") or 0)) - self.bounds[0]

    def go(self, position: Position) -> None:
        """As a reader does, with the mouse or the arrow keys."""
        if isinstance(position, tuple):
            self.handle.select_option(index=list(position)) if position else self.handle.select_option([])
        elif self.kind == "list":
            self.handle.select_option(index=position)
        elif self.kind == "buttons":
            self.handle.nth(position).click()
        elif self.kind == "tick":
            self.handle.set_checked(bool(position))
        elif self.kind == "number":
            self.handle.press("ArrowUp" if position else "ArrowDown")
        else:
            self.handle.first.focus()
            while (here := self.at) != position:
                self.handle.first.press("ArrowRight" if position > here else "ArrowLeft")
                value = self.handle.first.get_attribute("aria-valuenow")
                if self.at == here:
                    raise self.panel.sheet.failure(f"slider {self.name} does not move from {value} with an arrow key")

    def others(self) -> Iterator[Position]:
        """The other positions, nearest first; of a list of many, each option alone."""
        here = self.at
        if isinstance(here, tuple):
            yield from ((p,) for p in range(self.count) if (p,) != here)
        else:
            yield from sorted((p for p in range(self.count) if p != here), key=lambda p: abs(p - here))

    def choose(self, *texts: str) -> None:
        """Go to the choices that read so."""
        shown = [plain(text) for text in self.root.locator("option").all_text_contents()]
        places = tuple(shown.index(text) for text in texts)
        self.go(places if self.many else places[0])

    def answered(self, position: Position, wait: float = ANSWERS_WITHIN) -> bool:
        """Go there; tells whether a new picture came, and notes after how many seconds."""
        page, before = self.panel.sheet.page, self.panel.picture
        page.evaluate(ARM, self.panel.name)
        self.go(position)
        try:
            page.wait_for_function("() => window.rdlibTimed.answer !== null", timeout=wait)
        except TooLong:
            return False
        timed = page.evaluate("() => window.rdlibTimed")
        self.panel.sheet.idle(30_000)  # a second picture may follow the first
        self.seconds.append((timed["answer"] - timed["event"]) / 1000)
        for _ in range(40):  # what came first may have been a late copy of the picture before
            if self.panel.picture != before:
                return True
            page.wait_for_timeout(50)
        return False


def plain(text: str) -> str:
    """A text of the page with ordinary spaces; ipywidgets writes options with others, and ours may break at some."""
    return " ".join(text.replace("\u200b", "").split())


def epochs_in(text: str) -> list[int]:
    """The epochs that a picture's text tells, as in 'epoch 3 of 10'."""
    return [int(number) for number in re.findall(r"epoch (\d+) of", text)]

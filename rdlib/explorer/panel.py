"""What every panel of the explorer has: controls, a message, a picture; and a still for readers without a kernel."""

import base64
import functools
import html
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import ipywidgets as widgets
from matplotlib.figure import Figure

from rdlib.errors import RdlibError

DPI = 160  # of the image; it is shown at 96 a inch, so it stays sharp on dense screens
SHOWN = 96
BREAK = "\u200b"  # a long choice may go on in the next line here; widgets make its spaces unbreakable
# Controls in a column beside the picture, each under its label; above it, in columns, where there is no room beside.
LOOKS = """<style>
.rdlib-panel { flex-flow: row wrap; align-items: flex-start; gap: 4px 16px; overflow: hidden }
.rdlib-controls { flex: 1 1 244px; flex-flow: row wrap; align-items: flex-start; gap: 3px 12px; min-width: 0 }
.rdlib-shown { flex: 1000 1 540px; min-width: 0; overflow: hidden }
.rdlib-controls > * { flex: 1 1 180px; min-width: 0; margin: 0 }
.rdlib-controls > .widget-select, .rdlib-controls > .widget-select-multiple,
.rdlib-controls > .widget-toggle-buttons { flex-basis: 232px }
.rdlib-controls > .widget-box, .rdlib-controls > .widget-html { flex-basis: 100% }
.rdlib-controls > .widget-button { flex-basis: 90px }
.rdlib-controls .widget-inline-hbox { flex-flow: row wrap; width: auto; height: auto }
.rdlib-controls .widget-inline-hbox > .widget-label { flex: 0 0 100%; height: 20px; margin: 0; line-height: 20px;
    text-align: left; color: var(--jp-ui-font-color2, #555) }
.rdlib-controls .widget-toggle-buttons > div { display: flex; flex: 1 1 100%; flex-flow: row wrap }
.rdlib-controls .widget-toggle-button { flex: 1 1 auto; width: auto; margin: 1px }
.rdlib-controls .slider-container { flex: 1 1 80px; margin-left: 8px }
.rdlib-controls select[size] { height: calc(100% - 20px) }
.rdlib-controls option { padding: 1px 2px; white-space: normal }
.rdlib-message .widget-html-content, .rdlib-shown table { font-size: 13px; line-height: 1.45 }
.rdlib-shown td, .rdlib-shown th { padding: 1px 0.7em; text-align: right; white-space: nowrap }
.rdlib-shown .words { min-width: 7em; text-align: left; white-space: normal }
.rdlib-shown .scrolls { max-height: 21.5em; overflow: auto }
.rdlib-shown .scrolls th { position: sticky; top: 0; background: var(--jp-layout-color0, white) }
</style>"""


class Picture(widgets.HTML):  # type: ignore[misc]
    """A figure as an image, with a text that says what it shows to whom cannot see it."""

    png = b""
    alt = ""
    width = 0  # pixels, as shown

    def show(self, figure: Figure, alt: str) -> None:
        """Draw a figure that pyplot does not know (`matplotlib.figure.Figure`): pyplot's are not safe in a thread."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})  # twice as fast as 6
        self.png, self.alt, self.width = buffer.getvalue(), alt, round(figure.get_figwidth() * SHOWN)
        source = base64.b64encode(self.png).decode()
        style = f"width:{self.width}px;max-width:100%;height:auto"
        self.value = (
            f'<img class="rdlib-picture" alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{source}">'
        )

    def clear(self) -> None:
        self.png, self.alt, self.value = b"", "", ""


class Panel:
    """Base of the panels. `view` is the widget; a static page shows the picture and its text instead.

    The reader's controls and a training in another thread may both set and draw: whoever holds `lock` does.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.quiet: int | None = None  # the thread in which the panel itself sets controls
        self.view, self.picture, self.message = widgets.HBox(), Picture(), widgets.HTML()
        for name in ("rdlib-panel", f"rdlib-{self.name}"):
            self.view.add_class(name)
        self.picture.add_class("rdlib-picture-box")
        self.message.add_class("rdlib-message")

    def lay_out(self, controls: Sequence[Any], below: Sequence[Any] = ()) -> None:
        """The controls and the message beside the picture and what stands below it."""
        shown = widgets.VBox([self.picture, *below])
        shown.add_class("rdlib-shown")
        looks = widgets.HTML(LOOKS, layout={"display": "none"})
        self.view.children = [looks, column([*controls, self.message]), shown]

    def add(self, name: str, widget: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Give a widget the class that browser tests find it by; `callback` answers what the reader sets, whole.

        That comes in another thread than the panel's own settings, or in the same one at another time; and what a
        browser sends is set before or after a setting of the panel's, not amid it: none undoes the other.
        """
        set_state = widget.set_state

        def whole(state: Any) -> None:
            with self.lock:
                set_state(state)

        widget.set_state = whole
        if callback is not None:

            def answer(change: Any) -> None:
                if self.quiet != threading.get_ident():
                    callback(change)

            widget.observe(answer, "value")
        widget.add_class(f"rdlib-{self.name}-{name}")
        return widget

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """What this thread sets meanwhile is the panel's own doing, which no callback answers."""
        with self.lock:
            before, self.quiet = self.quiet, threading.get_ident()
            try:
                yield
            finally:
                self.quiet = before

    def say(self, sentence: str) -> None:
        """A sentence under the controls; empty clears it."""
        self.message.value = html.escape(sentence)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = {key: value for key, value in self.view._repr_mimebundle_().items() if "widget" in key}
        still = {"image/png": base64.b64encode(self.picture.png).decode()} if self.picture.png else {}
        text = {"text/plain": self.picture.alt or self.message.value}
        return text | still | shown, {kind: {"width": self.picture.width} for kind in still}


def guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A panel's callback: one at a time, and its RdlibError becomes the message; ipywidgets would hide it in a log."""

    @functools.wraps(callback)
    def call(panel: Panel, *args: Any) -> None:
        with panel.lock:
            try:
                callback(panel, *args)
            except RdlibError as error:
                panel.say(str(error))

    return call


def choice(label: str, options: Sequence[Any], value: Any = None, rows: int = 0, many: bool = False) -> Any:
    """A labelled list that shows `value` at first, or the first option: one to open, or of so many rows.

    Choices too long for a line belong into rows, where they take two; see `breakable`.
    """
    kind = widgets.SelectMultiple if many else widgets.Select if rows else widgets.Dropdown
    made = kind(options=options, description=label)
    if rows:
        made.rows, made.layout.height = rows, f"{24 + 19 * rows}px"
    if value is not None:
        made.value = value
    return made


def breakable(name: str) -> str:
    """A choice that may go on in the next line."""
    return name.replace(" ", f"{BREAK} ")


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """Texts as a table; the first `words` columns hold words, the others numbers."""

    def row(tag: str, texts: Sequence[str]) -> str:
        looks = (f'<{tag} class="words">' if i < words else f"<{tag}>" for i in range(len(texts)))
        cells = (f"{look}{html.escape(text)}</{tag}>" for look, text in zip(looks, texts, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{row('th', head)}{''.join(row('td', line) for line in lines)}</table>"


def column(controls: Sequence[Any]) -> widgets.HBox:
    """Controls one under the other, or side by side where they have the whole width."""
    box = widgets.HBox(list(controls))
    box.add_class("rdlib-controls")
    return box

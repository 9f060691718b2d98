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
BESIDE = "4em"  # of a list: its arrow, the gap after the label and the edges
UNCUT = {"description_width": "initial"}  # the style of a label that has the room it needs


class Picture(widgets.HTML):  # type: ignore[misc]
    """A figure as an image, with a text that says what it shows to whom cannot see it."""

    png = b""
    alt = ""

    def show(self, figure: Figure, alt: str) -> None:
        """Draw a figure that pyplot does not know (`matplotlib.figure.Figure`): pyplot's are not safe in a thread."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        self.png, self.alt = buffer.getvalue(), alt
        source = base64.b64encode(self.png).decode()
        style = f"width:{figure.get_figwidth() * SHOWN:.0f}px;max-width:100%;height:auto"
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
        self.view, self.picture, self.message = widgets.VBox(), Picture(), widgets.HTML()
        self.view.add_class(f"rdlib-{self.name}")
        self.picture.add_class("rdlib-picture-box")
        self.message.add_class("rdlib-message")

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
        """One line under the controls; empty clears it."""
        self.message.value = html.escape(sentence)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown = {key: value for key, value in self.view._repr_mimebundle_().items() if "widget" in key}
        still = {"image/png": base64.b64encode(self.picture.png).decode()} if self.picture.png else {}
        return {"text/plain": self.picture.alt or self.message.value, **still, **shown}


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


def choice(label: str, options: Sequence[Any], value: Any = None, label_width: str = "initial") -> widgets.Dropdown:
    """A labelled drop-down list that shows `value` at first, or the first option.

    It is as wide as its longest choice, and stays so when it gets others.
    """
    made = widgets.Dropdown(options=options, description=label, style={"description_width": label_width})
    if value is not None:
        made.value = value
    widen(made)
    made.observe(lambda change: widen(change.owner), "_options_labels")
    return made


def widen(control: widgets.Widget) -> None:
    """Make a list wide enough for its label and for each of its choices, so that none is cut when it is chosen."""
    label = control.style.description_width
    if label == "initial":
        label = f"{len(control.description)}ch"
    longest = max(map(len, control._options_labels), default=0)
    control.layout.width, control.layout.max_width = f"calc({label} + {longest}ch + {BESIDE})", "100%"


def wrapped(*controls: widgets.Widget) -> widgets.HBox:
    """Controls side by side, in as many lines as they need."""
    return widgets.HBox(controls, layout={"flex_flow": "row wrap"})

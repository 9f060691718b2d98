"""What every panel of the explorer has: a picture, a message, lists; and a still for readers without a kernel."""

import base64
import functools
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from rdlib.errors import RdlibError

DPI = 160  # of the image; it is shown at 96 a inch, so it stays sharp on dense screens
SHOWN = 96
BESIDE = "4em"  # of a list: its arrow, the gap after the label and the edges


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


class Panel:
    """Base of the panels. `view` is the widget; a static page shows the picture and its text instead."""

    view: widgets.Widget

    def __init__(self) -> None:
        self.picture, self.message = Picture(), widgets.HTML()
        self.picture.add_class("rdlib-picture-box")
        self.message.add_class("rdlib-message")

    def say(self, sentence: str) -> None:
        """One line under the controls; empty clears it."""
        self.message.value = html.escape(sentence)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown = {key: value for key, value in self.view._repr_mimebundle_().items() if "widget" in key}
        still = {"image/png": base64.b64encode(self.picture.png).decode()} if self.picture.png else {}
        return {"text/plain": self.picture.alt or self.message.value, **still, **shown}


def choice(
    name: str, label: str, options: Sequence[Any], value: Any = None, label_width: str = "initial"
) -> widgets.Dropdown:
    """A labelled drop-down list that browser tests find by the class `name`; at first it shows `value`, or the first.

    It is as wide as its longest choice, and stays so when it gets others.
    """
    made = widgets.Dropdown(options=options, description=label, style={"description_width": label_width})
    if value is not None:
        made.value = value
    made.add_class(name)
    fit(made)
    made.observe(lambda change: fit(change.owner), "_options_labels")
    return made


def fit(control: widgets.Widget) -> None:
    """Make a list wide enough for its label and for each of its choices, so that none is cut when it is chosen."""
    label = control.style.description_width
    if label == "initial":
        label = f"{len(control.description)}ch"
    longest = max(map(len, control._options_labels), default=0)
    control.layout.width, control.layout.max_width = f"calc({label} + {longest}ch + {BESIDE})", "100%"


def guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A panel's callback whose RdlibError becomes its message; ipywidgets would hide it in a log."""

    @functools.wraps(callback)
    def call(panel: Panel, *args: Any) -> None:
        try:
            callback(panel, *args)
        except RdlibError as error:
            panel.say(str(error))

    return call

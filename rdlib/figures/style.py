"""What all pictures share: one colour a network through the whole project, the look, bands of seeds, legends below."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rdlib.experiments.rows import CROSS_ENTROPY, Row

COLOURS = {
    "ResNet": "#4d4d4d",
    "plain": "#d55e00",
    "plain, logit distillation": "#cc9a00",
    "plain, feature distance": "#009e73",
    "plain, JointRD": "#0072b2",
    "plain, JointRD, joint teacher": "#56b4e9",
    "ResNet, ReDistill": "#aa3377",
}
NETWORK_COLOURS = {"all": COLOURS["ResNet"], "downsample": "#cc79a7", "none": COLOURS["plain"]}  # by shortcuts
NETWORK_MARKERS = {"all": "o", "downsample": "^", "none": "s"}  # told apart in grey too
OTHERS = ("#aa3377", "#66a61e", "#8c564b", "#7570b3")  # of networks without a colour of their own
PATH_COLOURS = ("#882255", "#228877", "#ddaa33")  # the mixed paths after stages 1, 2, 3; told apart in grey too
GOOD, BAD = "#009e73", "#d55e00"
LAST = 0.5  # points of error added on a logarithmic axis, so that none at all has a place
MARKS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 100)  # of accuracies on such an axis
CAPTION: dict[str, Any] = {"fontsize": 10, "color": "#555"}


def style() -> None:
    """Seaborn's quiet look, sharp in notebooks (also on dense screens) and in print."""
    from IPython.core.getipython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    if get_ipython() is not None:
        set_matplotlib_formats("retina")  # type: ignore[no-untyped-call]
    sns.set_theme(context="notebook", style="ticks", font_scale=0.95)
    plt.rcParams.update({"figure.dpi": 110, "savefig.dpi": 160, "axes.spines.top": False, "axes.spines.right": False})


def short_name(row: Row) -> str:
    """The key of COLOURS: what a reader calls a row."""
    return row.network if row.teaching == CROSS_ENTROPY else f"{row.network}, {row.method}"


def band(ax: Axes, values: npt.NDArray[Any], epochs: npt.ArrayLike | None = None, **line: Any) -> None:
    """The mean of values [seeds, epochs] as a line and, of several seeds, their range as a band.

    Epochs count from 1 if not given; those where a seed has no value stay out. Seaborn's lineplot draws the same, but
    takes some 50 ms a line: too long for what follows a slider.
    """
    known = ~np.isnan(values).any(0)
    if known.any():
        x = np.asarray(range(1, len(known) + 1) if epochs is None else epochs)[known]
        ax.plot(x, values[:, known].mean(0), **line)
        if len(values) > 1:
            low, high = values[:, known].min(0), values[:, known].max(0)
            ax.fill_between(x, low, high, color=line["color"], alpha=0.18, linewidth=0)


def legend_below(of: Axes | Figure, ncols: int = 2) -> None:
    """One legend for all lines under an axes, or under a figure in constrained layout, where it hides no curve."""
    axes = of.axes if isinstance(of, Figure) else [of]
    named = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    if named:
        place: dict[str, Any] = {"loc": "outside lower center"} if isinstance(of, Figure) else below
        of.legend(named.values(), named.keys(), ncols=ncols, frameon=False, **place)


def note(ax: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **look: Any) -> None:
    """Text beside a point; the offset in points, `at` in `xycoords` (default: of the data)."""
    ax.annotate(text, at, offset, textcoords="offset points", **look)


def beside(ax: Axes, y: float, text: str, **look: Any) -> None:
    """Text to the right of a horizontal line of a plot."""
    note(ax, text, (1, y), (6, 0), xycoords=("axes fraction", "data"), va="center", **look)


def on_error(ax: Axes, which: str = "y", values: Iterable[float] = (0, 100)) -> None:
    """An axis of accuracies in percent, logarithmic in the error: from 99 to 98 is as far as from 60 to 20, and 100 has
    its place. It holds all `values`, from mark to mark. To be called when all is drawn."""

    def place(top1: Any) -> Any:
        return -np.log10(np.maximum(100 + LAST - np.asarray(top1, float), LAST / 10))

    found = [*values] or [0.0, 100.0]
    low, high = max(mark for mark in MARKS if mark <= min(found)), min(mark for mark in MARKS if mark >= max(found))
    marks = [low]
    for mark in (mark for mark in MARKS if low < mark <= high):
        marks += [mark] * bool(place(mark) - place(marks[-1]) > (place(high) - place(low)) / 15)  # room for the text
    getattr(ax, f"set_{which}scale")("function", functions=(place, lambda at: 100 + LAST - 10.0**-at))
    getattr(ax, f"set_{which}lim")(low, high)
    getattr(ax, f"set_{which}ticks")(marks, [str(mark) for mark in marks])
    getattr(ax, f"{which}axis").set_minor_locator(NullLocator())


def counted(counts: Iterable[int]) -> str:
    """Of how many seeds: "n = 3", "n = 8 to 10"; nothing where there are none."""
    found = set(counts) - {0}
    return f"n = {' to '.join(map(str, sorted({min(found), max(found)})))}" if found else ""

"""What all pictures share: one colour a network through the whole project, the look, bands of seeds, legends below."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.experiments.rows import CROSS_ENTROPY, Row

COLOURS = {
    "ResNet": "#4d4d4d",
    "plain": "#d55e00",
    "plain, logit distillation": "#cc9a00",
    "plain, feature distance": "#009e73",
    "plain, JointRD": "#0072b2",
    "plain, JointRD, joint teacher": "#56b4e9",
}
NETWORK_COLOURS = {"all": COLOURS["ResNet"], "downsample": "#cc79a7", "none": COLOURS["plain"]}  # by shortcuts
NETWORK_MARKERS = {"all": "o", "downsample": "^", "none": "s"}  # told apart in grey too
PATH_COLOURS = ("#882255", "#228877", "#ddaa33")  # the mixed paths after stages 1, 2, 3; told apart in grey too
GOOD, BAD = "#009e73", "#d55e00"
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


def counted(counts: Iterable[int]) -> str:
    """Of how many seeds: "n = 3", "n = 8 to 10"; nothing where there are none."""
    found = set(counts) - {0}
    return f"n = {' to '.join(map(str, sorted({min(found), max(found)})))}" if found else ""

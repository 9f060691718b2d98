"""The picture of one image on its paths: student's and teacher's feature maps, and what each path answers.

Drawn without pyplot, on one axes without ticks, so that it follows a slider: nothing is laid out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rdlib.figures.style import BAD, COLOURS, GOOD, PATH_COLOURS
from rdlib.measure.paths import PATHS, Observation, Observed

CHANNELS = 8  # shown at a time
DOTS, GAP = 64, 4  # of a feature map's side in the tiled array, and between two
SIZE = (7.7, 4.55)  # inches, in which everything is placed
LEFT = 2.05  # where maps and probabilities begin
NAMES = ("student", "teacher")
ROWS = (
    "student alone",
    *(f"student to stage {k},\nteacher's rest" for k in range(1, len(PATHS) - 1)),
    "teacher alone",
)
SHADES = (COLOURS["plain, JointRD"], *PATH_COLOURS, COLOURS["ResNet"])
Array = npt.NDArray[np.float32]
Place = tuple[float, float, float, float]


def by_variance(observed: Observed, stage: int) -> list[int]:
    """The channels of a stage (1..4), that with the largest variance over all images in the teacher's maps first."""
    teacher = observed.observations[-1].teacher[stage - 1]
    return [int(c) for c in teacher.transpose(0, 1).flatten(1).var(1).argsort(descending=True, stable=True)]


def maps(seen: Observation, image: int, stage: int, channels: Sequence[int]) -> Array:
    """Pre-ReLU feature maps [2, channels, h, w] of one image after a stage (1..4): student, then teacher."""
    both = (seen.student[stage - 1], seen.teacher[stage - 1])
    return np.stack([one[image, list(channels)].float().numpy() for one in both])


def probabilities(seen: Observation, image: int) -> Array:
    """Softmax of every path's logits [paths, classes] for one image, in the order of PATHS."""
    logits = seen.logits[:, image].numpy()
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True), np.float32)


def answers(seen: Observation, image: int, classes: Sequence[str]) -> list[str]:
    """What every path answers, with its probability, as text."""
    found = []
    for row in probabilities(seen, image):
        best = int(row.argmax())
        found.append(f"{classes[best]} ({100 * row[best]:.0f} %)" if np.isfinite(row).all() else "no number")
    return found


def tiled(shown: Array) -> Array:
    """Maps [rows, columns, h, w] as one array of square tiles, NaN in the gaps between them."""
    rows, columns, height, width = shown.shape
    side = DOTS + GAP
    whole = np.full((rows * side - GAP, columns * side - GAP), np.nan, np.float32)
    across = np.arange(DOTS)
    for i in range(rows):
        for j in range(columns):
            tile = shown[i, j][np.ix_(across * height // DOTS, across * width // DOTS)]
            whole[i * side : i * side + DOTS, j * side : j * side + DOTS] = tile
    return whole


def paths_of_an_image(observed: Observed, moment: int, image: int, stage: int, channels: Sequence[int]) -> Figure:
    """One image at the `moment`-th observation: its maps after a stage (1..4) and every path's probabilities.

    The colours reach as far as the teacher's largest value among the maps shown, so that with a frozen teacher the
    same colour is the same value at every epoch; the student's largest value is written beside its maps.
    """
    seen, label = observed.observations[moment], int(observed.images.labels[image])
    figure = Figure(figsize=SIZE)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.text(0.1, 4.4, observed.name, size=11, va="center")
    ax.text(0.1, 4.05, when(seen), size=13, weight="bold", va="center")
    draw_image(ax, observed, image, label)
    draw_maps(ax, maps(seen, image, stage, channels), stage, channels)
    draw_answers(ax, seen, image, label, observed.classes)
    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    return figure


def when(seen: Observation) -> str:
    return f"after epoch {seen.epoch}" if seen.epoch else "before training"


def put(ax: Axes, pixels: npt.NDArray[Any], place: Place, **how: Any) -> None:
    """An array as an image at (left, bottom, width, height), in inches."""
    left, bottom, width, height = place
    ax.imshow(pixels, extent=(left, left + width, bottom, bottom + height), interpolation="nearest", **how)


def draw_image(ax: Axes, observed: Observed, image: int, label: int) -> None:
    put(ax, observed.images.images[image].permute(1, 2, 0).numpy(), (0.1, 2.68, 1.0, 1.0))
    ax.text(0.6, 2.53, f"test image {image}: {observed.classes[label]}", size=10, ha="center", va="center")


def draw_maps(ax: Axes, shown: Array, stage: int, channels: Sequence[int]) -> None:
    """Student above teacher, a column a channel, one colour scale for both."""
    limit = float(np.abs(shown[1]).max()) or 1.0
    scale = {"cmap": colormaps["RdBu_r"].with_extremes(bad="#bdbdbd"), "vmin": -limit, "vmax": limit}
    whole = tiled(shown)
    left, bottom, height = LEFT, 2.5, 1.2
    dot = height / len(whole)
    put(ax, whole, (left, bottom, whole.shape[1] * dot, height), **scale)
    step = dot * (DOTS + GAP)
    for j, channel in enumerate(channels):
        ax.text(left + dot * DOTS / 2 + j * step, 3.82, str(channel), size=9, ha="center", va="center")
    for y, name, one in zip((bottom + height - dot * DOTS / 2, bottom + dot * DOTS / 2), NAMES, shown, strict=True):
        ax.text(left - 0.08, y, f"{name}\nup to ±{np.abs(one).max():.3g}", size=10, ha="right", va="center")
    ax.text(left, 4.05, f"feature maps after stage {stage} (before ReLU), by channel", size=11, va="center")
    put(ax, np.linspace(limit, -limit, 64)[:, None], (7.03, bottom, 0.11, height), **scale)
    for y, value in ((bottom + height, limit), (bottom + height / 2, 0.0), (bottom, -limit)):
        ax.text(7.18, y, f"{value:.3g}", size=9, va="center")


def draw_answers(ax: Axes, seen: Observation, image: int, label: int, classes: Sequence[str]) -> None:
    """Paths by classes, the darker the likelier; the true class is framed, what a path answers stands at its end."""
    found = probabilities(seen, image)
    left, bottom, height = LEFT, 0.32, 1.68
    width, row = 4.4 / len(classes), height / len(found)
    grey = {"cmap": "Greys", "vmin": 0, "vmax": 1}
    put(ax, found, (left, bottom, width * len(classes), height), **grey)
    ax.add_patch(Rectangle((left, bottom), width * len(classes), height, fill=False, edgecolor="#bdbdbd"))
    place = (left + width * label, bottom)
    ax.add_patch(Rectangle(place, width, height, fill=False, edgecolor=GOOD, linewidth=2.2))
    ax.text(left, 2.1, "class probabilities, path by path (white 0, black 1; the true class is framed)", size=10)
    for j, name in enumerate(classes):
        how: dict[str, Any] = {"color": GOOD, "weight": "bold"} if j == label else {}
        ax.text(left + width * (j + 0.5), bottom - 0.16, str(name), size=10, ha="center", va="center", **how)
    for i, (one, answer) in enumerate(zip(found, answers(seen, image, classes), strict=True)):
        y, right = bottom + height - row * (i + 0.5), int(one.argmax()) == label and np.isfinite(one).all()
        ax.add_patch(Rectangle((left - 0.13, y - 0.38 * row), 0.07, 0.76 * row, color=SHADES[i], linewidth=0))
        ax.text(left - 0.19, y, ROWS[i], size=9, ha="right", va="center", linespacing=0.95)
        end = left + width * len(classes) + 0.12
        shade = GOOD if right else BAD
        ax.text(end, y, "\u2713" if right else "\u2717", size=10, va="center", color=shade)
        ax.text(end + 0.19, y, answer, size=10, va="center", color=shade)


def alternative(observed: Observed, moment: int, image: int, stage: int, channels: Sequence[int]) -> str:
    """The picture in words."""
    seen, label = observed.observations[moment], int(observed.images.labels[image])
    said = map(" ".join, zip(PATHS, answers(seen, image, observed.classes), strict=True))
    return (
        f"{observed.name}, {when(seen)}: test image {image}, a {observed.classes[label]}. Answers: {', '.join(said)}. "
        f"Above them the feature maps of student and teacher after stage {stage}, "
        f"channels {', '.join(map(str, channels))}."
    )

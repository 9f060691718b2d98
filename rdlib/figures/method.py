"""The method as a picture: both rows of stages, the three mixed paths as lines to follow, the losses where they attach.

It grows in STEPS, so that a notebook can draw each part beside the code that computes it. Coordinates are CSS pixels,
WIDE of them across, upwards from the bottom.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from rdlib.figures.style import COLOURS, PATH_COLOURS

Step = Literal["student", "teacher", "path 1", "path 2", "path 3", "losses"]
STEPS: tuple[Step, ...] = get_args(Step)
WIDE, TALL, STUDENT_ALONE, DPI = 900, 436, 196, 96
TITLE = "Deep networks without shortcuts"
SENTENCE = "A plain network learns through the later stages of a ResNet, and is then deployed alone."

INKS = {  # background, text, box, bar of a box, edge, band behind what is deployed, the teacher's own line
    False: ("#ffffff", "#1f2328", "#f1f2f4", "#d5d8dd", "#6e7781", "#e3f0fa", COLOURS["ResNet"]),
    True: ("#0d1117", "#e6edf3", "#20262e", "#3b434d", "#8b949e", "#0f2a40", "#c4cad1"),
}
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "family": "DejaVu Sans"}
ROUND: dict[str, Any] = {"solid_capstyle": "round", "solid_joinstyle": "round"}  # whatever the style says
WORDS = "stem", "stage 1", "stage 2", "stage 3", "stage 4", "classifier"
OWN = COLOURS["plain, JointRD"]
STUDENT = {1: 137, 2: 125, 3: 113, 0: 101}  # height of a path's line in the student's row; 0 is the own path
TEACHER = {0: 350, 1: 314, 2: 278, 3: 242}  # and in the teacher's, whose own is 0
STEM, STAGE, CLASSIFIER = (100, 122), [(140 + 112 * i, 218 + 112 * i) for i in range(4)], (712, 736)
IMAGE, MAP, CONNECTOR, DISTANCE, LOGITS, LOSS = 64, 590, 626, 666, 752, 790  # from left to right


class Picture:
    """An axes, the inks of light or dark, and which path stands out (0: the own one; None: all alike)."""

    def __init__(self, ax: Axes, dark: bool, path: int | None):
        self.ax, self.path = ax, path
        self.back, self.ink, self.box, self.bar, self.edge, self.band, self.resnet = INKS[dark]

    def text(self, x: float, y: float, what: str, size: float = 13, **look: Any) -> None:
        kept = CENTRED | {"color": self.ink, "zorder": 6} | look
        self.ax.text(x, y, what, size=size, **kept)

    def patch(self, x: tuple[float, float], y: tuple[float, float], fill: str, edge: str = "none", z: int = 1) -> None:
        shape = FancyBboxPatch((x[0], y[0]), x[1] - x[0], y[1] - y[0], "round,pad=0,rounding_size=4")
        shape.set(facecolor=fill, edgecolor=edge, linewidth=1, zorder=z)
        self.ax.add_patch(shape)

    def shade(self, of: int | str) -> float:
        """How opaque: faint where another path stands out."""
        return 1 if self.path in (None, of) else 0.2

    def line(self, points: list[tuple[float, float]], colour: str, of: int | str, **look: Any) -> None:
        """Through the points; between two heights it bends smoothly."""
        corners, codes = [points[0]], [Path.MOVETO]
        for (x0, y0), (x1, y1) in pairwise(points):
            corners += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)] if y0 != y1 else [(x1, y1)]
            codes += [Path.CURVE4] * 3 if y0 != y1 else [Path.LINETO]
        kept: dict[str, Any] = {"linewidth": 3.2, "zorder": 4, "alpha": self.shade(of)} | look
        if kept["linewidth"] > 2 and kept["alpha"] == 1:  # a casing tells yellow from white, and wine from black
            kept["path_effects"] = [patheffects.withStroke(linewidth=4.6, foreground=self.edge)]
        kept |= {"facecolor": "none", "edgecolor": colour, "capstyle": "round", "gid": f"line of {of}"}
        self.ax.add_patch(PathPatch(Path(corners, codes), **kept))

    def node(self, x: float, y: float, what: str, colour: str, of: int, gid: str | None = None, r: float = 13) -> None:
        edge = (colour, self.shade(of))
        self.ax.add_patch(Circle((x, y), r, facecolor=self.back, edgecolor=edge, linewidth=2.2, zorder=5))
        self.text(x, y - 0.5, what, 11, gid=gid)

    def dot(self, y: float, colour: str, name: str) -> None:
        """A path's last feature map."""
        self.ax.add_patch(Circle((MAP, y), 4.5, facecolor=colour, edgecolor=self.edge, linewidth=1, zorder=5))
        self.text(MAP - 3, y + 14, name)

    def row(self, low: float, high: float, shortcuts: bool) -> None:
        """Stem, four stages and classifier; in a stage a bar is a block, and an arc over it the block's shortcut."""
        for ends in (STEM, *STAGE, CLASSIFIER):
            self.patch(ends, (low, high), self.box, self.edge)
        for left, _ in STAGE:
            for x in (left + 15 + 24 * i for i in range(3)):
                self.patch((x - 4.5, x + 4.5), (low + 5, high - 5), self.bar, z=2)
                if shortcuts:
                    arc = Arc((x, high), 22, 30, theta1=0, theta2=180, linewidth=2, color=self.resnet, zorder=2)
                    self.ax.add_patch(arc)


def method(step: Step = "losses", *, dark: bool = False, path: int | None = None) -> Figure:
    """The picture up to a step, 900 pixels wide; path 1 to 3 (a mixed one) or 0 (the student's own) makes it stand out.

    Each step only adds to the one before.
    """
    tall = STUDENT_ALONE if step == "student" else TALL
    figure = Figure(figsize=(WIDE / DPI, tall / DPI), dpi=DPI, facecolor=INKS[dark][0])
    draw(figure.add_axes((0, 0, 1, 1)), step, dark, path, tall)
    return figure


def draw(ax: Axes, step: Step, dark: bool, path: int | None, tall: float = TALL) -> None:
    ax.set(xlim=(0, WIDE), ylim=(0, tall))
    ax.set_axis_off()
    parts: tuple[Callable[[Picture], None], ...] = (
        student,
        teacher,
        *(partial(mixed, k=k) for k in TEACHER if k),
        losses,
    )
    for part in parts[: STEPS.index(step) + 1]:
        part(Picture(ax, dark, path))


def student(of: Picture) -> None:
    of.patch((6, 772), (56, 158), of.band, z=0)
    of.row(92, 148, shortcuts=False)
    of.text(STAGE[0][0], 74, "Student: plain, without shortcuts. Deployed: this row alone.", ha="left", weight="bold")
    of.patch((8, IMAGE), (145, 193), of.box, of.edge, z=5)
    of.text((8 + IMAGE) / 2, 169, "image", 12)
    for (left, right), word in zip((STEM, *STAGE, CLASSIFIER), WORDS, strict=True):
        of.text((left + right) / 2, 176, word)
    y = STUDENT[0]
    of.line([(IMAGE, 157), (STEM[0], y), (LOSS - 16, y)], OWN, 0)
    of.dot(y, OWN, "$f_S$")
    of.text(LOGITS, y + 14, "$z_S$")


def teacher(of: Picture) -> None:
    of.row(224, 368, shortcuts=True)
    of.text(STAGE[0][0], 408, "Teacher: a trained ResNet, frozen ❄", ha="left", weight="bold")
    of.text(STAGE[3][1] + 6, 386, "shortcuts", 12, ha="left")
    y = TEACHER[0]
    of.line([(IMAGE, 185), (STEM[0], y), (MAP, y)], of.resnet, "T")
    of.dot(y, of.resnet, "$f_T$")


def mixed(of: Picture, k: int) -> None:
    """The student's stages 1 to k, then the teacher's others."""
    colour, low, high = PATH_COLOURS[k - 1], STUDENT[k], TEACHER[k]
    start, leaves, enters = (IMAGE, 157 + 7 * (4 - k)), STAGE[k - 1][1], STAGE[k][0]
    of.line([start, (STEM[0], low), (leaves, low), (enters, high), (LOSS - 16, high)], colour, k)
    of.node((leaves + enters) / 2, (low + high) / 2, str(k), colour, k)
    of.dot(high, colour, f"$f_{k}$")
    of.text(LOGITS, high + 14, f"$z_{k}$")
    if k == 1:
        what = "1, 2, 3: mixed paths: the student's stages up to the number, then the teacher's others"
        of.text(12, 36, what, 12, ha="left")


def losses(of: Picture) -> None:
    """f_T runs down to every distance; each map reaches its own through a connector; a cross-entropy ends each path."""
    lowest = 190
    of.ax.plot([MAP, DISTANCE, DISTANCE], [TEACHER[0], TEACHER[0], lowest], color=of.resnet, lw=1.6, zorder=3, **ROUND)
    for k, y, above in [(k, TEACHER[k], TEACHER[k] + 18) for k in (1, 2, 3)] + [(0, STUDENT[0], lowest)]:
        colour, name, term = (PATH_COLOURS[k - 1], str(k), f"mixed_{k}_") if k else (OWN, "S", "")
        of.line([(MAP, y), (CONNECTOR, above), (DISTANCE, above)], colour, k, linewidth=1.6)
        of.patch((CONNECTOR - 13, CONNECTOR + 13), (above - 11, above + 11), of.back, of.edge, z=5)
        of.text(CONNECTOR, above, f"$C_{name}$", 12)
        of.node(DISTANCE, above, "d", colour, k, f"{term}distance")
        of.node(LOSS, y, "CE", colour, k, f"{term}cross_entropy", r=15)
    of.ax.plot([814, 820, 820, 814], [TEACHER[1] + 12] * 2 + [TEACHER[3] - 12] * 2, color=of.edge, lw=1.4, **ROUND)
    of.text(827, TEACHER[2], "CE, d:\nweight\n$m(t)$", ha="left")
    what = "CE: the right class?    d: a map like the teacher's?  (weight $\\lambda$)    C: connector, in training only"
    of.text(12, 13, what, 12, ha="left")


def social_card() -> Figure:
    """Title, one sentence and the picture, 1280 x 640 pixels, for where a link to the repository is shown."""
    figure = Figure(figsize=(12, 6), dpi=1280 / 12, facecolor=INKS[False][0])
    width, height = WIDE / DPI / 12, TALL / DPI / 6
    draw(figure.add_axes(((1 - width) / 2, 0.02, width, height)), "losses", False, None)
    look = CENTRED | {"color": INKS[False][1]}
    figure.text(0.5, 0.925, TITLE, size=28, weight="bold", **look)
    figure.text(0.5, 0.835, SENTENCE, size=15, **look)
    return figure

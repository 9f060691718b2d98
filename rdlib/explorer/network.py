"""Panel (a) of the explorer: choose a network, see its shortcuts and what they cost beside the ResNet's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import ipywidgets as widgets

from rdlib.deploy.delivery import size
from rdlib.deploy.graph import Graph
from rdlib.deploy.planner import EXECUTORS, Plan, plan, traffic
from rdlib.deploy.sketch import sketch
from rdlib.explorer.panel import Panel, choice, guarded
from rdlib.figures.networks import arcs, draw
from rdlib.measure.candidates import INPUTS, WIDTH
from rdlib.models import DEPTHS, KINDS, Architecture, Shortcuts

WIDTHS = (8, 16, 32, 64, 128)
SIDES = (16, 32, 64, 96, 128, 160, 192, 224)
BATCHES = (1, 2, 4, 8, 16, 32)
LARGE = 96  # pixels from which the ImageNet stem is used
STEMS = {
    "cifar": "CIFAR stem (3x3 convolution)",
    "imagenet": "ImageNet stem (7x7 convolution and max pooling, both of stride 2)",
}
CHOICES = (("all (ResNet)", "all"), ("downsampling kept", "downsample"), ("none (strictly plain)", "none"))
LABELS = "15em"  # wide, so that the controls stand one above the other


@dataclass(frozen=True)
class Setting:
    """What the controls say."""

    depth: int
    width: int
    shortcuts: Shortcuts
    side: int
    batch: int
    executor: str

    @property
    def architecture(self) -> Architecture:
        """As in table 1: small images have the CIFAR stem and 100 classes, large ones the ImageNet stem and 1000."""
        stem, classes = INPUTS[224 if self.side >= LARGE else 32]
        return Architecture(*DEPTHS[self.depth], classes, self.shortcuts, self.width, stem)

    @property
    def resnet(self) -> "Setting":
        return replace(self, shortcuts="all")

    @property
    def name(self) -> str:
        return KINDS[self.shortcuts].format(self.depth)


@lru_cache(maxsize=64)  # the ResNet stays while shortcuts are switched
def planned(setting: Setting) -> tuple[Graph, Plan]:
    """The network's operators, and what its executor holds at each."""
    graph = sketch(setting.architecture, setting.side, setting.batch)
    return graph, plan(graph, setting.executor)


def comparison(setting: Setting) -> list[tuple[str, str, str, str]]:
    """Rows of the table: cost, the network's, the ResNet's, and how many times less that is.

    MACs and bytes are of the whole batch, in float32.
    """
    (graph, found), (whole, most) = planned(setting), planned(setting.resnet)
    written = [traffic(one, setting.executor) for one in (graph, whole)]
    rows: list[tuple[str, Callable[[int], str], int, int]] = [
        ("parameters", "{:,}".format, graph.parameters, whole.parameters),
        ("MACs", "{:,}".format, graph.macs, whole.macs),
        ("feature maps written", size, written[0], written[1]),
        ("planned peak", size, found.peak, most.peak),
    ]
    return [(name, text(ours), text(theirs), f"{theirs / ours:.2f}x") for name, text, ours, theirs in rows]


class NetworkPanel(Panel):
    """A network drawn with its shortcuts, above the memory that its feature maps take; a table of its costs."""

    name = "network"

    def __init__(self) -> None:
        super().__init__()
        controls = {
            "shortcuts": widgets.ToggleButtons(options=CHOICES, description="shortcuts"),
            "depth": slider("depth (layers)", DEPTHS, 50),
            "width": slider("width of stage 1 (channels)", WIDTHS, WIDTH),
            "side": slider("input side (pixels)", SIDES, 224),
            "batch": slider("batch (images)", BATCHES, 1),
            "executor": choice("executor", EXECUTORS, label_width=LABELS),
        }
        controls["shortcuts"].style.description_width = LABELS
        self.controls = {name: self.add(name, control, self.update) for name, control in controls.items()}
        self.numbers = self.add("numbers", widgets.HTML())
        self.view.children = [*self.controls.values(), self.message, self.picture, self.numbers]
        self.update()

    @property
    def setting(self) -> Setting:
        return Setting(**{name: control.value for name, control in self.controls.items()})

    @guarded
    def update(self, _: object = None) -> None:
        """Draw and count the network of the controls."""
        setting = self.setting
        (graph, found), (whole, most) = planned(setting), planned(setting.resnet)
        figure = draw(graph, found, setting.shortcuts, title(setting), len(whole.nodes), most.peak)
        self.picture.show(figure, description(setting))
        self.numbers.value = html_table(setting)
        self.say(about_stem(setting))


def slider(label: str, options: Any, value: int) -> widgets.SelectionSlider:
    looks = {"style": {"description_width": LABELS}, "layout": {"width": "34em"}}
    return widgets.SelectionSlider(options=list(options), value=value, description=label, **looks)


def title(setting: Setting) -> str:
    """The configuration and how many shortcuts it has."""
    found = arcs(planned(setting)[0])
    projections = sum(arc.projection is not None for arc in found)
    of_them = "all" if projections == len(found) else f"{projections} of them"
    kept = f"{len(found)} shortcuts ({of_them} projections)" if found else "no shortcuts"
    size_of = f"width {setting.width}, {setting.side}x{setting.side} pixels, batch {setting.batch}"
    return f"{setting.name}: {size_of}, {kept}"


def description(setting: Setting) -> str:
    """What the picture says, for whom cannot see it."""
    found, most = planned(setting)[1], planned(setting.resnet)[1]
    return (
        f"{title(setting)}. With {setting.executor}, feature maps peak at {size(found.peak)}, at operator "
        f"{found.at + 1} of {len(found.steps)} ({found.steps[found.at].node.op}); the ResNet's peak at "
        f"{size(most.peak)}."
    )


def about_stem(setting: Setting) -> str:
    of, bound = setting.architecture, "from" if setting.side >= LARGE else "below"
    return (
        f"{STEMS[of.stem]} and {of.num_classes} classes, as for every input {bound} {LARGE} pixels. "
        "BatchNorm is folded, values are float32; nothing is exported or run."
    )


def html_table(setting: Setting) -> str:
    """`comparison` under its header."""
    style = 'style="padding: 0 1em; text-align: right"'
    lines = [("th", ("", setting.name, setting.resnet.name, "times less"))]
    lines += [("td", row) for row in comparison(setting)]
    cells = ("".join(f"<{tag} {style}>{text}</{tag}>" for text in texts) for tag, texts in lines)
    return f"<table>{''.join(f'<tr>{one}</tr>' for one in cells)}</table>"

"""Panel (a) of the explorer: choose a network, see its shortcuts and what they cost beside the ResNet's."""

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
CHOICES: dict[Shortcuts, str] = {
    "all": "all (ResNet)",
    "downsample": "downsampling kept",
    "none": "none (strictly plain)",
}


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


def costs(setting: Setting) -> dict[str, int]:
    """What the table compares; MACs and bytes are of the whole batch, in float32."""
    graph, found = planned(setting)
    return {
        "parameters": graph.parameters,
        "MACs": graph.macs,
        "feature maps written": traffic(graph, setting.executor),
        "planned peak": found.peak,
    }


def comparison(setting: Setting) -> list[tuple[str, str, str, str]]:
    """Rows of the table: cost, the network's, the ResNet's, and how many times less that is."""
    ours, whole = costs(setting), costs(setting.resnet)
    rows = []
    for name, taken in ours.items():
        written = size if name in ("feature maps written", "planned peak") else "{:,}".format
        rows.append((name, written(taken), written(whole[name]), f"{whole[name] / taken:.2f}x"))
    return rows


class NetworkPanel(Panel):
    """A network drawn with its shortcuts, above the memory that its feature maps take; a table of its costs."""

    def __init__(self) -> None:
        super().__init__()
        self.controls: dict[str, widgets.Widget] = {
            "shortcuts": widgets.ToggleButtons(
                options=[(label, kind) for kind, label in CHOICES.items()], description="shortcuts"
            ),
            "depth": slider("depth (layers)", DEPTHS, 50),
            "width": slider("width of stage 1 (channels)", WIDTHS, WIDTH),
            "side": slider("input side (pixels)", SIDES, 224),
            "batch": slider("batch (images)", BATCHES, 1),
            "executor": choice("rdlib-network-executor", "executor", EXECUTORS, label_width="15em"),
        }
        for name, control in self.controls.items():
            control.style.description_width = "15em"
            control.add_class(f"rdlib-network-{name}")
            control.observe(self.update, "value")
        self.numbers = widgets.HTML()
        self.numbers.add_class("rdlib-network-numbers")
        self.view = widgets.VBox([*self.controls.values(), self.message, self.picture, self.numbers])
        self.view.add_class("rdlib-network")
        self.update()

    @property
    def setting(self) -> Setting:
        return Setting(**{name: control.value for name, control in self.controls.items()})

    @guarded
    def update(self, change: Any = None) -> None:
        """Draw and count the network of the controls."""
        setting = self.setting
        (graph, found), (whole, most) = planned(setting), planned(setting.resnet)
        figure = draw(graph, found, setting.shortcuts, title(setting), len(whole.nodes), most.peak)
        self.picture.show(figure, description(setting))
        self.numbers.value = html_table(setting)
        self.say(about_stem(setting))


def slider(label: str, options: Any, value: int) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(options=list(options), value=value, description=label, layout={"width": "34em"})


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
    header = ("", setting.name, setting.resnet.name, "times less")
    lines = [line("th", header), *(line("td", row) for row in comparison(setting))]
    return f"<table>{''.join(lines)}</table>"


def line(tag: str, texts: tuple[str, ...]) -> str:
    style = ' style="padding: 0 1em; text-align: right"'
    return f"<tr>{''.join(f'<{tag}{style}>{text}</{tag}>' for text in texts)}</tr>"

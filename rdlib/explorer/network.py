"""Panel (a) of the explorer: choose a network, see its shortcuts and what they cost beside the ResNet's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import ipywidgets as widgets

from rdlib.deploy.delivery import size
from rdlib.deploy.graph import Graph
from rdlib.deploy.planner import EXECUTORS, OUT_OF_PLACE, Plan, plan, traffic
from rdlib.deploy.sketch import sketch
from rdlib.errors import RecordError
from rdlib.explorer.panel import Panel, breakable, choice, guarded, html_table
from rdlib.figures.networks import Estimates, arcs, draw, milliseconds
from rdlib.measure import npu
from rdlib.measure.candidates import INPUTS, WIDTH
from rdlib.measure.record import folder
from rdlib.models import DEPTHS, KINDS, Architecture, Shortcuts
from rdlib.paper.npu import Row, feature_maps, named, said, sram, times_less
from rdlib.runs.store import Store

WIDTHS = (8, 16, 32, 64, 128)
SIDES = (16, 32, 64, 96, 128, 160, 192, 224)
BATCHES = (1, 2, 4, 8, 16, 32)
LARGE = 96  # pixels from which the ImageNet stem is used
STEMS = {
    "cifar": "CIFAR stem (3x3 convolution)",
    "imagenet": "ImageNet stem (7x7 convolution and max pooling, both of stride 2)",
}
CHOICES = (("all (ResNet)", "all"), ("downsampling kept", "downsample"), ("none (strictly plain)", "none"))
SPEED, SIZE = "speed", "size"  # what the compiler saves
ASKED = f"The NPU's compiler was asked for depths 18, 34 and 50, width {WIDTH}, sides 32 and 224, one image."
NOTHING = Estimates("NPU: the compiler's record does not have this network", ())


@dataclass(frozen=True)
class Setting:
    """What the controls say of the network and of how it is run."""

    depth: int = 50
    width: int = WIDTH
    shortcuts: Shortcuts = "none"
    side: int = 224
    batch: int = 1
    executor: str = OUT_OF_PLACE

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


def in_bytes(count: float) -> str:
    return size(round(count))


NPU_COSTS: dict[str, tuple[Callable[[Row], float], Callable[[float], str]]] = {
    "NPU: time": (lambda row: float(row["milliseconds"]), "{:.3g} ms".format),
    "NPU: SRAM": (sram, in_bytes),
    "NPU: maps moved": (feature_maps, in_bytes),
}


class Compiled:
    """What the NPU's compiler estimates of untrained networks of width 64, one image at a time; `error` where the
    record of the store cannot be read."""

    def __init__(self, store: Store):
        self.rows: dict[tuple[str, ...], Row] = {}
        self.error = ""
        try:
            rows = npu.of_store(folder(store))["rows"]
        except RecordError as error:
            self.error, rows = str(error), []
        for row in rows:
            if row["weights"] == npu.UNTRAINED:
                self.rows[row["name"], str(row["side"]), *named(row).values()] = row
        self.targets = list(dict.fromkeys(key[2] for key in self.rows))

    def estimates(self, setting: Setting, target: str, saves: str) -> Estimates:
        """The network's and the ResNet's, where the record has both."""
        both = {}
        for one in (setting, setting.resnet):
            short = KINDS[one.shortcuts].split(",")[0].format(one.depth)
            both[short] = self.rows.get((one.name, str(one.side), target, saves))
        found = [(name, row) for name, row in both.items() if row is not None]
        if (setting.width, setting.batch) == (WIDTH, 1) and len(found) == len(both):
            return Estimates(f"estimated: {target}, int8, for {saves}", found)
        return NOTHING


def comparison(setting: Setting, compiled: Estimates) -> list[tuple[str, str, str, str]]:
    """Rows of the table: cost, the network's, the ResNet's, and how many times less that is.

    MACs and bytes are of the whole batch, in float32; on the NPU, where its compiler was asked, in int8.
    """
    (graph, found), (whole, most) = planned(setting), planned(setting.resnet)
    written = [traffic(one, setting.executor) for one in (graph, whole)]
    costs: list[tuple[str, Callable[[float], str], float, float]] = [
        ("parameters", "{:,}".format, graph.parameters, whole.parameters),
        ("MACs", "{:,}".format, graph.macs, whole.macs),
        ("feature maps written", in_bytes, written[0], written[1]),
        ("planned peak", in_bytes, found.peak, most.peak),
    ]
    lines = [(name, text(ours), text(theirs), f"{theirs / ours:.2f}x") for name, text, ours, theirs in costs]
    if compiled.rows:
        row, against = compiled.rows[0][1], compiled.rows[-1][1]
        for name, (number, text) in NPU_COSTS.items():
            ours, theirs = ("no room" if "refused" in one else text(number(one)) for one in (row, against))
            lines.append((name, ours, theirs, times_less(against, row, number)))
    return lines


class NetworkPanel(Panel):
    """A network drawn with its shortcuts, above the memory that its feature maps take and its time on an NPU; a table
    of its costs. It opens with the strictly plain network of 50 layers beside ResNet-50."""

    name = "network"

    def __init__(self, store: Store | None = None) -> None:
        super().__init__()
        self.compiled, start = Compiled(store or Store()), Setting()
        places = [(breakable(place), place) for place in self.compiled.targets] or [("none", "")]
        controls = {
            "shortcuts": widgets.ToggleButtons(options=CHOICES, description="shortcuts", value=start.shortcuts),
            "depth": slider("depth (layers)", DEPTHS, start.depth),
            "width": slider("width of stage 1 (channels)", WIDTHS, start.width),
            "side": slider("input side (pixels)", SIDES, start.side),
            "batch": slider("batch (images)", BATCHES, start.batch),
            "executor": choice("executor (memory)", EXECUTORS),
        }
        target = {
            "npu": choice("NPU (time and memory)", places, rows=4),
            "saves": widgets.ToggleButtons(options=(SPEED, SIZE), description="compiled for"),
        }
        self.controls = {name: self.add(name, control, self.update) for name, control in controls.items()}
        self.target = {name: self.add(name, control, self.update) for name, control in target.items()}
        self.numbers = self.add("numbers", widgets.HTML())
        self.lay_out([*self.controls.values(), *self.target.values()], [self.numbers])
        self.update()

    @property
    def setting(self) -> Setting:
        return Setting(**{name: control.value for name, control in self.controls.items()})

    @property
    def estimates(self) -> Estimates:
        """Of the network that is chosen, on the target that is."""
        return self.compiled.estimates(self.setting, *(control.value for control in self.target.values()))

    @guarded
    def update(self, _: object = None) -> None:
        """Draw and count the network of the controls."""
        setting, compiled = self.setting, self.estimates
        graph, found = planned(setting)
        whole = planned(setting.resnet)
        figure = draw(graph, found, setting.shortcuts, title(setting), whole, compiled)
        self.picture.show(figure, description(setting, compiled))
        head = ("", setting.name, setting.resnet.name, "times less")
        self.numbers.value = html_table(head, comparison(setting, compiled))
        why = "" if compiled.rows else self.compiled.error or ASKED
        self.say(f"{about_stem(setting)} {why}".strip())


def slider(label: str, options: Any, value: int) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(options=list(options), value=value, description=label)


def title(setting: Setting) -> str:
    """The configuration and how many shortcuts it has."""
    found = arcs(planned(setting)[0])
    projections = sum(arc.projection is not None for arc in found)
    of_them = "all" if projections == len(found) else f"{projections} of them"
    kept = f"{len(found)} shortcuts ({of_them} projections)" if found else "no shortcuts"
    size_of = f"width {setting.width}, {setting.side}x{setting.side} pixels, batch {setting.batch}"
    return f"{setting.name}: {size_of}, {kept}"


def description(setting: Setting, compiled: Estimates) -> str:
    """What the picture says, for whom cannot see it."""
    found, most = planned(setting)[1], planned(setting.resnet)[1]
    times = (f"{name} {said(row, milliseconds)}" for name, row in compiled.rows)
    return (
        f"{title(setting)}. With {setting.executor}, feature maps peak at {size(found.peak)}, at operator "
        f"{found.at + 1} of {len(found.steps)} ({found.steps[found.at].node.op}); the ResNet's peak at "
        f"{size(most.peak)}. {compiled.title}: {', '.join(times) or 'no estimate'}."
    )


def about_stem(setting: Setting) -> str:
    of, bound = setting.architecture, "from" if setting.side >= LARGE else "below"
    return (
        f"{STEMS[of.stem]} and {of.num_classes} classes, as for every input {bound} {LARGE} pixels. "
        "BatchNorm is folded, values are float32; nothing is exported or run."
    )

"""The graph of a network from its architecture alone: what `read_graph(export(network))` gives, at once, unexported.

Operators come in the exporter's order and BatchNorm is folded, so that planner, MACs and parameters are the same; a
test compares them. Operators are named as torchvision names the modules: `layer1.0.conv1`, `layer1.0.add`.
"""

import math

from rdlib.deploy.graph import Graph, Node
from rdlib.deploy.kinds import INPUT, OUTPUT
from rdlib.errors import ConfigError
from rdlib.models import BLOCKS, Architecture

RGB = 3


def sketch(architecture: Architecture, side: int, batch: int = 1) -> Graph:
    """The operators and feature-map shapes of the folded network for images [batch, 3, side, side].

    Convolutions that are trained reparametrised (Dirac, RepVGG) are plain ones once folded, so `conv` changes nothing.
    Raises ConfigError for a side, batch, width or number of classes below 1.
    """
    of = architecture
    if min(side, batch, of.width, of.num_classes) < 1:
        raise ConfigError(
            f"a network needs a side, batch, width and number of classes of at least 1, "
            f"not {side}, {batch}, {of.width} and {of.num_classes}"
        )
    pencil = Pencil((batch, RGB, side, side))
    if of.stem == "imagenet":
        x = pencil.convolve("conv1", INPUT, of.width, kernel=7, stride=2)
        height, width = (halved(length) for length in pencil.shapes[x][2:])
        x = pencil.write("maxpool", "MaxPool", (x,), (batch, of.width, height, width))
    else:
        x = pencil.convolve("conv1", INPUT, of.width, kernel=3)
    for stage, count in enumerate(of.counts):
        for block in range(count):
            x = draw_block(pencil, x, of, stage, block)
    x = pencil.keep_shape("relu", "Relu", x)
    channels = pencil.shapes[x][1]
    x = pencil.write("avgpool", "ReduceMean", (x,), (batch, channels, 1, 1))
    x = pencil.write("flatten", "Reshape", (x,), (batch, channels))
    pencil.write(OUTPUT, "Gemm", (x,), (batch, of.num_classes), batch * channels * of.num_classes)
    pencil.parameters += (channels + 1) * of.num_classes
    return Graph(tuple(pencil.nodes), pencil.shapes, INPUT, OUTPUT, pencil.parameters)


def draw_block(pencil: "Pencil", x: str, of: Architecture, stage: int, block: int) -> str:
    """One block, as `rdlib.models.Block` computes it; returns the name of the pre-ReLU map that it writes."""
    name, planes = f"layer{stage + 1}.{block}", of.width * 2**stage
    opens_stage = stage > 0 and block == 0
    stride, c_out = 2 if opens_stage else 1, planes * BLOCKS[of.block].expansion
    convolutions: tuple[tuple[int, int, int, int], ...]  # channels, kernel, stride, groups
    if of.block == "basic":
        convolutions = ((planes, 3, stride, 1), (planes, 3, 1, 1))
    else:
        inner = planes * of.width_per_group // 64 * of.groups
        convolutions = ((inner, 1, 1, 1), (inner, 3, stride, of.groups), (c_out, 1, 1, 1))
    entered = out = pencil.keep_shape(f"{name}.relu", "Relu", x)
    for i, (channels, kernel, step, groups) in enumerate(convolutions, start=1):
        if i > 1:
            out = pencil.keep_shape(f"{name}.relu{i - 1}", "Relu", out)
        out = pencil.convolve(f"{name}.conv{i}", out, channels, kernel, step, groups)
    if of.shortcuts == "none" or (of.shortcuts == "downsample" and not opens_stage):
        return out
    shortcut = entered
    if pencil.shapes[entered][1] != c_out or stride != 1:
        shortcut = pencil.convolve(f"{name}.downsample", entered, c_out, kernel=1, stride=stride)
    return pencil.keep_shape(f"{name}.add", "Add", out, shortcut)


class Pencil:
    """Writes operators one after the other; an operator and the map that it writes have one name."""

    def __init__(self, images: tuple[int, ...]):
        self.nodes: list[Node] = []
        self.shapes = {INPUT: images}
        self.parameters = 0

    def write(self, name: str, op: str, inputs: tuple[str, ...], shape: tuple[int, ...], macs: int = 0) -> str:
        self.nodes.append(Node(name, op, inputs, name, macs))
        self.shapes[name] = shape
        return name

    def keep_shape(self, name: str, op: str, *inputs: str) -> str:
        return self.write(name, op, inputs, self.shapes[inputs[0]])

    def convolve(self, name: str, x: str, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        """A convolution padded by kernel // 2, with the bias that folding gives it."""
        batch, c_in, *lengths = self.shapes[x]
        shape = (batch, c_out, *(halved(length) if stride == 2 else length for length in lengths))
        weights = c_in // groups * kernel**2  # of one output channel
        self.parameters += c_out * (weights + 1)
        return self.write(name, "Conv", (x,), shape, math.prod(shape) * weights)


def halved(length: int) -> int:
    """What an odd kernel with stride 2, padded by its half, leaves of a height or width: every second place."""
    return (length + 1) // 2

"""Which feature maps an executor must hold at every operator, and how many bytes they take: ideal liveness.

Float32, BatchNorm folded, operators in the graph's order and for the batch it was read for. Counted are feature maps
alone: no weights, no scratch space of a kernel, and not the network's input, which belongs to the caller. ReLU writes
over its input where nobody else reads it later; a reshape is a view. How additions are done is the executor:

- "add out of place": the sum gets a buffer of its own (eager PyTorch);
- "add in place": the sum overwrites a summand that is not needed afterwards;
- "conv and add fused": the convolution that feeds an addition adds its result into the shortcut's buffer, so that
  neither its output nor the sum needs one (ONNX Runtime's FusedConv, torch.compile).
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from rdlib.deploy.graph import FLOAT, Graph, Node
from rdlib.errors import DeployError, require_choice

OUT_OF_PLACE, IN_PLACE, FUSED = EXECUTORS = ("add out of place", "add in place", "conv and add fused")
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True)
class Held:
    """A buffer in use while an operator runs: the feature map last written to it, and whether it is a shortcut."""

    name: str
    shape: tuple[int, ...]
    shortcut: bool

    @property
    def bytes(self) -> int:
        return FLOAT * math.prod(self.shape)


@dataclass(frozen=True)
class Step:
    """One operator of the forward pass, and what is alive while it runs: what it reads, what it writes, what waits."""

    node: Node
    alive: tuple[Held, ...]

    @property
    def bytes(self) -> int:
        return sum(held.bytes for held in self.alive)

    @property
    def shortcut_bytes(self) -> int:
        return sum(held.bytes for held in self.alive if held.shortcut)


@dataclass(frozen=True)
class Plan:
    """The forward pass under one executor, operator by operator."""

    steps: tuple[Step, ...]

    @property
    def peak(self) -> int:
        """Bytes: the least memory for feature maps with which this executor can run the network."""
        return max(step.bytes for step in self.steps)

    @property
    def at(self) -> int:
        """Place of the first operator at which the peak is reached, counted from 0."""
        return next(i for i, step in enumerate(self.steps) if step.bytes == self.peak)

    @property
    def at_peak(self) -> tuple[Held, ...]:
        """What is alive there."""
        return self.steps[self.at].alive


def plan(graph: Graph, executor: str) -> Plan:
    """Ideal liveness of a graph as exported, under one of EXECUTORS.

    A map is a *shortcut* at an operator if it is alive although the main path no longer needs it: it is no part of the
    main path, or the operator of the main path that reads it has run already. The main path is the longest chain of
    operators from input to output, that is, the same network without its shortcuts. Of a buffer that a convolution adds
    into, the convolution's result is on the main path, so it is not counted as a shortcut.

    Raises ConfigError for an unknown executor and DeployError for a graph that a runtime has rewritten (its own
    operators have no known shape).
    """
    require_choice("executor", executor, EXECUTORS)
    unknown = [node.op for node in graph.nodes if not all(graph.shapes.get(node.output, (0,)))]
    if unknown:
        raise DeployError(f"the shape of what {unknown[0]} writes is unknown: plan the network as it was exported")
    order, last, main = places(graph), last_reads(graph), main_path_reads(graph)
    kept: dict[str, list[str]] = defaultdict(list)  # buffer -> the maps that pass through it, in the order of writing
    for name, buffer in buffers(graph, executor).items():
        if buffer != graph.input:
            kept[buffer].append(name)
    steps = []
    for i, node in enumerate(graph.nodes):
        alive = []
        for names in kept.values():
            written = [name for name in names if order[name] <= i]
            if written and max(last[name] for name in names) >= i:
                shortcut = all(main.get(name, -1) < i for name in written)
                alive.append(Held(written[-1], graph.shapes[written[-1]], shortcut))
        steps.append(Step(node, tuple(alive)))
    return Plan(tuple(steps))


def traffic(graph: Graph, executor: str = OUT_OF_PLACE) -> int:
    """Bytes of all feature maps that one forward pass writes; reading them again is not counted.

    ReLU is taken as part of the operator before it, and a view writes nothing. Where convolution and addition are fused
    the convolution writes the sum, and its own result nowhere. Raises ConfigError for an unknown executor.
    """
    require_choice("executor", executor, EXECUTORS)
    written = sum(graph.bytes(node.output) for node in graph.nodes if node.op not in ("Relu", *VIEWS))
    if executor != FUSED:
        return written
    buffer = buffers(graph, executor)
    fused = (join for join in graph.joins if len({buffer[name] for name in join.inputs}) < len(set(join.inputs)))
    return written - sum(graph.bytes(join.output) for join in fused)


def buffers(graph: Graph, executor: str) -> dict[str, str]:
    """The buffer of each feature map, named after the first map in it; the executor decides who shares one."""
    overwriting = ("Relu",) if executor == OUT_OF_PLACE else ("Relu", "Add")
    order, last = places(graph), last_reads(graph)
    buffer, end = {graph.input: graph.input}, {graph.input: len(graph.nodes)}  # the caller's input is never overwritten

    def free(name: str, first: int, until: int) -> bool:
        """Operator `first` may write into the buffer of a map that operator `until` reads as the last one."""
        if name not in buffer or end[buffer[name]] > until:
            return False
        return not any(buffer.get(read) == buffer[name] for node in graph.nodes[first:until] for read in node.inputs)

    for i, node in enumerate(graph.nodes):
        written_by = node if node.op in overwriting else None
        if node.op == "Conv" and executor == FUSED and node.output != graph.output:
            readers = [reader for reader in graph.nodes if node.output in reader.inputs]
            written_by = readers[0] if [reader.op for reader in readers] == ["Add"] else None
        shared = node.inputs[0] if node.op in VIEWS else None
        if written_by is not None:
            until, shape = order[written_by.output], graph.shapes[written_by.output]  # a sum may be a broadcast one
            fitting = (name for name in written_by.inputs if graph.shapes[name] == shape and free(name, i, until))
            shared = next(fitting, None)
        buffer[node.output] = buffer[shared] if shared else node.output
        end[buffer[node.output]] = max(end.get(buffer[node.output], i), last[node.output])
    return buffer


def places(graph: Graph) -> dict[str, int]:
    """The place of the operator that writes each map."""
    return {node.output: i for i, node in enumerate(graph.nodes)}


def last_reads(graph: Graph) -> dict[str, int]:
    """The place of the last operator that reads each map; a map nobody reads lives while it is written."""
    last = places(graph) | {graph.input: -1}
    for i, node in enumerate(graph.nodes):
        last |= dict.fromkeys(node.inputs, i)
    return last | {graph.output: len(graph.nodes)}


def main_path_reads(graph: Graph) -> dict[str, int]:
    """The maps of the longest chain of operators from input to output, and the place of the operator in it that reads
    each."""
    length = {graph.input: 0}
    for node in graph.nodes:
        length[node.output] = 1 + max((length[name] for name in node.inputs), default=0)
    order, reads, name = places(graph), {graph.output: len(graph.nodes)}, graph.output
    while name in order and (inputs := graph.nodes[order[name]].inputs):
        longest = max(inputs, key=length.__getitem__)
        reads[longest] = order[name]
        name = longest
    return reads

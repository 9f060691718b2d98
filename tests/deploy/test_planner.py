"""The planner: by hand on tiny graphs, against PyTorch's real storages, and as properties of random graphs."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import Graph, Node, read_graph
from rdlib.deploy.planner import EXECUTORS, FUSED, IN_PLACE, OUT_OF_PLACE, buffers, plan, traffic
from rdlib.errors import ConfigError, DeployError
from rdlib.models import Architecture, StagedResNet

QUICK = settings(deadline=None, max_examples=60)
WIDTH = 8  # an eighth of the paper's, so an eighth of its bytes


def network(block, shortcuts, stem):
    """One block a stage: a peak lies in a stage's first block or before it, so more blocks do not change it."""
    torch.manual_seed(0)
    return fold(StagedResNet(Architecture(block, (1, 1, 1, 1), 100, shortcuts, WIDTH, stem)).eval())


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory):
    @cache
    def graph(block, shortcuts, stem="cifar", side=32):
        path = tmp_path_factory.mktemp("graph") / "network.onnx"
        return read_graph(export(network(block, shortcuts, stem), path, side))

    return graph


def graph(*lines, **sizes):
    """A graph from lines such as "c = Conv x" and the number of values of each map; the last map is the output."""
    nodes = []
    for line in lines:
        output, _, op, *inputs = line.split()
        nodes.append(Node(output, op, tuple(inputs), output))
    return Graph(tuple(nodes), {name: (n,) for name, n in sizes.items()}, "x", nodes[-1].output, 0)


def peaks(graph):
    return [plan(graph, executor).peak for executor in EXECUTORS]


def values(graph, executor):
    """Per operator, in float32 values."""
    return [step.bytes // 4 for step in plan(graph, executor).steps]


def test_a_chain_needs_its_largest_adjacent_pair_under_every_executor():
    chain = graph("a = Conv x", "b = Conv a", "c = Conv b", "d = Conv c", x=90, a=5, b=7, c=2, d=8)
    assert peaks(chain) == [4 * (5 + 7)] * 3
    assert [values(chain, executor) for executor in EXECUTORS] == [[5, 12, 9, 10]] * 3


def test_relu_and_views_take_no_buffer_of_their_own():
    chain = graph("a = Conv x", "b = Relu a", "c = Reshape b", "d = Gemm c", x=9, a=6, b=6, c=6, d=1)
    assert values(chain, OUT_OF_PLACE) == [6, 6, 6, 7]
    assert traffic(chain) == 4 * (6 + 1)


def test_relu_keeps_its_input_where_another_operator_still_reads_it():
    fork = graph("a = Conv x", "b = Relu a", "c = Conv b", "d = Add a c", x=9, a=6, b=6, c=6, d=6)
    assert values(fork, OUT_OF_PLACE) == [6, 12, 18, 18]


def test_the_callers_input_is_neither_counted_nor_overwritten():
    relu = graph("a = Relu x", "b = Add a x", x=6, a=6, b=6)
    assert values(relu, OUT_OF_PLACE) == [6, 12]
    assert values(relu, IN_PLACE) == [6, 6]  # over a, not over x


BLOCK = graph("s = Conv x", "b = Conv s", "c = Conv b", "y = Add c s", x=1, s=8, b=2, c=8, y=8)


def test_a_block_by_hand():
    assert values(BLOCK, OUT_OF_PLACE) == [8, 10, 18, 24]
    assert values(BLOCK, IN_PLACE) == [8, 10, 18, 16]
    assert values(BLOCK, FUSED) == [8, 10, 10, 8]
    assert [traffic(BLOCK, executor) for executor in EXECUTORS] == [4 * 26, 4 * 26, 4 * 18]


def test_the_shortcut_of_a_block_is_held_from_its_last_use_on_the_main_path():
    held = {e: [[h.name for h in step.alive if h.shortcut] for step in plan(BLOCK, e).steps] for e in EXECUTORS}
    assert held[OUT_OF_PLACE] == [[], [], ["s"], ["s"]]
    assert held[IN_PLACE] == [[], [], ["s"], ["s"]]
    assert held[FUSED] == [[], [], [], []]  # there the convolution's result is in the buffer that it added into


def test_no_executor_writes_over_a_shortcut_that_is_needed_again():
    sizes = {"x": 1} | dict.fromkeys("sbcdy", 8)
    twice = graph("s = Conv x", "b = Conv s", "c = Add b s", "d = Conv c", "y = Add d s", **sizes)
    assert values(twice, OUT_OF_PLACE) == [8, 16, 24, 24, 24]
    assert values(twice, IN_PLACE) == [8, 16, 16, 24, 16]  # the first sum over b, the second over d or s
    assert values(twice, FUSED) == [8, 16, 16, 16, 8]


def test_a_map_added_to_itself_and_a_broadcast_sum_are_no_fusion():
    doubled = graph("a = Conv x", "y = Add a a", x=1, a=4, y=4)
    assert [traffic(doubled, executor) for executor in EXECUTORS] == [4 * 8] * 3
    broadcast = graph("a = Conv x", "b = Conv x", "y = Add a b", x=1, a=2, b=8, y=8)
    assert values(broadcast, IN_PLACE) == [2, 10, 10]
    assert values(broadcast, FUSED) == [2, 10, 10]


def test_what_is_alive_at_the_peak_is_told_with_shape_and_place():
    found = plan(BLOCK, OUT_OF_PLACE)
    assert found.steps[found.at].node.op == "Add"
    assert [(h.name, h.shape, h.bytes, h.shortcut) for h in found.at_peak] == [
        (name, (8,), 32, name == "s") for name in ("s", "c", "y")
    ]


def test_an_unknown_executor_and_a_rewritten_graph_end_in_a_sentence():
    with pytest.raises(ConfigError, match="choose one of add out of place, add in place, conv and add fused"):
        plan(BLOCK, "magic")
    with pytest.raises(DeployError, match="as it was exported"):
        plan(replace(BLOCK, shapes={"s": (8,), "c": (8,)}), OUT_OF_PLACE)


MIB = 2**20 / 64 * WIDTH  # a MiB of the paper's width 64
BOTTLENECK_AT_224 = [("all", 9.19, 6.89, 4.98), ("downsample", 6.12, 6.12, 4.98), ("none", 4.59, 4.59, 4.59)]
BOTTLENECK_AT_32 = [("all", 3.0, 2.25, 1.62), ("downsample", 2.0, 2.0, 1.62), ("none", 1.5, 1.5, 1.5)]


@pytest.mark.parametrize(
    ("stem", "side", "shortcuts", "expected"),
    [("imagenet", 224, kind, peaks) for kind, *peaks in BOTTLENECK_AT_224]
    + [("cifar", 32, kind, peaks) for kind, *peaks in BOTTLENECK_AT_32],
)
def test_peaks_of_bottleneck_networks_are_those_of_the_arithmetic(stem, side, shortcuts, expected, graph_of):
    assert peaks(graph_of("bottleneck", shortcuts, stem, side)) == pytest.approx(
        [p * MIB for p in expected], abs=0.006 * MIB
    )


@pytest.mark.parametrize("shortcuts", ["all", "none"])
def test_at_224_the_stem_decides_the_peak_of_basic_blocks(shortcuts, graph_of):
    graph = graph_of("basic", shortcuts, "imagenet", 224)
    assert peaks(graph) == pytest.approx([3.83 * MIB] * 3, abs=0.006 * MIB)
    assert {plan(graph, e).steps[plan(graph, e).at].node.op for e in EXECUTORS} == {"MaxPool"}


def test_a_kept_projection_costs_less_where_it_runs_before_the_branch_ends(graph_of):
    """Why a range is given for networks that keep downsampling: the exporter puts the projection last."""
    nodes = list(graph_of("bottleneck", "downsample", "imagenet", 224).nodes)
    for i in [i for i, node in enumerate(nodes) if node.op == "Add"]:
        assert [nodes[i - 2].op, nodes[i - 1].op] == ["Conv", "Conv"]
        nodes[i - 2], nodes[i - 1] = nodes[i - 1], nodes[i - 2]
    reordered = replace(graph_of("bottleneck", "downsample", "imagenet", 224), nodes=tuple(nodes))
    assert peaks(reordered)[0] == pytest.approx(4.98 * MIB, abs=0.006 * MIB)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_its_shortcuts_a_resnet_holds_what_the_strictly_plain_network_holds(block, executor, graph_of):
    steps = plan(graph_of(block, "all"), executor).steps
    projection = {a.node.output for b, a in pairwise(steps) if b.node.op == a.node.op == "Conv"}
    main = [step for step in steps if step.node.op != "Add" and step.node.output not in projection]
    plain = plan(graph_of(block, "none"), executor).steps
    assert [step.node.op for step in main] == [step.node.op for step in plain]
    assert [step.bytes - step.shortcut_bytes for step in main] == [step.bytes for step in plain]
    assert not any(step.shortcut_bytes for step in plain)
    assert any(step.shortcut_bytes for step in main)


class Storages(TorchDispatchMode):
    """The most bytes of feature maps that PyTorch held at one time; a storage counts once, however many tensors see it.

    Storages that exist before (weights, input) and tensors of integers (the index map of a max-pool) do not count.
    """

    def __init__(self, before):
        super().__init__()
        self.before = {StorageWeakRef(tensor.untyped_storage()).cdata for tensor in before}
        self.known, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            reference = StorageWeakRef(tensor.untyped_storage())
            if tensor.is_floating_point() and reference.cdata not in self.before:
                self.known[reference.cdata] = (reference, tensor.untyped_storage().nbytes())
        self.known = {key: entry for key, entry in self.known.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.known.values()))
        return result


@pytest.mark.parametrize("shortcuts", ["all", "downsample", "none"])
@pytest.mark.parametrize(
    ("block", "stem", "side"), [("basic", "cifar", 32), ("bottleneck", "cifar", 32), ("bottleneck", "imagenet", 224)]
)
def test_pytorch_really_holds_what_is_planned(block, stem, side, shortcuts, graph_of):
    """The same operators in the same order, each map freed after its last reader, ReLU (then addition) in place."""
    folded, images = network(block, shortcuts, stem), torch.zeros(1, 3, side, side)
    program = torch.export.export(folded, (images,)).module()
    aten, graph = torch.ops.aten, graph_of(block, shortcuts, stem, side)
    for executor, operator, in_place in (
        (OUT_OF_PLACE, aten.relu.default, aten.relu_.default),
        (IN_PLACE, aten.add.Tensor, aten.add_.Tensor),
    ):
        for node in program.graph.nodes:
            node.target = in_place if node.target == operator else node.target
        with torch.no_grad(), Storages([*folded.parameters(), *program.parameters(), images]) as storages:
            torch.fx.Interpreter(program).run(images)
        assert storages.peak == plan(graph, executor).peak


@st.composite
def random_graphs(draw):
    """Up to 16 operators, any the output: convolutions to any size, ReLUs, additions of any two maps of one size."""
    sizes, nodes = {"x": draw(st.sampled_from([1, 2, 4]))}, []
    for i in range(draw(st.integers(1, 16))):
        op = draw(st.sampled_from(["Conv", "Conv", "Relu", "Add", "Add"]))
        first = draw(st.sampled_from(sorted(sizes)))
        inputs = [first]
        if op == "Add":
            inputs.append(draw(st.sampled_from(sorted(name for name in sizes if sizes[name] == sizes[first]))))
        sizes[f"m{i:02}"] = draw(st.sampled_from([1, 2, 4])) if op == "Conv" else sizes[first]
        nodes.append(Node(f"n{i}", op, tuple(inputs), f"m{i:02}"))
    shapes = {name: (n,) for name, n in sizes.items()}
    return Graph(tuple(nodes), shapes, "x", draw(st.sampled_from(nodes)).output, 0)


@QUICK
@given(random_graphs())
def test_each_stronger_executor_needs_no_more_at_any_operator(graph):
    per_executor = [[step.bytes for step in plan(graph, executor).steps] for executor in EXECUTORS]
    for out_of_place, in_place, fused in zip(*per_executor, strict=True):
        assert out_of_place >= in_place >= fused
    assert traffic(graph, OUT_OF_PLACE) == traffic(graph, IN_PLACE) >= traffic(graph, FUSED)


@QUICK
@given(random_graphs(), st.sampled_from(EXECUTORS))
def test_an_operator_has_room_for_what_it_reads_and_writes(graph, executor):
    shares = buffers(graph, executor)
    for step in plan(graph, executor).steps:
        touched = {shares[name]: graph.bytes(name) for name in (*step.node.inputs, step.node.output)}
        touched.pop(graph.input, None)
        assert sum(touched.values()) <= step.bytes <= plan(graph, executor).peak


@QUICK
@given(random_graphs(), st.sampled_from(EXECUTORS))
def test_running_in_the_planned_buffers_every_operator_reads_what_it_should(graph, executor):
    """Operators executed on names: a buffer holds the map last written, or a sum to be (fused)."""
    shares = buffers(graph, executor)
    content = {graph.input: graph.input}
    for node in graph.nodes:
        into, read = shares[node.output], {content[shares[name]] for name in node.inputs}
        if node.op == "Conv" and into in content and into not in (shares[name] for name in node.inputs):
            (add,) = [other for other in graph.nodes if node.output in other.inputs]
            free = [name for name in add.inputs if name != node.output]
            if content[into] in free:  # it adds into the shortcut's buffer, and the addition finds its work done
                content[into] = add.output
                continue
        done = node.op == "Add" and content.get(into) == node.output
        assert done or read == set(node.inputs)
        content[into] = node.output
    assert content[shares[graph.output]] == graph.output
    assert content[graph.input] == graph.input


@QUICK
@given(random_graphs())
def test_out_of_place_agrees_with_liveness_by_definition(graph):
    """Slowly and by the definition: a value is alive from the operator that makes it to the last one that reads it."""
    end, same = len(graph.nodes), {}  # a ReLU that alone reads its input afterwards is the same buffer
    needed = {node.output: [j for j, r in enumerate(graph.nodes) if node.output in r.inputs] for node in graph.nodes}
    needed[graph.output] = [*needed[graph.output], end]
    for i, node in enumerate(graph.nodes):
        before = node.inputs[0]
        if node.op == "Relu" and before != graph.input and max(needed[before]) == i:
            same[node.output] = before
    for i, step in enumerate(plan(graph, OUT_OF_PLACE).steps):
        alive = set()
        for j, node in enumerate(graph.nodes[: i + 1]):
            if i <= max(needed[node.output], default=j):
                name = node.output
                while name in same:
                    name = same[name]
                alive.add((name, math.prod(graph.shapes[name])))
        assert step.bytes == 4 * sum(size for _, size in alive)

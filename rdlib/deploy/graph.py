"""An exported network as a list of operators over feature maps: what an executor has to do, in its order."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rdlib.errors import DeployError

if TYPE_CHECKING:
    from onnx import ModelProto

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Node:
    """One operator. inputs and output name feature maps; weights and constants are left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    macs: int = 0


@dataclass(frozen=True)
class Graph:
    """Operators in the order of execution, and the shapes of all feature maps for one batch size.

    opset: ONNX's operator set, 0 where it is no file. fixed: whether the file takes no other batch.
    """

    nodes: tuple[Node, ...]
    shapes: dict[str, tuple[int, ...]]
    input: str
    output: str
    parameters: int
    opset: int = 0
    fixed: bool = False

    @property
    def batch(self) -> int:
        """Images that the shapes are of."""
        return self.shapes[self.input][0]

    def bytes(self, feature_map: str) -> int:
        """Size in float32."""
        return FLOAT * math.prod(self.shapes[feature_map])

    @property
    def macs(self) -> int:
        """Multiply-additions of convolutions and the classifier."""
        return sum(node.macs for node in self.nodes)

    @property
    def operators(self) -> dict[str, int]:
        """How often each operator occurs, the most frequent first."""
        return dict(Counter(node.op for node in self.nodes).most_common())

    @property
    def joins(self) -> tuple[Node, ...]:
        """Operators that take more than one feature map: additions and concatenations, and the convolutions into which
        a runtime has fused one. A strictly plain network has none."""
        return tuple(node for node in self.nodes if len(node.inputs) > 1)


def load_onnx(path: Path) -> "ModelProto":
    """Raises DeployError for a file that is no ONNX."""
    import onnx

    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's own, of no public class
        raise DeployError(f"{path.name} is not a readable ONNX file") from error


def read_graph(path: Path, batch: int = 1) -> Graph:
    """Read an ONNX file for a batch size, or for its own where it has a fixed one.

    Shapes and multiply-additions are known for standard operators; those that a runtime invented have none. Raises
    DeployError for a file that is no ONNX network with one input and one output.
    """
    import onnx

    model = load_onnx(path)
    graph = model.graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        has = f"{len(inputs)} and {len(graph.output)}"
        raise DeployError(f"a network with one input and one output is needed, this has {has}")
    first = inputs[0].type.tensor_type.shape.dim[0]
    fixed = first.dim_value > 0
    first.dim_value = first.dim_value or batch
    sized = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    indices = onnx.TensorProto.INT64  # of shapes and axes
    parameters = sum(math.prod(t.dims) for t in graph.initializer if t.dims and t.data_type != indices)
    nodes = []
    for node in graph.node:
        maps, written = tuple(name for name in node.input if name and name not in weights), node.output[0]
        if not maps:  # computed from weights alone, such as an int8 weight's float form
            weights |= dict.fromkeys(node.output, weights[node.input[0]] if node.input else ())
            continue
        macs = 0
        if node.op_type in ("Conv", "Gemm") and written in shapes:  # weights [out, in / groups, kh, kw] or [out, in]
            macs = math.prod(shapes[written]) * math.prod(weights[node.input[1]][1:])
        nodes.append(Node(node.name or written, node.op_type, maps, written, macs))
    return Graph(tuple(nodes), shapes, inputs[0].name, graph.output[0].name, parameters, opset, fixed)

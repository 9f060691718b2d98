"""The kinds of a deployed file, by its suffix: the content that a network becomes, and what runs it."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rdlib import __version__
from rdlib.deploy.graph import load_onnx
from rdlib.errors import DeployError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

INPUT, OUTPUT = "images", "logits"
MARK = "rdlib"  # opens the names in an ONNX file's metadata
# A file opened: what runs it, and the batch that it is fixed to (None: any).
Runner = tuple[Callable[[Tensor], Tensor], int | None]


def onnx_of(network: nn.Module, example: Tensor, free: Any, about: Mapping[str, Any], opset: int) -> bytes:
    program = torch.onnx.export(
        network,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=opset,
        dynamo=True,
        dynamic_shapes=free,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's notes hold the paths of the machine
        part.doc_string = ""
    written = {entry.version for entry in model.opset_import if not entry.domain}
    if written != {opset}:
        raise DeployError(f"this torch's exporter writes opset {written} where {opset} is wanted: choose another")
    about = {MARK: __version__, **{f"{MARK}.{key}": value for key, value in about.items()}}
    return finished(model, {key: json.dumps(value) for key, value in about.items()})


def finished(model: "ModelProto", properties: dict[str, str]) -> bytes:
    """An ONNX file's content, checked. Strict parsers refuse imports that no node uses, and needlessly new formats."""
    import onnx

    used = {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.ir_version = onnx.helper.find_min_ir_version_for(imports)
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def about_of(path: Path) -> dict[str, Any]:
    """What `export` wrote beside the network: classes, mean, std ... Raises DeployError for a file not made by it."""
    properties = {entry.key: entry.value for entry in load_onnx(path).metadata_props}
    if MARK not in properties:
        raise DeployError(f"{path.name} was not exported by rdlib: make it with `python -m rdlib export`")
    opening = f"{MARK}."
    try:
        return {key.removeprefix(opening): json.loads(properties[key]) for key in properties if key.startswith(opening)}
    except ValueError as error:
        raise DeployError(f"{path.name} has metadata that were changed since its export: export it again") from error


def session(path: Path, threads: int = 1, optimised_to: Path | None = None) -> "InferenceSession":
    """ONNX Runtime on the CPU. `optimised_to`: also write the graph as the runtime has rewritten it for itself.

    Raises DeployError for a file that the runtime cannot load.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if optimised_to is not None:
        options.optimized_model_filepath = str(optimised_to)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a class of its own for every kind of damage
        room = "" if optimised_to is None else ", or there is no room for its rewritten form (TMPDIR)"
        raise DeployError(f"{path.name} is no network that ONNX Runtime can load{room}") from error


def run_onnx(path: Path) -> Runner:
    about_of(path)
    runtime = session(path)
    batch = runtime.get_inputs()[0].shape[0]
    return lambda images: torch.from_numpy(runtime.run([OUTPUT], {INPUT: images.numpy()})[0]), fixed(batch)


def torch_of(program: torch.export.ExportedProgram) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the paths of the machine
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def run_torch(content: bytes) -> Runner:
    program = torch.export.load(io.BytesIO(content))
    (images,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    module = program.module()
    return lambda images: module(images), fixed(images.meta["val"].shape[0])


def executorch_of(program: torch.export.ExportedProgram) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer)


def run_executorch(content: bytes) -> Runner:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(content)
    method = program.load_method("forward")

    def run(images: Tensor, alive: Any = program) -> Tensor:  # the method runs in its program's memory and holds it not
        return torch.as_tensor(method.execute((images,))[0].clone())  # the next images overwrite it there

    return run, method.metadata.input_tensor_meta(0).sizes()[0]


def fixed(batch: object) -> int | None:
    """The batch that a shape's first entry fixes; None where it is free, a symbol."""
    return batch if isinstance(batch, int) else None


PROGRAMS: dict[str, tuple[Callable[[torch.export.ExportedProgram], bytes], Callable[[bytes], Runner], str]] = {
    ".pt2": (torch_of, run_torch, "torch.export"),
    ".pte": (executorch_of, run_executorch, "ExecuTorch"),
}
KINDS = (".onnx", *PROGRAMS)

"""Write a folded network to a file that runs without PyTorch, and prove that the file computes the same.

The file's suffix chooses its kind: `.onnx` (ONNX Runtime, OpenVINO, most NPU compilers), `.pt2` (torch.export) and
`.pte` (ExecuTorch, XNNPACK kernels, one image at a time).
"""

import contextlib
import copy
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rdlib import __version__
from rdlib.convolutions import require_folded
from rdlib.deploy.graph import Graph, load_onnx, read_graph
from rdlib.errors import DeployError
from rdlib.files import require_writable, whole

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 20
INPUT, OUTPUT = "images", "logits"
MARK = "rdlib"  # opens the names in an ONNX file's metadata
TOLERANCE = 1e-4  # largest allowed difference of a logit from eager PyTorch's, in float32


def export(network: nn.Module, path: Path, side: int, about: Mapping[str, Any] | None = None) -> Path:
    """Write a folded network for normalised images [N, 3, side, side], N free (`.pte`: 1); returns the path.

    about: what the file's user needs, e.g. classes, mean and std; an ONNX file carries it as JSON in its metadata. The
    file appears whole or not at all. Raises DeployError for a network that is in training mode or not folded, for
    another suffix, and where the file cannot be written.
    """
    require_folded(network)
    require_target(path)
    # Exported channels_last, a network would carry operators that only undo the layout.
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    with explained(path), whole(path) as temporary, quiet():
        write, _ = KINDS[path.suffix]
        write(network, temporary, torch.zeros(2, 3, side, side), about or {})
    return path


def require_target(path: Path, suffixes: Collection[str] | None = None) -> None:
    """Raise DeployError, now rather than after minutes of work, where the file cannot become what it is named."""
    if path.suffix not in (suffixes or KINDS):
        raise DeployError(f"{path.name}: the file's suffix chooses its kind, one of {', '.join(suffixes or KINDS)}")
    with explained(path):
        require_writable(path)


@contextlib.contextmanager
def explained(path: Path, place: str = "folder") -> Iterator[None]:
    """Turn an OSError of writing `path` into a DeployError; its folder is not made, since the name may be mistyped."""
    try:
        os.stat(f"{path.parent}/")
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise DeployError(f"cannot write {path.name} ({why}): choose a {place} that exists and is writable") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk a lot about what is no concern of their users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write_onnx(network: nn.Module, path: Path, example: Tensor, about: Mapping[str, Any]) -> None:
    import onnx

    program = torch.onnx.export(
        network,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's notes hold the paths of the machine
        part.doc_string = ""
    about = {MARK: __version__, **{f"{MARK}.{key}": value for key, value in about.items()}}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def about_of(path: Path) -> dict[str, Any]:
    """What `export` wrote beside the network: classes, mean, std ... Raises DeployError for a file not made by it."""
    properties = {entry.key: entry.value for entry in load_onnx(path).metadata_props}
    if MARK not in properties:
        raise DeployError(f"{path.name} was not exported by rdlib: make it with `python -m rdlib export`")
    opening = f"{MARK}."
    return {key.removeprefix(opening): json.loads(properties[key]) for key in properties if key.startswith(opening)}


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
        raise DeployError(f"{path.name} is no network that ONNX Runtime can load") from error


def run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    about_of(path)
    runtime = session(path)
    return lambda images: torch.from_numpy(runtime.run([OUTPUT], {INPUT: images.numpy()})[0])


def write_torch(network: nn.Module, path: Path, example: Tensor, about: Mapping[str, Any]) -> None:
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the paths of the machine
    torch.export.save(program, path)


def run_torch(path: Path) -> Callable[[Tensor], Tensor]:
    try:
        program = torch.export.load(path).module()
    except Exception as error:  # of the zip file, of the schema, of pickle
        raise DeployError(f"{path.name} is no program that torch.export can load") from error
    return lambda images: program(images)  # no module of this one's, since it cannot be put into eval mode


def write_executorch(network: nn.Module, path: Path, example: Tensor, about: Mapping[str, Any]) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network, (example[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)


def run_executorch(path: Path) -> Callable[[Tensor], Tensor]:
    from executorch.runtime import Runtime

    try:
        method = Runtime.get().load_program(path).load_method("forward")
    except Exception as error:  # the runtime's codes
        raise DeployError(f"{path.name} is no program that ExecuTorch can load") from error
    # Its output lives in the program's arena, so it is copied before the next image overwrites it.
    return lambda images: torch.cat([method.execute((image[None],))[0].clone() for image in images])


Writer = Callable[[nn.Module, Path, Tensor, Mapping[str, Any]], None]
Runner = Callable[[Tensor], Tensor]
KINDS: dict[str, tuple[Writer, Callable[[Path], Runner]]] = {
    ".onnx": (write_onnx, run_onnx),
    ".pt2": (write_torch, run_torch),
    ".pte": (write_executorch, run_executorch),
}


class Deployed(nn.Module):
    """A deployed file behind the interface of a network: normalised images [N, 3, side, side] -> logits [N, classes].

    Runs on the CPU in the runtime of its suffix. Raises DeployError for a file that is absent, damaged or not ours.
    """

    def __init__(self, path: Path):
        super().__init__()
        if not path.is_file():
            raise DeployError(f"there is no file {path.name}: make it with `python -m rdlib export RUN_ID --to FILE`")
        if path.suffix not in KINDS:
            raise DeployError(f"{path.name}: the file's suffix tells its kind, one of {', '.join(KINDS)}")
        self.run_file = KINDS[path.suffix][1](path)

    def forward(self, images: Tensor) -> Tensor:
        return self.run_file(images.cpu().float().contiguous())


@dataclass(frozen=True)
class Verification:
    """What was compared, and what the file holds; the graphs are those of an ONNX file, else None.

    difference: largest absolute difference of a logit from the network's. equal_top1: images of equal top-1 class.
    runtime_graph: as ONNX Runtime rewrites the network for itself, which shows whether it fused an addition away.
    """

    images: int
    difference: float
    equal_top1: int
    graph: Graph | None = None
    runtime_graph: Graph | None = None

    @property
    def adds_nothing(self) -> bool:
        """No operator joins feature maps, neither in the file nor in the runtime. Known of ONNX files alone."""
        graphs = (self.graph, self.runtime_graph)
        return all(graph is not None and not graph.joins for graph in graphs)


@torch.inference_mode()
def verify(
    network: nn.Module, path: Path, batches: Iterable[Tensor], tolerance: float | None = TOLERANCE
) -> Verification:
    """Compare a file with the network it was made from, on normalised images in batches [N, 3, side, side].

    tolerance: of a logit's absolute difference, in units of the largest logit where that is above 1; None: not judged
    (int8). Raises DeployError where a logit differs by more or is not finite, for no images, and for a foreign file.
    """
    deployed, network = Deployed(path), network.eval()
    count, equal, difference, scale = 0, 0, 0.0, 1.0
    for images in batches:
        wanted, found = network(images), deployed(images)
        if wanted.shape != found.shape:
            shapes = f"{list(found.shape)} where the network gives {list(wanted.shape)}"
            raise DeployError(f"{path.name} gives outputs {shapes}")
        if not found.isfinite().all():
            raise DeployError(f"{path.name} gives logits that are not finite: it cannot be deployed")
        difference = max(difference, float((wanted - found).abs().max()))
        scale = max(scale, float(wanted.abs().max()))
        equal += int((wanted.argmax(1) == found.argmax(1)).sum())
        count += len(images)
    if count == 0:
        raise DeployError("no images to compare on: give at least one batch")
    if tolerance is not None and not difference <= tolerance * scale:
        raise DeployError(
            f"{path.name} does not compute what the network computes: a logit differs by {difference:.2g}, allowed are "
            f"{tolerance * scale:.2g}; was it made from other weights?"
        )
    if path.suffix != ".onnx":
        return Verification(count, difference, equal)
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "optimised.onnx"
        session(path, optimised_to=rewritten)
        return Verification(count, difference, equal, read_graph(path), read_graph(rewritten))

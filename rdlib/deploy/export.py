"""Write a folded network to a file that runs without PyTorch, and prove that the file computes the same.

The file's suffix chooses its kind: `.onnx` (ONNX Runtime, OpenVINO, most NPU compilers), `.pt2` (torch.export) and
`.pte` (ExecuTorch, XNNPACK kernels, one image at a time).
"""

import contextlib
import copy
import errno
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rdlib import __version__
from rdlib.deploy.fold import require_folded
from rdlib.errors import DeployError

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
    with written_whole(path) as temporary, quiet():
        WRITERS[path.suffix](network, temporary, torch.zeros(2, 3, side, side), about or {})
    return path


def require_target(path: Path, suffixes: Collection[str] | None = None) -> None:
    """Raise DeployError, now rather than after minutes of work, where the file cannot become what it is named."""
    if path.suffix not in (suffixes or WRITERS):
        raise DeployError(f"{path.name}: the file's suffix chooses its kind, one of {', '.join(suffixes or WRITERS)}")
    with written_whole(path, keep=False):
        pass


@contextlib.contextmanager
def written_whole(path: Path, keep: bool = True) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well. Raises DeployError where it cannot be written."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary.touch()
        yield temporary
        if keep:
            os.replace(temporary, path)
    except OSError as error:
        raise DeployError(
            f"cannot write {path.name} ({error.strerror}): choose a folder that exists and is writable"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


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


def write_torch(network: nn.Module, path: Path, example: Tensor, about: Mapping[str, Any]) -> None:
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the paths of the machine
    torch.export.save(program, path)


def write_executorch(network: nn.Module, path: Path, example: Tensor, about: Mapping[str, Any]) -> None:
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise DeployError("a .pte file needs the package executorch, which is not installed") from error
    program = torch.export.export(network, (example[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)


WRITERS: dict[str, Callable[[nn.Module, Path, Tensor, Mapping[str, Any]], None]] = {
    ".onnx": write_onnx,
    ".pt2": write_torch,
    ".pte": write_executorch,
}


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

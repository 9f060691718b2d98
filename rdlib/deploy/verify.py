"""Prove that a deployed file computes what the network computes, and list what it consists of."""

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.deploy.export import INPUT, MARK, OUTPUT, TOLERANCE, session
from rdlib.deploy.graph import Graph, read_graph
from rdlib.errors import DeployError


class Deployed(nn.Module):
    """A deployed file behind the interface of a network: normalised images [N, 3, side, side] -> logits [N, classes].

    Runs on the CPU in the runtime of its suffix. Raises DeployError for a file that is absent, damaged or not ours.
    """

    def __init__(self, path: Path, threads: int = 1):
        super().__init__()
        if not path.is_file():
            raise DeployError(f"there is no file {path.name}: make it with `python -m rdlib export RUN_ID --to FILE`")
        if path.suffix not in RUNNERS:
            raise DeployError(f"{path.name}: the file's suffix tells its kind, one of {', '.join(RUNNERS)}")
        self.run_file = RUNNERS[path.suffix](path, threads)

    def forward(self, images: Tensor) -> Tensor:
        return self.run_file(images.cpu().float().contiguous())


def onnx_runner(path: Path, threads: int) -> Callable[[Tensor], Tensor]:
    about_of(path)
    runtime = session(path, threads)
    return lambda images: torch.from_numpy(runtime.run([OUTPUT], {INPUT: images.numpy()})[0])


def torch_runner(path: Path, threads: int) -> Callable[[Tensor], Tensor]:
    try:
        program = torch.export.load(path).module()
    except Exception as error:  # of the zip file, of the schema, of pickle
        raise DeployError(f"{path.name} is no program that torch.export can load") from error
    return lambda images: program(images)  # no module of this one's, since it cannot be put into eval mode


def executorch_runner(path: Path, threads: int) -> Callable[[Tensor], Tensor]:
    try:
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")
    except ImportError as error:
        raise DeployError("a .pte file needs the package executorch, which is not installed") from error
    except Exception as error:  # the runtime's codes
        raise DeployError(f"{path.name} is no program that ExecuTorch can load") from error
    # Its output lives in the program's arena, so it is copied before the next image overwrites it.
    return lambda images: torch.cat([method.execute((image[None],))[0].clone() for image in images])


RUNNERS: dict[str, Callable[[Path, int], Callable[[Tensor], Tensor]]] = {
    ".onnx": onnx_runner,
    ".pt2": torch_runner,
    ".pte": executorch_runner,
}


def about_of(path: Path) -> dict[str, Any]:
    """What `export` wrote beside the network: classes, mean, std ... Raises DeployError for a file not made by it."""
    import onnx

    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own, of no public class
        raise DeployError(f"{path.name} is not a readable ONNX file") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if MARK not in properties:
        raise DeployError(f"{path.name} was not exported by rdlib: make it with `python -m rdlib export`")
    return {
        key.removeprefix(f"{MARK}."): json.loads(value)
        for key, value in properties.items()
        if key.startswith(f"{MARK}.")
    }


@dataclass(frozen=True)
class Verification:
    """What was compared, and what the file holds; the graphs are those of an ONNX file, else None.

    difference: largest absolute difference of a logit from the network's. equal_top1: images of equal top-1 class.
    runtime_graph: as ONNX Runtime rewrites the network for itself, which shows whether it fused an addition away.
    """

    images: int
    difference: float
    equal_top1: int
    graph: Graph | None
    runtime_graph: Graph | None

    @property
    def adds_nothing(self) -> bool:
        """No operator joins feature maps, neither in the file nor after the runtime's own optimisation.

        Known of ONNX files alone: False for all others.
        """
        if self.graph is None or self.runtime_graph is None:
            return False
        return not self.graph.joins and not self.runtime_graph.joins


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
            raise DeployError(
                f"{path.name} gives outputs {list(found.shape)} where the network gives {list(wanted.shape)}"
            )
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
    return Verification(count, difference, equal, *graphs_of(path))


def graphs_of(path: Path) -> tuple[Graph | None, Graph | None]:
    """The network in an ONNX file, and as ONNX Runtime rewrites it."""
    if path.suffix != ".onnx":
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "optimised.onnx"
        session(path, optimised_to=rewritten)
        return read_graph(path), read_graph(rewritten)

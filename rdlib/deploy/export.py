"""Write a folded network to a file that runs without PyTorch, and prove that the file computes the same.

The file's suffix chooses its kind: `.onnx` (ONNX Runtime, OpenVINO, most NPU compilers), `.pt2` (torch.export) and
`.pte` (ExecuTorch, XNNPACK kernels, one image at a time, or a fixed batch).
"""

import contextlib
import copy
import errno
import hashlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import require_folded
from rdlib.deploy.graph import Graph, read_graph
from rdlib.deploy.kinds import KINDS, PROGRAMS, onnx_of, run_onnx, session
from rdlib.errors import ConfigError, DeployError
from rdlib.files import require_writable, write

OPSET = 20
OPSETS = range(18, 27)  # asked for another one, torch's exporter writes 18 without a word
BATCHES = range(1, 257)  # images
EXPORTED: set[bytes] = set()  # SHA-256 of the programs that this process has written
TOLERANCE = 1e-4  # largest allowed difference of a logit from eager PyTorch's, in float32


def export(
    network: nn.Module,
    path: Path,
    side: int,
    about: Mapping[str, Any] | None = None,
    opset: int | None = None,
    batch: int | None = None,
) -> Path:
    """Write a folded network for normalised images [N, 3, side, side]; returns the path.

    about: what the file's user needs, e.g. classes, mean and std; an ONNX file carries it as JSON in its metadata.
    opset: of an ONNX file, one of OPSETS; None: OPSET. batch: a fixed N of BATCHES, for compilers that need static
    shapes; None: any N (`.pte`: 1). The file appears whole or not at all.

    Raises DeployError for a network that is in training mode or not folded, for another suffix, and where the file
    cannot be written; ConfigError for another opset or batch.
    """
    require_folded(network)
    require_target(path, opset, batch)
    # Exported channels_last, a network would carry operators that only undo the layout.
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    if path.suffix == ".pte":
        batch = batch or 1
    example, free = torch.zeros(batch or 2, 3, side, side), None if batch else ({0: torch.export.Dim("batch")},)
    with quiet():
        if path.suffix == ".onnx":
            content = onnx_of(network, example, free, about or {}, opset or OPSET)
        else:
            content = PROGRAMS[path.suffix][0](torch.export.export(network, (example,), dynamic_shapes=free))
            EXPORTED.add(hashlib.sha256(content).digest())
    with explained(path):
        write(path, content)
    return path


def require_target(path: Path, opset: int | None = None, batch: int | None = None, int8: bool = False) -> None:
    """Raise DeployError or ConfigError, now rather than after minutes of work, where the file cannot become what it is
    named, or not in that form (only ONNX has opsets, and int8 here)."""
    kinds = (".onnx",) if int8 or opset is not None else KINDS
    if path.suffix not in kinds:
        wanted = "" if kinds is KINDS else ": int8 and opsets are of no other"
        raise DeployError(f"{path.name}: the file's suffix chooses its kind, one of {', '.join(kinds)}{wanted}")
    for what, value, choices in (("opset", opset, OPSETS), ("batch", batch, BATCHES)):
        if value is not None and value not in choices:
            raise ConfigError(f"{what} {value} cannot be exported: choose one from {choices[0]} to {choices[-1]}")
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        help = "make room, also for temporary files" if full else f"choose a {place} that exists and is writable"
        raise DeployError(f"cannot write {path.name} ({why}): {help}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk a lot about what is no concern of their users."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # whatever they log as an error they also raise
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def in_batches(images: Tensor, batch: int | None) -> Iterator[Tensor]:
    """Images [N, ...] in parts of exactly `batch`, the last one filled up with copies of its last image; None: all."""
    for part in torch.split(images, batch or max(1, len(images))):
        yield torch.cat([part, part[-1:].expand((batch or len(part)) - len(part), *part.shape[1:])])


class Deployed(nn.Module):
    """A deployed file behind the interface of a network: normalised images [N, 3, side, side] -> logits [N, classes].

    Runs on the CPU in the runtime of its suffix; batch: what the file is fixed to, or None. ONNX files are data. A
    `.pt2` can run code when it is opened and a `.pte` is not checked by its runtime, so those two are opened only where
    this process has exported the same bytes, or where whoever wrote them is trusted, which `trusted` says.

    Raises DeployError for a file that is absent, damaged, not ours or not to be trusted.
    """

    def __init__(self, path: Path, trusted: bool = False):
        super().__init__()
        if not path.is_file():
            raise DeployError(f"there is no file {path.name}: make it with `python -m rdlib export RUN_ID --to FILE`")
        if path.suffix not in KINDS:
            raise DeployError(f"{path.name}: the file's suffix tells its kind, one of {', '.join(KINDS)}")
        if path.suffix == ".onnx":
            self.run_file, self.batch = run_onnx(path)
            return
        _, open_program, runtime = PROGRAMS[path.suffix]
        content = path.read_bytes()
        if not trusted and hashlib.sha256(content).digest() not in EXPORTED:
            raise DeployError(
                f"{path.name} was not exported by this process, and opening it can run code of whoever wrote it: "
                "say trusted=True if you trust them, or export it again"
            )
        try:
            self.run_file, self.batch = open_program(content)
        except Exception as error:  # of the zip file, of the schema, of pickle, the runtime's codes
            raise DeployError(f"{path.name} is no program that {runtime} can load") from error

    def forward(self, images: Tensor) -> Tensor:
        parts = in_batches(images.cpu().float().contiguous(), self.batch)
        return torch.cat([self.run_file(part) for part in parts])[: len(images)]


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
    network: nn.Module,
    path: Path,
    batches: Iterable[Tensor],
    tolerance: float | None = TOLERANCE,
    trusted: bool = False,
) -> Verification:
    """Compare a file with the network it was made from, on normalised images in batches [N, 3, side, side].

    tolerance: of a logit's absolute difference, in units of the largest logit where that is above 1; None: not judged
    (int8). trusted: as of Deployed. Raises DeployError where a logit differs by more or is not finite, for no images,
    and for a foreign file.
    """
    deployed, network = Deployed(path, trusted), network.eval()
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

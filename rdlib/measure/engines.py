"""One forward pass in every engine: each builds a call without arguments whose result is ready when it returns.

No engine is believed: its logits are held against eager PyTorch's in float32 before anything is timed.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import require_folded
from rdlib.deploy.export import export, quiet
from rdlib.deploy.kinds import INPUT, session
from rdlib.errors import DeployError, RdlibError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pass = Callable[[], Tensor]  # one forward pass: logits [N, classes]

# Largest difference of a logit from eager float32, as a share of the largest logit. Untrained plain networks amplify
# rounding: float32 engines differ by some 1e-6, bfloat16 by some 5e-3, a wrong operator by about 1. An int8 network is
# another function on purpose; of it only shape and finiteness are asked here (its accuracy is measured elsewhere).
TOLERANCES: dict[str, float | None] = {"float32": 1e-3, "bfloat16": 5e-2, "int8": None}
CALIBRATION_IMAGES = 4  # ranges of feature maps decide accuracy, not speed


class Subject:
    """A folded network on the CPU, and the files that engines read, each written once into `folder`.

    The network is taken over: its weights become channels_last. Raises DeployError unless it is folded.
    """

    def __init__(self, network: nn.Module, side: int, folder: Path, name: str = "network"):
        require_folded(network)
        self.network = network.to(memory_format=torch.channels_last)
        self.side, self.folder, self.name = side, folder, name
        self.known: dict[int, Tensor] = {}

    def images(self, batch: int, seed: int = 0) -> Tensor:
        """Fixed normal noise [batch, 3, side, side]."""
        return torch.randn(batch, 3, self.side, self.side, generator=torch.Generator().manual_seed(seed))

    def logits(self, batch: int) -> Tensor:
        """What every engine must give for `images(batch)`: eager PyTorch's, in float32."""
        if batch not in self.known:
            self.known[batch] = eager(self, self.images(batch), threads=1)()
        return self.known[batch]

    def onnx(self) -> Path:
        path = self.folder / f"{self.name}.onnx"
        return path if path.exists() else export(self.network, path, self.side)

    def int8(self) -> Path:
        from rdlib.deploy.quantize import quantize

        path = self.folder / f"{self.name}-int8.onnx"
        return path if path.exists() else quantize(self.onnx(), path, [self.images(CALIBRATION_IMAGES, seed=1)])


Build = Callable[[Subject, Tensor, int], Pass]


def eager(subject: Subject, images: Tensor, threads: int, precision: torch.dtype = torch.float32) -> Pass:
    """Operator by operator, channels_last, inference_mode; additions and ReLUs write new feature maps."""
    network = subject.network if precision == torch.float32 else copy.deepcopy(subject.network).to(precision)
    return inference(network, images.to(precision))


def eager_bfloat16(subject: Subject, images: Tensor, threads: int) -> Pass:
    """The same with weights and feature maps in bfloat16."""
    return eager(subject, images, threads, torch.bfloat16)


def compiled(subject: Subject, images: Tensor, threads: int) -> Pass:
    """torch.compile for this very batch, with inductor's freezing: weights are constants, packed once."""
    # Networks of one kind share a code object, and with it dynamo's count of variants; with fullgraph a network too
    # many would be an error, never a silent eager pass.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    network = torch.compile(subject.network, dynamic=False, fullgraph=True, options={"freezing": True})
    return inference(network, images)


def inference(network: Callable[[Tensor], Tensor], images: Tensor) -> Pass:
    images = images.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> Tensor:
        return network(images)

    return run


def onnx_runtime(subject: Subject, images: Tensor, threads: int) -> Pass:
    """All graph optimisations, its default: addition and ReLU are fused into the convolution before them."""
    return through(session(subject.onnx(), threads), images)


def onnx_runtime_int8(subject: Subject, images: Tensor, threads: int) -> Pass:
    """The same engine on the file that `rdlib.deploy.quantize` wrote."""
    return through(session(subject.int8(), threads), images)


def onnx_runtime_as_written(subject: Subject, images: Tensor, threads: int) -> Pass:
    """No graph optimisation: every operator of the file by itself, so that additions pass through memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return through(onnxruntime.InferenceSession(subject.onnx(), options, providers=["CPUExecutionProvider"]), images)


def through(runtime: "InferenceSession", images: Tensor) -> Pass:
    given = {INPUT: images.contiguous().numpy()}
    return lambda: torch.from_numpy(runtime.run(None, given)[0])


def openvino(subject: Subject, images: Tensor, threads: int, precision: str = "f32", path: Path | None = None) -> Pass:
    """The CPU plugin for this very batch: latency hint, one stream, and the arithmetic it may use stated."""
    import openvino as runtime

    core = runtime.Core()
    model = core.read_model(path or subject.onnx())
    model.reshape(list(images.shape))
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request: Any = core.compile_model(model, "CPU", options).create_infer_request()
    given = [images.contiguous().numpy()]
    return lambda: torch.from_numpy(request.infer(given)[0])


def openvino_bfloat16(subject: Subject, images: Tensor, threads: int) -> Pass:
    """The same plugin, allowed to compute in bfloat16."""
    return openvino(subject, images, threads, "bf16")


def openvino_int8(subject: Subject, images: Tensor, threads: int) -> Pass:
    """The same plugin on the file that `rdlib.deploy.quantize` wrote."""
    return openvino(subject, images, threads, path=subject.int8())


def cuda_graphs(subject: Subject, images: Tensor, threads: int) -> Pass:
    """Eager bfloat16 on the GPU, recorded once and replayed, so that launching kernels costs nothing."""
    network = copy.deepcopy(subject.network).to("cuda", torch.bfloat16)
    still = images.to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    with torch.inference_mode():
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # libraries choose their kernels before anything is recorded
            for _ in range(3):
                network(still)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits: Tensor = network(still)

    def run() -> Tensor:
        graph.replay()
        torch.cuda.synchronize()
        return logits

    return run


@dataclass(frozen=True)
class Engine:
    """A way to run a network: name and precision as tables show them, and the packages it needs."""

    name: str
    precision: str
    build: Build
    needs: tuple[str, ...] = ()
    on_gpu: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"

    @property
    def lacks(self) -> str | None:
        """What this machine has not: a package or a GPU."""
        if self.on_gpu and not torch.cuda.is_available():
            return "a CUDA GPU"
        return next((f"the package {name}" for name in self.needs if importlib.util.find_spec(name) is None), None)


ONNX = ("onnx", "onnxscript")
AS_WRITTEN = "ONNX Runtime, not optimised"
ENGINES = (
    Engine("PyTorch eager", "float32", eager),
    Engine("PyTorch eager", "bfloat16", eager_bfloat16),
    Engine("torch.compile", "float32", compiled),
    Engine(AS_WRITTEN, "float32", onnx_runtime_as_written, (*ONNX, "onnxruntime")),
    Engine("ONNX Runtime", "float32", onnx_runtime, (*ONNX, "onnxruntime")),
    Engine("ONNX Runtime", "int8", onnx_runtime_int8, (*ONNX, "onnxruntime")),
    Engine("OpenVINO", "float32", openvino, (*ONNX, "openvino")),
    Engine("OpenVINO", "bfloat16", openvino_bfloat16, (*ONNX, "openvino")),
    Engine("OpenVINO", "int8", openvino_int8, (*ONNX, "openvino", "onnxruntime")),
    Engine("CUDA graphs", "bfloat16", cuda_graphs, on_gpu=True),
)


def choose(names: list[str] | None = None, precisions: list[str] | None = None) -> list[Engine]:
    """The engines of these names and precisions; without names all that this machine has what it takes for.

    Raises DeployError for an unknown name or precision, and for an engine asked for that cannot run here.
    """
    every = {"engine": {engine.name for engine in ENGINES}, "precision": set(TOLERANCES)}
    for what, given in (("engine", names), ("precision", precisions)):
        for name in given or ():
            if name not in every[what]:
                raise DeployError(f"unknown {what} {name!r}: choose from {'; '.join(sorted(every[what]))}")
    found = [engine for engine in ENGINES if not precisions or engine.precision in precisions]
    found = [engine for engine in found if (engine.name in names if names else not engine.lacks)]
    for engine in found:
        if engine.lacks:
            raise DeployError(f"{engine.name} needs {engine.lacks}, which is not here: install it or leave it out")
    if not found:
        raise DeployError("none of these engines has that precision: `--help` lists what there is")
    return found


def prepare(engine: Engine, subject: Subject, batch: int, threads: int = 1) -> Pass:
    """Build an engine's pass for a batch of fixed images, and prove that it computes what eager float32 does.

    Raises DeployError where the engine fails or computes something else (see TOLERANCES).
    """
    images = subject.images(batch)
    try:
        with quiet():
            run = engine.build(subject, images, threads)
            output = run()
    except RdlibError:
        raise
    except Exception as error:  # engines raise classes of their own, some with a page of text
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DeployError(f"{engine} cannot run {subject.name}: {reason[0]}") from error
    require_same(output, subject.logits(batch), f"{engine} with {subject.name}", TOLERANCES[engine.precision])
    return run


def require_same(output: Tensor, expected: Tensor, what: str, tolerance: float | None) -> None:
    """Raise DeployError unless logits have the expected shape, are finite and differ by at most `tolerance` times the
    largest expected logit (None: by any amount)."""
    if output.shape != expected.shape or not output.isfinite().all():
        raise DeployError(f"{what} gives logits {list(output.shape)}, not {list(expected.shape)} finite ones")
    difference = ((output.float().cpu() - expected).abs().max() / expected.abs().max()).item()
    if tolerance is not None and not difference <= tolerance:
        raise DeployError(f"{what} differs from eager by {difference:.1e} of the largest logit, over {tolerance:g}")

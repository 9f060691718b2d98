"""Measured, not planned: the memory that real engines request for feature maps, in bytes, at batch 1 in float32."""

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdlib.convolutions import require_folded
from rdlib.deploy.export import quiet
from rdlib.deploy.kinds import INPUT
from rdlib.errors import DeployError

REQUESTED, CHANGE = "mem_bytes_requested_in_use", "mem_requested_in_use_delta"


def onnxruntime_peak(path: Path, side: int, fused: bool, pattern: bool = False) -> int:
    """The largest memory in use after any operator of one forward pass, as ONNX Runtime's own profile reports it.

    fused: with all of the runtime's optimisations, in which a convolution adds into the shortcut's buffer and applies
    the ReLU; otherwise the graph is run as exported. Unfused, the runtime hands a buffer on only to a map of the same
    size and holds it until then, so it may need more than ideal liveness. pattern: the runtime's default from the
    second run on, one block for all maps; otherwise every map is requested by itself.

    Counted are requests, not rounded up to chunks of the arena. Not counted: what was requested before the run
    (weights), the input, which is the caller's, and scratch space that a kernel gives back. Raises DeployError where
    the file cannot be loaded and where this version of the runtime does not report memory.
    """
    operators = profile(path, side, fused, pattern)
    if not operators or any(not {REQUESTED, CHANGE} <= operator.keys() for operator in operators):
        raise DeployError("this ONNX Runtime reports no memory in its profile: install onnxruntime 1.32")
    before = int(operators[0][REQUESTED]) - int(operators[0][CHANGE])
    return max(int(operator[REQUESTED]) for operator in operators) - before


def profile(path: Path, side: int, fused: bool, pattern: bool) -> list[dict[str, Any]]:
    """What ONNX Runtime noted of each operator it ran, in order; with `pattern` of two runs."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
    options.enable_mem_pattern = pattern
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class of its own for every kind of damage
            raise DeployError(f"{path.name} is no network that ONNX Runtime can load") from error
        for _ in range(2 if pattern else 1):
            session.run(None, {INPUT: np.zeros((1, 3, side, side), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
    return [event["args"] for event in events if event.get("cat") == "Node"]


def executorch_peak(network: nn.Module, side: int) -> int:
    """The arena that ExecuTorch's memory planner lays out ahead of time for its portable kernels, no delegate.

    Every operator writes out of place, ReLU included; input, output and the index map of a max-pool are counted.
    The classifier stays one operator: taken apart, as is the default, its weight would be transposed into the arena
    (8 MB for ResNet-50), and that is no feature map. Raises DeployError for a network that is not folded and where
    ExecuTorch is not installed.
    """
    require_folded(network)
    try:
        with quiet():
            from executorch.exir import EdgeCompileConfig, to_edge
    except ImportError as error:
        raise DeployError("a memory plan of ExecuTorch needs the package executorch, which is not installed") from error
    whole = EdgeCompileConfig(preserve_ops=[torch.ops.aten.linear.default])
    with quiet():
        program = torch.export.export(network, (torch.zeros(1, 3, side, side),))
        plan = to_edge(program, compile_config=whole).to_executorch().executorch_program.execution_plan[0]
    return int(sum(plan.non_const_buffer_sizes))


def cuda_peak(network: nn.Module, side: int) -> int | None:
    """What CUDA's caching allocator had allocated at most in a forward pass of eager PyTorch, weights and input apart.

    None without a GPU. Counts cuDNN's workspaces too. Never run yet. Raises DeployError for a network that is not
    folded.
    """
    require_folded(network)
    if not torch.cuda.is_available():
        return None
    on_device = copy.deepcopy(network).cuda()
    images = torch.zeros(1, 3, side, side, device="cuda")
    with torch.inference_mode():
        on_device(images)  # the first pass also loads kernels and chooses algorithms
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        on_device(images)
        torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


Peak = Callable[[Path, nn.Module, int], int | None]  # of an exported file, the same network, and the side of images
PEAKS: dict[str, Peak] = {
    "ONNX Runtime, not optimised": lambda path, _, side: onnxruntime_peak(path, side, fused=False),
    "ONNX Runtime, optimised": lambda path, _, side: onnxruntime_peak(path, side, fused=True),
    "ONNX Runtime, default": lambda path, _, side: onnxruntime_peak(path, side, fused=True, pattern=True),
    "ExecuTorch, portable": lambda _, network, side: executorch_peak(network, side),
    "CUDA, eager PyTorch": lambda _, network, side: cuda_peak(network, side),
}

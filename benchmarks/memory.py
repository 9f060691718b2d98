"""Peak memory of one variant, each in a process of its own: nothing else is counted, and nothing is left over."""

import json
import subprocess
import sys

import torch

from benchmarks.clock import synchronise
from benchmarks.setting import PROGRESS, Setting
from benchmarks.variants import drawn
from benchmarks.variants import variants as variants_on
from rdlib.errors import RdlibError, require_choice
from rdlib.files import ROOT
from rdlib.runs.provenance import forget_peak_memory, peak_resident_bytes

STEPS = 3


class MeasurementError(RdlibError):
    """A measurement whose process failed."""


def peak(name: str, setting: Setting, device: torch.device) -> dict[str, int]:
    """Peak bytes of this process over a few steps on one fixed batch, and what it had taken before.

    On CUDA by torch's allocator; on a CPU the resident set, PyTorch itself included. Ask only once a process.
    """
    variants = variants_on(device)
    require_choice("variant", name, variants)
    variant = variants[name]
    data = setting.dataset(1, device)
    ((images, labels),) = drawn(setting, data, 1)
    images = images.contiguous(memory_format=variant.layout)
    synchronise(device)
    forget_peak_memory(device)
    before = taken(device)
    step = variant.step(setting, device)
    for _ in range(STEPS):
        step(images, labels, PROGRESS)
    synchronise(device)
    return {"peak_bytes": max(before, taken(device)), "before_bytes": before}  # Linux counts pages a bit late


def taken(device: torch.device) -> int:
    """The most bytes this process has held so far."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else peak_resident_bytes()


def peak_elsewhere(name: str, setting: Setting, device: torch.device) -> dict[str, int]:
    """`peak` in a fresh process: `python -m benchmarks memory NAME`. Raises MeasurementError where that fails."""
    command = [sys.executable, "-m", "benchmarks", "memory", name, "--device", str(device)]
    command += ["--threads", str(torch.get_num_threads()), "--batch-size", str(setting.batch_size)]
    command += ["--depth", str(setting.depth), "--width", str(setting.width), "--side", str(setting.side)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MeasurementError(f"the memory of {name!r} could not be measured: {reason}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found

"""What the machine can do at best: no step beats its needed arithmetic divided by the rate of a matrix product."""

from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.clock import Timing, interleaved, rounded
from benchmarks.setting import Setting
from rdlib.models import STAGES

SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192, 16384)}


def precision(device: torch.device) -> torch.dtype:
    """What training computes in: bfloat16 on CUDA, float32 elsewhere."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def matrix_rate(device: torch.device, rounds: int = 7, sizes: tuple[int, ...] | None = None) -> float:
    """Measured FLOP/s of a square matrix product, the best of a few sizes, on torch's present number of threads."""
    dtype = precision(device)
    rates = []
    for n in sizes or SIZES[device.type]:
        left, right = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        product = partial(torch.mm, left, right, out=torch.empty_like(left))
        timing = interleaved({"product": product}, rounds, device, warm_up=3)["product"]
        rates.append(2 * n**3 / timing.median)
    return max(rates)


def convolution_rate(setting: Setting, device: torch.device, rounds: int = 7) -> float:
    """Measured FLOP/s of one 3x3 convolution a stage, forward, at the shapes of the setting's basic blocks.

    Between the matrix rate and this one lies what no code around torch's convolutions can win.
    """
    actions, operations = {}, 0
    for stage in range(STAGES):
        channels, side = setting.width * 2**stage, max(1, setting.side >> stage)
        shapes = (setting.batch_size, channels, side, side), (channels, channels, 3, 3)
        images, weight = (
            torch.randn(shape, device=device, dtype=precision(device)).to(memory_format=torch.channels_last)
            for shape in shapes
        )
        actions[f"stage {stage + 1}"] = partial(F.conv2d, images, weight, padding=1)
        operations += 2 * 9 * channels**2 * side**2 * setting.batch_size
    with torch.inference_mode():
        timings = interleaved(actions, rounds, device, warm_up=3)
    return operations / sum(timing.median for timing in timings.values())


def described(timing: Timing, images: int, flops: int, rate: float) -> dict[str, Any]:
    """A step of so many images and operations as JSON holds it. Its share of the floor is 1 where it does nothing but
    its needed arithmetic, at the matrix rate."""
    return {
        "seconds": timing.value,
        "images_per_second": rounded(images / timing.median),
        "share_of_floor": rounded(flops / rate / timing.median),
    }

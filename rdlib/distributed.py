"""Several processes, one a device, that train one run together under torchrun; alone, nothing here does anything.

Every process holds the same weights and takes its share of each global batch, so that a recipe's batch size, and with
it a run, means the same on any number of processes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from rdlib.errors import ConfigError, RankError

PATIENCE = timedelta(minutes=30)  # longer than the slowest evaluation or data scan of another process
Batch = TypeVar("Batch", Tensor, Sequence[int])


@dataclass(frozen=True)
class Shard:
    """The share of this process: `rank` of `size`. The default is the whole."""

    rank: int = 0
    size: int = 1

    def of(self, batch: Batch) -> Batch:
        """The contiguous share of a batch; the shares of all ranks join to the batch, none overlaps."""
        bounds = (len(batch) * r // self.size for r in (self.rank, self.rank + 1))
        return batch[slice(*bounds)]


def shard() -> Shard:
    """This process's share: of torchrun's job within `joined`, else the whole."""
    return Shard(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Shard()


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join torchrun's other processes (NCCL between GPUs, gloo between CPUs); gives this process's device.

    Outside torchrun nothing happens. Raises ConfigError where a node has more processes than GPUs.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise ConfigError(f"this node has {count} GPUs: start torchrun with --nproc-per-node {count} or less")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the processes of torchrun did not meet ({reason}): check its address and port") from error
    try:
        yield device
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("gloo", "NCCL", "Connection closed", "Connection reset")):
            raise
        raise RankError("another process of this job has ended: see its message, then start again") from error
    # Not after an error: taking NCCL down waits for the other ranks, and they wait for this one.
    dist.destroy_process_group()


def require_agreement(facts: Mapping[str, object]) -> None:
    """Raise ConfigError on every rank, naming the first fact in which the ranks differ."""
    if shard().size == 1:
        return
    everyone: list[Any] = [None] * shard().size
    dist.all_gather_object(everyone, {key: str(value) for key, value in facts.items()})
    for key in facts:
        odd = [rank for rank, theirs in enumerate(everyone) if theirs[key] != everyone[0][key]]
        if odd:
            raise ConfigError(
                f"rank {odd[0]} has other {key} than rank 0: give every node the same code, data and store"
            )


def add_up(tensor: Tensor) -> Tensor:
    """The sum over all ranks, in place."""
    if shard().size > 1:
        dist.all_reduce(tensor)
    return tensor


def replicate(module: nn.Module, partial: bool) -> nn.Module:
    """The module in DistributedDataParallel, so that gradients are means over the ranks; alone, the module itself.

    partial: whether some steps leave parameters without a gradient, for which DistributedDataParallel has to look.
    """
    if shard().size == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=partial)


def synchronise_norms(module: nn.Module) -> nn.Module:
    """BatchNorm over the global batch instead of each rank's share of it, so that the number of ranks changes nothing.

    On CUDA through torch's SyncBatchNorm, which has no CPU form; there through `NormOverRanks`.
    """
    if shard().size == 1:
        return module
    if next(module.parameters()).is_cuda:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))  # type: ignore[no-untyped-call]
    for child in list(module.modules()):
        if type(child) is nn.BatchNorm2d:
            child.__class__ = NormOverRanks
    return module


class NormOverRanks(nn.BatchNorm2d):
    """Batch normalisation with mean and variance over the batches of all ranks, which must be of equal size."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        size = shard().size
        mean = all_reduce(x.mean((0, 2, 3))) / size  # type: ignore[no-untyped-call]
        centred = x - mean.view(1, -1, 1, 1)
        variance = all_reduce(centred.square().mean((0, 2, 3))) / size  # type: ignore[no-untyped-call]
        with torch.no_grad():
            count = x.numel() // x.shape[1] * size
            for running, now in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                running.lerp_(now, self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale: Tensor = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)  # type: ignore[no-any-return]

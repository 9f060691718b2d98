"""The state of a training between two epochs, as one file: written atomically, refused when damaged or foreign."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from rdlib import files
from rdlib.errors import CheckpointError


def save(
    path: Path,
    identity: dict[str, Any],
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    history: list[dict[str, Any]],
) -> None:
    """Write the state between two epochs, atomically; a part that does not learn (a frozen teacher) is left out."""
    still = frozen(method)
    state = {
        "identity": identity,
        "method": {k: v for k, v in method.state_dict().items() if k.partition(".")[0] not in still},
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "history": history,
    }
    with files.whole(path) as temporary:
        torch.save(state, temporary)


def kept_epochs(path: Path) -> int:
    """How many epochs a checkpoint holds: 0 where there is none, or a damaged one."""
    try:
        return len(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["history"])
    except Exception:  # torch.load raises whatever its container format happens to meet
        return 0


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def frozen(method: nn.Module) -> set[str]:
    """Names of the method's parts without a parameter that learns."""
    return {name for name, part in method.named_children() if not any(p.requires_grad for p in part.parameters())}


def restore(
    path: Path,
    identity: dict[str, Any],
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
) -> list[dict[str, Any]]:
    """Load a checkpoint into method, optimiser and scheduler; returns the epochs it already has."""
    again = "move it away to start afresh"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["identity"]
    except Exception as error:  # torch.load raises whatever its container format happens to meet
        raise CheckpointError(f"checkpoint {path.name} is damaged or not one of rdlib: {again}") from error
    ranks, ours = found.get("ranks", 1), identity.get("ranks", 1)
    if ranks != ours:
        raise CheckpointError(
            f"checkpoint {path.name} was made by {ranks} processes, this job has {ours}: start {ranks}, or {again}"
        )
    odd = [key for key in identity if found.get(key) != identity[key]]
    if odd:
        raise CheckpointError(f"checkpoint {path.name} belongs to another run (other {odd[0]}): {again}")
    try:
        parts = frozen(method)
        still = {k: v for k, v in method.state_dict().items() if k.partition(".")[0] in parts}
        method.load_state_dict(state["method"] | still)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        return list(state["history"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path.name} does not fit this network: {again}") from error

"""Where a record came from: code, machine and data, without a path or a host name."""

import contextlib
import hashlib
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdlib.distributed import shard
from rdlib.files import CHECKOUT, PACKAGE
from rdlib.images.dataset import Images

CPUINFO = Path("/proc/cpuinfo")


def provenance(data: Images[Any], device: torch.device, seconds: float, images: int) -> dict[str, Any]:
    """What a record says of its making; `images` were worked on in `seconds` (0 where no epoch was finished)."""
    import torchvision  # two seconds, and only records ask for it

    cuda = device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(device) if cuda else peak_resident_bytes()
    return code_origin() | {
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if seconds else None,
        "device": device_name(device),
        "processor": processor()[0],
        "threads": torch.get_num_threads(),
        "processes": shard().size,
        "peak_memory_bytes": memory,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
        },
        "data_sha256": data.sha256,
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's kind and the instructions that torch uses on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def code_origin() -> dict[str, Any]:
    """The code that makes a record now; commit and dirty are None where there is no git, as on a bare GPU machine."""
    changes = git("status", "--porcelain", "--", "rdlib")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "code_sha256": code_digest(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def forget_peak_memory(device: torch.device) -> None:
    """Start measuring anew, so that a record does not count what ran before in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_resident_bytes() -> int:
    """Largest memory this process has held. Linux's ru_maxrss also counts what its parent held before starting it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def code_digest(folder: Path = PACKAGE) -> str:
    """SHA-256 over names and contents of all Python files below a folder: what the processes of one job must share."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def processor(path: Path = CPUINFO) -> tuple[str, frozenset[str]]:
    """Model name and instruction sets; elsewhere than on Linux what Python knows."""
    known = cpuinfo(path)
    name = known.get("model name") or (platform.machine() if known else platform.processor() or platform.machine())
    return name, frozenset(known.get("flags", "").split())


def processor_model(path: Path = CPUINFO) -> str:
    """Family, model and stepping, which tell processors apart that a virtual machine names alike; "" where unknown."""
    known = cpuinfo(path)
    fields = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    return ", ".join(f"{name} {known[field]}" for name, field in fields.items() if field in known)


def cpuinfo(path: Path) -> dict[str, str]:
    """What Linux says of the last of its processors; empty elsewhere."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def git(*arguments: str) -> str | None:
    """Output of a git command in the repository, or None where there is no git or no repository of ours."""
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():  # perhaps within another repository
        return None
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return None

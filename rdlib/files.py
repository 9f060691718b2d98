"""Where files lie: in the checkout, or, where rdlib was installed without one, in the working folder. And the one way
a file is written: whole or not at all, whenever the process, the disk or the power ends.
"""

import contextlib
import glob
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
ROOT = CHECKOUT or Path.cwd()
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]  # a store may be several machines'
DATA, NOTEBOOKS, RESULTS = (ROOT / name for name in ("data", "notebooks", "results"))


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it takes the place of `path` where the block ends well.

    Makes the folder. What was written reaches the disk before it has its name. Raises OSError where that fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = f".{path.name}.{MACHINE}-"
    for left in path.parent.glob(f"{glob.escape(mine)}*.tmp"):
        number = left.name.removeprefix(mine).removesuffix(".tmp")
        if number.isdecimal() and not is_running(int(number)):  # killed while it wrote
            left.unlink(missing_ok=True)
    temporary = path.with_name(f"{mine}{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether a process of that number is alive on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def write(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes. Raises OSError."""
    with whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def require_writable(path: Path) -> None:
    """Raise OSError now rather than after hours, where a file of that name could not be written."""
    if path.is_dir():
        raise IsADirectoryError(21, "it is a folder: name a file in it", path.name)
    if path.exists() and not (path.is_file() and path.stat().st_mode & 0o222):  # which os.replace would replace
        raise PermissionError(13, "it is read-only or no plain file", path.name)
    with contextlib.suppress(FileNotFoundError):
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):  # without a name, so that no kill leaves it behind
        pass


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

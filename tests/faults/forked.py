"""Try something in a forked process, which may be killed, hang or print whatever it likes; the test goes on.

A fork costs milliseconds where a new process costs seconds of importing torch: hence hundreds of tries are possible.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120.0  # seconds
BROKEN = 70  # exit code where something else than a SystemExit came out
# What Python tells an audit hook before it touches a file; writing into an open one is not among them.
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.listdir", "os.scandir", "os.chmod"}


@dataclass(frozen=True)
class End:
    """How it ended: its exit code or the signal that killed it (negative), and all it printed."""

    code: int
    said: str

    @property
    def traced(self) -> bool:
        """Whether a user would see a traceback, or nothing of a crash."""
        return "Traceback (most recent call last)" in self.said or self.code == BROKEN or self.code < 0


def forked(work: Callable[[], object], seconds: float = PATIENCE) -> End:
    """Call `work` in a fork and wait for its end; after `seconds` it is killed."""
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            perform(work, output.fileno())
        end, code = time.monotonic() + seconds, None
        while code is None and time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if done else None
            time.sleep(0.005)
        if code is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")
        return End(-signal.SIGALRM, f"{said}\nit hung") if code is None else End(code, said)


def perform(work: Callable[[], object], output: int) -> None:
    """In the child: never returns."""
    code = BROKEN
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def before_each_touch(folder: Path, act: Callable[[int], None]) -> None:
    """Call `act` with 0, 1, 2, ... before every operation on files below a folder; for the rest of this process."""
    count, below = iter(range(10**9)), str(folder.resolve())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in TOUCHES and any(isinstance(a, (str, os.PathLike)) and str(a).startswith(below) for a in arguments):
            act(next(count))

    sys.addaudithook(hook)


def touches(work: Callable[[], object], folder: Path) -> int:
    """How many operations on files below a folder `work` makes."""

    def counted() -> None:
        before_each_touch(folder, lambda _: os.write(1, b"\n@@touch"))
        work()

    end = forked(counted)
    assert end.code == 0, end.said
    return end.said.count("@@touch")


def kill_self(wanted: int) -> Callable[[int], None]:
    """What a node that dies does before its operation of that number."""

    def act(number: int) -> None:
        if number == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return act

"""Where the runs of a sweep train: in this process, each in a process of its own, or on a Dask cluster.

All three are a `concurrent.futures.Executor`, so the sweep does not know which. Every run trains on one CPU thread, so
that a record does not depend on what ran beside it.
"""

import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rdlib.errors import BusyError, ConfigError, RdlibError
from rdlib.images import load
from rdlib.runs.execute import pick_device, train
from rdlib.runs.provenance import code_digest
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store

Crew = tuple[Executor, int]  # and how many runs it takes at a time
Result = Record | BusyError | str | None  # a record, held elsewhere, a failure's sentence, or None: the process died
DIED = "its worker process died (out of memory?): try fewer --jobs"
ANSWER_WITHIN = "10s"  # for a Dask scheduler


def attempt(run: Run, store: Store, device: str | None) -> Result:
    """Train one run on one thread; an error becomes its sentence, so that it cannot stop the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(run, store, device, progress=False, again=False)
    except BusyError as error:
        return error
    except RdlibError as error:
        return str(error)
    except Exception as error:  # a bug or a full disk in one run must not take the sweep with it
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        torch.set_num_threads(threads)


@contextmanager
def hired(
    runs: Sequence[Run],
    store: Store,
    jobs: int | None,
    device: str | None,
    scheduler: str | None,
    stoppable: bool = False,
) -> Iterator[Crew]:
    """Where these runs train, and how many at a time; leaving the block in any way ends its local processes at once.

    jobs: runs at a time here; by default one a GPU, or one a core. scheduler: address of a Dask scheduler instead.
    stoppable: even a single job gets a process of its own.
    """
    if scheduler is not None:
        if stoppable:
            raise ConfigError("--minutes stops what still trains, and a Dask worker cannot be stopped: leave one out")
        if jobs is not None or device is not None:
            raise ConfigError("--scheduler leaves --jobs and --device to the cluster's workers: leave them out")
        with dask_cluster(scheduler, runs, store) as crew:
            yield crew
        return
    require_jobs(jobs)
    devices = local_devices(device)
    if jobs is None:
        jobs = len(devices) if devices[0].startswith("cuda") else os.cpu_count() or 1
    if jobs == 1 and not stoppable:
        yield Here(), 1
        return
    apart = Apart([devices[i % len(devices)] for i in range(min(jobs, max(1, len(runs))))])
    try:
        yield apart, jobs
    finally:
        apart.end()


def require_jobs(jobs: int | None) -> None:
    """Raise ConfigError for a number of runs at a time below 1."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs needs at least 1, not {jobs}")


def local_devices(device: str | None) -> list[str]:
    """The devices to share runs among: every GPU where none is named."""
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [str(chosen)]


class Here(Executor):
    """Trains at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


SPAWN = multiprocessing.get_context("spawn")


def answer(pipe: Connection, work: Callable[..., Any], *arguments: Any) -> None:
    """In a child: send what the work gives; end with the parent, however that dies."""
    os.setpgid(0, 0)  # a group of its own, so that the processes that read its photographs end with it
    # Those end by SIGTERM, so that is ignored rather than blocked, which they would inherit.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if sys.platform == "linux":  # else they would be spawned as this process was, and each import torch anew
        multiprocessing.set_start_method("fork", force=True)
    threading.Thread(target=end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own holds a semaphore, and one lost with a killed child is complained of
    pipe.send(work(*arguments))


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def kill(child: SpawnProcess) -> None:
    """End a child and its group at once."""
    assert child.pid is not None
    with suppress(ProcessLookupError, PermissionError):  # no group before `answer`; macOS: none left alive in it
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()


class Apart(ThreadPoolExecutor):
    """One new process a run: what a run holds, on the GPU too, is free when it ends, and only it dies of its death.

    `devices` has one entry a place; a run gets that of a free place.
    """

    def __init__(self, devices: Sequence[str]):
        # Ctrl-C and a queue's SIGTERM reach the whole process group, but are for the sweep, which then ends its
        # children: these inherit that their thread blocks both. multiprocessing's resource tracker would unblock them
        # in the thread that starts the first child.
        resource_tracker.ensure_running()
        block = (signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        super().__init__(len(devices), initializer=signal.pthread_sigmask, initargs=block)
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for device in devices:
            self.free.put(device)
        self.children: set[SpawnProcess] = set()
        self.ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        run, store, _ = args
        return super().submit(self.in_child, fn, run, store)

    def in_child(self, work: Callable[..., Any], run: Run, store: Store) -> Any:
        device = self.free.get()
        ours, theirs = SPAWN.Pipe(duplex=False)
        child = SPAWN.Process(target=answer, args=(theirs, work, run, store, device))
        try:
            child.start()
            theirs.close()
            self.children.add(child)
            if self.ended:
                return None
            result = ours.recv()
            child.join()
            return result
        except (EOFError, OSError):
            return None
        finally:
            if child.pid is not None:
                kill(child)
                child.join()
            self.children.discard(child)
            self.free.put(device)

    def end(self) -> None:
        """Kill what still trains; finished epochs are in its checkpoint."""
        self.ended = True
        for child in list(self.children):
            kill(child)
        self.shutdown(cancel_futures=True)


@contextmanager
def dask_cluster(address: str, runs: Sequence[Run], store: Store) -> Iterator[Crew]:
    """The workers of a Dask cluster, checked first to have this code, these data and this store (a shared file system).

    Raises ConfigError where the scheduler does not answer, has no workers, or a worker differs.
    """
    from distributed import Client  # half a second, and most sweeps stay on one machine
    from distributed.comm.addressing import parse_address, parse_host_port

    try:
        # Asked plainly first: a client that finds nobody leaves threads of its own behind.
        socket.create_connection(parse_host_port(parse_address(address)[1]), timeout=10).close()
        client = Client(address, timeout=ANSWER_WITHIN)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: start one as rdlib/README.md does") from error
    with client:
        require_equal_workers(client, sorted({run.dataset for run in runs}), store)
        threads = list(client.nthreads().values())  # type: ignore[no-untyped-call]
        if set(threads) != {1}:  # with several threads, runs would draw from each other's random numbers
            raise ConfigError(
                f"the Dask workers have {threads or 'no'} threads, each needs one: "
                f"start them with `dask worker {address} --nthreads 1`"
            )
        yield client.get_executor(pure=False), len(threads)  # type: ignore[no-untyped-call]


def require_equal_workers(client: Any, datasets: Sequence[str], store: Store) -> None:
    """Raise ConfigError with the first thing in which a Dask worker differs from this process."""
    probe = store.root / f".sweep-{os.getpid()}"
    probe.touch()
    try:
        here = surroundings(datasets, probe)
        try:
            answers = client.run(surroundings, datasets, probe)
        except Exception as error:  # whatever a worker without our packages raises
            raise ConfigError(f"a Dask worker cannot run rdlib ({error}): start it in this environment") from error
    finally:
        probe.unlink()
    for worker, there in answers.items():
        for key, value in here.items():
            if there[key] != value:
                raise ConfigError(f"Dask worker {worker}: {key} is {there[key]}, here {value}: make them equal")


def surroundings(datasets: Sequence[str], probe: Path) -> dict[str, str]:
    """What must be equal wherever runs of one sweep train; the probe is a file in their store."""
    found = {"rdlib's code": code_digest()[:12], "torch": torch.__version__}
    for name in datasets:
        try:
            found[f"data set {name}"] = load(name).sha256[:12]
        except RdlibError as error:
            found[f"data set {name}"] = f"absent ({error})"
    return found | {"the store": "visible" if probe.exists() else "not visible"}

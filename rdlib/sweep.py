"""Many runs: whatever records are missing, teachers before students, several at once, failures listed at the end.

Each run trains on one thread, in a worker process where there are several jobs, so that a record does not depend on
what ran beside it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tqdm.auto import tqdm

from rdlib.errors import ConfigError, RdlibError, SweepError
from rdlib.experiment import pick_device, train
from rdlib.runs import Record, Run, Store

ATTEMPTS = 2  # of a run whose worker died without a word, e.g. for lack of memory


@dataclass
class Outcome:
    """What a sweep did; `failures` maps a run to one sentence."""

    trained: list[Record] = field(default_factory=list)
    failures: dict[Run, str] = field(default_factory=dict)


def require_success(outcome: Outcome) -> None:
    """Raise SweepError with the first failure, for a caller that cannot go on without every record."""
    for run, sentence in outcome.failures.items():
        raise SweepError(f"{len(outcome.failures)} runs failed, first {run.id} ({run.label}): {sentence}")


def missing(runs: Sequence[Run], store: Store) -> list[Run]:
    """The runs still to train: those without a record, and teachers whose weights a missing student needs."""
    absent = [run for run in runs if store.record(run) is None]
    needed = {run.teacher for run in absent}
    return [run for run in runs if run in absent or (run.id in needed and not store.has_weights(run))]


def sweep(runs: Sequence[Run], store: Store, jobs: int | None = None, device: str | None = None) -> Outcome:
    """Train every missing run, `jobs` at a time (default: one per core, or one on a GPU).

    Killed and started again, it goes on from the records and checkpoints it finds. A run that fails is noted and the
    others go on; students of a failed teacher are noted too. Raises RecordError when the store cannot be written.
    """
    store.require_writable()
    if jobs is None:
        jobs = 1 if pick_device(device).type == "cuda" else os.cpu_count() or 1
    if jobs < 1:
        raise ConfigError(f"--jobs needs at least 1, not {jobs}")
    todo, outcome = missing(runs, store), Outcome()
    attempts = dict.fromkeys(todo, 0)
    with tqdm(total=len(todo), desc="runs", unit="run", disable=not todo) as bar:
        while todo:
            waiting = {run.id for run in todo}
            ready = [run for run in todo if run.teacher not in waiting]
            suspects = [run for run in ready if attempts[run]]  # tried again one by one, so that only a culprit dies
            for run, result in train_all(suspects[:1] or ready, store, jobs, device):
                attempts[run] += 1
                if isinstance(result, Record):
                    outcome.trained.append(result)
                    bar.write(f"done    {run.id}  {run.label}: {describe(result)}")
                elif result is not None:
                    outcome.failures[run] = result
                elif attempts[run] >= ATTEMPTS:
                    outcome.failures[run] = "its worker process died (out of memory?): try fewer --jobs"
                else:
                    continue
                todo.remove(run)
                bar.update()
            failed = {run.id for run in outcome.failures}
            for run in [run for run in todo if run.teacher in failed]:
                outcome.failures[run] = f"its teacher {run.teacher} failed"
                todo.remove(run)
                bar.update()
    return outcome


def describe(record: Record) -> str:
    return f"{record.split} top-1 {record.top1:.1f} %, {record.provenance['seconds']:.0f} s"


Result = tuple[Run, Record | str | None]  # a record, the sentence of a failure, or None where the worker died


def train_all(runs: Sequence[Run], store: Store, jobs: int, device: str | None) -> Iterator[Result]:
    """Train runs that do not depend on each other; yields each as it ends."""
    if jobs == 1:
        yield from (attempt(run, store, device) for run in runs)
        return
    try:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError
    except ImportError as error:
        raise ConfigError("several --jobs need joblib, which is not installed: install it or use --jobs 1") from error
    open_runs = set(runs)
    try:
        # Never n_jobs=1, which would train in this process.
        parallel = Parallel(n_jobs=max(2, min(jobs, len(runs))), return_as="generator_unordered")
        for run, result in parallel(delayed(attempt)(run, store, device) for run in runs):
            open_runs.discard(run)
            yield run, result
    except TerminatedWorkerError:
        yield from ((run, None) for run in runs if run in open_runs)


def attempt(run: Run, store: Store, device: str | None) -> Result:
    """Train one run on one thread; an error becomes its sentence, so that it cannot stop the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run, train(run, store, device, progress=False)
    except RdlibError as error:
        return run, str(error)
    except Exception as error:  # a bug or a full disk in one run must not take the sweep with it
        return run, f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        torch.set_num_threads(threads)

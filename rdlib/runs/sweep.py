"""Many runs: whatever records are missing, in the given order but teachers before students; failures come last."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field

from rdlib.errors import BusyError, SweepError
from rdlib.runs.execute import held, sweep_up
from rdlib.runs.progress import Status, describe
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.runs.workers import DIED, Result, attempt, hired

ATTEMPTS = 2  # of a run whose process died without a word, e.g. for lack of memory
A_DAY = 86400.0  # the longest wait at a time: no lock takes an infinite one
A_MOMENT = 1.0  # seconds between two looks at what another sweep trains


@dataclass
class Outcome:
    """What a sweep did; `failures` maps a run to one sentence.

    Where its minutes did not suffice: the runs it stopped, those that wait for another sweep, and how many seconds both
    need by the speed it measured (None: it has seen no run finish).
    """

    trained: list[Record] = field(default_factory=list)
    failures: dict[Run, str] = field(default_factory=dict)
    stopped: list[Run] = field(default_factory=list)
    waiting: list[Run] = field(default_factory=list)
    needed: float | None = None


def require_success(outcome: Outcome) -> None:
    """Raise SweepError with the first failure, for a caller that cannot go on without every record."""
    for run, sentence in outcome.failures.items():
        raise SweepError(f"{len(outcome.failures)} runs failed, first {run.id} ({run.label}): {sentence}")


def missing(runs: Sequence[Run], store: Store) -> list[Run]:
    """The runs still to train: those without a record, and teachers whose weights a missing student needs; a network
    to transfer may have had a teacher itself. One that diverged is done, and has no weights to be made again."""
    todo = [run for run in runs if store.record(run) is None]
    while True:
        needed = {run.teacher for run in todo}
        more = [run for run in runs if run.id in needed and run not in todo and not store.has_weights(run)]
        more = [run for run in more if not store.diverged(run)]
        if not more:
            return [run for run in runs if run in todo]
        todo += more


def sweep(
    runs: Sequence[Run],
    store: Store,
    jobs: int | None = None,
    device: str | None = None,
    scheduler: str | None = None,
    minutes: float | None = None,
) -> Outcome:
    """Train every missing run, `jobs` at a time (default: one a core, or one a GPU), or on a Dask cluster.

    The next run to start is always the first of the list whose teacher is trained. Killed and started again, the sweep
    goes on from the records and checkpoints it finds. A run that fails is noted and the others go on; students of a
    failed teacher are noted too. A run that another sweep trains is left to it, and awaited. A run that diverges is no
    failure, its record says so; its students, which need its weights, fail. Raises RecordError when the store cannot be
    written, ConfigError for bad arguments.

    minutes: from this call, after which whatever still trains is stopped: its finished epochs are in its checkpoint,
    the one under way is lost. A run that would not finish by then, at the speed of those that did, is not started; as
    long as none has, any is, so that every call moves something on.

    A script of your own that trains several at a time calls this under `if __name__ == "__main__":`, because each
    process of its own imports that script first.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    store = Store(store.root.resolve())  # a worker may have another working directory
    store.require_writable()
    todo, outcome = missing(runs, store), Outcome()
    for done in set(runs) - set(todo):
        sweep_up(done, store)
    attempts = dict.fromkeys(todo, 0)
    running: dict[Future[Result], Run] = {}
    crew = hired(todo, store, jobs, device, scheduler, stoppable=minutes is not None)
    with crew as (executor, size), Status(todo, size, store) as status:

        def may_start(run: Run) -> bool:
            if time.monotonic() + (status.expected(run) or 0.0) >= deadline:
                return False
            if held(store.checkpoint_path(run)):
                elsewhere.add(run)
            return run not in elsewhere

        while True:
            elsewhere: set[Run] = set()  # what another sweep trains; asked once, for it may end any moment
            while len(running) < size and (run := ready(todo, running.values(), may_start)):
                todo.remove(run)
                status.started(run)
                running[executor.submit(attempt, run, store, device)] = run
            left = max(0.0, deadline - time.monotonic())
            ended = wait(running, min(left, A_MOMENT if elsewhere else A_DAY), FIRST_COMPLETED).done
            if not (ended or left) or not (running or elsewhere):
                break
            if not running:
                status.awaits(len(elsewhere))
                time.sleep(min(left, A_MOMENT))
            for future in ended:
                run, result = running.pop(future), outcome_of(future)
                attempts[run] += result is None
                if isinstance(result, Record):
                    outcome.trained.append(result)
                    status.ended(run, describe(result), result)
                elif isinstance(result, BusyError) or (result is None and attempts[run] < ATTEMPTS):
                    status.tried_again(run)
                    todo.insert(0, run)
                else:
                    fail(run, result or DIED, todo, outcome, status)
        outcome.stopped, outcome.waiting, outcome.needed = [*running.values()], todo, status.needed()
    return outcome


def ready(todo: Sequence[Run], running: Iterable[Run], fits: Callable[[Run], bool]) -> Run | None:
    """The first run that waits for no teacher and fits into the time."""
    waiting = {run.id for run in [*todo, *running]}
    return next((run for run in todo if run.teacher not in waiting and fits(run)), None)


def outcome_of(future: Future[Result]) -> Result:
    """What a run gave; a cluster that loses a worker says so through an exception."""
    try:
        error = future.exception()
    except CancelledError as gone:
        raise SweepError("the Dask cluster has gone: start it and run the same command again") from gone
    return f"{type(error).__name__}: {error}".splitlines()[0] if error else future.result()


def fail(run: Run, sentence: str, todo: list[Run], outcome: Outcome, status: Status) -> None:
    """Note a failure, and that of the students who wait for this run."""
    outcome.failures[run] = sentence
    status.ended(run, f"FAILED: {sentence}")
    for student in [student for student in todo if student.teacher == run.id]:
        todo.remove(student)
        fail(student, f"its teacher {run.id} failed", todo, outcome, status)

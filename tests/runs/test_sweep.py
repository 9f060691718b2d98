"""Sweeps: only what is missing, teachers first, and one failure stops nothing else."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rdlib import files
from rdlib.errors import ConfigError, DataError, RecordError
from rdlib.recipe import Recipe
from rdlib.runs import execute as experiment
from rdlib.runs import workers
from rdlib.runs.run import Record, Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import Outcome, missing, sweep
from rdlib.train import kept_epochs

MakeRun = Callable[..., Run]
ON_DIGITS: dict[str, Any] = {"dataset": "digits", "recipe": Recipe(1, 256, 0.05, crop_padding=2, flip=False)}


@pytest.fixture
def family(tiny_runs: MakeRun) -> list[Run]:
    """Students before their teachers: the order of the list must not matter."""
    teachers = [tiny_runs(shortcuts="all", seed=seed) for seed in (0, 1)]
    students = [tiny_runs("JointRD", seed=seed, teacher=teachers[seed].id) for seed in (0, 1)]
    return [*students, *teachers]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Watches the sweep: the runs it trains, in its order."""
    trained: list[Run] = []

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        trained.append(run)
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(workers, "train", train)
    return trained


def without_seconds(record: Record) -> tuple[object, ...]:
    history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record.history]
    return record.run, record.metrics, history, record.provenance["weights_sha256"]


def test_a_sweep_trains_everything_teachers_first_and_a_second_one_nothing(family, store, order):
    assert missing(family, store) == family
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert not outcome.failures
    student, other_student, teacher, other_teacher = family
    # The first of the list that can start, not all teachers first: an interrupted sweep has whole cells.
    assert order == [teacher, student, other_teacher, other_student]
    assert [record.run for record in outcome.trained] == order
    assert all(store.record(run) is not None and store.has_weights(run) for run in family)
    assert missing(family, store) == []
    assert sweep(family, store, jobs=1, device="cpu").trained == []
    assert len(order) == 4


def test_only_what_is_missing_is_trained(family, store, order):
    sweep(family, store, jobs=1, device="cpu")
    store.record_path(family[0]).unlink()
    before = store.record_path(family[1]).read_bytes()
    order.clear()
    sweep(family, store, jobs=1, device="cpu")
    assert order == [family[0]]
    assert store.record_path(family[1]).read_bytes() == before


def test_a_teacher_without_weights_is_retrained_for_a_missing_student_only(family, store, order):
    """As in a fresh clone: records are committed, weights are not."""
    student, _, teacher, _ = family
    sweep(family, store, jobs=1, device="cpu")
    for run in family:
        store.weights_path(run).unlink()
    assert missing(family, store) == []
    store.record_path(student).unlink()
    assert missing(family, store) == [student, teacher]
    order.clear()
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert order == [teacher, student]
    assert not outcome.failures


@pytest.mark.parametrize(
    "error", [DataError("no disk of mine"), RuntimeError("Error(s): no disk of mine\n\tand a page more")]
)
def test_a_failing_run_is_listed_with_its_students_and_the_others_go_on(error, family, store, monkeypatch):
    student, other_student, teacher, other_teacher = family

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        if run == teacher:
            raise error
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(workers, "train", train)
    outcome = sweep(family, store, jobs=1, device="cpu")
    assert {record.run for record in outcome.trained} == {other_teacher, other_student}
    assert outcome.failures.keys() == {teacher, student}
    assert "no disk of mine" in outcome.failures[teacher]
    assert outcome.failures[student] == f"its teacher {teacher.id} failed"
    assert all("\n" not in sentence for sentence in outcome.failures.values())


def test_a_student_whose_teacher_nobody_has_fails_alone(tiny_runs, store):
    orphan, other = tiny_runs("JointRD", teacher="0123456789ab"), tiny_runs()
    outcome = sweep([orphan, other], store, jobs=1, device="cpu")
    assert [record.run for record in outcome.trained] == [other]
    assert "0123456789ab" in outcome.failures[orphan]


def test_an_interrupt_stops_the_sweep_and_what_is_done_stays(family, store, monkeypatch):
    done: list[Run] = []

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        if done:
            raise KeyboardInterrupt
        done.append(run)
        return experiment.train(run, *arguments, **named)

    monkeypatch.setattr(workers, "train", train)
    with pytest.raises(KeyboardInterrupt):
        sweep(family, store, jobs=1, device="cpu")
    assert [record.run for record in store.records()] == done


def test_a_damaged_record_stops_the_sweep_before_anything_is_trained(family, store, order):
    sweep(family[2:], store, jobs=1, device="cpu")
    store.record_path(family[2]).write_text("{}")
    order.clear()
    with pytest.raises(RecordError, match=family[2].id):
        sweep(family, store, jobs=1, device="cpu")
    assert order == []


def test_a_store_that_cannot_be_written_and_no_jobs_are_refused(family, store, order):
    with pytest.raises(ConfigError, match="--jobs needs at least 1, not 0"):
        sweep(family, store, jobs=0)
    with pytest.raises(ConfigError, match="a Dask worker cannot be stopped"):
        sweep(family, store, scheduler="tcp://127.0.0.1:1", minutes=1)
    with pytest.raises(ConfigError, match="--scheduler leaves --jobs"):
        sweep(family, store, jobs=2, scheduler="tcp://127.0.0.1:1")
    (store.root / "runs").rmdir()
    (store.root / "runs").write_text("")
    with pytest.raises(RecordError, match="--store"):
        sweep(family, store, jobs=1, device="cpu")
    assert order == []


def seeds_of(run: Run, n: int) -> list[Run]:
    return [replace(run, seed=seed) for seed in range(n)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sweep's own time, and one place at which a run takes ten seconds an epoch of it."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def train(run: Run, *arguments: Any, **named: Any) -> Record:
        now[0] += 10 * run.recipe.epochs
        record = experiment.train(run, *arguments, **named)
        return replace(record, history=[epoch | {"seconds": 10.0} for epoch in record.history])

    @contextmanager
    def hired(*arguments: Any, stoppable: bool) -> Iterator[workers.Crew]:
        yield workers.Here(), 1

    monkeypatch.setattr(workers, "train", train)
    monkeypatch.setattr("rdlib.runs.sweep.hired", hired)
    return now


def test_no_run_is_started_that_cannot_finish_in_time(clock, store, tiny_runs):
    """Runs of 20 s, one of 10 s behind them: of 55 s, 15 s are left for that one."""
    runs = seeds_of(tiny_runs(), 4)
    short = replace(runs[0], recipe=replace(runs[0].recipe, epochs=1))
    outcome = sweep([*runs, short], store, minutes=55 / 60)
    assert [record.run for record in outcome.trained] == [*runs[:2], short]
    assert (outcome.stopped, outcome.waiting, outcome.needed) == ([], runs[2:], pytest.approx(40.0))
    assert clock == [50.0]
    outcome = sweep([*runs, short], store, minutes=1)
    assert ([record.run for record in outcome.trained], outcome.waiting, outcome.needed) == (runs[2:], [], None)


def test_a_student_waits_where_its_teacher_does_not_fit(clock, family, store):
    student, _, teacher, _ = family
    long = replace(teacher, recipe=replace(teacher.recipe, epochs=9))
    taught = replace(student, teacher=long.id)
    outcome = sweep([taught, teacher, long], store, minutes=1)
    assert [record.run for record in outcome.trained] == [teacher]
    assert (outcome.failures, outcome.waiting) == ({}, [taught, long])


def test_without_time_nothing_starts_and_without_a_finished_run_everything_may(clock, store, tiny_runs):
    runs = seeds_of(tiny_runs(), 2)
    assert sweep(runs, store, minutes=0) == Outcome(waiting=runs)
    outcome = sweep(runs, store, minutes=0.01)
    assert ([record.run for record in outcome.trained], outcome.waiting) == (runs[:1], runs[1:])


def test_stopped_at_its_deadline_a_sweep_goes_on_and_ends_as_an_undisturbed_one(store, tmp_path):
    runs, quiet = digits_runs(epochs=10), Store(tmp_path / "quiet")
    began = time.monotonic()
    outcome = sweep(runs, store, jobs=2, device="cpu", minutes=0.12)
    assert time.monotonic() - began < 7.2 + 5
    assert not outcome.failures
    assert {*outcome.stopped, *outcome.waiting} == set(missing(runs, store)) != set()
    rest = sweep(runs, store, jobs=2, device="cpu", minutes=60)
    assert {record.run for record in outcome.trained + rest.trained} == set(runs)
    assert (rest.stopped, rest.waiting, rest.needed) == ([], [], None)
    sweep(runs, quiet, jobs=1, device="cpu")
    for run in runs:
        assert without_seconds(store.record(run)) == without_seconds(quiet.record(run))


TOGETHER = """
import sys
sys.path.append("..")
from rdlib.runs import execute
from rdlib.runs.store import Store
from rdlib.runs.sweep import sweep
from test_sweep import digits_runs
real = execute.fit
def fit(*arguments, description, **told):
    print("trained", description, flush=True)
    return real(*arguments, description=description, **told)
execute.fit = fit
done = sweep(digits_runs(epochs=6), Store(sys.argv[1]), jobs=1, device="cpu")
sys.exit(len(done.failures) + len(done.waiting))
"""


def test_several_sweeps_of_one_store_train_every_run_once_and_all_end_well(store):
    command = [sys.executable, "-c", TOGETHER, str(store.root)]
    sweeps = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) for _ in range(2)]
    told = [process.communicate(timeout=200)[0] for process in sweeps]
    assert [process.returncode for process in sweeps] == [0, 0], told
    lines = [line for text in told for line in text.splitlines() if line.startswith("trained")]
    assert sorted(lines) == sorted(f"trained {run.label}" for run in digits_runs(epochs=6))
    assert any("another sweep trains" in text for text in told), "they never met: this says nothing"
    assert not list(store.root.rglob("*.lock"))


def test_a_run_whose_other_holder_ends_between_two_looks_is_still_trained(store, tiny_runs, monkeypatch):
    looks = iter([True])
    monkeypatch.setattr("rdlib.runs.sweep.held", lambda checkpoint: next(looks, False))
    outcome = sweep([tiny_runs()], store, jobs=1, device="cpu")
    assert (len(outcome.trained), outcome.waiting) == (1, [])


def test_one_bad_record_stops_no_other_run(store, tiny_runs):
    bad = store.root / "runs" / "tiny" / "000000000000.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{}")
    outcome = sweep([tiny_runs()], store, jobs=1, device="cpu")
    assert (len(outcome.trained), outcome.failures) == (1, {})


def test_temporaries_of_dead_processes_of_this_machine_alone_are_swept(tmp_path):
    kept = [tmp_path / name for name in (".net.tmp.tmp", ".net.backup.tmp", f".net.0badcafe-{2**22 + 1}.tmp")]
    dead = tmp_path / f".net.{files.MACHINE}-{2**22 + 1}.tmp"  # no process has so high a number
    for path in (*kept, dead):
        path.touch()
    files.write(tmp_path / "net", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "net"])


def test_a_deadline_with_nothing_left_to_train_is_met(store, tiny_runs):
    sweep([tiny_runs()], store, jobs=1, device="cpu")
    assert sweep([tiny_runs()], store, jobs=1, device="cpu", minutes=1) == Outcome()


def test_a_single_job_with_a_deadline_can_be_stopped(store):
    outcome = sweep(digits_runs(epochs=1000), store, jobs=1, device="cpu", minutes=0.1)
    assert (len(outcome.stopped), len(outcome.waiting)) == (1, 2)


class Deadly(Run):
    """Dies like a worker that the kernel kills for lack of memory, but never in the process named by its seed."""

    @property
    def label(self) -> str:
        if os.getpid() != self.seed:
            os.kill(os.getpid(), signal.SIGKILL)
        return "deadly"


def digits_runs(epochs: int = 1) -> list[Run]:
    teacher = Run(method="Supervised", depth=18, width=4, shortcuts="all", seed=0, **ON_DIGITS)
    teacher = replace(teacher, recipe=replace(teacher.recipe, epochs=epochs))
    plain = replace(teacher, shortcuts="none")
    student = replace(plain, method="JointRD", teacher=teacher.id)
    return [teacher, plain, student]


def test_two_processes_leave_the_records_of_one(store, tmp_path):
    torch.set_num_threads(2)  # a notebook's main process has several; a record must not depend on it
    try:
        parallel = sweep(digits_runs(), store, jobs=2, device="cpu")
        alone = sweep(digits_runs(), Store(tmp_path / "alone"), jobs=1, device="cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert not parallel.failures
    assert not alone.failures
    for run in digits_runs():
        a, b = store.record(run), Store(tmp_path / "alone").record(run)
        assert (a.provenance["threads"], b.provenance["threads"]) == (1, 1)
        assert without_seconds(a) == without_seconds(b)


def test_a_killed_worker_ends_in_a_sentence_and_the_others_are_finished(store):
    teacher, plain, student = digits_runs()
    deadly = Deadly(
        **{name: getattr(plain, name) for name in ("method", "depth", "width", "shortcuts")},
        **ON_DIGITS,
        seed=os.getpid(),
    )
    outcome = sweep([deadly, teacher, student], store, jobs=2, device="cpu")
    assert {run.id for run in outcome.failures} == {deadly.id}
    assert "its worker process died" in outcome.failures[deadly]
    assert {record.run.id for record in outcome.trained} == {teacher.id, student.id}


SWEEP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and hands that on
sys.path.insert(0, {tests!r})
import rdlib.__main__ as command, rdlib.commands.main as cli

def run():
    from test_sweep import digits_runs
    from rdlib.runs.store import Store
    from rdlib.runs.sweep import sweep
    print(sweep(digits_runs(epochs=8), Store(sys.argv[1]), jobs=2, device="cpu").failures)

cli.run = run
command.main()
"""


def start_sweep(folder: Path) -> "subprocess.Popen[bytes]":
    """A sweep in a process of its own, as a user starts it; it holds no script that children could run again."""
    code = SWEEP.format(tests=str(Path(__file__).parent))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, folder], **pipes, start_new_session=True)


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(true: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def epochs_done(store: Store, runs: list[Run]) -> list[int]:
    """Of each run, as its record or checkpoint has them."""
    return [run.recipe.epochs if store.record(run) else kept_epochs(store.checkpoint_path(run)) for run in runs]


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL, which nothing can catch."""
    process.kill()
    process.communicate()


def terminate(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM as `timeout` sends it: to the process, and then to its whole group."""
    os.kill(process.pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    out, told = process.communicate(timeout=60)
    if process.returncode:  # else it was done before
        assert (process.returncode, told.count(b"\n")) == (130, 1), told
    assert not [word for word in (b"died", b"FAILED", b"Traceback", b"leaked") if word in out + told], (out, told)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("stop", [kill, terminate])
def test_ended_at_random_moments_a_sweep_loses_no_finished_epoch_and_ends_the_same(stop, tmp_path):
    """RDLIB_KILLS=20 for the long form of this test."""
    runs, disturbed, quiet = digits_runs(epochs=8), Store(tmp_path / "killed"), Store(tmp_path / "quiet")
    dice, before = random.Random(0), [0] * len(runs)
    for _ in range(int(os.environ.get("RDLIB_KILLS", "2"))):
        process = start_sweep(disturbed.root)
        time.sleep(dice.uniform(4, 12))
        children = children_of(process.pid)
        stop(process)
        wait_until(lambda orphans=children: not any(map(alive, orphans)))  # nobody goes on in the dark
        now = epochs_done(disturbed, runs)
        assert all(a >= b for a, b in zip(now, before, strict=True))
        before = now
    assert b"{}" in start_sweep(disturbed.root).communicate()[0]
    sweep(runs, quiet, jobs=1, device="cpu")
    for run in runs:
        assert without_seconds(disturbed.record(run)) == without_seconds(quiet.record(run))
        assert not disturbed.checkpoint_path(run).exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ctrl_c_ends_the_children_and_keeps_their_epochs(store):
    process = start_sweep(store.root)
    wait_until(lambda: any(epochs_done(store, digits_runs(epochs=8))))
    children = children_of(process.pid)
    assert children
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode
    assert not [word for word in (b"spawn_main", b"leaked") if word in told], told  # of the children not a word
    wait_until(lambda: not any(map(alive, children)))
    assert any(epochs_done(store, digits_runs(epochs=8)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


def test_a_dask_cluster_leaves_the_records_of_one_process(cluster, store, tmp_path):
    outcome = sweep(digits_runs(), store, scheduler=cluster.scheduler_address)
    sweep(digits_runs(), Store(tmp_path / "alone"), jobs=1, device="cpu")
    assert not outcome.failures
    for run in digits_runs():
        assert without_seconds(store.record(run)) == without_seconds(Store(tmp_path / "alone").record(run))


def test_dask_workers_with_other_code_are_refused_before_anything_trains(cluster, store, monkeypatch):
    monkeypatch.setattr(workers, "code_digest", lambda: "0" * 64)
    with pytest.raises(ConfigError, match=r"Dask worker tcp://\S+: rdlib.s code is \w{12}, here 000000000000"):
        sweep(digits_runs(), store, scheduler=cluster.scheduler_address)
    assert store.records() == []


def test_dask_workers_of_several_threads_are_refused(store):
    """Their runs would draw from each other's random numbers."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster:  # noqa: SIM117
        with pytest.raises(ConfigError, match=r"have \[2\] threads, each needs one: .*--nthreads 1"):
            sweep(digits_runs(), store, scheduler=cluster.scheduler_address)
    assert store.records() == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense:x", "127.0.0.1:1"])
def test_a_scheduler_that_does_not_answer_is_named(address, store, monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_WITHIN", "1s")
    with pytest.raises(ConfigError, match=f"no Dask scheduler answers at {address}") as caught:
        sweep(digits_runs(), store, scheduler=address)
    assert "\n" not in str(caught.value)


def test_runs_share_the_gpus(monkeypatch):
    """Without a GPU here: the places of a crew go round the devices."""
    monkeypatch.setattr(workers, "local_devices", lambda device: ["cuda:0", "cuda:1"])
    seen: list[Any] = []
    monkeypatch.setattr(workers, "Apart", lambda devices: seen.append(devices) or workers.Here())
    monkeypatch.setattr(workers.Here, "end", lambda self: None, raising=False)
    for jobs, expected in ((None, ["cuda:0", "cuda:1"]), (3, ["cuda:0", "cuda:1", "cuda:0"])):
        with workers.hired(digits_runs(), Store("unused"), jobs, None, None) as (_, size):
            assert (size, seen.pop()) == (len(expected), expected)

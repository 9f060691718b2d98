"""Several processes under torchrun train the run that one process would: same weights, one record, nothing lost."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch

from rdlib.distributed import Shard
from rdlib.errors import CheckpointError, ConfigError
from rdlib.runs.store import Store
from rdlib.train import fit, kept_epochs

METHODS = ("supervised", "frozen", "fading", "beside")


def torchrun(folder: Path, mode: str, *names: str, processes: int = 2) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, ranks.__file__, mode, str(folder), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run(*arguments: Any, **options: Any) -> str:
    job = torchrun(*arguments, **options)
    output = job.communicate(timeout=300)[0]
    assert job.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method trained by two processes."""
    folder = tmp_path_factory.mktemp("two")
    run(folder, "train", *METHODS)
    return folder


def processes_of(folder: Path) -> list[int]:
    """The training processes of a job, without torchrun's own."""
    found = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True).stdout.splitlines()
    ours = [line.split(None, 1) for line in found if str(folder) in line and "torch.distributed.run" not in line]
    return [int(pid) for pid, _ in ours]


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest relative difference of any tensor."""
    assert a.keys() == b.keys()
    return max(((a[k] - b[k]).double().norm() / b[k].double().norm().clamp_min(1e-12)).item() for k in a)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_end_with_the_weights_of_one(name, two, tmp_path):
    """20 steps on the joined batches, in float64; BatchNorm is synchronised, so nothing is to be explained."""
    ranks.train(name, tmp_path)
    one, both = torch.load(tmp_path / f"{name}.pt"), torch.load(two / f"{name}.pt")
    assert difference(both["weights"], one["weights"]) < 1e-9
    assert both["accuracy"] == one["accuracy"]  # 33 images: the shares are 16 and 17
    start = ranks.method(name).state_dict()
    assert difference(one["weights"], start) > 0.01  # it did train


def test_a_killed_job_resumes_where_its_last_checkpoint_was(two, tmp_path):
    names = ("frozen", "beside")
    job = torchrun(tmp_path, "resumable", *names)
    end = time.monotonic() + 90
    while not (tmp_path / "frozen.checkpoint").exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(processes_of(tmp_path)[-1], signal.SIGKILL)  # one of the two; torchrun then ends the other
    job.communicate(timeout=60)
    assert job.returncode
    assert not processes_of(tmp_path)
    done = kept_epochs(tmp_path / "frozen.checkpoint")
    assert 1 <= done < ranks.RECIPE.epochs
    run(tmp_path, "resumable", *names)
    for name in names:
        resumed, uninterrupted = torch.load(tmp_path / f"{name}.pt"), torch.load(two / f"{name}.pt")
        assert difference(resumed["weights"], uninterrupted["weights"]) < 1e-12
        assert resumed["curve"] == uninterrupted["curve"]
    # Another number of processes is refused: it would round differently, and the record says how many there were.
    with pytest.raises(CheckpointError, match=r"beside\.checkpoint was made by 2 processes, this job has 1: start 2"):
        ranks.train("beside", tmp_path, tmp_path / "beside.checkpoint")


def test_processes_with_other_data_are_refused(tmp_path):
    job = torchrun(tmp_path, "other-data", "supervised")
    output = job.communicate(timeout=60)[0]
    assert job.returncode
    assert "error: rank 1 has other data than rank 0: give every node the same code, data and store" in output
    assert not list(tmp_path.iterdir())


def test_an_error_of_one_process_ends_the_job_with_its_sentence_and_keeps_the_checkpoint(tmp_path):
    job = torchrun(tmp_path, "failing", "supervised")
    output = job.communicate(timeout=60)[0]
    assert job.returncode
    assert "rank 1: error: train/cat/7.JPEG cannot be read as an image" in output
    assert output.count("Traceback (most recent call last)") == 1  # torchrun's own, about its child
    assert (tmp_path / "supervised.checkpoint").exists()


def test_the_command_line_under_torchrun_leaves_one_record(tmp_path):
    network = ["--dataset", "digits", "--depth", "18", "--width", "4", "--store", str(tmp_path), "--device", "cpu"]
    recipe = ["--epochs", "1", "--batch-size", "256", "--no-flip", "--learning-rate", "0.05"]
    output = run(tmp_path, "cli", "train", *network, *recipe)
    (record,) = Store(tmp_path).records()
    assert record.provenance["processes"] == 2
    assert len(re.findall(rf"^{record.run.id}  test top-1", output, re.MULTILINE)) == 1
    assert not list(tmp_path.rglob("*.checkpoint"))


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_refuses_a_batch_that_cannot_be_shared(rank, dataset, monkeypatch):
    monkeypatch.setattr("rdlib.train.shard", lambda: Shard(rank, 2))
    with pytest.raises(ConfigError, match="batch_size 25 cannot be shared by 2 ranks: take a divisor of it"):
        next(fit(ranks.method("supervised"), dataset, replace(ranks.RECIPE, batch_size=25), progress=False))


@pytest.mark.parametrize(("length", "size"), [(16, 2), (33, 2), (5, 3), (2, 3)])
def test_the_shares_of_all_ranks_join_to_the_whole(length, size):
    shares = [Shard(rank, size).of(torch.arange(length)) for rank in range(size)]
    assert torch.equal(torch.cat(shares), torch.arange(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1

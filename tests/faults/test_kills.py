"""Killed before any operation on a file, a training or sweep started again ends with the records of one that was not.

`make attack` tries every operation; here, by default, a few of them.
"""

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision  # noqa: F401  what a record asks for, imported here rather than in every fork
from faults.forked import BROKEN, before_each_touch, forked, kill_self, touches
from faults.scale import WHOLE, some

import rdlib.commands.main
from rdlib.__main__ import main
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import require_success, sweep

ARGUMENTS = "train --dataset tiny --width 4 --epochs 2 --batch-size 16 --crop-padding 1 --device cpu"


def train(store: Path) -> None:
    rdlib(*ARGUMENTS.split(), "--store", str(store))


def rdlib(*arguments: str) -> None:
    import sys

    sys.argv = ["rdlib", *arguments]
    main()


def sweep_three(runs: list[Run], store: Path) -> None:
    require_success(sweep(runs, Store(store), jobs=1, device="cpu"))


@pytest.fixture
def works(tiny_runs: Callable[..., Run]) -> dict[str, Callable[[Path], None]]:
    """What is killed: one training on the command line, and a sweep of a teacher, a student and another network."""
    teacher = tiny_runs(shortcuts="all")
    student = tiny_runs("JointRD", teacher=teacher.id)
    features = tiny_runs("FeatureDistillation", "downsample", teacher=teacher.id)
    return {
        "train": train,
        "sweep": partial(sweep_three, [teacher, student, tiny_runs(seed=1)]),
        "two": partial(sweep_three, [teacher, features]),
    }


def content(store: Path) -> dict[str, Any]:
    """Every file of a store: of a record all that does not tell when and how fast, of any other file its bytes."""
    found: dict[str, Any] = {}
    for path in store.rglob("*"):
        if path.suffix == ".json":
            record = json.loads(path.read_text())
            told = {k: v for k, v in record["provenance"].items() if k.endswith("_sha256")}
            history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
            found[path.name] = [record["run"], record["metrics"], history, told]
        elif path.is_file():
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", ["train", "sweep", "two"])
def test_killed_before_any_touch_of_a_file_it_goes_on_to_the_same_records(name, works, tmp_path, tally):
    work, reference = works[name], tmp_path / "reference"
    assert forked(partial(work, reference)).code == 0
    wanted, count = content(reference), touches(partial(work, tmp_path / "counted"), tmp_path / "counted")
    assert count > 30, "the hook sees too little: this says nothing"
    for number in some(range(count), 8):
        store = tmp_path / "killed"
        shutil.rmtree(store, ignore_errors=True)

        def killed(store=store, number=number):
            before_each_touch(store, kill_self(number))
            work(store)

        assert forked(killed).code == -9, "it was not killed"
        again = forked(partial(work, store))
        assert (again.code, content(store) == wanted) == (0, True), (number, again.said, sorted(content(store)))
        tally("kills")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
def test_a_disk_that_refuses_at_any_touch_is_one_sentence_and_loses_nothing(error, tmp_path, works, tally):
    work, reference = works["train"], tmp_path / "reference"
    assert forked(partial(work, reference)).code == 0
    wanted, count = content(reference), touches(partial(work, tmp_path / "counted"), tmp_path / "counted")
    for number in some(range(count), 2):
        store = tmp_path / "refused"
        shutil.rmtree(store, ignore_errors=True)

        def refuse(at, number=number):
            if at >= number:
                raise OSError(error, os.strerror(error))

        def refused(store=store, refuse=refuse):
            before_each_touch(store, refuse)
            work(store)

        end = forked(refused)
        assert not end.traced, (number, end.said)
        assert end.code in (0, 2), (number, end.said)  # 0: nothing but a clean-up was refused
        assert end.code == 0 or end.said.splitlines()[-1].startswith("error: "), end.said
        again = forked(partial(work, store))
        assert again.code == 0, (number, again.said)
        assert content(store) == wanted, number
        tally("disks")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.9, 0.999])
def test_a_disk_that_is_full_half_way_is_one_sentence_and_loses_nothing(share, works, tmp_path, tally):
    """A limit on a file's size stands for the end of the disk: what is written is cut there."""
    work, reference = works["train"], tmp_path / "reference"
    assert forked(partial(work, reference)).code == 0
    largest = 2 * max(path.stat().st_size for path in reference.rglob("*") if path.is_file())  # a checkpoint has both

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(4096, int(share * largest)), resource.RLIM_INFINITY))
        work(tmp_path / "full")

    end = forked(limited)
    assert (end.code, end.traced) == (2, False), end.said
    assert end.said.splitlines()[-1].startswith("error: ")
    assert forked(partial(work, tmp_path / "full")).code == 0
    assert content(tmp_path / "full") == content(reference)
    tally("disks")


def test_a_damaged_checkpoint_is_one_sentence_whatever_is_wrong_with_it(works, tmp_path, tally):
    store, draw = tmp_path / "store", np.random.default_rng(0)
    numbers = iter(range(touches(partial(works["train"], tmp_path / "counted"), tmp_path / "counted")))
    kept: list[Path] = []
    while not kept:
        number = next(numbers)

        def killed(number=number):
            before_each_touch(store, kill_self(number))
            works["train"](store)

        forked(killed)
        kept = list(store.rglob("*.checkpoint"))
    (checkpoint,) = kept
    good = checkpoint.read_bytes()
    for number in range(100 if WHOLE else 8):
        checkpoint.write_bytes(damaged(good, number, draw))
        before = checkpoint.read_bytes()
        end = forked(partial(works["train"], store))
        assert (end.code, end.traced) == (2, False), (number, end.said)
        assert end.said.splitlines()[-1].startswith("error: checkpoint "), end.said
        assert checkpoint.read_bytes() == before, "a damaged checkpoint may be all that is left: it was touched"
        tally("checkpoints")
    checkpoint.write_bytes(good)
    assert forked(partial(works["train"], store)).code == 0


def damaged(good: bytes, kind: int, draw: np.random.Generator) -> bytes:
    """A checkpoint with one thing wrong, of eight kinds in turn."""
    at, size = int(draw.integers(len(good))), len(good)
    flipped = bytearray(good)
    flipped[at] ^= 1 << int(draw.integers(8))
    zeros = good[:at] + bytes(min(512, size - at)) + good[at + 512 :]
    kinds = [
        bytes(flipped),
        good[:at],
        zeros if zeros != good else good[:-1],
        good + b"\0",
        good[at:] + good[:at] if at else b"",
        b"",
        draw.bytes(size),
        good[:32] + draw.bytes(size - 32),
    ]
    return kinds[kind % len(kinds)]


def test_eight_sweeps_of_one_store_all_end_well(works, tmp_path, tally):
    reference, store = tmp_path / "reference", tmp_path / "shared"
    works["sweep"](reference)
    count = 8 if WHOLE else 3

    def all_at_once():
        children = []
        for _ in range(count):
            child = os.fork()
            if child == 0:
                try:
                    works["sweep"](store)
                    os._exit(0)
                finally:
                    os._exit(BROKEN)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0] * count, codes

    end = forked(all_at_once, seconds=300)
    assert end.code == 0, end.said
    assert content(store) == content(reference)
    tally("sweeps of one store", count)

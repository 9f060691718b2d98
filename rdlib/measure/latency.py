"""Latency: forward passes of several networks in several engines, taking turns in one process.

Whatever slows a machine down for a while then slows every network alike, and a ratio of two of them hardly notices.
"""

import gc
import os
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rdlib.errors import ConfigError
from rdlib.measure.candidates import Candidate
from rdlib.measure.engines import Engine, Subject, prepare
from rdlib.measure.latency_record import Cell, LatencyRecord, Settings, provenance
from rdlib.measure.record import Tell, require_writable
from rdlib.models import resnet

MOST = 1024  # images of a batch, repetitions, warm-up rounds
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


def interleave(
    passes: Mapping[Key, Callable[[], object]],
    settings: Settings,
    block: Callable[[Key], Hashable] = lambda key: None,
    clock: Callable[[], float] = time.perf_counter,
    after_round: Callable[[int, float], None] = lambda done, seconds: None,
) -> dict[Key, list[float]]:
    """Milliseconds of every pass in every round: warm-up rounds first, which are not kept, then `repetitions`.

    A round runs each pass once, in an order drawn afresh: first of the blocks, then within each, so that passes of one
    block (networks in the same engine) follow each other. Times stand in the order of the rounds: those of one block
    with one index were taken moments apart. after_round: hears how many rounds are done, and the last one's seconds.
    """
    generator = np.random.default_rng(settings.seed)
    blocks: dict[Hashable, list[Key]] = {}
    for key in passes:
        blocks.setdefault(block(key), []).append(key)
    times: dict[Key, list[float]] = {key: [] for key in passes}
    with collector_off():
        for i in range(settings.warmup + settings.repetitions):
            began = clock()
            for key in chain(*(shuffled(keys, generator) for keys in shuffled(list(blocks.values()), generator))):
                start = clock()
                passes[key]()
                taken = clock() - start
                if i >= settings.warmup:
                    times[key].append(1e3 * taken)
            after_round(i + 1, clock() - began)
    return times


def shuffled(items: list[Item], generator: np.random.Generator) -> list[Item]:
    return [items[i] for i in generator.permutation(len(items))]


@contextmanager
def collector_off() -> Iterator[None]:
    """Python's garbage collector would fall on whichever network happens to run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(
    subjects: Sequence[Candidate],
    batches: Sequence[int],
    engines: Sequence[Engine],
    settings: Settings,
    path: Path | None = None,
    say: Tell = lambda line: None,
) -> LatencyRecord:
    """Time all networks of one depth, side and batch against each other, group after group.

    With `path` the record is written after every group, so that an interrupted run keeps those it finished. Raises
    DeployError where an engine computes something else than eager PyTorch, and ConfigError for an impossible choice.
    """
    if not subjects or not engines or not batches or min(batches) < 1:
        raise ConfigError("nothing to time: give at least one network, one engine and a batch of at least one image")
    if settings.threads > (cores := os.cpu_count() or 1):
        raise ConfigError(f"{settings.threads} threads on {cores} cores would time their queue: choose 1 to {cores}")
    if max(batches) > MOST or settings.repetitions > MOST or settings.warmup > MOST:
        raise ConfigError(f"a batch and the numbers of repetitions and warm-up rounds are at most {MOST}: choose less")
    torch.set_num_threads(settings.threads)
    record = LatencyRecord(settings, {}, provenance())
    if path is not None:
        if path.exists():
            raise ConfigError(f"{path.name} is there already: choose another name, or move it away")
        require_writable(path)
    groups: dict[tuple[int, int], list[Candidate]] = {}
    for one in subjects:
        groups.setdefault((one.side, one.depth), []).append(one)
    left = sum(work(side, depth) * sum(batches) for side, depth in groups)
    for i, ((side, depth), group) in enumerate(groups.items()):
        with tempfile.TemporaryDirectory() as folder:  # exported once for all batches
            say(f"{i + 1}/{len(groups)}: depth {depth} at {side}x{side}")
            names = [one.name.replace(" ", "-").replace(",", "") for one in group]
            ready = [Subject(one.network(), side, Path(folder), name) for one, name in zip(group, names, strict=True)]
            for batch in batches:
                share = work(side, depth) * batch
                passes = {
                    Cell(
                        side, batch, depth, engine.name, engine.precision, one.name, one.shortcuts, one.variant
                    ): prepare(engine, subject, batch, settings.threads)
                    for one, subject in zip(group, ready, strict=True)
                    for engine in engines
                }
                progress = report(settings, f"batch {batch}, {len(passes)} cells", left / share, say)
                times = interleave(passes, settings, lambda cell: (cell.engine, cell.precision), after_round=progress)
                record.times.update({cell: [round(one, 4) for one in several] for cell, several in times.items()})
                left -= share
                del passes
                torch._dynamo.reset()  # compiled networks of this group are not needed again
                if path is not None:
                    record.write(path)
    return record


def report(settings: Settings, what: str, groups_left: float, say: Tell) -> Callable[[int, float], None]:
    """Says after the warm-up and then every tenth round what is left, from the last round's seconds.

    groups_left: the work that was left when this group began, in units of this group's.
    """
    rounds = settings.warmup + settings.repetitions

    def after_round(done: int, seconds: float) -> None:
        if done == settings.warmup or (done - settings.warmup) % 10 == 0:
            here, all_groups = seconds * (rounds - done), seconds * (rounds * groups_left - done)
            say(
                f"   {what}: round {done}/{rounds}, {here / 60:.1f} min left in this group, about "
                f"{all_groups / 60:.0f} min in all (and what it takes to build the passes)"
            )

    return after_round


@cache
def work(side: int, depth: int) -> int:
    """Operations of one image through the ResNet: groups are as long as their arithmetic, which is all an estimate
    needs."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        resnet(depth, 10, stem="imagenet" if side > 64 else "cifar").eval()(torch.empty(1, 3, side, side))
    return int(counter.get_total_flops())

"""The benchmark "packing": how many trainings at once one device should carry, for `rdlib sweep --jobs`."""

import threading
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from benchmarks.clock import rounded, synchronise
from benchmarks.results import Entry, Results
from benchmarks.setting import Setting
from benchmarks.step import Plan
from benchmarks.variants import Variant, turn

PROCESSES = {"cpu": (1, 2), "cuda": (1, 2, 3, 4, 6)}
PATIENCE = 900  # seconds that the slowest process may take to compile
WARM_UP = 5  # untimed turns of each process
NEAR_BEST = 0.95  # fewer processes that reach this share of the best total are recommended before more


def measure(setting: Setting, counts: tuple[int, ...], seconds: float, plan: Plan, folder: Path | None) -> Entry:
    """Images/s of all processes together, for each count of them; a count that fails says why, and is the last."""
    steps = max(1, plan.steps(setting) // 5)  # short turns, so that all processes end together
    entry: Entry = {
        "setting": setting.value,
        "provenance": plan.provenance(steps) | {"rounds": None, "warm_up": WARM_UP, "seconds": seconds},
        "images_per_second": {},
    }
    results = Results("packing", plan.device, folder)
    for count in counts:
        rates, failure = together(count, setting, steps, seconds, plan.device)
        if failure is not None:
            entry["failure"] = {"processes": count, "reason": failure}
        else:
            entry["images_per_second"][str(count)] = rounded(sum(rates))
            entry["recommended_jobs"] = recommended(entry["images_per_second"])
        results.put(entry)
        if failure is not None:
            break
    return entry


def recommended(totals: dict[str, float]) -> int:
    """The fewest processes that come near the best total."""
    best = max(totals.values())
    return min(int(count) for count, total in totals.items() if total >= NEAR_BEST * best)


def together(
    count: int, setting: Setting, steps: int, seconds: float, device: torch.device
) -> tuple[list[float], str | None]:
    """Images/s of each of so many processes that train at once, or one sentence on why they could not."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(count), context.SimpleQueue()
    arguments = (setting, steps, seconds, str(device), torch.get_num_threads(), start, answers)
    processes = [context.Process(target=train, args=arguments, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    found: list[Any] = []
    running = list(processes)
    while running:
        connection.wait([process.sentinel for process in running])
        if any(process.exitcode for process in running):  # e.g. killed: let the others wait no longer
            start.abort()
        running = [process for process in running if process.exitcode is None]
    while not answers.empty():
        found.append(answers.get())
    failures = [answer for answer in found if isinstance(answer, str)]
    if failures or len(found) < count:
        # A process that fails breaks the barrier; what the others say about that is no news.
        return [], next((f for f in failures if "BrokenBarrier" not in f), "a process died without a word")
    return found, None


def train(
    setting: Setting, steps: int, seconds: float, device_name: str, threads: int, start: Any, answers: Any
) -> None:
    """One process: warm up, wait for the others, train for so long, and answer with images/s."""
    try:
        torch.set_num_threads(threads)
        device = torch.device(device_name)
        run = turn(Variant(), setting, setting.dataset(steps, device), steps)
        for _ in range(WARM_UP):
            run()
        synchronise(device)
        start.wait(PATIENCE)
        turns, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            run()
            synchronise(device)
            turns += 1
        answers.put(turns * steps * setting.batch_size / (time.perf_counter() - started))
    except threading.BrokenBarrierError:
        answers.put("BrokenBarrierError")
    except Exception as error:  # out of memory, above all; the parent reports it
        answers.put(f"{type(error).__name__}: {error}".splitlines()[0])
        start.abort()

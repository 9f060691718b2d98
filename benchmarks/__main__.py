"""Measure how fast training is, and write down what was found.

Exit code 2: bad input or a measurement that failed; 130: interrupted.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import growth as growth_of
from benchmarks import imagenet as imagenet_of
from benchmarks import packing as packing_of
from benchmarks import report as reports
from benchmarks.memory import peak
from benchmarks.results import FOLDER
from benchmarks.setting import Setting
from benchmarks.step import Plan
from benchmarks.step import measure as measure_steps
from benchmarks.variants import can_compile
from rdlib.errors import ConfigError, RdlibError
from rdlib.runs.execute import pick_device

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True, highlight=False, markup=False)

DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA where there is one.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of this process.")]
RoundsOption = Annotated[int, typer.Option(help="Timed turns of each variant.")]
BatchOption = Annotated[int, typer.Option(help="Images a batch.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="A small setting in a minute; kept only with --results.")]
FolderOption = Annotated[Path | None, typer.Option("--results", help="Folder for the JSON; default: the published.")]

QUICK = Setting(width=8, batch_size=32)


def plan_on(device_name: str | None, threads: int, rounds: int, compiled: bool | None = False) -> Plan:
    """The device and how often; sets this process's threads. compiled: None is where it can and is no GPU."""
    device = pick_device(device_name)
    if threads < 1 or rounds < 1:
        raise ConfigError(f"--threads and --rounds need at least 1, not {threads} and {rounds}")
    torch.set_num_threads(threads)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if compiled is None:
        compiled = device.type != "cuda" and can_compile()
    return Plan(device, rounds, workers=min(8, max(1, cores - threads)), compiled=compiled)


def numbers(option: str, text: str) -> list[int]:
    """Comma-separated whole numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} takes whole numbers with commas between them, not {text!r}") from error


def kept(folder: Path | None, quick: bool) -> Path | None:
    return folder or (None if quick else FOLDER)


@app.command()
def step(
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    rounds: RoundsOption = 7,
    depths: Annotated[str | None, typer.Option(help="E.g. 18,34; default: 18, on CUDA 18,34,50.")] = None,
    widths: Annotated[str | None, typer.Option(help="E.g. 16,64; default: 16,64, on CUDA 64.")] = None,
    batch_size: BatchOption = 128,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compiled variants too; default: not on CUDA.")
    ] = None,
    quick: QuickOption = False,
    results: FolderOption = None,
) -> None:
    """Seconds a JointRD step in every variant, its parts, the other methods, memory, and the share of the floor."""
    plan = plan_on(device, threads, min(rounds, 2) if quick else rounds, compiled)
    gpu = plan.device.type == "cuda"
    sizes = [
        Setting(depth, width, batch_size)
        for depth in numbers("--depths", depths or ("18,34,50" if gpu else "18"))
        for width in numbers("--widths", widths or ("64" if gpu else "16,64"))
    ]
    entries = measure_steps([QUICK] if quick else sizes, plan, kept(results, quick))
    console.print("\n".join(reports.step_section(entry) for entry in entries))


@app.command()
def growth(
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    rounds: RoundsOption = 5,
    batch_size: BatchOption = 128,
    quick: QuickOption = False,
    results: FolderOption = None,
) -> None:
    """How the cost of a step grows with depth, width and batch size."""
    plan = plan_on(device, threads, min(rounds, 2) if quick else rounds)
    base = QUICK if quick else Setting(width=64 if plan.device.type == "cuda" else 16, batch_size=batch_size)
    axes = growth_of.QUICK if quick else growth_of.AXES[plan.device.type]
    entries = growth_of.measure(base, axes, plan, kept(results, quick))
    console.print("\n".join(reports.growth_section(entry) for entry in entries))


@app.command()
def imagenet(
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    rounds: RoundsOption = 5,
    depth: Annotated[int, typer.Option(help="18, 34 or 50.")] = 50,
    batch_size: Annotated[int | None, typer.Option(help="Images a batch; default: 8, on CUDA 64.")] = None,
    results: FolderOption = None,
) -> None:
    """A training step at 224x224, supervised and JointRD: what notebook 10 reckons the hours of table 4 from."""
    plan = plan_on(device, threads, rounds)
    batch = batch_size or (64 if plan.device.type == "cuda" else 8)
    for entry in imagenet_of.measure(depth, batch, plan, results or FOLDER):
        speed, rate = entry["images_per_second"], entry["rate"] / 1e9
        console.print(f"{entry['setting']['method']}-{depth}: {speed:.3g} images/s, {rate:.4g} GFLOP/s")


@app.command()
def packing(
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    depth: Annotated[int, typer.Option(help="18, 34 or 50.")] = 18,
    width: Annotated[int | None, typer.Option(help="Default: 16, on CUDA 64.")] = None,
    batch_size: BatchOption = 128,
    seconds: Annotated[float, typer.Option(help="Timed seconds for each number of processes.")] = 20.0,
    quick: QuickOption = False,
    results: FolderOption = None,
) -> None:
    """Total images/s of several trainings at once on one device, and the --jobs that follows."""
    plan = plan_on(device, threads, 1)
    gpu = plan.device.type == "cuda"
    setting = QUICK if quick else Setting(depth, width or (64 if gpu else 16), batch_size)
    counts = packing_of.PROCESSES[plan.device.type]
    entry = packing_of.measure(setting, counts, min(seconds, 2.0) if quick else seconds, plan, kept(results, quick))
    console.print(reports.packing_section(entry))


@app.command()
def memory(
    variant: Annotated[str, typer.Argument(help="E.g. reference or fast.")],
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    depth: Annotated[int, typer.Option(help="18, 34 or 50.")] = 18,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 16,
    batch_size: BatchOption = 128,
    side: Annotated[int, typer.Option(help="Pixels.")] = 32,
) -> None:
    """Peak bytes of one variant in this process, as JSON; `step` calls this once a variant."""
    plan = plan_on(device, threads, 1)
    print(json.dumps(peak(variant, Setting(depth, width, batch_size, side), plan.device)))


@app.command()
def report(results: FolderOption = None) -> None:
    """Write README.md and the figures again from the JSON files; measures nothing."""
    for path in reports.write(results or FOLDER):
        console.print(f"wrote {path.name}")


def main() -> None:
    """Run the command line; our own errors end in one sentence and an exit code."""
    try:
        app()
    except RdlibError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder without permission
        print(f"error: {error}: make room or make it writable, then run the same command again", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""The command `python -m rdlib measure`: memory, latency, int8, who teaches which stage, and what the paths see."""

from pathlib import Path
from typing import Annotated

import typer

from rdlib.commands.options import ExistingStoreOption, ProfileArgument, StoreOption, console
from rdlib.errors import ConfigError
from rdlib.experiments.profiles import profile
from rdlib.files import RESULTS

# The choices of `measure.engines`, which needs torch.
ENGINES = "PyTorch eager; torch.compile; ONNX Runtime, not optimised; ONNX Runtime; OpenVINO; CUDA graphs"
PRECISIONS = "float32, bfloat16, int8"

measure_app = typer.Typer(
    help="Measure on this machine: memory, latency, int8 accuracy, gradients.", no_args_is_help=True
)


@measure_app.command("memory")
def measure_memory(
    store: StoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/memory.json.")] = None,
) -> None:
    """Feature-map memory of every network of table 1, planned and measured, on the CPU."""
    from rdlib.experiments.tables import as_text
    from rdlib.measure import memory
    from rdlib.measure.candidates import candidates, matched
    from rdlib.measure.record import folder
    from rdlib.runs.store import Store

    compared = [*candidates(), *matched()]
    count = iter(range(1, len(compared) + 1))
    path = to or folder(Store(store)) / memory.RECORD.name
    record = memory.measure_all(compared, path, lambda name: console.print(f"{next(count)}/{len(compared)} {name}"))
    for what, title in (("peak", "planned peak"), ("arena", "measured")):
        console.print(f"\n{title}, MiB (times less than the ResNet)\n{as_text(memory.table(record['rows'], what))}")
    console.print(f"\nwritten: {path.name}")


@measure_app.command("latency")
def measure_latency(
    depth: Annotated[list[int] | None, typer.Option(help="18, 34 or 50; repeatable. Default: all.")] = None,
    side: Annotated[list[int] | None, typer.Option(help="224 or 32; repeatable. Default: both.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Images at a time; repeatable. Default: 1 and 32.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help=f"{ENGINES}; repeatable. Default: all here.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help=f"{PRECISIONS}; repeatable.")] = None,
    with_matched: Annotated[
        bool, typer.Option("--matched", help="Also the pruned and narrowed ResNet-50s at 224.")
    ] = False,
    repetitions: Annotated[int, typer.Option(help="Timed passes of every cell.")] = 30,
    warmup: Annotated[int, typer.Option(help="Rounds before them that are not kept.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = 1,
    store: StoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/latency-<n>.json.")] = None,
) -> None:
    """Latency of the networks of table 2, taking turns in one process; run it on a machine that does nothing else."""
    from rdlib.measure import latency
    from rdlib.measure.candidates import candidates, matched
    from rdlib.measure.engines import choose
    from rdlib.measure.latency_record import Settings, next_path
    from rdlib.measure.record import folder
    from rdlib.runs.store import Store

    compared = candidates(depth or (50, 34, 18), side or (224, 32))
    if with_matched:
        compared += [one for one in matched() if one.depth in (depth or (50,)) and one.side in (side or (224,))]
    path = to or next_path(folder(Store(store)))
    try:
        latency.measure(
            compared,
            batch or (1, 32),
            choose(engine, precision),
            Settings(threads, repetitions, warmup),
            path,
            console.print,
        )
    except KeyboardInterrupt:
        console.print(f"interrupted; {'finished groups are in ' + path.name if path.exists() else 'no group finished'}")
        raise
    console.print(f"\nwritten: {path.name}")


@measure_app.command("npu")
def measure_npu(
    depth: Annotated[list[int] | None, typer.Option(help="18, 34 or 50; repeatable. Default: all.")] = None,
    side: Annotated[list[int] | None, typer.Option(help="224 or 32; repeatable. Default: both.")] = None,
    npu: Annotated[
        list[str] | None, typer.Option(help="E.g. ethos-u55-256; repeatable. Default: four of them, six systems.")
    ] = None,
    system: Annotated[str, typer.Option("--system-config", help="A system of Vela's Arm/vela.ini; needs --npu.")] = "",
    memory: Annotated[str, typer.Option("--memory-mode", help="A memory mode of it; needs --npu.")] = "",
    store: StoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/npu.json.")] = None,
) -> None:
    """What Arm's NPU compiler estimates of the networks of tables 1 and 2: time, cycles, memory. No NPU is needed.

    Interrupted, the same command goes on.
    """
    from rdlib.experiments.tables import as_text
    from rdlib.measure import npu as estimates
    from rdlib.measure.candidates import candidates, matched
    from rdlib.measure.record import folder
    from rdlib.paper import npu as npu_tables
    from rdlib.runs.store import Store

    if (system or memory) and not npu:
        raise ConfigError("a system or memory mode belongs to an NPU: name it with --npu")
    on = estimates.targets(npu or (), system, memory)
    compared = candidates(depth or (18, 34, 50), side or (224, 32))
    compared += [one for one in matched() if one.depth in (depth or (50,)) and one.side in (side or (224,))]
    subjects = [estimates.subject(one) for one in compared] + ([] if depth or side else estimates.published())
    path = to or folder(Store(store)) / estimates.RECORD.name
    record = estimates.measure(subjects, on, path, console.print)
    for one in sorted({(one.side, one.depth) for one in compared}):
        console.print(f"\n{one[0]}x{one[0]}, depth {one[1]}\n{as_text(npu_tables.times(record, *one))}")
    console.print(f"\nwritten: {path.name}")


@measure_app.command("int8")
def measure_int8(
    profile_name: ProfileArgument,
    store: ExistingStoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/int8-PROFILE.json.")] = None,
) -> None:
    """Top-1 before and after int8 quantisation of every ResNet, plain and JointRD network whose weights are here."""
    from rdlib.experiments.tables import as_text
    from rdlib.measure import int8
    from rdlib.runs.store import Store

    chosen, records = profile(profile_name), Store(store)
    path = to or int8.RECORD.path(chosen, records)
    int8.measure(chosen, records, path, console.print)
    console.print(f"\n{as_text(int8.table(chosen, records, path))}")


@measure_app.command("bits")
def measure_bits(
    profile_name: ProfileArgument,
    store: ExistingStoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/bits-PROFILE.json.")] = None,
) -> None:
    """Top-1 with 8 and 4 bits, and the tails of feature maps, of networks whose weights are here. Interrupted, the same
    command goes on."""
    from rdlib.experiments.tables import as_text
    from rdlib.measure import bits
    from rdlib.runs.store import Store

    chosen, records = profile(profile_name), Store(store)
    path = to or bits.RECORD.path(chosen, records)
    bits.measure(chosen, records, path, console.print)
    console.print(f"\n{as_text(bits.table(chosen, records, path))}")


@measure_app.command("teaching")
def measure_teaching(
    profile_name: ProfileArgument,
    store: ExistingStoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/teaching-PROFILE.json.")] = None,
) -> None:
    """Train the ResNet, plain and JointRD networks of a profile again and record which path teaches which stage."""
    from rdlib.experiments.tables import as_text
    from rdlib.measure import gradients_record
    from rdlib.runs.store import Store

    chosen, records = profile(profile_name), Store(store)
    path = to or gradients_record.RECORD.path(chosen, records)
    gradients_record.measure(chosen, records, path, console.print)
    console.print(f"\n{as_text(gradients_record.overview(chosen, records, path))}")


@measure_app.command("paths")
def measure_paths(
    profile_name: ProfileArgument,
    store: ExistingStoreOption = RESULTS,
    to: Annotated[
        Path | None, typer.Option(help="The record; default: STORE/measured/paths-PROFILE.safetensors.")
    ] = None,
) -> None:
    """Train the JointRD network of a profile again and record feature maps and every path's logits of 20 images."""
    from rdlib.measure import paths_record
    from rdlib.runs.store import Store

    chosen, records = profile(profile_name), Store(store)
    path = to or paths_record.RECORD.path(chosen, records)
    paths_record.measure(chosen, records, path, console.print)
    console.print(f"\nwritten: {path.name}")


@measure_app.command("rivals")
def measure_rivals(
    profile_name: ProfileArgument,
    store: ExistingStoreOption = RESULTS,
    to: Annotated[Path | None, typer.Option(help="The record; default: STORE/measured/rivals-PROFILE.json.")] = None,
) -> None:
    """What every rival costs to train and to run; leave the machine alone meanwhile, for this times."""
    from rdlib.experiments.tables import as_text
    from rdlib.measure import rival_costs
    from rdlib.paper import rivals as rival_table
    from rdlib.runs.store import Store

    chosen, records = profile(profile_name), Store(store)
    path = to or rival_costs.RECORD.path(chosen, records)
    rival_costs.measure(chosen, records, path, console.print)
    for part in ("networks", "paper_size"):
        for columns in (rival_table.COUNTED, rival_table.TIMED):
            console.print(f"\n{as_text(rival_table.networks(chosen, records, part, columns, path))}")
    console.print(f"\n{as_text(rival_table.exactness(chosen, records, path))}\n\nwritten: {path.name}")

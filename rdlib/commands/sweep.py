"""The command `python -m rdlib sweep`: train whatever records a profile lacks."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rdlib.commands.options import DeviceOption, ProfileArgument, StoreOption, console
from rdlib.errors import ConfigError
from rdlib.experiments.profiles import profile
from rdlib.files import RESULTS

if TYPE_CHECKING:
    from rdlib.runs.sweep import Outcome


def sweep(
    profile_name: ProfileArgument,
    table: Annotated[str | None, typer.Option(help="Only the runs of this table, e.g. 3.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; default: one a core, or one a GPU.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Only the first so many seeds.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only these rows and their teachers: resnet, plain, jointrd, or three: all of them."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many; once a run has finished, start none that would not.")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Show every run and whether it is done; train nothing.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(help="A Dask scheduler whose workers train, e.g. tcp://host:8786; who reaches it runs any code."),
    ] = None,
    store: StoreOption = RESULTS,
    device: DeviceOption = None,
) -> None:
    """Train every run of a profile that has no record yet: what is worth most first, teachers before students."""
    began = time.monotonic()
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"--minutes needs a number above 0, not {minutes:g}")
    chosen = profile(profile_name, seeds)
    from rdlib.experiments.rows import only as only_rows
    from rdlib.experiments.tables import rows_of, runs_of
    from rdlib.runs.progress import describe
    from rdlib.runs.store import Store
    from rdlib.runs.sweep import missing
    from rdlib.runs.sweep import sweep as sweep_runs

    place = Store(store)
    rows = rows_of(chosen, table)
    if not rows:
        raise ConfigError(f"profile {profile_name} has no runs in table {table}: choose another")
    runs = runs_of(rows if only is None else only_rows(rows, only))
    if list_only:
        for run in runs:
            record = place.record(run)
            console.print(f"{run.id}  {run.label}: {describe(record) if record else 'missing'}")
        return
    todo = missing(runs, place)
    gone = sum(place.diverged(run) for run in runs)
    done = f"{len(runs) - len(todo)} of {len(runs)} runs of {profile_name} are done{f' ({gone} diverged)' * (gone > 0)}"
    console.print(f"{done}, {len(todo)} to train")
    left = minutes and minutes - (time.monotonic() - began) / 60  # torch's import took some of them
    outcome = sweep_runs(runs, place, jobs, device, scheduler, left)
    for record in outcome.trained:
        if record.diverged is not None:
            console.print(f"DIVERGED  {record.run.id}  {record.run.label}: {record.diverged}, as its record says")
    for run, sentence in outcome.failures.items():
        console.print(f"FAILED  {run.id}  {run.label}: {sentence}")
    if minutes is not None and (outcome.stopped or outcome.waiting):
        console.print(left_over(outcome, len(runs), minutes))
    if outcome.failures:
        raise typer.Exit(1)


def left_over(outcome: "Outcome", total: int, minutes: float) -> str:
    """What a sweep that ended for lack of time has done and leaves, in one sentence."""
    from rdlib.runs.progress import duration

    stopped, waiting, failed = len(outcome.stopped), len(outcome.waiting), len(outcome.failures)
    counts = [f"{total - stopped - waiting - failed} of {total} runs done"]
    counts += [f"{failed} failed"] * (failed > 0)
    counts += [f"{stopped} stopped (finished epochs are kept)"] * (stopped > 0)
    counts += [f"{waiting} not started"] * (waiting > 0)
    why = "time is up after" if stopped or outcome.needed is None else "no other run fits into"
    needs = "" if outcome.needed is None else f"; what is left needs about {duration(outcome.needed)}"
    return f"{why} {minutes:g} min: {', '.join(counts)}{needs}: run the same command again"

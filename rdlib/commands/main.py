"""Train deep networks without shortcuts, keep their records, and print the tables.

Exit code 1: a run failed, that of `train` diverged, or a cell disagrees; 2: bad input; 130: interrupted.
"""

import errno
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from rdlib.commands.data import data_app
from rdlib.commands.known import record_path
from rdlib.commands.measure import measure_app
from rdlib.commands.networks import export, publish
from rdlib.commands.options import DeviceOption, ExistingStoreOption, StoreOption, console
from rdlib.commands.sweep import sweep
from rdlib.commands.train import train
from rdlib.errors import ConfigError, RdlibError, RecordError, printable
from rdlib.experiments.profiles import profile
from rdlib.files import NOTEBOOKS, RESULTS

# A command imports what it needs when it runs, so that `--help` and a mistyped word need not wait seconds for torch.
HELP = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room")
HELP |= dict.fromkeys((errno.EACCES, errno.EPERM), "let yourself read and write it") | {errno.EROFS: "write elsewhere"}
SEEN = "Three numbers such as 0.5,0.5,0.5, or imagenet or none"
INTERRUPTED = 130  # typer's exit code for Ctrl-C

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(measure_app, name="measure")


app.command()(train)


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="A ResNet of torch.save or safetensors, e.g. resnet50-11ad3fa6.pth.")],
    dataset: Annotated[str, typer.Option(help="What it was trained on.")] = "imagenet",
    depth: Annotated[int | None, typer.Option(help="Read from the file; told, it must be that.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first stage; as --depth.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Photographs: side of their crops, default 224.")] = None,
    mean: Annotated[str | None, typer.Option(help=f"{SEEN} (of [0, 1]); default: the data set's own.")] = None,
    std: Annotated[str | None, typer.Option(help=f"{SEEN}; as --mean.")] = None,
    resize: Annotated[float | None, typer.Option(help="Photographs: shorter side before the crop, pixels.")] = None,
    expected: Annotated[float | None, typer.Option(help="Its top-1 in percent; stops where it has less.")] = None,
    store: StoreOption = RESULTS,
    device: DeviceOption = None,
) -> None:
    """Take a ResNet that was trained elsewhere as a teacher: evaluate and store it; prints its run id.

    What it was trained to see is told by --mean, --std and --resize; its students then see the same.
    """
    from rdlib.runs.adopt import adopt as adopt_file
    from rdlib.runs.progress import describe
    from rdlib.runs.store import Store

    how: dict[str, Any] = {"mean": mean, "std": std, "resize": resize, "expected": expected, "tell": console.print}
    record = adopt_file(file, dataset, depth, width, image_size, Store(store), device, **how)
    console.print(f"{record.run.id}  {describe(record)}")


app.command()(sweep)


app.command()(export)
app.command()(publish)


@app.command()
def show(
    run_id: Annotated[str | None, typer.Argument(help="A run id; without one, all are listed.")] = None,
    store: ExistingStoreOption = RESULTS,
) -> None:
    """Show one record, or list them all; those that cannot be read are named at the end, with exit code 2."""
    if run_id is not None:
        path = record_path(store, run_id)
        if path is None:
            raise ConfigError(f"the store has no run {run_id}: `python -m rdlib show` lists them")
        from rdlib.runs.run import Record

        console.print(Record.read(path).to_json())
        return
    from rdlib.runs.progress import describe
    from rdlib.runs.run import Record
    from rdlib.runs.store import Store

    unread = []
    for path in Store(store).record_paths():
        try:
            record = Record.read(path)
        except RecordError as error:
            unread.append(str(error))
            continue
        console.print(f"{record.run.id}  {record.run.label}: {describe(record)}")
    if unread:
        raise RecordError("\nerror: ".join(unread))


@app.command()
def tables(store: ExistingStoreOption = RESULTS) -> None:
    """Render the records into tables/ and, for the published store, into the READMEs; trains nothing.

    One record that cannot be read stops it before anything is written: a table would lack a seed and not say so.
    """
    from rdlib.commands.known import write_index
    from rdlib.commands.publish import publish as render
    from rdlib.runs.store import Store

    rendered = render(Store(store))
    for path in [*rendered, *([write_index()] if store.resolve() == RESULTS.resolve() else [])]:
        console.print(f"wrote {path.name}")


@app.command()
def notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Notebook names, e.g. 02_table3_accuracy; default: all.")
    ] = None,
    profile_name: Annotated[str, typer.Option("--profile")] = "quick",
) -> None:
    """Execute notebooks in place, through papermill, so that their outputs can be committed."""
    from rdlib.commands.notebooks import parameters_of, refresh, require_notebooks

    profile(profile_name)
    require_notebooks()
    stems = [name.removeprefix("notebooks/").removesuffix(".ipynb") for name in names or ()]
    named = [NOTEBOOKS / f"{stem}.ipynb" for stem in stems]
    for path in named or sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        chosen = profile_name != "quick" and "profile" in parameters_of(path)
        refresh(path, {"profile": profile_name} if chosen else {})
        console.print(f"executed {path.name}")


@app.command()
def reproduce(
    profile_name: Annotated[str, typer.Argument(metavar="[PROFILE]")] = "quick",
    seeds: Annotated[int, typer.Option(help="How many seeds of every cell to train.")] = 1,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; default: one a core, or one a GPU.")] = None,
    store: Annotated[Path, typer.Option("--store", help="Where the fresh records go.")] = RESULTS / "reproduced",
) -> None:
    """Train a profile afresh, run the notebooks on it, and compare with the published records."""
    from rdlib.commands.reproduce import reproduce as run_reproduction
    from rdlib.runs.store import Store

    if jobs is not None and jobs < 1:  # before a store is touched
        raise ConfigError(f"--jobs needs at least 1, not {jobs}")
    if not run_reproduction(profile_name, seeds, jobs, Store(RESULTS), Store(store), console.print):
        raise typer.Exit(1)


def run() -> None:
    """Run the command line; our own errors end in one sentence and an exit code. Raises KeyboardInterrupt."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # for any name on any terminal
    try:
        for before, word in pairwise(sys.argv):
            if not word.strip() or re.fullmatch(r"--[\w-]+=\s*", word):
                named = word.strip() or f"the word after {before if before != sys.argv[0] else 'rdlib'}"
                raise ConfigError(f"{named} is empty (an unset shell variable?): give it a value or leave it out")
        app()
    except RdlibError as error:
        leave(f"error: {error}", 2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    except ModuleNotFoundError as error:  # a GPU machine has what training needs, not more
        leave(f"error: this needs the package {error.name}, which is not installed: see pyproject.toml", 2)
    except OSError as error:
        help = HELP.get(error.errno or 0, "correct it")
        where = f" ({Path(str(error.filename)).name})" if error.filename else ""
        leave(f"error: {error.strerror or error}{where}: {help}, then run the same command again", 2)


def leave(sentence: str, code: int) -> None:
    """Print and exit; under torchrun at once, since an orderly end would wait for the other processes."""
    rank = os.environ.get("RANK")
    print(printable(sentence if rank is None else f"rank {rank}: {sentence}"), file=sys.stderr, flush=True)
    if rank is not None:
        os._exit(code)
    sys.exit(code)

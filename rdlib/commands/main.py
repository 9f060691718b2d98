"""Train deep networks without shortcuts, keep their records, and print the tables.

Exit code 1: a run failed, that of `train` diverged, or a cell disagrees; 2: bad input; 130: interrupted.
"""

import errno
import os
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from rdlib.commands.data import data_app
from rdlib.commands.known import known_run, record_path
from rdlib.commands.measure import measure_app
from rdlib.commands.networks import publish
from rdlib.commands.options import RESULTS, DeviceOption, ExistingStoreOption, StoreOption, console, printable
from rdlib.commands.sweep import sweep
from rdlib.errors import ConfigError, RdlibError, RecordError
from rdlib.experiments.profiles import profile
from rdlib.recipe import PAPER_METHODS, PAPER_RECIPE, Recipe

# A command imports what it needs when it runs, so that `--help` and a mistyped word need not wait seconds for torch.
HELP = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room")
HELP |= dict.fromkeys((errno.EACCES, errno.EPERM), "let yourself read and write it") | {errno.EROFS: "write elsewhere"}
INTERRUPTED = 130  # typer's exit code for Ctrl-C

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(measure_app, name="measure")


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="digits, cifar10, cifar100 or a prepared name.")] = "digits",
    method: Annotated[str, typer.Option(help=f"{', '.join(PAPER_METHODS)}, or a rival's.")] = "Supervised",
    depth: Annotated[int, typer.Option(help="18, 34, 50, 66 or 98.")] = 18,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 64,
    shortcuts: Annotated[str, typer.Option(help="all (ResNet), downsample, or none (strictly plain).")] = "none",
    conv: Annotated[str, typer.Option(help="The student's convolutions: plain, dirac or repvgg.")] = "plain",
    seed: Annotated[int, typer.Option(help="Initialisation, shuffling and augmentation.")] = 0,
    teacher: Annotated[str | None, typer.Option(help="Id of the teacher's run; with --run, for its own.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Method option NAME=VALUE, e.g. regime=beside; repeatable.")
    ] = None,
    epochs: Annotated[int, typer.Option()] = PAPER_RECIPE.epochs,
    batch_size: Annotated[int, typer.Option()] = PAPER_RECIPE.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak.")] = PAPER_RECIPE.learning_rate,
    schedule: Annotated[str, typer.Option(help="step, cosine or one-cycle.")] = PAPER_RECIPE.schedule,
    weight_decay: Annotated[float, typer.Option()] = PAPER_RECIPE.weight_decay,
    crop_padding: Annotated[int, typer.Option(help="Pixels; 0: no random crop.")] = PAPER_RECIPE.crop_padding,
    flip: Annotated[bool, typer.Option(help="Random horizontal flip.")] = PAPER_RECIPE.flip,
    cutout: Annotated[int | None, typer.Option(help="Side in pixels of a blanked square.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Photographs: side of their crops; the ImageNet stem.")] = None,
    shots: Annotated[int | None, typer.Option(help="Only so many training images of each class.")] = None,
    holdout: Annotated[str, typer.Option(help="test, or tune for choosing anything.")] = PAPER_RECIPE.holdout,
    run_id: Annotated[str | None, typer.Option("--run", help="Train the run with this id, of a profile.")] = None,
    again: Annotated[str | None, typer.Option(help="Repeat the run with this id, e.g. for its weights.")] = None,
    store: StoreOption = RESULTS,
    device: DeviceOption = None,
) -> None:
    """Train one run and store its record and weights; an interrupted one goes on from its last epoch.

    Several GPUs share it under torchrun: `torchrun --nproc-per-node 8 -m rdlib train ...`.
    """
    named = again if again is not None else run_id
    known = known_run(store, named) if named is not None else None
    from rdlib.images import load
    from rdlib.runs.execute import require_same_images
    from rdlib.runs.execute import train as train_run
    from rdlib.runs.progress import describe
    from rdlib.runs.run import Run
    from rdlib.runs.store import Store

    place = Store(store)
    if known is not None:
        run = known
        if teacher is not None:
            run = replace(run, teacher=teacher)
    else:
        recipe = Recipe(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,  # type: ignore[arg-type]
            weight_decay=weight_decay,
            crop_padding=0 if image_size else crop_padding,
            flip=flip,
            holdout=holdout,  # type: ignore[arg-type]
            cutout=cutout,
            image_size=image_size,
            shots=shots,
        )
        options = dict(parse_option(text) for text in option or [])
        run = Run(dataset, method, depth, width, shortcuts, seed, recipe, options, teacher, conv)  # type: ignore[arg-type]
    found = place.record(run)
    if found is not None and not again:
        require_same_images(run, place, load(run.dataset, image_size=run.recipe.image_size))
        say(f"{run.id} is trained already: {describe(found)}")
    else:
        say(f"{run.id}  {run.label}")
        found = train_run(run, place, device)
        say(f"{run.id}  {describe(found)}")
    if found.diverged is not None:
        say(f"{run.id} has a record that says so, and no weights: another run, such as one of a lower rate, may finish")
        if is_first():  # torchrun kills the others as soon as one fails, and the first may be writing the record
            raise typer.Exit(1)


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="State dict with torchvision's names, e.g. resnet50-11ad3fa6.pth.")],
    dataset: Annotated[str, typer.Option(help="What it was trained on.")] = "imagenet",
    depth: Annotated[int, typer.Option(help="18, 34, 50, 66 or 98.")] = 50,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 64,
    image_size: Annotated[int | None, typer.Option(help="Photographs: side of their crops, default 224.")] = None,
    store: StoreOption = RESULTS,
    device: DeviceOption = None,
) -> None:
    """Take a ResNet that was trained elsewhere as a teacher: evaluate and store it; prints its run id."""
    from rdlib.runs.adopt import adopt as adopt_file
    from rdlib.runs.progress import describe
    from rdlib.runs.store import Store

    record = adopt_file(file, dataset, depth, width, image_size, Store(store), device)
    console.print(f"{record.run.id}  {describe(record)}")


def say(line: str) -> None:
    """Print; under torchrun the first process alone does."""
    if is_first():
        console.print(line)


def is_first() -> bool:
    """Whether this is the process that speaks and writes: alone, or the first one under torchrun."""
    return os.environ.get("RANK", "0") == "0"


def parse_option(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value a number, true, false or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--option {text!r} is not NAME=VALUE, e.g. regime=beside")
    words: dict[str, object] = {"true": True, "false": False}
    try:
        return name, words[value] if value in words else float(value)
    except ValueError:
        return name, value


app.command()(sweep)


@app.command()
def export(
    run_id: Annotated[str, typer.Argument(help="A run id; `show` lists them.")],
    to: Annotated[Path, typer.Option("--to", help="FILE.onnx, FILE.pt2 (torch.export) or FILE.pte (ExecuTorch).")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise it, with training images as calibration.")] = False,
    opset: Annotated[int | None, typer.Option(help="ONNX opset, 18 (the exporter's floor) to 26; default: 20.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="A fixed batch, 1 to 256, for compilers of static shapes; default: any (.pte: 1)."),
    ] = None,
    store: ExistingStoreOption = RESULTS,
) -> None:
    """Fold a trained network, write it to a file, prove that the file computes the same, and report on it."""
    run = known_run(store, run_id)
    from rdlib.deploy.delivery import deliver
    from rdlib.deploy.export import require_target
    from rdlib.images import load
    from rdlib.runs.execute import require_same_images, with_weights
    from rdlib.runs.store import Store

    place = Store(store)
    require_target(to, opset, batch, int8)
    images = load(run.dataset, image_size=run.recipe.image_size)
    require_same_images(run, place, images)
    console.print(f"{run.id}  {run.label}")
    network = with_weights(run, place, console.print)
    for line in deliver(network, images, to, int8, {"run": run.id}, opset, batch).lines():
        console.print(line)


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
        list[str] | None, typer.Argument(help="Notebook names, e.g. 04_table3_cifar; default: all.")
    ] = None,
    profile_name: Annotated[str, typer.Option("--profile")] = "quick",
) -> None:
    """Execute notebooks in place, through papermill, so that their outputs can be committed."""
    from rdlib.commands.notebooks import NOTEBOOKS, parameters_of, refresh

    profile(profile_name)
    for path in [NOTEBOOKS / f"{name}.ipynb" for name in names] if names else sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
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

"""The command `python -m rdlib train`: one run, new or of an id."""

import os
from dataclasses import replace
from typing import Annotated

import typer

from rdlib.commands.known import known_run
from rdlib.commands.options import DeviceOption, StoreOption, console
from rdlib.errors import ConfigError
from rdlib.files import RESULTS
from rdlib.recipe import PAPER_METHODS, PAPER_RECIPE, Recipe

KEPT = {"run_id", "again", "store", "device"}  # what may be given with the id of a run


def train(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="digits, cifar10, cifar100 or a prepared name.")] = "digits",
    method: Annotated[str, typer.Option(help=f"{', '.join(PAPER_METHODS)}, or a rival's.")] = "Supervised",
    depth: Annotated[int, typer.Option(help="18, 34, 50, 66, 98, 101 or 152.")] = 18,
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
    optimizer: Annotated[str | None, typer.Option(help="muon, for the kernels; default: SGD for everything.")] = None,
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
    if named is not None:
        refuse_ignored(context, KEPT if again is not None else KEPT | {"teacher"})
    known = known_run(store, named) if named is not None else None
    from rdlib.images import load
    from rdlib.runs.execute import require_same_images, sweep_up
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
            optimizer=optimizer,  # type: ignore[arg-type]
        )
        options = dict(parse_option(text) for text in option or [])
        run = Run(dataset, method, depth, width, shortcuts, seed, recipe, options, teacher, conv)  # type: ignore[arg-type]
    if teacher is not None:  # whose maps enter it, and the reverse
        run = replace(run, other_stem=place.run(None, teacher).stem)
    found = place.record(run)
    if found is not None and not again:
        require_same_images(run, place, load(run.dataset, image_size=run.recipe.image_size))
        sweep_up(run, place)
        say(f"{run.id} is trained already: {describe(found)}")
    else:
        say(f"{run.id}  {run.label}")
        found = train_run(run, place, device)
        say(f"{run.id}  {describe(found)}")
        if (new := place.repeated(run)) is not None:
            say(
                f"{run.id}  that is its record, which stands; these weights, made on another processor, or by other "
                f"threads or libraries, give {describe(new)}"
            )
    if found.diverged is not None:
        say(f"{run.id} has a record that says so, and no weights: another run, such as one of a lower rate, may finish")
        if is_first():  # torchrun kills the others as soon as one fails, and the first may be writing the record
            raise typer.Exit(1)


def refuse_ignored(context: typer.Context, kept: set[str]) -> None:
    """Raise ConfigError for an option that would change nothing, since the id of a run says it all."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE" and option.name not in kept:
            one = "--again" if context.params["again"] is not None else "--run"
            raise ConfigError(f"{one} names a whole run, so {option.opts[0]} would be ignored: leave one of them out")
    if None not in (context.params["again"], context.params["run_id"]):
        raise ConfigError("--run and --again each name a run: leave one of them out")


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

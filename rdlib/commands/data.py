"""The command `python -m rdlib data`: prepare and list data sets."""

from pathlib import Path
from typing import Annotated

import typer

from rdlib.commands.options import console
from rdlib.errors import RdlibError
from rdlib.files import DATA

data_app = typer.Typer(help="Prepare and list data sets.", no_args_is_help=True)
SMALL = "digits, cifar10, cifar100"
PHOTOGRAPHS = "imagenet, mit67, caltech101"  # with SMALL, what `images` knows, which needs torch


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help=f"{SMALL}, {PHOTOGRAPHS}, or a name for your own images.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder train/<class>/*.png, test/<class>/*.png, or an .npz file.")
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(help=f"Photographs of many sizes: leave them there, write an index; always for {PHOTOGRAPHS}."),
    ] = False,
) -> None:
    """Convert a data set into data/NAME.safetensors (downloads CIFAR where no source is given), or index a folder."""
    from rdlib.images import prepare

    prepare(name, source, in_place=in_place)
    describe_dataset(name)


@data_app.command("list")
def data_list() -> None:
    """List the data sets that can be used now, and how to get the others."""
    from rdlib.images.published import GET
    from rdlib.images.sources import KNOWN
    from rdlib.images.subsets import DERIVED

    prepared = {
        path.name.partition(".")[0] for form in ("safetensors", "index.json") for path in DATA.glob(f"*.{form}")
    }
    known = [*KNOWN, *DERIVED, *GET]
    for name in [*known, *sorted(prepared - set(known))]:
        whole = DERIVED[name].whole if name in DERIVED else name
        if whole in prepared or whole == "digits":
            try:
                describe_dataset(name)
            except RdlibError as error:
                console.print(f"{name}: {error}")
        else:
            console.print(f"{name}: not prepared; python -m rdlib data prepare {whole} [--from FOLDER]")


def describe_dataset(name: str) -> None:
    from rdlib.images import load

    d = load(name)
    console.print(
        f"{name}: {len(d.classes)} classes, {d.side}x{d.side}, {len(d.train)} train (of them {len(d.tune)} tune), "
        f"{len(d.test)} test, sha256 {d.sha256[:12]}"
    )

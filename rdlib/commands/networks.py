"""The command `python -m rdlib publish`: put trained networks where `from_pretrained` finds them by name."""

from pathlib import Path
from typing import Annotated

import typer

from rdlib.commands.options import ExistingStoreOption, console
from rdlib.errors import ConfigError
from rdlib.files import RESULTS


def publish(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Which, e.g. digits-plain-50-jointrd, or all of a data set, e.g. digits; default: all."),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder of the published networks.")] = RESULTS / "published",
    store: ExistingStoreOption = RESULTS,
) -> None:
    """Publish trained networks of a store, in half precision where their accuracy stays; trains nothing.

    Those whose weights are not in the store are named with the command that trains them; the exit code is then 1.
    """
    from rdlib.deploy.gallery import chosen, require_weights, told
    from rdlib.deploy.gallery import publish as publish_network
    from rdlib.runs.store import Store

    place, missing = Store(store), 0
    for name, run in chosen(names or []).items():
        try:
            require_weights(name, run, place)
        except ConfigError as error:
            console.print(str(error))
            missing += 1
        else:
            console.print(told(name, publish_network(name, run, place, to), to))
    if missing:
        raise typer.Exit(1)

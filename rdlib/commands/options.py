"""What several commands share: the options they have in common, and where they print. None of it needs torch."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rdlib.errors import ConfigError, printable
from rdlib.experiments.profiles import PROFILES


class Terminal(Console):
    """Where commands print: text as it stands, and nothing in it steers the terminal."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(printable(str(one)) for one in objects), **how)


def existing(store: Path) -> Path:
    """A store that is there, for commands that read one. Raises ConfigError for any other folder."""
    if not any(any(store.glob(kind)) for kind in ("runs/*/*.json", "measured/*.json", "weights/*/*")):
        raise ConfigError(f"{store} is no store (it has no records): correct --store, or train into it")
    return store


StoreOption = Annotated[Path, typer.Option("--store", help="Folder of records and weights.")]
ExistingStoreOption = Annotated[
    Path, typer.Option("--store", help="Folder of records and weights, which exists.", callback=existing)
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA where there is one.")]
ProfileArgument = Annotated[str, typer.Argument(metavar="PROFILE", help=f"{', '.join(PROFILES)}.")]
console = Terminal(soft_wrap=True, highlight=False, markup=False)

"""What several commands share: the options they have in common, and where they print. None of it needs torch."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rdlib.experiments.profiles import PROFILES

StoreOption = Annotated[Path, typer.Option("--store", help="Folder of records and weights.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA where there is one.")]
ProfileArgument = Annotated[str, typer.Argument(metavar="PROFILE", help=f"{', '.join(PROFILES)}.")]
console = Console(soft_wrap=True, highlight=False, markup=False)

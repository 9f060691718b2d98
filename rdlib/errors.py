"""The few exception classes a user may catch; every message is one sentence: what was wrong and what to do."""

import re
from collections.abc import Iterable

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # what steers a terminal


def printable(text: str) -> str:
    """Text with its control characters spelled out: names of files and classes come from anywhere."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class RdlibError(Exception):
    """Base class of every error that rdlib raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        # IPython asks for this: in a notebook the sentence stands alone, without a page of library frames.
        return [f"{type(self).__name__}: {self}"]


class ConfigError(RdlibError, ValueError):
    """A name, depth, option or parameter that does not exist or does not fit the others."""


class DataError(RdlibError):
    """A data set that is absent, incomplete or damaged."""


class CheckpointError(RdlibError):
    """A checkpoint or weight file that is damaged or belongs to another run."""


class RecordError(RdlibError):
    """A record or store that is damaged, was edited by hand or cannot be written."""


class BusyError(RecordError):
    """A run that another process trains now."""


class SweepError(RdlibError):
    """Runs of a sweep that failed."""


class NotebookError(RdlibError):
    """A notebook that stopped; the message names the cell and the error."""


class NonFiniteLossError(RdlibError):
    """A loss term became NaN or infinite: in which epoch and step (from 1), and which; the message says so too."""

    def __init__(self, sentence: str, epoch: int = 0, step: int = 0, term: str = ""):
        super().__init__(sentence)
        self.epoch, self.step, self.term = epoch, step, term


class DeployError(RdlibError):
    """A network or file that cannot be deployed: not folded, not ours, not computing the same."""


class RankError(RdlibError):
    """Another process of a torchrun job that ended, so that this one cannot go on."""


# Choices that are no more, by what was chosen and its value: what to choose now, and why.
RETIRED = {
    "regime 'joint'": "choose beside, in which f_T is that of the teacher's pass before its update, as in the released "
    "code; joint took it after the update"
}


def require_choice(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise ConfigError unless value is one of choices."""
    options = list(choices)
    if value not in options:
        if known := RETIRED.get(f"{what} {value!r}"):
            raise ConfigError(f"{what} {value!r} is no more: {known}")
        raise ConfigError(f"unknown {what} {value!r}: choose one of {', '.join(map(str, options))}")

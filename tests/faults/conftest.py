"""What was tried is counted, and said at the end of `make attack`."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

TRIED: Counter[str] = Counter()


@pytest.fixture
def tally() -> Callable[..., None]:
    def add(what: str, count: int = 1) -> None:
        TRIED[what] += count

    return add


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:  # a process of pytest-xdist
        output["tried"] = dict(TRIED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TRIED.update(node.workeroutput.get("tried", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.write_line("tried: " + ", ".join(f"{count} {what}" for what, count in TRIED.items()))

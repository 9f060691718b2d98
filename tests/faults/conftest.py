"""What was tried is counted, and said at the end of `make attack`."""

from collections import Counter
from collections.abc import Callable

import pytest

TRIED: Counter[str] = Counter()


@pytest.fixture
def tally() -> Callable[..., None]:
    def add(what: str, count: int = 1) -> None:
        TRIED[what] += count

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.write_line("tried: " + ", ".join(f"{count} {what}" for what, count in TRIED.items()))

"""One server and one browser for every worker; a fresh page for every test. Nothing here is imported by `make test`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ARTEFACTS = HERE.parents[1] / ".artefacts" / "browser"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collected only where this folder is named: these tests need a browser and take minutes."""
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Screenshots and measurements, outside git."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A server whose notebooks have their outputs as committed."""
    from browser.lab import NOTEBOOKS, Lab

    with Lab(tmp_path_factory.mktemp("lab") / "server", NOTEBOOKS) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    from browser import chromium

    path = chromium.found()
    if path is None:
        pytest.fail(chromium.ADVICE)
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield program
        program.close()


@pytest.fixture
def open_notebook(browser, artefacts: Path) -> Iterator[Callable[..., object]]:
    """`open_notebook(lab, name)`: a new page with this notebook, its kernel idle."""
    from browser.sheet import Sheet

    contexts = []

    def opened(lab, name: str, **how) -> Sheet:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        contexts.append(context)
        return Sheet(context.new_page(), lab, name, artefacts).open(**how)

    yield opened
    for context in contexts:
        context.close()

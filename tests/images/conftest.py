"""Folders of small images, and the one way in which a wrong one is refused."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdlib.errors import DataError, RdlibError

Refused = Callable[..., AbstractContextManager[pytest.ExceptionInfo[RdlibError]]]


@pytest.fixture
def refused() -> Refused:
    """`with refused(named, error):` expects an error of one sentence that matches `named`."""

    @contextmanager
    def expected(named: str = "", error: type[RdlibError] = DataError) -> Iterator[pytest.ExceptionInfo[RdlibError]]:
        with pytest.raises(error, match=named) as caught:
            yield caught
        assert str(caught.value)
        assert "\n" not in str(caught.value)

    return expected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random 32x32 images: 3 a class in train, 2 in test, for ten classes; a hidden folder is no class."""
    random = np.random.RandomState(0)
    for split, n in (("train", 3), ("test", 2)):
        (tmp_path / "images" / split / ".thumbnails").mkdir(parents=True)
        for label in range(10):
            place = tmp_path / "images" / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(random.randint(0, 256, (32, 32, 3), np.uint8)).save(place / f"{i}.png")
    return tmp_path / "images"

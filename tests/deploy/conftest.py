"""Real images, and networks for them as if trained."""

from collections.abc import Callable

import pytest
from networks import randomise
from torch import Tensor

from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.models import StagedResNet, resnet


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def test_images(digits: Dataset) -> Tensor:
    return digits.normalise(digits.test.images).contiguous()


@pytest.fixture
def trained(test_images: Tensor) -> Callable[..., StagedResNet]:
    """Networks of depth 18 for the digits with random scales and with statistics of real images."""

    def make(shortcuts: str = "none", classes: int = 10, width: int = 4) -> StagedResNet:
        return randomise(resnet(18, classes, shortcuts, width), test_images)  # type: ignore[arg-type, return-value]

    return make

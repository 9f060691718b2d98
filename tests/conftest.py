"""Small data and networks: every test runs in seconds on one core."""

import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from rdlib.images.dataset import Dataset, Split, moments
from rdlib.images.sources import checksum
from rdlib.recipe import Recipe
from rdlib.runs.run import Run
from rdlib.runs.store import Store

torch.set_num_threads(1)

MakeDataset = Callable[..., Dataset]

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored

# `make test` gives a worker whole files. The longest start first, so that no worker is left with one at the end; before
# them those that fork: torch learns in a fork only where its parent has not learned yet.
FIRST = (
    "test_kills.py",
    "test_inputs.py",
    "00_start_here.ipynb",
    "11_take_your_own_resnet.ipynb",
    "test_parallel.py",
    "test_sweep.py",
    "01_joint_training_by_hand.ipynb",
    "09_table2_latency.ipynb",
    "test_verify.py",
    "test_deploy.py",
    "08_table1_memory.ipynb",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))  # stable: within a file nothing moves


@pytest.fixture(scope="session", autouse=True)
def onnx_operators_listed_once() -> Iterator[None]:
    """torch lists the operators it can export anew for every export: 0.5 s of 1.5 s, and always the same list."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ModuleNotFoundError:  # a GPU machine has no ONNX
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def random_dataset(train: int = 48, test: int = 30, classes: int = 10, side: int = 8, seed: int = 0) -> Dataset:
    """A data set of random images, its labels going round the classes."""
    generator = torch.Generator().manual_seed(seed)
    arrays = {}
    for name, n in (("train", train), ("test", test)):
        arrays[f"{name}_images"] = torch.randint(256, (n, 3, side, side), generator=generator, dtype=torch.uint8)
        arrays[f"{name}_labels"] = torch.arange(n) % classes
    mean, std = moments(arrays["train_images"])
    return Dataset(
        "tiny",
        [f"class {i}" for i in range(classes)],
        Split(arrays["train_images"], arrays["train_labels"]),
        Split(arrays["test_images"], arrays["test_labels"]),
        mean,
        std,
        checksum(arrays, []),
    )


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    return random_dataset


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Dataset:
    return make_dataset()


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(epochs=3, batch_size=16, learning_rate=0.05, crop_padding=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tiny_runs(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> Callable[..., Run]:
    """Makes runs of width 4 on the tiny data set, which `rdlib.images.load` then gives for every name."""
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": dataset)

    def make(method: str = "Supervised", shortcuts: str = "none", seed: int = 0, **fields: object) -> Run:
        recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05, crop_padding=1)
        return Run(
            **{"dataset": "tiny", "depth": 18, "width": 4, "recipe": recipe}  # type: ignore[arg-type]
            | {"method": method, "shortcuts": shortcuts, "seed": seed}
            | fields
        )

    return make

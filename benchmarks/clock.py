"""Interleaved timing: all that is compared runs in turn, in one process, so that a slow minute hits all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from tqdm.auto import tqdm

Action = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one unit of work, one value a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def value(self) -> dict[str, float]:
        """As JSON holds it."""
        return {name: rounded(of(self.seconds)) for name, of in (("median", median), ("min", min), ("max", max))}


def rounded(number: float) -> float:
    """To six significant digits."""
    return float(f"{number:.6g}")


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told; a CPU already has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    actions: Mapping[str, Action],
    rounds: int,
    device: torch.device,
    *,
    units: int = 1,
    warm_up: int = 1,
    description: str | None = None,
) -> dict[str, Timing]:
    """Call every action `warm_up` times, then all of them in turn, `rounds` times; seconds a unit.

    An action does `units` of work (e.g. training steps) between two synchronisations, so that a GPU is kept as busy as
    in training. With a description, a progress bar is shown.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    bar = tqdm(total=(warm_up + rounds) * len(actions), desc=description, disable=description is None, leave=False)
    with bar:
        for action in actions.values():
            for _ in range(warm_up):
                action()
                bar.update()
        for _ in range(rounds):
            for name, action in actions.items():
                synchronise(device)
                started = time.perf_counter()
                action()
                synchronise(device)
                seconds[name].append((time.perf_counter() - started) / units)
                bar.update()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}

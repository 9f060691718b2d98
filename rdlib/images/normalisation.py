"""How a network's images were normalised and cut, where that is not the data set's own way."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rdlib.errors import ConfigError
from rdlib.images.dataset import Dataset, Images

Numbers = str | float | Sequence[float]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation per channel, in units of [0, 1]
NAMED = {"imagenet": IMAGENET, "none": ((0.0,) * 3, (1.0,) * 3)}  # none: [0, 1], as torchvision's ToTensor gives


def normalisation(mean: Numbers | None, std: Numbers | None) -> dict[str, list[float]]:
    """Mean and deviation per channel in units of [0, 1]; empty where neither is given.

    Each is three numbers (or one for all three channels), also as text ("0.5, 0.5, 0.5"), or a name of NAMED, which
    stands for both where the other is left out. Raises ConfigError for anything else, such as units of 0 to 255.
    """
    given: dict[str, Any] = {"mean": mean, "std": std}
    named = next((value for value in given.values() if isinstance(value, str) and value in NAMED), None)
    found: dict[str, list[float]] = {}
    for place, (what, value) in enumerate(given.items()):
        value = named if value is None else value
        if value is None:
            continue
        if isinstance(value, str) and value in NAMED:
            found[what] = list(NAMED[value][place])
            continue
        words = re.split(r"[\s,;]+", value.strip("[](){} ")) if isinstance(value, str) else np.ravel(value).tolist()
        try:
            numbers = [float(str(word)) for word in words]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            raise ConfigError(f"{what} is {', '.join(NAMED)}, or three numbers such as 0.5,0.5,0.5, not {value!r}")
        if not all(0 <= number <= 1 for number in numbers) or (what == "std" and 0 in numbers):
            raise ConfigError(
                f"{what} is in units of [0, 1]{' and not 0' if what == 'std' else ''}, not {value!r}: "
                "divide one of pixels from 0 to 255 by 255"
            )
        found[what] = numbers * (3 // len(numbers))
    if len(found) == 1:
        raise ConfigError(f"there is {next(iter(found))} without its {'mean' if 'std' in found else 'std'}: give both")
    return found


def seen_as(images: Images[Any], mean: Numbers | None, std: Numbers | None, resize: float | None) -> Images[Any]:
    """The same images, normalised (see `normalisation`) and, photographs, resized before the crop in another way.

    resize: pixels of the shorter side before evaluation cuts the middle out. What is None stays as it is. Raises
    ConfigError for other values, and a resize of images that are held in memory.
    """
    found = normalisation(mean, std)
    changes: dict[str, Any] = {name: torch.tensor(value, device=images.device) for name, value in found.items()}
    if resize is not None:
        if isinstance(images, Dataset):
            raise ConfigError(f"resize is for photographs, {images.name} holds images of one size: leave it out")
        if isinstance(resize, bool | str) or not images.side <= resize <= 16 * images.side:
            raise ConfigError(
                f"resize is the shorter side in pixels before {images.side} are cut out of it, "
                f"so a number from {images.side}, not {resize!r}"
            )
        changes["resize"] = resize / images.side
    return replace(images, **changes) if changes else images

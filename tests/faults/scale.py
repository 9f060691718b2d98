"""How much is tried: all of it in `make attack` (RDLIB_ATTACK=whole), a sample of it in `make test`."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
WHOLE = os.environ.get("RDLIB_ATTACK") == "whole"


def some(of: Sequence[T], few: int) -> list[T]:
    """All of them, or evenly spaced ones, the first and the last among them."""
    if WHOLE or len(of) <= few:
        return list(of)
    return [of[round(i * (len(of) - 1) / (few - 1))] for i in range(few)]

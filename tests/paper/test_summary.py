"""The front page's sentences: each number computed again from the raw records; one line without them."""

import re

import numpy as np
import raw_records
from raw_records import DEEP, DEEPEST, JOINTRD, PLAIN, RESNET, SMALL

from rdlib.files import RESULTS
from rdlib.paper.summary import summary
from rdlib.runs.store import Store


def test_every_number_is_that_of_the_raw_records() -> None:
    raw, text = raw_records.Raw(RESULTS), summary(Store())

    def mean(of: dict, seeds: int = 10) -> float:
        return float(np.mean([raw_records.top1(body) for body in raw.of(of, seeds)]))

    broken, last = ([round(mean(size | how)) for how in (JOINTRD, PLAIN, RESNET)] for size in (DEEP, DEEPEST))
    assert "At 66 layers it reaches {} %, alone {} %, the ResNet {} %".format(*broken) in text
    assert "at 98 layers {} %, alone {} %".format(*last) in text
    lifted = [f"{mean(SMALL | how, 5):.1f}" for how in (PLAIN, JOINTRD, RESNET)]
    assert "JointRD lifts {} to {} %; the ResNet has {} %".format(*lifted) in text
    reach = {"alone": 0, "taught": 0}
    for name, how in (("alone", PLAIN), ("taught", JOINTRD)):
        for depth in (18, 34, 50, 66, 98):
            if mean(DEEP | {"depth": depth} | how) < mean(DEEP | {"depth": depth} | RESNET) - 2:
                break
            reach[name] = depth
    assert f"to {reach['alone']} layers; taught by JointRD, to {reach['taught']}." in text
    seeds = min(len(raw.of(SMALL | how, 5)) for how in (PLAIN, JOINTRD, RESNET))
    assert re.search(rf"\(34 layers, {seeds} of 5 seeds\)", text)


def test_without_the_records_it_says_so(store: Store) -> None:
    assert summary(store) == "Not run yet."

"""The answers to the guided tasks: their numbers are the panels', and without records they say what is missing."""

import numpy as np
import pandas as pd
import pytest
import torch
from records import put_row

from rdlib.deploy.planner import FUSED, OUT_OF_PLACE, plan, traffic
from rdlib.deploy.sketch import sketch
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import rows_of
from rdlib.explorer import tasks
from rdlib.explorer.explorer import Explorer
from rdlib.explorer.network import Setting
from rdlib.images.dataset import Split
from rdlib.measure.paths import PATHS, Observation, Observed

QUICK = PROFILES["quick"]


def test_what_remains_of_the_saving_is_the_planners():
    answer = tasks.fused()
    for line in answer.table.to_dict("records"):
        plain, whole = (sketch(one.architecture, 224) for one in (Setting(), Setting().resnet))
        peaks, written = ([cost(graph) for graph in (whole, plain)] for cost in costs(line["executor"]))
        assert line["planned peak"] == f"{peaks[0] / peaks[1]:.2f}x"
        assert line["feature maps written"] == f"{written[0] / written[1]:.2f}x"
    assert answer.table["executor"].tolist()[:: len(answer.table) - 1] == [OUT_OF_PLACE, FUSED]
    assert answer.markdown().startswith("<details><summary>Answer to task 1:")


def costs(executor):
    return (lambda graph: plan(graph, executor).peak, lambda graph: traffic(graph, executor))


def seen(epoch, *wrong):
    """All paths right on both images but for these on the first."""
    logits = torch.eye(2).expand(len(PATHS), 2, 2).clone()
    for path in wrong:
        logits[PATHS.index(path), 0] = torch.tensor([0.0, 1.0])
    return Observation(epoch, (), (), logits)


def test_a_path_is_right_from_the_epoch_after_its_last_mistake():
    moments = [seen(0, "own", "mixed 1"), seen(2, "mixed 2"), seen(3, "own", "mixed 2"), seen(9, "mixed 3")]
    observed = Observed("a training", Split(torch.zeros(2, 3, 1, 1), torch.arange(2)), ["a", "b"], moments)
    found = tasks.right_from(observed, 0)
    assert found == {"own": "9", "mixed 1": "2", "mixed 2": "9", "mixed 3": "never", "teacher": "0"}
    assert set(tasks.right_from(observed, 1).values()) == {"0"}


@pytest.fixture
def deep(store):
    """Records of the table of depths, the deeper the worse, a ResNet at 99 %."""
    for row in rows_of(QUICK, "depth"):
        bad = 0 if row.shortcuts == "all" else row.depth / (1 if row.teaching.name == "cross-entropy" else 5)
        put_row(store, row, 99 - bad, 98.5 - bad, 98 - bad)
    return store


def test_the_depth_at_which_plain_networks_fail_is_that_of_the_records(deep):
    explorer = Explorer(deep.root)
    answer = tasks.depth(explorer.results)
    depths = answer.table["layers"].tolist()
    assert depths == sorted({row.depth for row in rows_of(QUICK, "depth") if row.shortcuts == "none"})
    assert answer.table.set_index("layers").loc[depths[0], "cross-entropy"] == f"{98.5 - depths[0]:.2f} ± 0.50"
    shallow = next(n for n in depths if n / 5 > tasks.FAR)
    assert (
        answer.lines[0]
        == f"cross-entropy: more than 10 points below the ResNet from {depths[0]} layers on ({depths[0]}.0 there)."
    )
    assert answer.lines[1].startswith(f"JointRD: more than 10 points below the ResNet from {shallow} layers on")
    assert tasks.fails(pd.Series([1.0, np.nan, 9.0])) == "nowhere more than 10 points below the ResNet"


def test_without_records_the_answers_say_what_is_missing(store):
    store.root.mkdir()
    explorer = Explorer(store.root)
    assert "there is no paths-quick.safetensors" in repr(tasks.paths(explorer.paths))
    assert "python -m rdlib sweep quick" in repr(tasks.depth(explorer.results))


def test_the_published_answers_name_the_first_path():
    answer = tasks.paths(Explorer().paths)
    assert "right from this epoch on: own" in answer.lines[0]
    assert answer.table["teacher"].eq(answer.table["teacher"].max()).all()

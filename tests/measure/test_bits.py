"""Fewer bits: as many levels as said, tails as statistics define them, and a record that goes on where it was."""

import numpy as np
import pytest
import torch
from records import put_row
from torch import nn

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.beyond import quantised
from rdlib.experiments.profiles import PROFILES
from rdlib.measure import bits
from rdlib.measure.record import write
from rdlib.models import plain

QUICK = PROFILES["quick"]


def network():
    torch.manual_seed(0)
    return fold(plain(18, 10, width=4).eval())


@pytest.mark.parametrize("number", [4, 8])
def test_a_network_of_so_many_bits_has_no_more_levels(number):
    pytest.importorskip("executorch")
    images = torch.randn(16, 3, 8, 8)
    small = tosa.quantised(network(), [images], number, number)
    weights = [b for name, b in small.converted.named_buffers() if b.dtype == torch.int8 and b.ndim == 4]
    assert weights
    for kernel in weights:
        assert kernel.abs().max() == 2 ** (number - 1) - 1
    assert len(small(torch.randn(64, 3, 8, 8)).unique()) <= 2**number


def test_tails_are_the_kurtosis_of_each_blocks_output():
    from scipy.stats import kurtosis

    net, images, seen = network(), torch.randn(32, 3, 8, 8), []
    net.layer1[1].register_forward_hook(lambda block, inputs, out: seen.append(out.numpy().ravel()))
    found = bits.tails(net, images)
    assert len(found) == 8
    assert found[1] == pytest.approx(float(kurtosis(seen[0].astype(np.float64), fisher=False)))

    class Normal(nn.Module):
        stages = (nn.Sequential(nn.Identity()),)

        def forward(self, x):
            return self.stages[0](x)

    assert bits.tails(Normal(), torch.randn(100, 3, 32, 32)) == [pytest.approx(3, abs=0.05)]


def test_changes_are_paired_and_a_run_without_a_measurement_is_left_out(store):
    row, other, *_ = quantised(QUICK)
    runs = {
        run.id: {"float32": 90.0 + i, "W4A4": 88.0 - i, "W8A8": 90.0 + i, "W4A8": 90.0, "kurtosis": [3.0, 9.0, 5.0]}
        for i, run in enumerate(row.runs[:2])
    }
    write(bits.RECORD.path(QUICK, store), {"runs": runs})
    assert bits.change(row, "W4A4", store).values == (-2.0, -4.0)
    assert bits.change(row, "W4A4", store).wanted == 5
    assert bits.change(other, "W4A4", store).values == ()
    line = bits.table(QUICK, store).iloc[0]
    assert (line["W4A4"], line["kurtosis, middle"], line["heaviest"]) == ("-3.00 ± 1.41", "5.0 ± 0.00", "9.0 ± 0.00")
    assert line["n"] == "2/5"


def test_without_any_weights_nothing_is_written_and_one_sentence_says_what_to_do(store, tmp_path):
    pytest.importorskip("executorch")
    row, *_ = quantised(QUICK)
    put_row(store, row, *[90.0] * 5)
    told = []
    with pytest.raises(RecordError, match="no run of quick that is compared here has weights"):
        bits.measure(QUICK, store, tmp_path / "bits.json", told.append)
    assert f"train --again {row.runs[0].id}" in told[0]
    assert not (tmp_path / "bits.json").exists()


def test_a_profile_without_such_networks_is_refused_by_name(store, tmp_path):
    with pytest.raises(ConfigError, match="cifar100 compares no networks with fewer bits: choose quick, cifar10-small"):
        bits.measure(PROFILES["cifar100"], store, tmp_path / "bits.json")

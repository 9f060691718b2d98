"""The int8 network that an NPU's compiler is given: one for all processors, and what PyTorch says it computes."""

import importlib.util

import pytest
import torch
from torch import nn

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.errors import DeployError
from rdlib.models import Architecture, StagedResNet, resnet

pytest.importorskip("ethosu")
pytest.importorskip("tosa_serializer")


def network(shortcuts="all", stem="cifar"):
    torch.manual_seed(0)
    return fold(StagedResNet(Architecture("basic", (1, 1, 1, 1), 10, shortcuts, 4, stem)).eval())


def images(count, side=16, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def plain():
    return tosa.quantised(network("none"), [images(8), images(3)])


def test_the_int8_network_answers_nearly_as_the_trained_one_for_any_number_of_images(plain):
    many = images(20, seed=2)
    wanted, found = network("none")(many), plain(many)
    assert (wanted - found).abs().max() < 0.1 * wanted.abs().max()
    assert torch.equal(torch.cat([plain(one[None]) for one in many]), found)
    assert plain.eval() is plain


def test_the_reference_model_computes_what_pytorch_does_to_a_few_steps_of_int8(plain):
    low = tosa.lowered(plain, 16)
    assert low.outside == {}
    many = images(20, seed=3)
    steps = (tosa.reference(low, many) - plain(many)) / low.exit[0]
    assert steps.abs().max() <= 4
    assert (steps - steps.round()).abs().max() < 1e-3, "both count in steps of int8"


def test_lowered_for_the_youngest_family_it_is_the_same_to_the_byte(monkeypatch):
    quantised = tosa.quantised(network("downsample", "imagenet"), [images(2, 32)])
    oldest = tosa.lowered(quantised, 32).tosa
    monkeypatch.setattr(tosa, "lowering", lambda of=tosa.lowering: of("ethos-u85-256"))
    assert tosa.lowered(quantised, 32).tosa == oldest


class Between(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, what):
        super().__init__()
        self.first, self.what, self.second = nn.Conv2d(3, 4, 3), what, nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.second(self.what(self.first(x))).mean((2, 3), keepdim=True).flatten(1)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (lambda x: torch.sort(x, 1)[0], "an NPU would run this network in 2 parts, since it leaves 1 sort to the CPU"),
        (lambda x: x[:, :, : int(x.sum()) % 3 + 3], "this network cannot be quantised for an NPU"),
    ],
)
def test_an_operator_that_the_compiler_lacks_is_named_in_one_sentence(what, sentence):
    with pytest.raises(DeployError, match=sentence) as refused:
        tosa.lowered(tosa.quantised(Between(what).eval(), [images(2)]), 16)
    assert "\n" not in str(refused.value)


def test_without_the_compiler_one_sentence_says_how_to_add_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ethosu" else found(name))
    with pytest.raises(DeployError, match=r"not installed \(ethosu\): add it with `uv sync --locked --group npu`"):
        tosa.quantised(network(), [images(1)])


def test_a_network_that_is_not_folded_is_refused():
    with pytest.raises(DeployError, match="is not folded"):
        tosa.quantised(resnet(18, 10, "all", 4).eval(), [images(1)])

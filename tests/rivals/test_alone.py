"""Without a teacher: first weights of equal length, a start that hands the image on, shortcuts that fade to nothing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.models import plain, resnet
from rdlib.rivals.alone import DiracStart, Faded, OrthogonalStart


def student(**options):
    torch.manual_seed(0)
    return plain(18, 5, width=4, **options)


def kernels(network):
    inside = [module for stage in network.stages for module in stage.modules()]
    return [m.weight.detach() for m in inside if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("make", [OrthogonalStart, DiracStart])
def test_kernels_are_a_scaled_isometry_at_their_centre_and_as_long_as_before(make):
    before, after = kernels(student()), kernels(make(student()).student)
    assert len(before) == len(after) == 16
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new.norm(), old.norm())
        centre = new[:, :, 1, 1]
        assert new.count_nonzero() == centre.count_nonzero()
        square = centre.T @ centre
        torch.testing.assert_close(square, square[0, 0] * torch.eye(len(square)), atol=1e-5, rtol=1e-4)
    first = make(student()).student.conv1.weight
    assert torch.equal(first, student().conv1.weight), "the stem stays"


def test_a_dirac_start_hands_each_channel_on():
    network = DiracStart(student()).student
    x = torch.rand(2, 4, 6, 6)
    conv = network.layer1[0].conv1
    torch.testing.assert_close(conv(x), x * conv.weight[0, 0, 1, 1])
    assert torch.equal(DiracStart(student()).student.layer2[0].conv1.weight[:4], network.layer2[0].conv1.weight[4:])


def test_at_full_share_it_is_a_resnet_and_at_none_the_plain_network():
    """Against a ResNet with the same weights, in training mode; in eval mode no shortcut is ever there."""
    method, twin = Faded(student()), resnet(18, 5, width=4)
    twin.load_state_dict(method.student.state_dict(), strict=False)
    for block, lent in zip([b for s in twin.stages for b in s.children()], method.lent, strict=True):
        if block.downsample is not None:
            block.downsample.load_state_dict(lent.state_dict())
    images, labels = torch.randn(6, 3, 8, 8), torch.randint(5, (6,))
    method.train(), twin.train()
    terms = method.losses(images, labels, 0.0)
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(twin(images), labels))
    alone = student()
    alone.load_state_dict(method.student.state_dict())
    ends = method.losses(images, labels, 0.6)
    torch.testing.assert_close(ends["cross_entropy"], F.cross_entropy(alone.train()(images), labels))
    method.losses(images, labels, 0.0)
    alone.load_state_dict(method.student.state_dict())
    assert torch.equal(method.eval().student(images), alone.eval()(images))


def test_the_share_falls_from_one_to_nothing_and_stays():
    method = Faded(student(), gone_by=0.5)
    images, labels = torch.randn(4, 3, 8, 8), torch.randint(5, (4,))
    shares = []
    for progress in (0.0, 0.1, 0.25, 0.4, 0.5, 0.9):
        method.losses(images, labels, progress)
        shares.append(method.share)
    assert shares[0] == 1
    assert shares[2] == pytest.approx(0.5)
    assert shares == sorted(shares, reverse=True)
    assert shares[-2:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Faded(resnet(18, 5, width=4)), "this student keeps all: choose none"),
        (lambda: Faded(student(), gone_by=0), "gone_by is a share of training above 0 and up to 1, not 0"),
        (lambda: OrthogonalStart(student(conv="dirac")), "plain convolutions, not dirac"),
        (lambda: DiracStart(student(conv="repvgg")), "plain convolutions, not repvgg"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)

"""ReDistill: the maps meet the teacher's of the next resolution, the loss is the formula, the peak is lower."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.deploy.planner import EXECUTORS, plan
from rdlib.errors import ConfigError
from rdlib.models import plain, resnet
from rdlib.recipe import Recipe
from rdlib.rivals.redistill import EncodedBlock, ReDistill, halving_early
from rdlib.runs.execute import assemble
from rdlib.runs.run import Run

SIDE = 16


def made(**options):
    torch.manual_seed(0)
    return ReDistill(resnet(18, 5, width=4), resnet(18, 5, width=4), **options).double()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(6, 3, SIDE, SIDE, dtype=torch.float64), torch.randint(5, (6,))


def through(blocks, h):
    for block in blocks:
        h = block(h)
    return h


def test_resolution_is_halved_early_and_the_last_map_is_as_large_as_the_teachers(batch):
    method = made().eval()
    assert [f.shape[-1] for f in method.student.features(batch[0])] == [8, 4, 2, 2]
    assert [f.shape[-1] for f in method.teacher.features(batch[0])] == [16, 8, 4, 2]


@pytest.mark.parametrize("rectified", [True, False])
def test_a_block_is_its_formula(rectified):
    torch.manual_seed(0)
    block, given = EncodedBlock(4, rectified), 4 * torch.randn(3, 4, 5, 5)
    x = given.clamp(min=0) if rectified else given
    gate = torch.sigmoid(block.gate[1](F.conv2d(x, block.gate[0].weight, block.gate[0].bias)))
    encoded = block.encoder[1](F.conv2d(x, block.encoder[0].weight, block.encoder[0].bias, padding=1)).clamp(0, 6)
    torch.testing.assert_close(block(given), x * gate + encoded)


def test_the_loss_is_half_cross_entropy_and_half_the_mean_gap_at_five_places(batch):
    (images, labels), method = batch, made(weight=3.0)
    terms = method.losses(images, labels, 0.5)
    s, t, block = method.student, method.teacher, [m for m in method.student.modules() if isinstance(m, EncodedBlock)]
    ours = [block[0](s.bn1(s.conv1(images)))]
    ours.append(block[1](s.layer1(ours[0])))
    ours.append(block[2](s.layer2[0][1](ours[1])))
    ours.append(block[3](through(s.layer2[1:], ours[2])))
    ours.append(block[4](s.layer3[0][1](ours[3])))
    theirs = [t.layer2[0](t.head(images, 1)), t.head(images, 2), None, t.head(images, 3), None]
    theirs[2], theirs[4] = t.layer3[0](theirs[1]), t.layer4[0](theirs[3])
    gaps = []
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape[-2:] == b.shape[-2:]
        a, b = a.mean(dim=1).flatten(1), b.relu().mean(dim=1).flatten(1)
        gaps.append(1 - ((a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)).mean())
    torch.testing.assert_close(terms["distance"], 3.0 * sum(gaps) / 5 / 2)
    logits = s.classify(through([*s.layer3[1:], s.layer4], ours[4]))
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(logits, labels) / 2)
    sum(terms.values()).backward()
    assert all(p.grad is None for p in t.parameters())
    assert all(p.grad is not None for p in s.parameters())


def test_trained_weights_are_read_back(batch):
    network = made().eval().student
    again = ReDistill.fitted(resnet(18, 5, width=4), network.state_dict()).double().eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(batch[0]), network(batch[0]))


def test_it_deploys_and_holds_less_at_the_peak_than_the_plain_network(batch, tmp_path):
    networks = {"early": made().float().eval().student, "plain": plain(18, 5, width=4).eval()}
    folded = {name: fold(network) for name, network in networks.items()}
    images = batch[0].float()
    torch.testing.assert_close(folded["early"](images), networks["early"](images), atol=1e-4, rtol=1e-4)
    graphs = {name: read_graph(export(one, tmp_path / f"{name}.onnx", SIDE)) for name, one in folded.items()}
    for executor in EXECUTORS:
        assert plan(graphs["early"], executor).peak < plan(graphs["plain"], executor).peak, executor


def test_it_takes_less_than_half_of_the_plain_networks_arithmetic():
    """What notebook 06 says, of the very networks that are compared there."""
    counted = []
    for network in (halving_early(resnet(34, 10, width=16)), plain(34, 10, width=16)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, 3, SIDE, SIDE))
        counted.append(counter.get_total_flops())
    assert 0.4 < counted[0] / counted[1] < 0.5


def test_a_copy_computes_the_same_and_keeps_no_map(batch):
    method = made()
    twin = copy.deepcopy(method)
    terms, again = (one.losses(*batch, 0.5) for one in (method, twin))
    assert terms.keys() == again.keys()
    assert all(torch.equal(terms[key], again[key]) for key in terms)
    assert not [hook for module in method.modules() for hook in module._forward_hooks]


def test_what_cannot_be_changed_so_is_refused():
    for network in (plain(18, 5, width=4, conv="dirac"), halving_early(plain(18, 5, width=4))):
        with pytest.raises(ConfigError, match="only a network of plain convolutions"):
            halving_early(network)
    run = Run("digits", "JointRD", 18, 4, "none", 0, Recipe(), {}, "0" * 12)
    with pytest.raises(ConfigError, match="the teacher is ReDistill's"):
        assemble(run, halving_early(resnet(18, 5, width=4)), 5)

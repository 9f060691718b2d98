"""Mixed paths at any block: exactly the formula, path by path; three at the stages' ends are JointRD itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.losses import margin_distance, negative_margin
from rdlib.methods import JointRD
from rdlib.models import STAGES, plain, resnet
from rdlib.rivals.deeper import JointRDAtBlocks, places


def networks(depth=18):
    torch.manual_seed(0)
    student, teacher = plain(depth, 5, width=4).double(), resnet(depth, 5, width=4).double()
    for norm in teacher.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return student, teacher


def batch():
    torch.manual_seed(1)
    return torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.randint(5, (6,))


def blocks_of(network):
    return [block for stage in network.stages for block in stage.children()]


def gradients(method, terms):
    method.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("cuts", [1, 3, 5, 7])
def test_the_growing_batch_equals_the_formula_written_out_path_by_path(cuts):
    """Losses and the gradients of everything that learns, in float64."""
    student, teacher = networks()
    method = JointRDAtBlocks(student, teacher, cuts=cuts).double()
    images, labels = batch()
    found = method.losses(images, labels, 0.1)
    with torch.no_grad():
        target = teacher.head(images, STAGES)
    margin, m = negative_margin(teacher.last_norm), method.m(0.1)

    def distance(connector, feature):
        return method.distance_weight * margin_distance(connector(feature), target, margin)

    terms = {}
    for i, place in enumerate(places(8, cuts)):
        h = student.stem(images)
        for block in blocks_of(student)[:place]:
            h = block(h)
        for block in blocks_of(teacher)[place:]:
            h = block(h)
        terms[f"mixed_{i + 1}_cross_entropy"] = m * F.cross_entropy(teacher.classify(h), labels)
        terms[f"mixed_{i + 1}_distance"] = m * distance(method.connectors[i], h)
    own = student.head(images, STAGES)
    terms["cross_entropy"] = F.cross_entropy(student.classify(own), labels)
    terms["distance"] = distance(method.connectors[-1], own)
    assert terms.keys() == found.keys()
    for name, term in terms.items():
        assert abs(float((term - found[name]).detach())) < 1e-9, name
    expected, ours = gradients(method, terms), gradients(method, method.losses(images, labels, 0.1))
    assert expected.keys() == ours.keys()
    assert all((expected[name] - ours[name]).abs().max() < 1e-9 for name in ours)
    assert not any(name.startswith("teacher") for name in ours)


def test_three_paths_where_the_stages_end_are_jointrd_bit_for_bit():
    """A network of 18 layers has two blocks a stage."""
    images, labels = batch()
    found = []
    for kind in (JointRD, JointRDAtBlocks):
        student, teacher = networks()
        torch.manual_seed(2)
        method = kind(student, teacher, **({"cuts": 3} if kind is JointRDAtBlocks else {})).double()
        terms = method.losses(images, labels, 0.2)
        found.append((terms, gradients(method, terms)))
    (terms, grads), (also, again) = found
    assert terms.keys() == also.keys()
    assert grads.keys() == again.keys()
    assert all(torch.equal(terms[name], also[name]) for name in terms)
    assert all(torch.equal(grads[name], again[name]) for name in grads)


@pytest.mark.parametrize("cuts", [1, 3, 6, 7])
def test_the_weights_of_all_paths_together_are_held(cuts):
    method = JointRDAtBlocks(*networks(), cuts=cuts)
    usual = JointRD(*networks())
    for progress in (0.0, 0.1, 0.5, 1.0):
        assert cuts * method.m(progress) == pytest.approx(3 * usual.m(progress))


@pytest.mark.parametrize("blocks", range(2, 50))
def test_cuts_are_evenly_spaced_and_no_two_are_one(blocks):
    for cuts in range(1, blocks):
        found = places(blocks, cuts)
        gaps = [b - a for a, b in zip([0, *found], [*found, blocks], strict=True)]
        assert len(found) == cuts
        assert min(gaps) >= 1
        assert max(gaps) - min(gaps) <= 2


@pytest.mark.parametrize("cuts", [0, -1, 8, 100])
def test_more_cuts_than_fit_between_the_blocks_are_refused(cuts):
    with pytest.raises(ConfigError, match=rf"{cuts} cuts do not fit between 8 blocks: choose 1 to 7"):
        JointRDAtBlocks(*networks(), cuts=cuts)


def test_a_teacher_of_other_blocks_is_refused():
    with pytest.raises(ConfigError, match="paths at blocks need equal blocks in every stage"):
        JointRDAtBlocks(plain(18, 5, width=4), resnet(34, 5, width=4))

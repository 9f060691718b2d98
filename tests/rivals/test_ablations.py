"""Each ablation changes one thing of JointRD and leaves the rest as it was."""

import copy

import pytest
import torch
from networks import LAMBDA, gradients, network
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.losses import margin_distance, negative_margin
from rdlib.methods import JointRD
from rdlib.rivals.ablations import (
    JointRDWithLogits,
    LinearFall,
    MeanSquared,
    PathAfter1,
    PathAfter2,
    PathAfter3,
    Widened,
    WithoutConnectors,
    WithoutMixedCrossEntropy,
    WithoutMixedDistance,
)

OWN = ["cross_entropy", "distance"]
KEPT = {
    WithoutMixedCrossEntropy: [*OWN, "mixed_1_distance", "mixed_2_distance", "mixed_3_distance"],
    WithoutMixedDistance: [*OWN, "mixed_1_cross_entropy", "mixed_2_cross_entropy", "mixed_3_cross_entropy"],
    PathAfter1: [*OWN, "mixed_1_cross_entropy", "mixed_1_distance"],
    PathAfter2: [*OWN, "mixed_2_cross_entropy", "mixed_2_distance"],
    PathAfter3: [*OWN, "mixed_3_cross_entropy", "mixed_3_distance"],
}
# Not one that drops terms, and the own path's cross-entropy is what it always was.
SAME_TERMS = (LinearFall, MeanSquared, WithoutConnectors)


def made(kind: type[JointRD], width: int = 4, **options: object) -> JointRD:
    """Every kind with the same student, teacher and, where it has them, connectors; in float64."""
    networks = network("none", 0), network("all", 1, width=width)
    torch.manual_seed(2)
    return kind(*networks, **options).double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(10, (4,), generator=generator)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


def last_maps(method: JointRD, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Pre-ReLU maps at the end of the three mixed paths and of the own path, one after another; and the teacher's."""
    student, teacher = method.student.train(), method.teacher
    maps = [teacher.tail(student.head(images, k), k)[1] for k in (1, 2, 3)]
    return [*maps, student.head(images, 4)], teacher.head(images, 4).detach()


def by_path(terms: dict[str, Tensor], what: str) -> list[Tensor]:
    return [terms[name] for name in (f"mixed_1_{what}", f"mixed_2_{what}", f"mixed_3_{what}", what)]


@pytest.mark.parametrize("progress", [0.0, 0.2])
@pytest.mark.parametrize("kind", KEPT)
def test_dropping_terms_is_exact(kind, progress, batch):
    """Terms and gradients are those of what remains of JointRD's sum, and of nothing else."""
    ablated, whole = made(kind), made(JointRD)
    assert ablated.partial
    found, terms = ablated.losses(*batch, progress), whole.losses(*batch, progress)
    expected = {name: terms[name] for name in terms if name in KEPT[kind]}
    assert sorted(expected) == sorted(KEPT[kind])
    assert {name: term.item() for name, term in found.items()} == {name: term.item() for name, term in expected.items()}
    sum(found.values()).backward()
    sum(expected.values()).backward()
    assert gradients(ablated.student).keys() == dict(ablated.student.named_parameters()).keys()
    assert_close(gradients(ablated), gradients(whole))
    assert not gradients(ablated.teacher)


def test_a_path_alone_reaches_the_student_up_to_its_junction(batch):
    """Behind the junction the gradient is the own path's; the three differ in how early that begins."""
    own = made(JointRD)
    terms = own.losses(*batch, 0.0)
    (terms["cross_entropy"] + terms["distance"]).backward()
    alone = gradients(own.student)
    for k, kind in enumerate((PathAfter1, PathAfter2, PathAfter3), start=1):
        method = made(kind)
        sum(method.losses(*batch, 0.0).values()).backward()
        found = gradients(method.student)
        changed = {name.split(".")[0] for name in found if not torch.allclose(found[name], alone[name])}
        assert changed == {"conv1", "bn1", *(f"layer{i}" for i in range(1, k + 1))}


def test_the_linear_fall_is_straight_from_the_same_start_to_the_same_end():
    method = made(LinearFall, m_start=0.9, m_min=0.1, m_end=0.4)
    assert [method.m(p) for p in (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1, 0.1])
    assert [made(LinearFall).m(p) for p in (0.0, 0.075, 0.3, 0.9)] == pytest.approx([1.0, 0.875, 0.5, 0.5])
    assert made(LinearFall, m_min=0.5, m_end=0.0).m(0.0) == 0.5


def test_the_linear_fall_weighs_the_mixed_paths_and_changes_nothing_else(batch):
    method, whole = made(LinearFall), made(JointRD, m_start=0.75, m_min=0.75)
    assert_close(method.losses(*batch, 0.15), whole.losses(*batch, 0.15))


def test_mean_squared_is_the_sum_of_all_squared_differences_over_the_batch(batch):
    method = made(MeanSquared)
    twin = copy.deepcopy(method)
    terms = method.losses(*batch, 0.0)
    maps, target = last_maps(twin, batch[0])
    for term, connector, feature in zip(by_path(terms, "distance"), twin.connectors, maps, strict=True):
        images = [(one - other).pow(2).sum() for one, other in zip(connector(feature), target, strict=True)]
        torch.testing.assert_close(term, LAMBDA * sum(images) / 4, rtol=1e-9, atol=0)


def test_without_connectors_the_feature_maps_are_compared_as_they_are(batch):
    method = made(WithoutConnectors)
    assert not list(method.connectors.parameters())
    twin = copy.deepcopy(method)
    terms = method.losses(*batch, 0.0)
    maps, target = last_maps(twin, batch[0])
    margin = negative_margin(twin.teacher.layer4[-1].bn2)
    for term, feature in zip(by_path(terms, "distance"), maps, strict=True):
        torch.testing.assert_close(term, LAMBDA * margin_distance(feature, target, margin), rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", SAME_TERMS)
def test_other_ablations_leave_every_cross_entropy_alone(kind, batch):
    found, expected = (made(one).losses(*batch, 0.0) for one in (kind, JointRD))
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected if "cross_entropy" in name)
    distances = [name for name in expected if "distance" in name]
    changed = [name for name in distances if not torch.allclose(found[name], expected[name])]
    assert changed == ([] if kind is LinearFall else distances)


def test_the_mixed_paths_enter_a_wider_teacher_through_an_entrance(batch):
    images, labels = batch
    method = made(Widened, width=8)
    for ours, theirs, entrance in zip((4, 8, 16), (8, 16, 32), method.entrances, strict=True):
        conv, norm = entrance
        assert (conv.weight.shape, norm.num_features) == ((theirs, ours, 1, 1), theirs)
    twin = copy.deepcopy(method)
    terms = method.losses(images, labels, 0.0)
    student, teacher = twin.student.train(), twin.teacher
    target = teacher.head(images, 4).detach()
    margin = negative_margin(teacher.layer4[-1].bn2)
    z, f = student.tail(student.stem(images), 0)
    expected = {
        "cross_entropy": F.cross_entropy(z, labels),
        "distance": LAMBDA * margin_distance(twin.connectors[3](f), target, margin),
    }
    for k in (1, 2, 3):
        z, f = teacher.tail(twin.entrances[k - 1](student.head(images, k)), k)
        expected[f"mixed_{k}_cross_entropy"] = F.cross_entropy(z, labels)
        expected[f"mixed_{k}_distance"] = LAMBDA * margin_distance(twin.connectors[k - 1](f), target, margin)
    assert_close(terms, expected)
    sum(terms.values()).backward()
    sum(expected.values()).backward()
    assert_close(gradients(method), gradients(twin))
    learning = {name for name, p in method.named_parameters() if p.requires_grad}
    assert gradients(method).keys() == learning
    assert {name.split(".")[0] for name in learning} == {"student", "entrances", "connectors"}
    method.eval()
    with torch.no_grad():
        own, mixed = method.paths(images, with_mixed=True)
        torch.testing.assert_close(own, method.student.head(images, 4), rtol=0, atol=1e-12)
        for k, feature in enumerate(mixed.chunk(3), start=1):
            entered = method.entrances[k - 1](method.student.head(images, k))
            torch.testing.assert_close(feature, method.teacher.tail(entered, k)[1], rtol=0, atol=1e-12)


def test_a_wider_teacher_is_refused_by_all_the_others():
    for kind in (JointRD, JointRDWithLogits, *KEPT, *SAME_TERMS):
        with pytest.raises(ConfigError, match=r"equal channels.*\[4, 8, 16, 32\].*\[8, 16, 32, 64\]"):
            made(kind, width=8)


@pytest.mark.parametrize(("options", "scale"), [({}, 1.0), ({"quarter": True}, 0.25)])
def test_with_logits_the_own_cross_entropy_alone_becomes_logit_distillation(options, scale, batch):
    images, labels = batch
    method, whole = made(JointRDWithLogits, **options), made(JointRD, **options)
    twin = copy.deepcopy(method)
    terms, expected = method.losses(*batch, 0.1), whole.losses(*batch, 0.1)
    logits, teacher_logits = twin.student.train()(images), twin.teacher(images).detach()
    ours, theirs = ((z / 4).log_softmax(1) for z in (logits, teacher_logits))
    divergence = 16 * (theirs.exp() * (theirs - ours)).sum() / 4
    own = {
        "cross_entropy": scale * 0.1 * F.cross_entropy(logits, labels),
        "logit_distillation": scale * 0.9 * divergence,
    }
    expected = own | {name: term for name, term in expected.items() if name not in own}
    assert_close(terms, expected)
    own_gradient = torch.autograd.grad(sum(terms[name] for name in own), list(method.student.parameters()))
    by_hand = torch.autograd.grad(sum(own.values()), list(twin.student.parameters()))
    for found, wanted in zip(own_gradient, by_hand, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert isinstance(method.connectors[0], nn.Sequential)

"""What each method teaches: its gradients, what it leaves alone, and how its terms are weighted."""

import copy

import pytest
import torch
from networks import LAMBDA, assert_same, gradients, network, snapshot
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.losses import logit_distillation, margin_distance, negative_margin
from rdlib.methods import FeatureDistillation, JointRD, LogitDistillation, Method, Supervised
from rdlib.models import resnet
from rdlib.rivals.register import METHODS
from rdlib.train import fit


def joint_rd(**options: object) -> JointRD:
    torch.manual_seed(2)
    return JointRD(network("none", 0), network("all", 1), **options).double()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(10, (6,), generator=generator)


def path_by_path(method: JointRD, images: torch.Tensor, labels: torch.Tensor, m: float, scale: float) -> torch.Tensor:
    """The formula of method.md written out: one path after another.

    L = CE(z_S) + lambda d(C_S(f_S), f_T) + m sum_k [CE(z_k) + lambda d(C_k(f_k), f_T)], each term times `scale`.
    """
    student, teacher = method.student.train(), method.teacher.eval()
    with torch.no_grad():
        _, f_t = teacher.tail(teacher.head(images, 0), 0)
    margin = negative_margin(teacher.layer4[-1].bn2)
    z, f = student.tail(student.head(images, 0), 0)
    total = F.cross_entropy(z, labels) + LAMBDA * margin_distance(method.connectors[3](f), f_t, margin)
    for k in (1, 2, 3):
        z, f = teacher.tail(student.head(images, k), k)
        distance = margin_distance(method.connectors[k - 1](f), f_t, margin)
        total = total + m * (F.cross_entropy(z, labels) + LAMBDA * distance)
    return scale * total


@pytest.mark.parametrize("quarter", [False, True])
@pytest.mark.parametrize(("progress", "m"), [(0.0, 1.0), (0.15, 0.5), (0.3, 0.0)])
def test_student_gradient_is_autograds_of_the_formula_path_by_path(batch, progress, m, quarter):
    method = joint_rd(m_min=0.0, quarter=quarter)
    written_out = copy.deepcopy(method)
    sum(method.losses(*batch, progress).values()).backward()
    path_by_path(written_out, *batch, m, 0.25 if quarter else 1.0).backward()
    expected = gradients(written_out.student) | gradients(written_out.connectors)
    found = gradients(method.student) | gradients(method.connectors)
    assert len(gradients(method.student)) == len(list(method.student.parameters()))
    assert m == 0 or found.keys() == expected.keys()
    torch.testing.assert_close(found, {name: expected[name] for name in found}, rtol=1e-9, atol=1e-12)


def test_batched_mixed_paths_equal_the_sequential_ones(batch):
    method = joint_rd()
    images, _ = batch
    method.eval()  # otherwise each sequential pass of the student would move its BatchNorm statistics
    with torch.no_grad():
        own, mixed = method.paths(images, with_mixed=True)
        torch.testing.assert_close(own, method.student.head(images, 4), rtol=0, atol=1e-12)
        logits = method.teacher.classify(mixed).chunk(3)
        for k, feature in enumerate(mixed.chunk(3), start=1):
            z, f = method.teacher.tail(method.student.head(images, k), k)
            torch.testing.assert_close(feature, f, rtol=0, atol=1e-12)
            torch.testing.assert_close(logits[k - 1], z, rtol=0, atol=1e-12)


def test_loss_terms_are_the_formulas_terms_by_name(batch):
    images, labels = batch
    method = joint_rd(distance_weight=0.01, m_start=0.8)
    twin = copy.deepcopy(method)
    terms = method.losses(images, labels, 0.0)
    with torch.no_grad():
        margin, f_t = negative_margin(twin.teacher.last_norm), twin.teacher.head(images, 4)
        z_s, f_s = twin.student.tail(twin.student.head(images, 0), 0)
        expected = {
            "cross_entropy": F.cross_entropy(z_s, labels),
            "distance": 0.01 * margin_distance(twin.connectors[3](f_s), f_t, margin),
        }
        for k in (1, 2, 3):
            z, f = twin.teacher.tail(twin.student.head(images, k), k)
            expected[f"mixed_{k}_cross_entropy"] = 0.8 * F.cross_entropy(z, labels)
            expected[f"mixed_{k}_distance"] = 0.8 * 0.01 * margin_distance(twin.connectors[k - 1](f), f_t, margin)
    assert list(terms) == list(expected)
    torch.testing.assert_close({k: v.detach() for k, v in terms.items()}, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(method.student_logits, z_s)


def test_without_feature_distance_its_terms_are_zero(batch):
    for name, term in joint_rd(distance_weight=0.0).losses(*batch, 0.0).items():
        assert (term == 0) if "distance" in name else (term > 0)


def test_mixed_paths_change_the_gradient_of_the_early_stages_alone(batch):
    """Stage 4 and the classifier lie behind the last junction: no mixed path runs through them."""
    found = {}
    for m in (1.0, 0.0):
        method = joint_rd(m_start=m, m_min=m, distance_weight=0.0)
        sum(method.losses(*batch, 0.0).values()).backward()
        found[m] = gradients(method.student)
    changed = {name.split(".")[0] for name in found[1.0] if not torch.allclose(found[1.0][name], found[0.0][name])}
    assert changed == {"conv1", "bn1", "layer1", "layer2", "layer3"}


def test_m_falls_on_a_cosine_and_then_stays():
    method = joint_rd(m_start=0.9, m_min=0.1, m_end=0.4)
    assert [method.m(p) for p in (0.0, 0.2, 0.4, 0.7, 1.0)] == pytest.approx([0.9, 0.5, 0.1, 0.1, 0.1])
    assert method.m(0.1) == pytest.approx(0.5 + 0.4 * 2**-0.5)
    assert joint_rd(m_min=0.5, m_end=0.0).m(0.0) == 0.5
    # The paper's, by default:
    assert [joint_rd().m(epoch / 200) for epoch in (0, 30, 60, 199)] == pytest.approx([1.0, 0.75, 0.5, 0.5])


@pytest.mark.parametrize("make", [LogitDistillation, JointRD])
def test_a_frozen_teacher_never_moves_not_even_its_statistics(make, dataset, recipe):
    teacher = resnet(18, 10, "all", 4)
    before = snapshot(teacher)
    method = make(resnet(18, 10, "none", 4), teacher)
    student = snapshot(method.student)
    epochs = fit(method, dataset, recipe, progress=False)
    next(epochs)
    method.train()
    next(epochs)
    assert_same(teacher, before)
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    assert not torch.equal(method.student.conv1.weight, student["conv1.weight"])


@pytest.mark.parametrize("make", [LogitDistillation, JointRD])
def test_init_teacher_copies_every_weight_and_statistic_the_student_has_and_scratch_none(make):
    teacher = network("all", 1)
    method = make(network("none", 0), teacher, init="teacher")
    weights = teacher.state_dict()
    assert_same(method.student, {name: weights[name] for name in method.student.state_dict()})
    assert method.student.layer1[0].conv1.weight.data_ptr() != teacher.layer1[0].conv1.weight.data_ptr()
    assert_same(make(network("none", 0), teacher, init="scratch").student, snapshot(network("none", 0)))


@pytest.mark.parametrize(
    ("student", "teacher", "options", "named"),
    [
        ({}, {"width": 8}, {"init": "teacher"}, "conv1.weight"),
        ({"depth": 34}, {}, {"init": "teacher"}, "depth"),
        ({}, {"width": 8}, {}, r"\[4, 8, 16, 32\].*\[8, 16, 32, 64\]"),
        ({}, {"depth": 50}, {}, "equal channels"),
        ({}, {}, {"init": "teacher", "regime": "beside"}, "change one"),
        ({}, {}, {"regime": "thawed"}, "frozen, beside"),
        (
            {},
            {},
            {"regime": "joint"},
            "^regime 'joint' is no more: choose beside, in which f_T is .* before its update",
        ),
        ({}, {}, {"init": "zeros"}, "scratch, teacher"),
    ],
)
def test_networks_or_options_that_do_not_fit_are_refused(student, teacher, options, named):
    with pytest.raises(ConfigError, match=named):
        JointRD(network("none", **student), network("all", **teacher), **options)


def test_logit_distillation_needs_no_equal_channels_and_weighs_its_two_terms(batch):
    images, labels = batch
    method = LogitDistillation(network("none", 0), network("all", 1, depth=50), alpha=0.7, temperature=2.0)
    student = copy.deepcopy(method.student).train()
    terms = method.losses(images, labels, 0.0)
    z, z_t = student(images), method.teacher(images)
    torch.testing.assert_close(terms["cross_entropy"], 0.3 * F.cross_entropy(z, labels))
    torch.testing.assert_close(terms["logit_distillation"], 0.7 * logit_distillation(z, z_t, 2.0))
    assert list(terms) == ["cross_entropy", "logit_distillation"]


def test_feature_distillation_is_jointrd_without_its_mixed_paths(batch):
    whole = joint_rd(m_start=0.0, m_min=0.0, distance_weight=0.01)
    alone = FeatureDistillation(
        copy.deepcopy(whole.student), copy.deepcopy(whole.teacher), distance_weight=0.01
    ).double()
    alone.connector.load_state_dict(whole.connectors[-1].state_dict())
    expected, found = whole.losses(*batch, 0.0), alone.losses(*batch, 0.0)
    assert found == expected
    assert found["distance"] > 0
    for terms in (expected, found):
        sum(terms.values()).backward()
    torch.testing.assert_close(gradients(alone.student), gradients(whole.student), rtol=0, atol=0)
    assert gradients(alone.connector)
    assert not gradients(alone.teacher)


def test_feature_distillation_needs_equal_channels_in_the_last_stage():
    with pytest.raises(ConfigError, match="the student has 32, the teacher 64"):
        FeatureDistillation(network(), network("all", width=8))


def test_supervised_is_cross_entropy_alone(batch):
    images, labels = batch
    method = Supervised(network())
    expected = F.cross_entropy(copy.deepcopy(method.student)(images), labels)
    terms = method.losses(images, labels, 0.5)
    assert list(terms) == ["cross_entropy"]
    torch.testing.assert_close(terms["cross_entropy"], expected)
    assert method.teacher_losses(images, labels) == {}


def test_method_names_are_their_classes():
    assert {name: cls.__name__ for name, cls in METHODS.items()} == {name: name for name in METHODS}
    assert all(issubclass(cls, Method) for cls in METHODS.values())

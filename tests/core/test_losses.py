"""Losses against slow versions written from their equations."""

import numpy as np
import pytest
import torch
from torch import nn

from rdlib.losses import logit_distillation, margin_distance, negative_margin


def margin_distance_by_hand(student: np.ndarray, teacher: np.ndarray, margin: np.ndarray) -> float:
    """t' = max(t, margin_c); nothing where s <= t' <= 0, else (s - t')^2; summed, divided by the batch size."""
    total = 0.0
    for n, c, i, j in np.ndindex(student.shape):
        s, target = student[n, c, i, j], max(teacher[n, c, i, j], margin[c])
        if not s <= target <= 0:
            total += (s - target) ** 2
    return total / len(student)


def test_margin_distance_equals_the_equation_element_by_element():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 4, 2, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    margin = torch.tensor([-0.1, -0.5, -1.0, -2.0], dtype=torch.float64)
    student[0, 0, 0] = teacher[0, 0, 0] = 0.0  # the boundary of the silent region
    expected = margin_distance_by_hand(student.numpy(), teacher.numpy(), margin.numpy())
    assert margin_distance(student, teacher, margin).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (-3.0, -1.0, 0.0),  # both silent after ReLU: student below the target
        (-0.2, -1.0, 0.09),  # margin -0.5 is the target, the student lies above it
        (-0.2, 2.0, 4.84),  # the teacher is active
        (1.0, -1.0, 2.25),  # the student should be silent
    ],
)
def test_margin_distance_case_by_case(student, teacher, expected):
    s, t = (torch.full((1, 1, 1, 1), value) for value in (student, teacher))
    assert margin_distance(s, t, torch.tensor([-0.5])).item() == pytest.approx(expected)


def test_margin_distance_of_a_repeated_batch_is_that_of_the_batch():
    student, teacher = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    margin = torch.full((3,), -0.3)
    once = margin_distance(student, teacher, margin)
    torch.testing.assert_close(margin_distance(student.repeat(2, 1, 1, 1), teacher.repeat(2, 1, 1, 1), margin), once)


def norm_with(gamma: list[float], beta: list[float]) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(gamma))
    norm.weight.data, norm.bias.data = torch.tensor(gamma), torch.tensor(beta)
    return norm


def test_negative_margin_is_the_mean_of_the_negative_samples():
    gamma, beta = [1.0, 0.5, -0.7, 2.0, -1.5, 1.0], [0.0, 0.4, 0.3, -3.0, 2.0, 2.0]
    samples = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    expected = []
    for g, b in zip(gamma, beta, strict=True):
        x = samples * g + b
        expected.append(x[x < 0].mean())
    torch.testing.assert_close(negative_margin(norm_with(gamma, beta)), torch.stack(expected), rtol=0.01, atol=0.005)


def test_negative_margin_of_a_channel_that_is_hardly_ever_negative_is_minus_three_gamma():
    # P(x < 0) is 0.00097 at beta / |gamma| = 3.1 and 0.00104 at 3.08.
    margin = negative_margin(norm_with([2.0, -2.0, 2.0], [6.2, 6.2, 6.16]))
    torch.testing.assert_close(margin[:2], torch.tensor([-6.0, -6.0]))
    assert -1.0 < margin[2] < 0


def test_negative_margin_stays_negative_and_finite_for_extreme_channels():
    margin = negative_margin(norm_with([0.0, 1e-3, 1e-3, 1.0], [-1.0, 5.0, -5.0, 0.0]))
    assert margin.isfinite().all()
    assert (margin < 0).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_logit_distillation_equals_the_kullback_leibler_sum(temperature):
    generator = np.random.RandomState(0)
    student, teacher = generator.randn(5, 7), generator.randn(5, 7)

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    expected = temperature**2 * (p * np.log(p / q)).sum() / len(student)
    found = logit_distillation(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_logit_distillation_of_equal_logits_is_zero_and_of_others_positive():
    logits = torch.randn(5, 7, dtype=torch.float64)
    assert logit_distillation(logits, logits, 4.0).item() == pytest.approx(0, abs=1e-12)
    assert logit_distillation(logits, logits.roll(1, 1), 4.0).item() > 0.01


def test_logit_distillation_gradient_hardly_depends_on_a_high_temperature():
    student, teacher = (0.1 * torch.randn(5, 7, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    gradients = [torch.autograd.grad(logit_distillation(student, teacher, t), student)[0] for t in (5.0, 50.0)]
    assert gradients[0].norm().item() == pytest.approx(gradients[1].norm().item(), rel=0.1)

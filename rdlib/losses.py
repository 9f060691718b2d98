"""Distillation losses as pure functions on tensors; each names the equation it implements."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def logit_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(z_teacher / T) || softmax(z_student / T)), mean over the batch (Hinton et al., 2015, section 2).

    Logits [N, classes]; returns a scalar. The factor T^2 keeps the gradient's size independent of T.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def margin_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Margin feature distance (Heo et al., ICCV 2019, equations 2 and 3), summed, divided by the batch size.

    student, teacher: pre-ReLU feature maps [N, C, H, W]; margin: [C], negative. The target is max(teacher, margin);
    an element costs nothing where student <= target <= 0 (after ReLU both are zero), else (student - target)^2.
    """
    target = torch.maximum(teacher, margin.view(1, -1, 1, 1))
    silent = (student <= target) & (target <= 0)
    return ((student - target).square() * ~silent).sum() / len(student)


def negative_margin(norm: nn.BatchNorm2d) -> Tensor:
    """Per channel E[x | x < 0] for x ~ N(beta, gamma^2), the output of a BatchNorm (Heo et al., ICCV 2019, equation 4).

    Returns [C]: beta - |gamma| * phi(beta / |gamma|) / Phi(-beta / |gamma|), and -3 |gamma| where the channel is
    negative with probability below 0.001.
    """
    gamma, beta = norm.weight.detach().abs().clamp_min(1e-12), norm.bias.detach()
    ratio = beta / gamma
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    negative = torch.special.ndtr(-ratio)
    mean = beta - gamma * density / negative.clamp_min(1e-12)
    return torch.where(negative < 0.001, -3 * gamma, mean)

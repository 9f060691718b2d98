"""One training step the straightforward way of the released code, to check the fast one against and to time it.

Written from the formulas, apart from `rdlib.methods`; nothing is saved: the teacher's weights require gradients, which
are computed and thrown away; the mixed paths run one after another; float32, contiguous memory, no compilation, a plain
loop over the parameters; and images that worker processes augment one at a time.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms

from rdlib.images.dataset import Dataset
from rdlib.losses import logit_distillation, margin_distance, negative_margin
from rdlib.methods import FeatureDistillation, JointRD, LogitDistillation, Method, Supervised, Taught
from rdlib.models import StagedResNet
from rdlib.recipe import Recipe

Terms = dict[str, Tensor]
Target = tuple[Tensor, Tensor]  # the teacher's last feature map f_T, detached, and its margins


def reference_terms(
    method: Method, images: Tensor, labels: Tensor, progress: float, given: Target | None = None
) -> Terms:
    """The weighted loss terms, named as the method's; given: the target, where the teacher learns."""
    if isinstance(method, Taught):
        method.teacher.eval()
    if isinstance(method, JointRD):
        return jointly_distilled(method, images, labels, progress, given)
    kind = next(kind for kind in TERMS if isinstance(method, kind))
    return TERMS[kind](method, images, labels, progress)


def teacher_pass(teacher: StagedResNet, images: Tensor, labels: Tensor) -> tuple[Terms, Tensor]:
    """One pass of a teacher that learns, in train mode: its cross-entropy, and f_T, detached."""
    f_t = teacher.train().head(images, 4)
    return {"teacher_cross_entropy": F.cross_entropy(teacher.classify(f_t), labels)}, f_t.detach()


def supervised(method: Supervised, images: Tensor, labels: Tensor, progress: float) -> Terms:
    return {"cross_entropy": F.cross_entropy(method.student(images), labels)}


def logits_distilled(method: LogitDistillation, images: Tensor, labels: Tensor, progress: float) -> Terms:
    """(1 - alpha) CE(z_S, y) + alpha T^2 KL(teacher || student)"""
    ours, theirs = method.student(images), method.teacher(images).detach()
    return {
        "cross_entropy": (1 - method.alpha) * F.cross_entropy(ours, labels),
        "logit_distillation": method.alpha * logit_distillation(ours, theirs, method.temperature),
    }


def feature_distilled(method: FeatureDistillation, images: Tensor, labels: Tensor, progress: float) -> Terms:
    """CE(z_S, y) + lambda d(C_S(f_S), f_T)"""
    f_t, margin = target(method.teacher, images)
    _, z_s, f_s = own_path(method.student, images)
    return {
        "cross_entropy": F.cross_entropy(z_s, labels),
        "distance": method.distance_weight * margin_distance(method.connector(f_s), f_t, margin),
    }


def jointly_distilled(
    method: JointRD, images: Tensor, labels: Tensor, progress: float, given: Target | None = None
) -> Terms:
    """CE(z_S, y) + lambda d(C_S(f_S), f_T) + m(t) sum_k [CE(z_k, y) + lambda d(C_k(f_k), f_T)], k = 1, 2, 3"""
    f_t, margin = given or target(method.teacher, images)
    early, z_s, f_s = own_path(method.student, images)
    m, scale, weight = mixed_weight(method, progress), method.scale, method.distance_weight
    terms = {
        "cross_entropy": scale * F.cross_entropy(z_s, labels),
        "distance": scale * weight * margin_distance(method.connectors[3](f_s), f_t, margin),
    }
    for k in (1, 2, 3):
        z_k, f_k = method.teacher.tail(early[k - 1], k)
        distance = margin_distance(method.connectors[k - 1](f_k), f_t, margin)
        terms[f"mixed_{k}_cross_entropy"] = scale * m * F.cross_entropy(z_k, labels)
        terms[f"mixed_{k}_distance"] = scale * m * weight * distance
    return terms


TERMS: dict[type[Method], Callable[..., Terms]] = {
    Supervised: supervised,
    LogitDistillation: logits_distilled,
    FeatureDistillation: feature_distilled,
    JointRD: jointly_distilled,
}


def target(teacher: StagedResNet, images: Tensor) -> Target:
    """Of a frozen teacher."""
    return teacher.head(images, 4).detach(), negative_margin(teacher.last_norm)


def own_path(student: StagedResNet, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The student's feature maps after stages 1, 2, 3, its logits z_S and its last feature map f_S."""
    maps = [student.stem(images)]
    for stage in student.stages:
        maps.append(stage(maps[-1]))
    return maps[1:4], student.classify(maps[4]), maps[4]


def mixed_weight(method: JointRD, progress: float) -> float:
    """m(t): a cosine from m_start down to m_min at m_end, then constant."""
    if progress >= method.m_end:
        return method.m_min
    cosine = math.cos(math.pi * progress / method.m_end)
    return 0.5 * (method.m_start + method.m_min) + 0.5 * (method.m_start - method.m_min) * cosine


class ReferenceStep:
    """Called as `rdlib.step.Step` is; a frozen teacher's gradients are computed and discarded.

    A teacher that learns makes one pass, which gives its cross-entropy and f_T, and is updated before the student's
    terms. Its margins are read when an epoch begins, that is when progress changes.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device):
        self.method = method.to(device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        frozen = method.teacher if isinstance(method, Taught) and not method.teacher_learns else None
        kept = set() if frozen is None else set(frozen.parameters())
        self.optimizer = torch.optim.SGD(
            [p for p in method.parameters() if p not in kept],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            foreach=False,
            fused=False,
        )
        method.requires_grad_(True)
        self.progress: float | None = None
        self.margin = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor, progress: float) -> Terms:
        if not self.method.teacher_learns:
            return self.down(reference_terms(self.method, images, labels, progress))
        teacher = self.method.teacher
        if progress != self.progress:
            self.progress, self.margin = progress, negative_margin(teacher.last_norm)
        terms, f_t = teacher_pass(teacher, images, labels)
        terms = self.down(terms)
        return terms | self.down(reference_terms(self.method, images, labels, progress, (f_t, self.margin)))

    def down(self, terms: Terms) -> Terms:
        """One optimiser step; of the student's terms nothing reaches the teacher."""
        self.method.zero_grad(set_to_none=True)
        sum(terms.values()).backward()  # type: ignore[union-attr]
        if isinstance(self.method, Taught) and "teacher_cross_entropy" not in terms:
            self.method.teacher.zero_grad(set_to_none=True)
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}


class PerImage(torch.utils.data.Dataset[tuple[Any, int]]):
    """Images [H, W, 3] in memory as torchvision's CIFAR holds them, transformed one at a time."""

    def __init__(self, data: Dataset, recipe: Recipe):
        self.images = data.train.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.labels: list[int] = data.train.labels.tolist()
        crop, flip = transforms.RandomCrop(self.images.shape[1], recipe.crop_padding), transforms.RandomHorizontalFlip()
        self.transform = transforms.Compose(
            [
                *([crop] if recipe.crop_padding else []),
                *([flip] if recipe.flip else []),
                transforms.ToTensor(),
                transforms.Normalize(data.mean.tolist(), data.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def loader(data: Dataset, recipe: Recipe, steps: int, workers: int) -> DataLoader[Any]:
    """So many shuffled batches an iteration. Workers stay between iterations and rest there: none works ahead."""
    images = PerImage(data, recipe)
    return DataLoader(
        images,
        recipe.batch_size,
        sampler=RandomSampler(images, num_samples=steps * recipe.batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=data.device.type == "cuda",
        drop_last=True,
    )

"""Where a fast step's time goes: its parts, each alone on one fixed batch."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.clock import Action
from benchmarks.setting import PROGRESS, Setting
from benchmarks.variants import drawn
from rdlib.images.dataset import Dataset
from rdlib.losses import margin_distance, negative_margin
from rdlib.methods import JointRD, Supervised
from rdlib.models import STAGES
from rdlib.step import FAST, Step, autocast


def parts(setting: Setting, data: Dataset, steps: int) -> dict[str, Action]:
    """Actions that do one part of so many steps. They add up to a step only roughly: neighbours share caches."""
    device, recipe = data.device, setting.recipe
    ((images, labels),) = drawn(setting, data, 1)
    plain, method = setting.build(Supervised), setting.build(JointRD)
    assert isinstance(method, JointRD)
    plain_step, step = (Step(m, recipe, device) for m in (plain, method))
    step(images, labels, PROGRESS)  # so that every gradient is there for the optimiser
    teacher = method.guide
    with torch.no_grad(), autocast(device, FAST):
        margin, target = negative_margin(method.teacher.last_norm), teacher.head(images, STAGES)
        maps = [method.student.head(images, k).clone() for k in range(1, STAGES)]
    for early in maps:
        early.requires_grad_(True)

    def read_data() -> None:
        for _ in drawn(setting, data, steps):
            pass

    def student() -> None:
        with autocast(device, FAST):
            loss = plain.losses(images, labels, PROGRESS)["cross_entropy"]
        plain_step.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]

    def teacher_forward() -> None:
        with torch.no_grad(), autocast(device, FAST):
            teacher.head(images, STAGES)

    def mixed_paths() -> None:
        """From the student's maps through the teacher to the losses, and the gradient back to the maps."""
        with autocast(device, FAST):
            running = maps[0]
            for k, stage in enumerate(teacher.stages[1:], start=1):
                running = stage(running)
                if k < STAGES - 1:
                    running = torch.cat([running, maps[k]])
            loss = F.cross_entropy(teacher.classify(running), labels.repeat(STAGES - 1))
            for feature, connector in zip(running.chunk(STAGES - 1), method.connectors, strict=False):
                loss = loss + margin_distance(connector(feature), target, margin)
        torch.autograd.grad(loss, maps)

    def optimiser() -> None:
        step.optimizer.step()

    return {
        "images": read_data,
        "student, forward and backward": repeated(student, steps),
        "teacher, forward": repeated(teacher_forward, steps),
        "mixed paths, forward and backward": repeated(mixed_paths, steps),
        "optimiser": repeated(optimiser, steps),
    }


def repeated(action: Action, times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            action()

    return run

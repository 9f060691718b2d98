"""Counted arithmetic of a training step, for the floor of the benchmarks and the remaining time of a sweep.

Counted by torch over the very code that trains, on tensors without data: 2 operations a multiply-add, convolutions and
matrix products alone (nothing else comes near).
"""

from dataclasses import replace
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from rdlib.rivals.register import METHODS
from rdlib.runs.execute import assemble
from rdlib.runs.run import Run


@cache
def step_flops(run: Run, side: int, num_classes: int, taught_by: Run | None = None) -> int:
    """Operations of one step, forward and backward, on one batch of images [batch, 3, side, side].

    A teacher is taken to have the student's depth and width, unless the run that trained it is given.
    """
    with torch.device("meta" if METHODS[run.method].shapes_alone else "cpu"):
        shape = taught_by or replace(run, shortcuts="all", conv="plain")
        teacher = shape.student(num_classes) if run.teacher else None
        method = assemble(run, teacher, num_classes)
        # Six, for of a batch each mixed path may take a third, and one image is too few for a BatchNorm.
        images, labels = torch.empty(6, 3, side, side), torch.zeros(6, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            teaching = method.teacher_losses(images, labels)
            for terms in (teaching, method.losses(images, labels, 0.0)):
                if terms:
                    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    total: int = counter.get_total_flops()
    return total * run.recipe.batch_size // len(labels)


def run_flops(run: Run, images: int, side: int, num_classes: int, taught_by: Run | None = None) -> int:
    """Operations of a whole training on so many images an epoch."""
    one = replace(run, seed=0, teacher=run.teacher and "0" * 12)  # one count serves all seeds
    return run.recipe.epochs * (images // run.recipe.batch_size) * step_flops(one, side, num_classes, taught_by)

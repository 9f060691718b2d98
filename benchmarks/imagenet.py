"""The benchmark "imagenet": a real training step at 224x224, from which notebook 10 reckons the hours of table 4."""

from pathlib import Path

import torch

from benchmarks.clock import interleaved, rounded
from benchmarks.floor import described, matrix_rate
from benchmarks.results import Entry, Results
from benchmarks.step import Plan
from rdlib.models import resnet
from rdlib.recipe import IMAGENET_RECIPE
from rdlib.runs.execute import assemble
from rdlib.runs.flops import step_flops
from rdlib.runs.run import Run
from rdlib.step import Step

CLASSES, SIDE = 1000, 224


def measure(depth: int, batch_size: int, plan: Plan, folder: Path | None) -> list[Entry]:
    """The supervised and the JointRD step of one depth on one fixed batch (reading photographs is not part of it)."""
    results, entries = Results("imagenet", plan.device, folder), []
    recipe = IMAGENET_RECIPE.at_batch_size(batch_size)
    supervised = Run("imagenet", "Supervised", depth, 64, "none", 0, recipe)
    runs = [supervised, Run("imagenet", "JointRD", depth, 64, "none", 0, recipe, teacher="0" * 12)]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, SIDE, SIDE, generator=generator).to(
        plan.device, memory_format=torch.channels_last
    )
    labels = torch.randint(CLASSES, (batch_size,), generator=generator).to(plan.device)
    steps = {}
    for run in runs:
        teacher = resnet(depth, CLASSES, stem=run.stem) if run.teacher else None
        steps[run.method] = Step(assemble(run, teacher, CLASSES).train(), recipe, plan.device)
    turns = {name: lambda step=step: step(images, labels, 0.5) for name, step in steps.items()}
    timings = interleaved(turns, plan.rounds, plan.device, warm_up=plan.warm_up, description=f"depth {depth}, {SIDE}")
    rate = matrix_rate(plan.device)
    for run in runs:
        timing, flops = timings[run.method], step_flops(run, SIDE, CLASSES)
        entries.append(
            {
                "setting": {"method": run.method, "depth": depth, "batch_size": batch_size, "side": SIDE},
                "provenance": plan.provenance(1),
                "flops": flops,
                "rate": rounded(flops / timing.median),
            }
            | described(timing, batch_size, flops, rate)
        )
        results.put(entries[-1])
    return entries

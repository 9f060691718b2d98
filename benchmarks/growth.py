"""The benchmark "growth": how the cost of the fast JointRD step grows with depth, width and batch size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.clock import rounded
from benchmarks.floor import described, matrix_rate
from benchmarks.results import Entry, Results
from benchmarks.setting import Setting
from benchmarks.step import Plan
from benchmarks.variants import Variant, allow_many_compiled, turn

Axes = dict[str, tuple[int, ...]]
EPOCH = 50_000  # images of one CIFAR epoch
AXES: dict[str, Axes] = {
    "cpu": {"depth": (18, 34, 50), "width": (8, 16, 32, 64), "batch_size": (32, 64, 128, 256)},
    "cuda": {"depth": (18, 34, 50), "width": (16, 32, 64, 128), "batch_size": (32, 64, 128, 256)},
}
QUICK: Axes = {"depth": (18, 34), "width": (4, 8), "batch_size": (16, 32)}


def measure(base: Setting, axes: Axes, plan: Plan, folder: Path | None) -> list[Entry]:
    """One entry an axis, the others as in `base`; the settings of an axis run interleaved."""
    results, entries = Results("growth", plan.device, folder), []
    allow_many_compiled()
    rate = matrix_rate(plan.device)
    for axis, values in axes.items():
        settings = {str(value): replace(base, **{axis: value}) for value in values}
        steps = plan.steps(max(settings.values(), key=lambda setting: setting.flops()))
        turns = {name: turn(Variant(), s, s.dataset(steps, plan.device), steps) for name, s in settings.items()}
        timings = plan.timed(turns, steps, f"growth with {axis}")
        points = [
            {"value": int(name), "epoch_seconds": rounded(EPOCH // setting.batch_size * timings[name].median)}
            | described(timings[name], setting.batch_size, setting.flops(), rate)
            for name, setting in settings.items()
        ]
        entries.append(
            {
                "setting": {"axis": axis} | {key: v for key, v in base.value.items() if key != axis},
                "provenance": plan.provenance(steps),
                "floor": {"matrix_rate": rounded(rate)},
                "points": points,
            }
        )
        results.put(entries[-1])
    return entries


def others(setting: dict[str, Any]) -> str:
    """What the axis leaves fixed."""
    names = {"depth": "depth", "width": "width", "batch_size": "batch"}
    return ", ".join(f"{name} {setting[key]}" for key, name in names.items() if key in setting)

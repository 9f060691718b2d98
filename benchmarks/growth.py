"""The benchmark "growth": how the cost of the fast JointRD step grows with depth, width and batch size."""

from dataclasses import replace
from pathlib import Path

from benchmarks.floor import matrix_rate, share
from benchmarks.results import Entry, Results
from benchmarks.setting import Setting
from benchmarks.step import Plan, rounded
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
        points = []
        for name, setting in settings.items():
            timing = timings[name]
            points.append(
                {
                    "value": int(name),
                    "seconds": timing.value,
                    "images_per_second": rounded(setting.batch_size / timing.median),
                    "epoch_seconds": rounded(EPOCH // setting.batch_size * timing.median),
                    "share_of_floor": rounded(share(setting.flops(), rate, timing.median)),
                }
            )
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

"""The benchmark "step": how long a JointRD step takes in every variant, its parts, and the other methods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.clock import Action, Timing, interleaved, rounded
from benchmarks.floor import convolution_rate, described, matrix_rate
from benchmarks.memory import peak_elsewhere
from benchmarks.parts import parts
from benchmarks.results import Entry, Results, provenance
from benchmarks.setting import Setting
from benchmarks.variants import allow_many_compiled, methods, turn, variants


@dataclass(frozen=True)
class Plan:
    """How often: `rounds` timed turns after `warm_up` untimed ones, each of so many steps; loader workers; whether
    compiled variants are among those compared, which takes a minute more."""

    device: torch.device
    rounds: int = 7
    warm_up: int = 2
    workers: int = 1
    compiled: bool = False

    def steps(self, setting: Setting) -> int:
        """Steps a turn: enough to hide what starting a turn costs (a batch from the loader, a GPU's empty queue)."""
        return 20 if self.device.type == "cuda" else max(1, 64 // setting.width)

    def timed(self, turns: Mapping[str, Action], steps: int, description: str) -> dict[str, Timing]:
        """Seconds a step of turns of so many steps."""
        how = {"units": steps, "warm_up": self.warm_up}
        return interleaved(turns, self.rounds, self.device, description=description, **how)

    def provenance(self, steps: int) -> Entry:
        how = {"rounds": self.rounds, "warm_up": self.warm_up, "steps_a_turn": steps}
        return provenance(self.device, **how, workers=self.workers, compile=self.compiled)


def measure(settings: list[Setting], plan: Plan, folder: Path | None) -> list[Entry]:
    """Measure each setting; what is known of it is written after each group."""
    results, entries = Results("step", plan.device, folder), []
    allow_many_compiled()
    for setting in settings:
        entry: Entry = {"setting": setting.value, "provenance": plan.provenance(plan.steps(setting))}
        for group in groups(setting, plan):
            entry |= group
            results.put(entry)
        entries.append(entry)
    return entries


def groups(setting: Setting, plan: Plan) -> Iterator[Entry]:
    """Floor, memory, variants, methods and parts of one setting, in this order."""
    device, steps, flops = plan.device, plan.steps(setting), setting.flops()
    rate = matrix_rate(device)
    yield {
        "floor": {
            "matrix_rate": rounded(rate),
            "convolution_rate": rounded(convolution_rate(setting, device)),
            "flops": flops,
            "seconds": rounded(flops / rate),
        }
    }
    names = ("reference", "fast")
    yield {"memory": {name: peak_elsewhere(name, setting, device) for name in names}}

    data = setting.dataset(steps, device)
    ways = variants(device, plan.compiled)
    turns = {name: turn(v, setting, data, steps, plan.workers) for name, v in ways.items()}
    timings = plan.timed(turns, steps, f"variants, {setting.label}")
    yield {
        "variants": {
            name: described(timing, setting.batch_size, setting.flops(**ways[name].options), rate)
            for name, timing in timings.items()
        }
    }
    del turns

    kinds = methods()
    turns = {name: turn(v, setting, data, steps) for name, v in kinds.items()}
    timings = plan.timed(turns, steps, f"methods, {setting.label}")
    yield {
        "methods": {
            name: described(timing, setting.batch_size, setting.flops(kinds[name].method, **kinds[name].options), rate)
            for name, timing in timings.items()
        }
    }
    del turns

    timings = plan.timed(parts(setting, data, steps), steps, f"parts, {setting.label}")
    yield {"parts": {name: {"seconds": timing.value} for name, timing in timings.items()}}

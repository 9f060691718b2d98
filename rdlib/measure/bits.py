"""Fewer bits: accuracy of trained networks with 8 and 4 bits, and how heavy the tails of their feature maps are.

Post-training, by PyTorch's own tools as for an NPU: weights symmetric per output channel, feature maps per tensor, the
range of each the least and greatest value that training images give. Computed by PyTorch; nothing here runs on 4 bits.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.deploy.delivery import CALIBRATION, batches
from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.beyond import BITS_OF, quantised
from rdlib.experiments.profiles import PROFILES, Profile
from rdlib.experiments.rows import Row, listed
from rdlib.experiments.tables import Cell
from rdlib.measure.int8 import spread, values
from rdlib.measure.record import ProfileRecord, Tell, origin, require_writable, write
from rdlib.runs.execute import images_of, require_same_images
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import evaluate

RECORD = ProfileRecord("bits")
BITS = ((8, 8), (4, 8), (4, 4))  # of weights and of feature maps


def measure(profile: Profile, store: Store, path: Path, tell: Tell = lambda line: None) -> None:
    """Quantise every run of `quantised` whose weights are here, and write what it keeps to a record after each.

    Runs that the record has are kept; those without weights are told and left out. Raises ConfigError for a profile
    without such rows, RecordError where the record cannot be written, DeployError where the tools are not installed.
    """
    if not quantised(profile):
        raise ConfigError(f"{profile.name} compares no networks with fewer bits: choose {listed(*BITS_OF.values())}")
    require_writable(path)
    tosa.require_packages()
    found: dict[str, Any] = RECORD.runs(profile, store, path)
    for row in quantised(profile):
        for run in row.runs:
            name = f"{row.name}, seed {run.seed}"
            if run.id in found:
                tell(f"{name}: kept")
            elif not store.has_weights(run):
                tell(f"{name}: no weights here, left out (`python -m rdlib train --again {run.id}`)")
            else:
                found[run.id] = one = kept(run, store)
                tell(f"{name}: {', '.join(f'{key} {one[key]:.2f}' for key in ('float32', *map(named, BITS)))}")
                settings = {"calibration_images": CALIBRATION}
                write(path, {"settings": settings, "provenance": origin(*tosa.PACKAGES), "runs": found})
    if not found:
        raise RecordError(f"no run of {profile.name} that is compared here has weights: train one, as named above")


def kept(run: Run, store: Store) -> dict[str, Any]:
    """Top-1 in percent of a trained run in float32 and with BITS, and the kurtosis of its feature maps.

    Raises RecordError where its images are not those of the record.
    """
    images = images_of(run, store)
    require_same_images(run, store, images)
    network, calibration = fold(store.network(run).eval()), batches(images, images.train, CALIBRATION)
    found: dict[str, Any] = {"float32": evaluate(network, images, images.test).top1}
    for bits in BITS:
        found[named(bits)] = evaluate(tosa.quantised(network, calibration, *bits), images, images.test).top1
    return found | {"kurtosis": [round(one, 3) for one in tails(network, torch.cat(calibration))]}


def named(bits: tuple[int, int]) -> str:
    """ "W4A8": weights of four bits, feature maps (activations) of eight."""
    return f"W{bits[0]}A{bits[1]}"


@torch.inference_mode()
def tails(network: nn.Module, images: Tensor) -> list[float]:
    """Kurtosis E (x - mean)^4 / variance^2 of all values of each block's output (pre-ReLU), in order; 3 is a normal
    distribution's. images [N, 3, side, side], normalised; network: folded, a StagedResNet."""
    found: list[float] = []

    def look(block: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        x = out.double()
        x = x - x.mean()
        found.append(float((x**4).mean() / (x**2).mean() ** 2))

    blocks = [block for stage in network.stages for block in stage.children()]  # type: ignore[union-attr]
    hooks = [block.register_forward_hook(look) for block in blocks]
    network(images)
    for hook in hooks:
        hook.remove()
    return found


def table(profile: Profile, store: Store, path: Path | None = None) -> pd.DataFrame:
    """Top-1 in percent, mean and deviation over the seeds that were measured: float32, then the paired change at each
    number of bits; and the kurtosis of feature maps, its middle block and its heaviest, mean over seeds."""
    runs, lines = RECORD.runs(profile, store, path), []
    for row in quantised(profile):
        found = [runs[run.id] for run in row.runs if run.id in runs]
        before = values(found, "float32")
        line = {"network": row.method if row.network == "plain" else "ResNet", "float32 (%)": spread(before)}
        line |= {named(bits): spread(values(found, named(bits)) - before, "+.2f") for bits in BITS}
        tails_of = [sorted(one["kurtosis"]) for one in found]
        line["kurtosis, middle"] = spread(values([{"k": one[len(one) // 2]} for one in tails_of], "k"), ".1f")
        line["heaviest"] = spread(values([{"k": one[-1]} for one in tails_of], "k"), ".1f")
        lines.append((line, len(found), len(row.runs)))
    return RECORD.table(profile, store, lines)


def change(row: Row, bits: str, store: Store) -> Cell:
    """By how many points of top-1 these bits, such as "W4A4", change each run of a row that was measured."""
    runs = RECORD.runs(PROFILES[BITS_OF[row.runs[0].dataset]], store)
    found = [runs[run.id] for run in row.runs if run.id in runs]
    return Cell(tuple(one[bits] - one["float32"] for one in found), len(row.runs))

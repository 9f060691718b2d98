"""Every reported accuracy beside ours, each with its source; and what the authors' released files are by their size."""

import pandas as pd
import torch

from rdlib.experiments.handwritten import paper
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import cell, fill_command, table3
from rdlib.models import SHORTCUTS, Shortcuts, Stem, resnet
from rdlib.paper.statistics import NO, NOT_RUN, SAME_LEVEL, YES
from rdlib.runs.store import Store

DOUBTFUL, DOUBT = "doubtful", ", doubtful"
MIB = 2**20
PLAIN: dict[Shortcuts, str] = {"none": SHORTCUTS["none"], "downsample": SHORTCUTS["downsample"]}
FORMS: tuple[tuple[str, Stem, int], ...] = (("CIFAR", "cifar", 10), ("ImageNet", "imagenet", 1000))


def table(store: Store) -> pd.DataFrame:
    """A line a reported value and network of ours that it may be about: of the two readings of "plain" the one that the
    size of the released file shows, else both.

    "same?" is yes within SAME_LEVEL points of the mean of our seeds.
    """
    known, lines = paper().to_dict("index"), []
    for profile in PROFILES.values():
        for row in table3(profile):
            for key in (row.reported, f"{row.reported}_hub"):
                if key in known and may_be(known[key]["plain"], row.shortcuts):
                    theirs, ours = float(known[key]["value"]), cell(row, store)
                    close = YES if abs(ours.mean - theirs) <= SAME_LEVEL else NO
                    lines.append(
                        {
                            "data": profile.name,
                            "network": f"{row.network}-{row.depth}",
                            "shortcuts": SHORTCUTS[row.shortcuts],
                            "taught by": row.method,
                            "reported (%)": f"{theirs:.2f}",
                            "by": known[key]["source"].partition(" ")[0] + DOUBT * (known[key]["plain"] == DOUBTFUL),
                            "ours (%)": str(ours),
                            "n": ours.count,
                            "same?": close if ours.values else NOT_RUN,
                        }
                    )
    return pd.DataFrame(lines)


def may_be(reading: object, shortcuts: Shortcuts) -> bool:
    """Whether a reported value may be of a network with such shortcuts: its reading of plain, if it has one, is that or
    doubtful."""
    return reading in (shortcuts, DOUBTFUL) or not isinstance(reading, str)


def commands(store: Store) -> list[str]:
    """What trains the cells beside which a value is reported."""
    return [f"to fill: {fill_command(PROFILES[name], '3', store)}" for name in ("cifar10", "cifar100")]


def released() -> pd.DataFrame:
    """The authors' released files as MindSpore Lite's documents list them, a column each, above the sizes in MiB of our
    folded networks in float32 ("Mb" there counts as MiB): which reading of "plain" a file is. The ImageNet form has
    1000 classes."""
    known, columns = paper(), {}
    for depth in (18, 34, 50):
        size, latency = (known.loc[f"lite_{what}{depth}"] for what in ("size", "latency"))
        sizes = {
            f"{form} form, {kind} (MiB)": f"{folded_bytes(depth, shortcuts, stem, classes) / MIB:.2f}"
            for form, stem, classes in FORMS
            for shortcuts, kind in PLAIN.items()
        }
        reading = SHORTCUTS.get(str(size["plain"]), "doubtful: none of these")
        about = {"listed (Mb)": f"{size['value']:g}"} | sizes | {"so it is": reading}
        columns[f"plain-CNN-ResNet{depth}"] = about | {"listed (ms)": f"{latency['value']:g}"}
    return pd.DataFrame(columns).reset_index(names="file")


def folded_bytes(depth: int, shortcuts: Shortcuts, stem: Stem, classes: int) -> int:
    """Bytes of a network's weights and biases in float32, BatchNorm folded."""
    with torch.device("meta"):
        network = resnet(depth, classes, shortcuts, stem=stem)
    folded = [each for each in network.modules() if isinstance(each, torch.nn.Conv2d | torch.nn.Linear)]
    return 4 * sum(each.weight.numel() + each.weight.shape[0] for each in folded)

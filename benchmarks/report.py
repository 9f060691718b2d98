"""README.md and the figures, wholly from the JSON files: no number in them is typed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.growth import EPOCH, others
from benchmarks.results import Entry, read_all
from benchmarks.setting import CLASSES, Setting
from rdlib.errors import RecordError
from rdlib.experiments.tables import as_markdown
from rdlib.files import whole
from rdlib.files import write as write_text

HEAD = f"""# Benchmarks

How fast JointRD trains here, against two measures: **the reference**, one step the straightforward way of the released
code ([reference.py](reference.py); a test holds its losses, gradients and steps against the fast ones), and **the
floor**, the step's needed arithmetic divided by the fastest matrix product that was measured on the same device.
`python -m benchmarks report` makes this page and its figures wholly from the JSON files in `results/`.

## How it is measured

- **Interleaved.** All variants that one table compares live in one process with the same weights and run in turn, round
  after round, so that a slow minute of the machine hits all alike. Before the first round each has its warm-up turns,
  which also compile. A turn is a short epoch of several steps; a table gives the *median* over the rounds, with the
  lowest and highest beside it. Numbers of rounds, steps and threads stand above each table.
- **A step** is one batch: images, losses, gradients, optimiser. Images are random, 32x32, {CLASSES} classes, in memory;
  the student is strictly plain. The reference augments images one by one in worker processes, which have cores of
  their own *besides* the counted threads; ours augments whole batches on the device, within the counted threads.
- **The reference computes in float32** with torch's defaults; on CUDA these let cuDNN's convolutions use TF32.
- **Share of the floor**: multiply-adds of convolutions and matrix products, forward and backward, that *our* step needs
  (2 operations each, counted by torch), over the measured matrix rate and the measured seconds. The rate is float32 on
  a CPU, bfloat16 on CUDA. The reference's wasted arithmetic earns it no share.
- **Without** and **with** a trick: the fast step with that one thing changed. Tricks act together, so their effects do
  not add up to the distance from the reference.
- **Peak memory**: a fresh process a variant, one fixed batch. On a CPU the resident memory, PyTorch itself included
  (what was taken before the first step is given apart); on CUDA what torch's allocator gave out.

"""

STEP = """## A JointRD step

    python -m benchmarks step
    python -m benchmarks step --device cuda

"""
GROWTH = f"""## How the cost grows

    python -m benchmarks growth
    python -m benchmarks growth --device cuda

The fast JointRD step. An epoch is *extrapolated*: measured seconds a step times the whole batches in {EPOCH:,} images.

"""
IMAGENET = """## A step at 224x224

    python -m benchmarks imagenet
    python -m benchmarks imagenet --device cuda

On one fixed batch, so without reading photographs. Notebook 10 reckons the hours of table 4 from it.

"""
PACKING = """## How many trainings at once

    python -m benchmarks packing --device cuda

Several processes train on one device at once; the fewest that come within 5 % of the best total are recommended.

"""


def markdown(rows: list[dict[str, str]]) -> str:
    return as_markdown(pd.DataFrame(rows)) + "\n"


def span(seconds: dict[str, float]) -> dict[str, str]:
    """Milliseconds: the median, and the lowest and highest round."""
    low, high = (f"{1000 * seconds[name]:.4g}" for name in ("min", "max"))
    return {"ms a step": f"{1000 * seconds['median']:.4g}", "lowest to highest": f"{low} to {high}"}


def described(timing: dict[str, Any]) -> dict[str, str]:
    return span(timing["seconds"]) | {
        "images/s": f"{timing['images_per_second']:.4g}",
        "share of the floor": f"{100 * timing['share_of_floor']:.0f} %",
    }


def origin(entry: Entry) -> str:
    """One line on how an entry was measured."""
    p = entry["provenance"]
    how = [f"{p['threads']} thread{'s' if p['threads'] > 1 else ''}"]
    turns = f"{p['rounds']} rounds" if p["rounds"] else f"{p['seconds']:g} s of turns"
    how += [f"{p['warm_up']} warm-up turns, then {turns} of {p['steps_a_turn']} steps"]
    commit = f"commit {p['commit'][:12]}{' with changes' if p['dirty'] else ''}" if p["commit"] else "no commit known"
    line = ", ".join([*how, f"torch {p['versions']['torch']}", p["created"][:10], commit]) + ".\n"
    return line + (f"**Mind:** {p['note']}.\n" if "note" in p else "")


def step_section(entry: Entry) -> str:
    """Everything known of one setting; a measurement that was interrupted gives what it has."""
    lines = [f"#### {Setting(**entry['setting']).label}\n", origin(entry)]
    floor, variants = entry.get("floor"), entry.get("variants")
    if floor:
        lines.append(
            f"Matrix rate {floor['matrix_rate'] / 1e9:,.0f} GFLOP/s (3x3 convolutions, forward: "
            f"{floor['convolution_rate'] / 1e9:,.0f}); a step needs {floor['flops'] / 1e9:,.1f} GFLOP, so its floor is "
            f"{1000 * floor['seconds']:.4g} ms.\n"
        )
    if variants:
        fast = variants["fast"]["seconds"]["median"]
        lines += [speed_up(variants), images_share(variants)]
        rows = [
            {"variant": name} | described(v) | {"duration, fast = 1": f"{v['seconds']['median'] / fast:.2f}"}
            for name, v in variants.items()
        ]
        lines.append(markdown(rows))
    if "memory" in entry:
        rows = [
            {
                "peak memory": name,
                "MiB": mebibytes(m["peak_bytes"]),
                "before the first step": mebibytes(m["before_bytes"]),
            }
            for name, m in entry["memory"].items()
        ]
        lines.append(markdown(rows))
    if "parts" in entry and variants:
        rows = [
            {"part of a fast step": name}
            | span(part["seconds"])
            | {"of the whole": f"{100 * part['seconds']['median'] / fast:.1f} %"}
            for name, part in entry["parts"].items()
        ]
        lines.append(markdown(rows))
    if "methods" in entry:
        lines.append(markdown([{"method, fast": name} | described(m) for name, m in entry["methods"].items()]))
    return "\n".join(lines)


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f}"


def speed_up(variants: dict[str, Any]) -> str:
    slow, fast = (variants[name]["seconds"] for name in ("reference", "fast"))
    return (
        f"The fast step takes {fast['median'] / slow['median']:.2f} of the reference's time: "
        f"**{slow['median'] / fast['median']:.2f} times as fast**.\n"
    )


def images_share(variants: dict[str, Any]) -> str:
    """What the data pipeline costs: the step with it against the step on one batch that is already there."""
    fixed, fast = (variants[name]["seconds"] for name in ("fast, one fixed batch", "fast"))
    share = 1 - fixed["median"] / fast["median"]
    noise = (fast["max"] - fast["min"]) / fast["median"]
    found = f"{100 * share:.1f} %" if share > 0 else "not above the noise"
    return f"Share of the data pipeline in the fast step: {found} (its rounds differ by {100 * noise:.1f} %).\n"


def growth_section(entry: Entry) -> str:
    axis, setting = entry["setting"]["axis"], entry["setting"]
    name = axis.replace("_", " ")
    rows = [
        {name: str(point["value"])} | described(point) | {"minutes an epoch": f"{point['epoch_seconds'] / 60:.3g}"}
        for point in entry["points"]
    ]
    return "\n".join([f"#### With {name}; {others(setting)}\n", origin(entry), markdown(rows)])


def imagenet_section(entry: Entry) -> str:
    setting = entry["setting"]
    title = f"#### {setting['method']}, depth {setting['depth']}, width 64, batch {setting['batch_size']}\n"
    return "\n".join([title, origin(entry), markdown([described(entry)])])


def packing_section(entry: Entry) -> str:
    totals = entry["images_per_second"]
    rows = [
        {"processes": count, "images/s together": f"{total:.4g}", "one = 1": f"{total / totals['1']:.2f}"}
        for count, total in totals.items()
    ]
    lines = [f"#### {Setting(**entry['setting']).label}\n", origin(entry)]
    if rows:
        lines += [markdown(rows), f"Recommended: `--jobs {entry['recommended_jobs']}`.\n"]
    if "failure" in entry:
        lines.append(f"{entry['failure']['processes']} processes failed: {entry['failure']['reason']}.\n")
    return "\n".join(lines)


def chapter(folder: Path, kind: str, section: Callable[[Entry], str]) -> str:
    """Every device's measurements of a kind, and the command that fills a gap."""
    bodies = read_all(folder, kind)
    on_cpu = [body["device"].startswith("cpu") for body in bodies]
    lines = []
    if not any(on_cpu) and kind != "packing":
        lines.append(f"No CPU run yet: `python -m benchmarks {kind}`.\n")
    for body in bodies:
        lines += [f"### {body['device']}\n", *(section(entry) for entry in body["entries"])]
    if all(on_cpu):
        lines.append(f"No GPU run yet: `python -m benchmarks {kind} --device cuda`.\n")
    return "\n".join(lines)


def picture(folder: Path, kind: str, text: str) -> str:
    return f"![{text}](results/{kind}.png)\n\n" if read_all(folder, kind) else ""


def page(folder: Path) -> str:
    """The whole README.md."""
    parts = [
        HEAD,
        STEP
        + picture(
            folder, "step", "Images per second of every variant of a JointRD step, and the ratio to the reference."
        ),
        chapter(folder, "step", step_section) + "\n",
        GROWTH + picture(folder, "growth", "Minutes an epoch against depth, width and batch size."),
        chapter(folder, "growth", growth_section) + "\n",
        IMAGENET + chapter(folder, "imagenet", imagenet_section) + "\n",
        PACKING + chapter(folder, "packing", packing_section),
    ]
    return "".join(parts)


def write(folder: Path) -> list[Path]:
    """Write README.md beside the folder of results, and the figures into it. Raises RecordError where it cannot."""
    from benchmarks import figures

    readme, written = folder.parent / "README.md", []
    try:
        for kind, draw in (("step", figures.step), ("growth", figures.growth)):
            bodies = read_all(folder, kind)
            if bodies:
                written.append(folder / f"{kind}.png")
                with whole(written[-1]) as temporary:
                    draw(bodies).savefig(temporary, format="png", metadata={"Software": None})
        write_text(readme, page(folder))
    except OSError as error:
        raise RecordError(f"cannot write the report ({error.strerror}): make its folder writable") from error
    return [*written, readme]

"""What every way to lose the shortcut costs: a step of its training, its arithmetic, and the network that it deploys.

Networks are untrained, as in `candidates`: time and memory depend on shapes alone. Most ways deploy the same plain
network, so each distinct network is exported and timed once and the ways share it. RMNet, which needs no training, is
measured on the trained ResNets. How accurate a way is stands in the records of its runs.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdlib.convolutions import fold
from rdlib.deploy.graph import read_graph
from rdlib.deploy.rmnet import rewritten
from rdlib.distributed import shard
from rdlib.errors import ConfigError
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row, listed
from rdlib.experiments.tables import in_store, rows_of
from rdlib.images import load
from rdlib.images.dataset import Images, S
from rdlib.measure.candidates import Candidate, seeded, shifted
from rdlib.measure.engines import Pass, Subject, choose, prepare
from rdlib.measure.latency import interleave
from rdlib.measure.latency_record import Settings
from rdlib.measure.memory import counted
from rdlib.measure.record import ProfileRecord, Tell, origin_of_times, require_writable, rounded, write
from rdlib.measure.speedup import speedup
from rdlib.methods import Method
from rdlib.models import KINDS, StagedResNet
from rdlib.runs.execute import assemble, require_same_images
from rdlib.runs.flops import run_flops
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.step import Step
from rdlib.train import evaluate

RECORD = ProfileRecord("rivals")
TABLES = ("rivals", "rivals-tuned")  # which list a ResNet first
RMNET = "RMNet (rewritten ResNet, no training)"
PACKAGES = ("torch", "onnx", "onnxruntime", "torch-pruning")
PAPER_SIDE = 224
MIDDLE = 0.5  # of training: SkipRemover has some of its shortcuts left then; of the others no step is unlike another
NO_MOVE = 1e-6  # learning rate: what a step costs does not depend on it, and weights that overflow would
OFTEN = {
    "passes": Settings(repetitions=500, warmup=20),
    "passes at the paper's size": Settings(repetitions=50, warmup=3),
    "training steps": Settings(repetitions=15, warmup=2),
}


def key(row: Row) -> str:
    """Where the record keeps a way's costs: the id of its first seed's run, so that a changed option is another way."""
    return row.runs[0].id


def network_name(row: Row) -> str:
    """What a row deploys, named as a `Candidate` is: for a ResNet it matters how it was cut, not how it was taught."""
    return listed(KINDS[row.shortcuts].format(row.depth), row.cut)


def measure(
    profile: Profile,
    store: Store,
    path: Path,
    tell: Tell = lambda line: None,
) -> None:
    """Measure every row of table "rivals", and RMNet on the ResNets whose weights are here; write one record.

    Minutes for the quick profile, on a machine that does nothing else. Raises RecordError, before anything is measured,
    where the record cannot be written, and ConfigError for a profile without that table.
    """
    require_writable(path)
    rows = rows_of(profile, "rivals")
    if not rows:
        raise ConfigError(f"profile {profile.name} has no table of rivals: choose one of small images")
    torch.set_num_threads(1)
    origin = origin_of_times(*PACKAGES)
    images = load(profile.dataset, image_size=profile.recipe.image_size)
    resnet = rows[0].runs[0]
    students = [shaped(row.runs[0], resnet, len(images.classes)) for row in rows]
    kinds = [kind(student) for student in students]
    firsts = [kinds.index(one) for one in kinds]  # of each row, the first one that deploys the same network
    distinct = {network_name(rows[i]): fold(students[i]) for i in dict.fromkeys(firsts)}
    tell(f"{len(distinct)} distinct networks at {images.side}x{images.side}, and RMNet's")
    deployed = cost_of(distinct | {RMNET: rewritten(students[0])}, images.side, OFTEN["passes"])
    tell(f"three networks of width 64 at {PAPER_SIDE}x{PAPER_SIDE}")
    candidates = [Candidate(profile.depths[0], kept, PAPER_SIDE) for kept in ("all", "none")]
    large = {one.name: one.network() for one in candidates} | {RMNET: rewritten(candidates[0].trainable().eval())}
    paper_size = cost_of(large, PAPER_SIDE, OFTEN["passes at the paper's size"])
    tell(f"training steps of {len(rows)} ways")
    steps = steps_of(rows, images, OFTEN["training steps"])
    ways = {
        key(row): {
            "name": row.name,
            "deploys": network_name(rows[first]),
            "step": steps[key(row)],
            "flops": flops(row.runs[0], resnet, images),
            "teacher_flops": flops(resnet, resnet, images) if row.runs[0].teacher else 0,
        }
        for row, first in zip(rows, firsts, strict=True)
    }
    exact = {run.id: exactness(run, store, images) for run in resnets(profile) if store.has_weights(run)}
    tell(missing(profile, store, exact) or f"{RMNET}: {len(exact)} trained ResNets rewritten")
    body = {
        "profile": profile.name,
        "settings": {what: asdict(one) for what, one in OFTEN.items()},
        "side": images.side,
        "batch_size": profile.recipe.batch_size,
        "provenance": origin,
        "networks": deployed,
        "paper_size": paper_size,
        "ways": ways,
        "rmnet": exact,
    }
    write(path, body)


def untrained(run: Run, resnet: Run, classes: int) -> Method:
    """The method of a run, taught by an untrained network where the run `resnet` trains its teacher."""
    return assemble(run, resnet.student(classes) if run.teacher else None, classes)


def shaped(run: Run, resnet: Run, classes: int) -> StagedResNet:
    """The student of a run as it leaves training, in eval mode: right in every shape, its weights untrained."""
    with seeded():
        return shifted(untrained(run, resnet, classes).student).eval()


def kind(network: StagedResNet) -> str:
    """Equal for networks that are the same when folded, but for their weights."""
    return f"{network.shortcuts}\n{fold(network)}"


def cost_of(networks: Mapping[str, nn.Module], side: int, settings: Settings) -> dict[str, Any]:
    """Of folded networks, by name: what the exported graph of one image [1, 3, side, side] says, in float32, and its
    latency in ONNX Runtime, all networks taking turns; `speedup` is the first one's median over the network's, [95 %].

    Raises DeployError where the runtime is missing or computes something else than eager PyTorch.
    """
    (engine,) = choose(["ONNX Runtime"], ["float32"])
    passes: dict[str, Pass] = {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, network) in enumerate(networks.items()):
            subject = Subject(network, side, Path(folder), f"network-{i}")
            passes[name] = prepare(engine, subject, 1, settings.threads)
            graph = read_graph(subject.onnx())
            found[name] = counted(graph) | {"additions": len(graph.joins)}
        times = interleave(passes, settings)
    resnet = next(iter(times.values()))
    for name, several in times.items():
        median, *quartiles = np.percentile(several, [50, 25, 75])
        ratio = [*speedup(resnet, several)]
        found[name] |= rounded({"milliseconds": median, "quartiles": quartiles, "speedup": ratio})
    return found


def steps_of(rows: Sequence[Row], images: Images[S], settings: Settings) -> dict[str, Any]:
    """Of each way a training step on one batch of real images, all ways taking turns: the median in milliseconds,
    images a second, and `ratio`, the step over that of the plain network taught by labels alone, [95 %].

    Loading and augmentation, which all ways share, are left out. The first row is the ResNet, the second that plain
    network.
    """
    resnet = rows[0].runs[0]
    batch, labels = next(images.training_batches(images.train, resnet.recipe, 0, 0, shard()))
    passes = {key(row): step_of(row.runs[0], resnet, batch, labels, len(images.classes)) for row in rows}
    times = interleave(passes, settings)
    plain, found = times[key(rows[1])], {}
    for one, several in times.items():
        median, ratio = np.median(several), [*speedup(several, plain)]
        rate = 1e3 * len(labels) / median
        found[one] = rounded({"milliseconds": median, "images_per_second": rate, "ratio": ratio})
    return found


def step_of(run: Run, resnet: Run, batch: Tensor, labels: Tensor, classes: int) -> Callable[[], object]:
    """One training step of a run, as the training loop takes it; networks are untrained."""
    with seeded():
        method = untrained(run, resnet, classes).train()
    step = Step(method, replace(run.recipe, learning_rate=NO_MOVE), batch.device)
    return lambda: step(batch, labels, MIDDLE)


def flops(run: Run, resnet: Run, images: Images[S]) -> int:
    """Operations of a whole training (2 a multiply-addition); a taught run's teacher is that of `resnet`."""
    return run_flops(run, len(images.train), images.side, len(images.classes), resnet if run.teacher else None)


def resnets(profile: Profile) -> list[Run]:
    """The runs of the ResNets that teach, each once."""
    return list(dict.fromkeys(run for table in TABLES for row in rows_of(profile, table)[:1] for run in row.runs))


def exactness(run: Run, store: Store, images: Images[S]) -> dict[str, Any]:
    """A trained ResNet against RMNet's rewrite of it on the test images: top-1 in percent, and how far logits differ.

    Raises RecordError where the run was trained on other images.
    """
    require_same_images(run, store, images)
    resnet = store.network(run)
    plain = rewritten(resnet)
    with torch.inference_mode():
        batches = (batch for batch, _ in images.evaluation_batches(images.test, 500, shard()))
        pairs = [(resnet(batch), plain(batch)) for batch in batches]
    before, after = (torch.cat(several) for several in zip(*pairs, strict=True))
    return {
        "resnet_top1": evaluate(resnet, images, images.test).top1,
        "top1": evaluate(plain, images, images.test).top1,
        "compared": len(before),
        "equal_top1": int((before.argmax(1) == after.argmax(1)).sum()),
        "largest_difference": rounded((before - after).abs().max().item()),
        "largest_logit": rounded(before.abs().max().item()),
    }


def missing(profile: Profile, store: Store, exact: Mapping[str, Any]) -> str:
    """What to say of RMNet where trained ResNets were not at hand; empty where all were."""
    absent = [run for run in resnets(profile) if run.id not in exact]
    if not absent:
        return ""
    again = in_store(f"python -m rdlib train --again {absent[0].id}", store)
    return (
        f"{RMNET}: {len(absent)} of {len(resnets(profile))} ResNets have no weights here, so their cells stay empty; "
        f"train them again, e.g. `{again}`, and then `{RECORD.command(profile, store)}`"
    )

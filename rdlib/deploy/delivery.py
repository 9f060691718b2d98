"""From a trained network to a verified file, and a short report on it."""

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdlib.convolutions import fold
from rdlib.deploy import planner
from rdlib.deploy.export import Deployed, Verification, explained, export, require_target, verify
from rdlib.deploy.graph import Graph
from rdlib.deploy.quantize import quantize
from rdlib.distributed import Shard
from rdlib.files import whole
from rdlib.images.dataset import Images
from rdlib.models import StagedResNet
from rdlib.train import evaluate

COMPARED = 500  # test images on which file and network are compared
CALIBRATION = 256  # training images from which int8 ranges are read
BATCH = 64
LOSS = 1.0  # points of top-1, beyond one binomial standard error, above which a report warns of int8


@dataclass(frozen=True)
class Delivery:
    """A file and what was found out about it; accuracies are top-1 in percent on the whole test split of `tested`
    images. batch: what the file is fixed to, or None."""

    path: Path
    network_top1: float
    file_top1: float
    verification: Verification
    int8: Verification | None
    tested: int
    batch: int | None

    def lines(self) -> list[str]:
        """The report, a line a fact."""
        kind, before = ("int8", "before quantisation ") if self.int8 else ("float32", "")
        found = [f"{self.path.name}: {size(self.path.stat().st_size)}, {kind}"]
        if self.batch is not None:
            found.append(f"batch: exactly {self.batch} a pass")
        written = self.int8 or self.verification  # int8 has other operators, and a runtime other fusions
        if self.verification.graph and written.graph:
            found += [*described(written.graph, self.verification.graph), additions(written)]
        compared = f"on {self.verification.images} test images"
        found.append(
            f"{before}same as eager PyTorch {compared}: equal top-1 on {self.verification.equal_top1}, "
            f"largest difference of a logit {self.verification.difference:.1e}"
        )
        if self.int8:
            found.append(f"int8 {compared}: equal top-1 on {self.int8.equal_top1}")
        found.append(f"test top-1: network {self.network_top1:.2f} %, this file {self.file_top1:.2f} %")
        return found + ([loss(self.network_top1, self.file_top1, self.tested)] if self.int8 else [])


def loss(before: float, after: float, images: int) -> str:
    """What int8 cost, of two top-1s in percent on so many images, and whether that is more than LOSS beyond the
    standard error of the first (with a right and a wrong image added, so that 100 % has one too)."""
    share = (before / 100 * images + 1) / (images + 2)
    bound = LOSS + 100 * math.sqrt(share * (1 - share) / images)
    change = f"int8 changes top-1 by {after - before:+.2f} points"
    if before - after <= bound:
        return change
    allowed = f"{LOSS:g} beyond the binomial error of {images} images"
    return f"WARNING: {change}, a loss above {bound:.2f} ({allowed}): deploy a float32 file instead"


def described(written: Graph, float32: Graph) -> list[str]:
    """Signature and operators of a file, and what its network costs in float32."""
    ends = (written.shapes[written.input][1:], written.shapes[written.output][1:])
    images = f"{float32.batch} images" if float32.batch > 1 else "one image"
    taken, given = (" x ".join([str(written.batch) if written.fixed else "N", *map(str, shape)]) for shape in ends)
    peaks = ", ".join(f"{size(planner.plan(float32, name).peak)} ({name})" for name in planner.EXECUTORS)
    return [
        f"input {written.input} [{taken}] float32, normalised; output {written.output} [{given}]; "
        f"ONNX opset {written.opset}",
        f"operators: {', '.join(f'{count} {name}' for name, count in written.operators.items())}",
        f"{float32.parameters:,} parameters, {float32.macs // float32.batch:,} multiply-additions an image",
        f"feature maps of {images}, float32: {size(planner.traffic(float32))} written; planned peak {peaks}",
    ]


def size(count: int) -> str:
    """Bytes, readable."""
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def additions(verification: Verification) -> str:
    """Which operators join feature maps, in the file and in the form that ONNX Runtime runs."""
    if verification.adds_nothing:
        return "additions: none, neither in the file nor after ONNX Runtime's own optimisation"
    assert verification.graph is not None
    assert verification.runtime_graph is not None
    joins = verification.graph.joins
    named = ", ".join(node.name for node in joins[:3]) + (", ..." if len(joins) > 3 else "")
    fused = sum(node.op.endswith("Conv") for node in verification.runtime_graph.joins)
    return f"additions: {len(joins)} ({named}); ONNX Runtime fuses {fused} of them into convolutions"


def deliver(
    network: StagedResNet,
    images: Images[Any],
    to: Path,
    int8: bool = False,
    about: Mapping[str, Any] | None = None,
    opset: int | None = None,
    batch: int | None = None,
) -> Delivery:
    """Fold a trained network, export it to `to`, verify it on test images, with int8 quantise it, and evaluate it.

    int8: `to` is an ONNX file; ranges come from evenly spaced training images. An ONNX file carries the classes, the
    mean and deviation that normalise its images, and `about`. opset, batch: as of `export`. Raises DeployError where
    anything fails and ConfigError for another opset or batch; no file is left that was not verified.
    """
    require_target(to, opset, batch, int8)
    facts = {"dataset": images.name, "classes": images.classes, "side": images.side}
    facts |= {"resize": images.resize, "mean": images.mean.tolist(), "std": images.std.tolist(), **(about or {})}
    folded = fold(network.eval())
    test = batches(images, images.test, COMPARED)
    with tempfile.TemporaryDirectory() as folder:
        file = export(folded, Path(folder) / to.name, images.side, facts, opset, batch)
        verification, compared = verify(network, file, test), None
        if int8:
            quantize(file, file, batches(images, images.train, CALIBRATION))
            compared = verify(network, file, test, tolerance=None)
        before = evaluate(network, images, images.test).top1
        deployed = Deployed(file)
        after = evaluate(deployed, images, images.test).top1
        with explained(to), whole(to) as temporary:
            shutil.copyfile(file, temporary)
    return Delivery(to, before, after, verification, compared, len(images.test), deployed.batch)


def batches(images: Images[Any], split: Any, count: int) -> list[Tensor]:
    """About `count` images of a split, evenly spaced (splits are ordered by class), in normalised batches."""
    index = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
    mask = torch.zeros(len(split), dtype=torch.bool)
    mask[torch.from_numpy(index)] = True
    return [batch for batch, _ in images.evaluation_batches(split.take(mask.to(images.device)), BATCH, Shard())]

"""From a trained network to a `.pte` file for a neural processor, verified as far as can be without one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.deploy.delivery import CALIBRATION, COMPARED, batches, loss, size
from rdlib.deploy.export import explained, require_target
from rdlib.deploy.vela import Estimate, Target, program
from rdlib.errors import ConfigError, DeployError
from rdlib.files import write
from rdlib.images.dataset import Images
from rdlib.models import StagedResNet
from rdlib.train import evaluate

STEPS = 8  # of a logit's 256: what the two ways to round after a convolution may come to over a whole network


@dataclass(frozen=True)
class Compared:
    """An int8 network as PyTorch computes it, beside TOSA's reference model of what is compiled: on how many test
    images, how many have one top-1 class, and the largest difference of a logit in steps of int8."""

    images: int
    equal_top1: int
    steps: float


@dataclass(frozen=True)
class Compiled:
    """A `.pte` file for a target and what was found out about it; accuracies are top-1 in percent on the test split of
    `tested` images, of the trained network and of its int8 form."""

    path: Path
    target: Target
    network_top1: float
    int8_top1: float
    compared: Compared
    estimate: Estimate
    outside: dict[str, int]
    tested: int

    def lines(self) -> list[str]:
        """The report, a line a fact."""
        of, compared = self.estimate, self.compared
        kinds = ", ".join(f"{each['count']} {name}" for name, each in of.operators.items())
        adds = of.operators.get("Add", {"count": 0})["count"]
        left = {**self.outside, **({"operators by Vela": of.on_cpu} if of.on_cpu else {})}
        named = ", ".join(f"{count} {name}" for name, count in left.items()) or "none"
        used = ", ".join(f"{size(count)} of {memory.replace('_', ' ')}" for memory, count in of.used.items() if count)
        return [
            f"{self.path.name}: {size(self.path.stat().st_size)}, int8, one image a pass, for {self.target.name}",
            f"operators of the NPU: {kinds}",
            f"additions: {adds}, {of.add_share:.1%} of the cycles" if adds else "additions: none",
            f"operators left to the CPU: {named}, but for quantising the image and reading the logits",
            f"the compiler's estimate, no processor was run: {of.milliseconds:.3g} ms, {of.cycles:,} cycles, {used}",
            f"Arm's reference model of what was compiled, against PyTorch's int8 on {compared.images} test images: "
            f"equal top-1 on {compared.equal_top1}, largest difference of a logit {compared.steps:g} of 256 steps",
            f"test top-1: network {self.network_top1:.2f} %, int8 {self.int8_top1:.2f} %",
            loss(self.network_top1, self.int8_top1, self.tested),
        ]


def quantised_for(network: StagedResNet, images: Images[Any]) -> tuple[tosa.Quantised, tosa.Lowered, Compared]:
    """A trained network folded, in int8 and lowered, both compared. Ranges come from evenly spaced training images.

    Raises DeployError where the compiler or its reference model is absent or refuses it, and where the two forms differ
    by more than STEPS.
    """
    quantised = tosa.quantised(fold(network.eval()), batches(images, images.train, CALIBRATION))
    lowered = tosa.lowered(quantised, images.side)
    test = torch.cat(batches(images, images.test, COMPARED))
    simulated, meant = quantised(test), tosa.reference(lowered, test)
    steps = float((simulated - meant).abs().max()) / lowered.exit[0]
    compared = Compared(len(test), int((simulated.argmax(1) == meant.argmax(1)).sum()), round(steps, 1))
    if not steps <= STEPS:
        raise DeployError(
            f"what would be compiled differs in a logit by {steps:g} of 256 steps: it is not this network"
        )
    return quantised, lowered, compared


def require_program(to: Path) -> None:
    """Raise ConfigError for a file that is not named as ExecuTorch's programs are."""
    if to.suffix != ".pte":
        raise ConfigError(f"{to.name}: what is compiled for an NPU is a program of ExecuTorch: name the file .pte")


@torch.inference_mode()
def compile_to(network: StagedResNet, images: Images[Any], to: Path, target: Target) -> Compiled:
    """Fold, quantise and compile a trained network for a target, and write it to `to`, a `.pte` file.

    Raises ConfigError for another suffix, DeployError where anything fails; no file is left that was not verified.
    """
    require_program(to)
    require_target(to)
    quantised, lowered, compared = quantised_for(network, images)
    content, estimate = program(quantised, lowered, images.side, target)
    before, after = (evaluate(each, images, images.test).top1 for each in (network, quantised))
    with explained(to):
        write(to, content)
    return Compiled(to, target, before, after, compared, estimate, lowered.outside, len(images.test))

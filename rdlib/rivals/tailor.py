"""SkipRemover of Tailor (Weng et al.): a trained ResNet loses one shortcut after another while it is trained on."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.methods import Taught
from rdlib.models import Block, StagedResNet


class SkipRemoval(Taught):
    """0.65 CE(z_S, y) + 0.35 mean (z_S - z_T)^2, while the shortcuts go one by one, from the first block to the last.

    The student is plain and starts from the teacher's weights. In training copies of the teacher's shortcuts are lent
    to its blocks and learn with it; they are taken back at even steps, the last one when the share `removed_by` of
    training is done. In eval mode none is there: what is evaluated is what will be deployed. Which block is the first
    to lose its shortcut the source leaves open. Raises ConfigError where there is no shortcut to remove.
    """

    starts_as_teacher = True

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        removed_by: float = 0.6,
        logit_weight: float = 0.35,
    ):
        super().__init__(student, teacher, "teacher")
        self.removed_by, self.logit_weight = removed_by, logit_weight
        self.lent, self.removed = nn.ModuleList(), 0
        for ours, theirs in zip(blocks(student), blocks(teacher), strict=True):
            if theirs.shortcut and not ours.shortcut:
                shortcut = copy.deepcopy(theirs.downsample) or nn.Identity()
                self.lent.append(shortcut.requires_grad_(True))
                ours.register_forward_hook(self.lender(len(self.lent) - 1))
        if not self.lent:
            raise ConfigError("no shortcut can be removed: the teacher needs shortcuts that the student lacks")
        self.train()  # also what was copied from the teacher, which is in eval mode

    def lender(self, index: int) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
        """A forward hook that adds the shortcut of that index while it is lent."""

        def add(block: nn.Module, inputs: tuple[Tensor], out: Tensor) -> Tensor:
            if not block.training or index < self.removed:
                return out
            return out + self.lent[index](F.relu(inputs[0]))  # type: ignore[no-any-return]

        return add

    @property
    def partial(self) -> bool:
        return True

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        gone = progress / self.removed_by if self.removed_by > 0 else 1.0
        self.removed = min(len(self.lent), int(gone * len(self.lent) + 1e-9))
        with torch.no_grad():
            teacher_logits = self.guide(images)
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {
            "cross_entropy": (1 - self.logit_weight) * F.cross_entropy(logits, labels),
            "logit_distance": self.logit_weight * F.mse_loss(logits, teacher_logits),
        }


def blocks(network: StagedResNet) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]

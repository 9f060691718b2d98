"""The reviewers' question, accuracy side: the trained ResNet loses channels, keeps its shortcuts and is trained on."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.methods import Taught
from rdlib.models import STAGES, StagedResNet
from rdlib.rivals.pruning import ROUND_TO, pruned


class FineTuned(Taught):
    """Cross-entropy of the teacher without a share `ratio` of the channels of its first `stages` stages (`pruned`).

    The student, a network of the teacher's depth and width, is replaced by the pruned copy.
    Raises ConfigError for a student of another architecture and options out of range.
    """

    shapes_alone = False
    starts_as_teacher = True

    def __init__(
        self,
        student: StagedResNet,
        teacher: StagedResNet,
        *,
        ratio: float = 0.5,
        stages: int = STAGES,
        round_to: int = ROUND_TO,
    ):
        super().__init__(student, teacher, "scratch")
        if student.architecture != teacher.architecture:  # else the trained weights could not be read back
            raise ConfigError("what is pruned is the teacher: the student needs its depth, width and shortcuts")
        if not 0 < ratio < 1 or not 1 <= stages <= STAGES or round_to < 1:
            raise ConfigError(
                f"pruning takes a ratio between 0 and 1, 1 to {STAGES} stages, round_to from 1: "
                f"not {ratio}, {stages}, {round_to}"
            )
        self.student = pruned(teacher, ratio, stages, round_to)
        self.train()

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {"cross_entropy": F.cross_entropy(logits, labels)}

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        """The network with every layer's channels as the weights have them."""
        for name, module in list(network.named_modules()):
            shape = weights[f"{name}.weight"].shape if f"{name}.weight" in weights else None
            if shape is None:
                continue
            new: Any = None
            if isinstance(module, nn.Conv2d):
                new = nn.Conv2d(
                    shape[1],
                    shape[0],
                    module.kernel_size,  # type: ignore[arg-type]
                    module.stride,  # type: ignore[arg-type]
                    module.padding,  # type: ignore[arg-type]
                    bias=False,
                )
            elif isinstance(module, nn.BatchNorm2d):
                new = nn.BatchNorm2d(shape[0])
            elif isinstance(module, nn.Linear):
                new = nn.Linear(shape[1], shape[0])
            network.set_submodule(name, new)
        return network

"""The reviewers' question, accuracy side: the trained ResNet loses channels, keeps its shortcuts and is trained on."""

from torch import Tensor, nn

from rdlib.errors import ConfigError
from rdlib.models import STAGES, StagedResNet
from rdlib.rivals.inherited import FromTeacher
from rdlib.rivals.pruning import ROUND_TO, pruned


class FineTuned(FromTeacher):
    """Cross-entropy of the teacher without a share `ratio` of the channels of its first `stages` stages (`pruned`).

    The student, a network of the teacher's depth and width, is replaced by the pruned copy.
    Raises ConfigError for a student of another architecture and options out of range.
    """

    shapes_alone = False

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

    @classmethod
    def fitted(cls, network: StagedResNet, weights: dict[str, Tensor]) -> StagedResNet:
        """The network with every layer's channels as the weights have them."""
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Conv2d):
                made, inner, *kernel = weights[f"{name}.weight"].shape
                how = (kernel, module.stride, module.padding)
                network.set_submodule(name, nn.Conv2d(inner, made, *how, bias=False))  # type: ignore[arg-type]
            elif isinstance(module, nn.BatchNorm2d):
                network.set_submodule(name, nn.BatchNorm2d(len(weights[f"{name}.weight"])))
            elif isinstance(module, nn.Linear):
                classes, inner = weights[f"{name}.weight"].shape
                network.set_submodule(name, nn.Linear(inner, classes))
        return network

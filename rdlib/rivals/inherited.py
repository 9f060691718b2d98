"""No teaching at all: the plain network starts from the trained ResNet's weights and learns from the labels."""

from torch import Tensor
from torch.nn import functional as F

from rdlib.methods import Taught
from rdlib.models import StagedResNet


class Inherited(Taught):
    """Cross-entropy alone, from the teacher's weights."""

    starts_as_teacher = True

    def __init__(self, student: StagedResNet, teacher: StagedResNet):
        super().__init__(student, teacher, "teacher")

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        logits = self.student(images)
        self.student_logits = logits.detach()
        return {"cross_entropy": F.cross_entropy(logits, labels)}

"""Without a teacher: other first weights for the plain network, and shortcuts that fade while it learns."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import projection
from rdlib.errors import ConfigError
from rdlib.methods import Supervised
from rdlib.models import StagedResNet


class OrthogonalStart(Supervised):
    """Cross-entropy from delta-orthogonal kernels (Xiao et al., ICML 2018): at first each 3x3 convolution in a block is
    an orthogonal matrix at its centre, which keeps lengths; each kernel as long as He's, so that a rate means the same.

    Raises ConfigError for a student of reparametrised convolutions.
    """

    def __init__(self, student: StagedResNet):
        super().__init__(student)
        restart(student, nn.init.orthogonal_)


class DiracStart(Supervised):
    """Cross-entropy from kernels that hand each channel on (two copies where channels double), as long as He's.

    Dirac weights (Zagoruyko and Komodakis, 2017) keep such an identity apart all through training; here it is a start
    only. Raises ConfigError for a student of reparametrised convolutions.
    """

    def __init__(self, student: StagedResNet):
        super().__init__(student)
        restart(student, identity)


def identity(matrix: Tensor) -> Tensor:
    """[out, in] -> ones where the channels are equal, counted anew after every `in`."""
    out, inputs = matrix.shape
    return matrix.copy_(torch.eye(inputs).repeat(math.ceil(out / inputs), 1)[:out])


def restart(student: StagedResNet, fill: Callable[[Tensor], Tensor]) -> None:
    """Every 3x3 kernel [out, in, 3, 3] of a block becomes zero but for its centre, which `fill` fills."""
    if student.architecture.conv != "plain":
        raise ConfigError(f"first weights are set for plain convolutions, not {student.architecture.conv}: choose one")
    inside = [module for stage in student.stages for module in stage.modules()]
    kernels = [m.weight for m in inside if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    with torch.no_grad():
        for kernel in kernels:
            length = kernel.norm()
            centre = fill(torch.empty(kernel.shape[:2]))
            kernel.zero_()[:, :, 1, 1] = centre * (length / centre.norm())


class Faded(Supervised):
    """Cross-entropy while shortcuts fade: each is multiplied by s(t), on a cosine from 1 at first to 0 at `gone_by`.

    The smooth cousin of SkipRemover, without a teacher. The student is plain; where channels or resolution change, what
    it is lent is a new 1x1 projection, in training only. In eval mode no shortcut is there: what is evaluated is what
    will be deployed. Raises ConfigError for a student that has shortcuts, or gone_by outside 0 to 1.
    """

    def __init__(self, student: StagedResNet, *, gone_by: float = 0.6):
        super().__init__(student)
        if student.shortcuts != "none":
            raise ConfigError(f"shortcuts fade in a plain network, this student keeps {student.shortcuts}: choose none")
        if not 0 < gone_by <= 1:
            raise ConfigError(f"gone_by is a share of training above 0 and up to 1, not {gone_by!r}")
        self.gone_by, self.share, self.lent = gone_by, 1.0, nn.ModuleList()
        channels = student.conv1.out_channels
        for stage, ours in enumerate(student.stages):
            for place, block in enumerate(ours.children()):
                stride, wide = (2 if stage and not place else 1), student.stage_channels[stage]
                fits = (stride, channels) == (1, wide)
                self.lent.append(nn.Identity() if fits else projection(channels, wide, stride))
                block.register_forward_hook(self.lender(len(self.lent) - 1))
                channels = wide

    def lender(self, index: int) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
        """A forward hook that adds the share of the shortcut of that index while there is one."""

        def add(block: nn.Module, inputs: tuple[Tensor], out: Tensor) -> Tensor:
            if not block.training or not self.share:
                return out
            return out + self.share * self.lent[index](F.relu(inputs[0]))  # type: ignore[no-any-return]

        return add

    @property
    def partial(self) -> bool:
        return True

    def losses(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        gone = min(1.0, progress / self.gone_by)
        self.share = (1 + math.cos(math.pi * gone)) / 2 if gone < 1 else 0.0
        return super().losses(images, labels, progress)

"""The optimiser of a recipe: SGD with Nesterov momentum or, for the question whether that is what fails, Muon."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.convolutions import Reparametrised
from rdlib.recipe import Recipe


def make_optimizer(method: nn.Module, recipe: Recipe, fused: bool = False) -> torch.optim.Optimizer:
    """Over everything that learns; scales of Dirac weights go without weight decay. fused: SGD as one kernel."""
    scaled = [module for module in method.modules() if isinstance(module, Reparametrised)]
    undecayed = {id(getattr(module, name)) for module in scaled for name in module.undecayed}
    learning = [p for p in method.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim == 4] if recipe.optimizer == "muon" else []
    matrices = {id(p) for p in kernels}
    decayed: dict[str, Any] = {"params": [p for p in learning if id(p) not in undecayed | matrices]}
    others: dict[str, Any] = {"params": [p for p in learning if id(p) in undecayed], "weight_decay": 0.0}
    groups = [group for group in (decayed, others) if group["params"]]
    rate, m, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    sgd = torch.optim.SGD(groups, rate, m, weight_decay=decay, nesterov=m > 0, fused=fused)
    return MuonForKernels(kernels, sgd, recipe) if kernels else sgd


class MuonForKernels(torch.optim.Optimizer):
    """torch's Muon (Jordan et al., 2024) for kernels [out, in, k, k] as matrices [out, in k k], SGD for the rest.

    Both take the recipe's rate, momentum and decay; Muon's decay is decoupled: each step shrinks a kernel by rate times
    decay. A permutation of columns commutes with Muon's step, so the order of in k k may be that of the memory.
    """

    def __init__(self, kernels: Sequence[Tensor], rest: torch.optim.SGD, recipe: Recipe):
        self.kernels = kernels
        matrices = [nn.Parameter(as_matrix(kernel.detach())) for kernel in kernels]
        assert all(m.data_ptr() == k.data_ptr() for m, k in zip(matrices, kernels, strict=True)), "views, no copies"
        rate, m, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
        self.parts = torch.optim.Muon(matrices, rate, decay, m, nesterov=m > 0), rest
        super().__init__(matrices, {"lr": rate})
        self.link()

    def link(self) -> None:
        """One list of groups, so that a scheduler sets the rate of both."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for kernel in self.kernels:
            kernel.grad = None
        self.parts[1].zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for matrix, kernel in zip(self.parts[0].param_groups[0]["params"], self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, kernel)
        for part in self.parts:
            part.step()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.link()


def as_matrix(kernel: Tensor, like: Tensor | None = None) -> Tensor:
    """[out, in, k, k] -> [out, in k k] in the order of the memory of `like`: of the kernel itself a view."""
    ordered = kernel if (kernel if like is None else like).is_contiguous() else kernel.permute(0, 2, 3, 1)
    return ordered.flatten(1)

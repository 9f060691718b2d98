"""Muon on kernels: torch's own step on a matrix of the same numbers, one schedule for all, a state that comes back."""

import copy

import pytest
import torch
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.models import plain
from rdlib.recipe import Recipe
from rdlib.step import MuonForKernels, make_optimizer
from rdlib.train import make_scheduler

RECIPE = Recipe(3, 4, 0.05, "one-cycle", weight_decay=0.1, optimizer="muon")


def network(layout=torch.contiguous_format):
    torch.manual_seed(0)
    return plain(18, 5, width=4).to(memory_format=layout)


def learn(net, optimizer, steps, first=0, scheduler=None):
    for step in range(first, steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        F.cross_entropy(net(torch.randn(8, 3, 8, 8)), torch.randint(5, (8,))).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_kernels_move_as_torchs_muon_moves_a_matrix_and_the_rest_as_sgd_moves_it(layout):
    net = network(layout)
    twin = copy.deepcopy(net)
    optimizer = make_optimizer(net, RECIPE)
    learn(net, optimizer, 1)
    torch.manual_seed(0)
    F.cross_entropy(twin(torch.randn(8, 3, 8, 8)), torch.randint(5, (8,))).backward()
    for name, p in twin.named_parameters():
        moved = dict(net.named_parameters())[name].detach()
        if p.ndim == 4:
            matrix = torch.nn.Parameter(p.detach().flatten(1).clone())
            matrix.grad = p.grad.flatten(1).clone()
            torch.optim.Muon([matrix], 0.05, 0.1, 0.9).step()
            # bfloat16 inside: another order of columns rounds otherwise
            torch.testing.assert_close(moved.flatten(1), matrix.detach(), atol=2e-3, rtol=0)
            assert (moved - p.detach()).abs().max() > 1e-3
        else:
            torch.optim.SGD([p], 0.05, 0.9, weight_decay=0.1, nesterov=True).step()
            torch.testing.assert_close(moved, p.detach(), atol=1e-6, rtol=1e-4)
    assert net.layer1[0].conv1.weight.is_contiguous(memory_format=layout)


def test_one_schedule_sets_the_rate_of_kernels_and_of_the_rest():
    optimizer = make_optimizer(network(), RECIPE)
    scheduler = make_scheduler(optimizer, RECIPE, 4)
    found = set()
    for _ in range(12):
        rates = {group["lr"] for part in optimizer.parts for group in part.param_groups}
        assert len(rates) == 1
        found |= rates
        optimizer.step()
        scheduler.step()
    assert max(found) == pytest.approx(0.05, rel=0.02)


def test_a_state_that_is_saved_and_loaded_goes_on_as_if_never_stopped():
    whole, half = network(), network()
    optimizer = make_optimizer(whole, RECIPE)
    learn(whole, optimizer, 6, scheduler=make_scheduler(optimizer, RECIPE, 4))
    first = make_optimizer(half, RECIPE)
    ticks = make_scheduler(first, RECIPE, 4)
    learn(half, first, 3, scheduler=ticks)
    state = copy.deepcopy({"o": first.state_dict(), "s": ticks.state_dict()})
    second = make_optimizer(half, RECIPE)
    later = make_scheduler(second, RECIPE, 4)
    second.load_state_dict(state["o"])
    later.load_state_dict(state["s"])
    learn(half, second, 6, first=3, scheduler=later)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), half.parameters(), strict=True))


def test_sgd_stays_what_it_was_and_another_name_is_refused():
    assert type(make_optimizer(network(), Recipe())) is torch.optim.SGD
    assert type(make_optimizer(network(), RECIPE)) is MuonForKernels
    with pytest.raises(ConfigError, match="unknown optimizer 'adam': choose one of None, muon"):
        Recipe(optimizer="adam")

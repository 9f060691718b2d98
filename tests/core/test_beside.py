"""A teacher that learns beside the student: order of passes, modes and updates as in the released code, by hand."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from networks import assert_same, gradients, network, snapshot
from ranks import Double
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.distributed import shard
from rdlib.errors import ConfigError
from rdlib.measure.gradients import evidence
from rdlib.methods import JointRD
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.step import Speed, Step
from rdlib.train import fit

CPU = torch.device("cpu")
LAMBDA, M = 1e-2, (1.0, 0.75, 0.5)  # of the three epochs: a cosine from 1 to 0.5 within two of them
RECIPE = Recipe(3, 16, 0.05, milestones=(), crop_padding=0, flip=False)


def beside(shortcuts: str = "none", **options: object) -> JointRD:
    """A fresh start, in float64."""
    torch.manual_seed(4)
    networks = resnet(18, 10, shortcuts, 4), resnet(18, 10, "all", 4)
    settings = {"distance_weight": LAMBDA, "m_end": 2 / 3, "regime": "beside"} | options
    return JointRD(*networks, **settings).double()


@pytest.fixture
def data(make_dataset) -> Double:
    """Three steps an epoch."""
    return Double(**vars(make_dataset(train=48)))


def batches(data: Double, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return data.training_batches(data.train, RECIPE, 0, epoch, shard())


@dataclass
class Released:
    """The released order written out, with an optimiser each for teacher and student.

    An epoch begins: margins are read. A step: one pass of the teacher in train mode gives its cross-entropy and f_T,
    detached; the teacher is updated; the mixed paths run through it with BatchNorm in eval mode; the student is
    updated. The two switches are what rdlib did before: f_T of an eval-mode pass after the update, margins each step.
    """

    method: JointRD  # for its networks and connectors alone
    scale: float = 1.0
    recomputes: bool = False
    margins_each_step: bool = False

    def __post_init__(self) -> None:
        self.student, self.teacher, self.connectors = self.method.student, self.method.teacher, self.method.connectors
        how = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
        self.theirs = torch.optim.SGD(self.teacher.parameters(), **how)
        self.ours = torch.optim.SGD([*self.student.parameters(), *self.connectors.parameters()], **how)

    def epoch(self, data: Double, index: int) -> None:
        self.margin = margin_of(self.teacher)
        for images, labels in batches(data, index):
            self.step(images, labels, M[index])

    def step(self, images: Tensor, labels: Tensor, m: float) -> None:
        teacher, student = self.teacher.train(), self.student.train()
        teacher.zero_grad()
        f_t = stages(teacher, stem(teacher, images), 0)[-1]
        F.cross_entropy(logits(teacher, f_t), labels).backward()
        self.theirs.step()
        teacher.eval()
        if self.recomputes:
            f_t = stages(teacher, stem(teacher, images), 0)[-1]
        if self.margins_each_step:
            self.margin = margin_of(teacher)
        f_t = f_t.detach()

        self.ours.zero_grad()
        maps = stages(student, stem(student, images), 0)
        loss = self.path(3, logits(student, maps[3]), maps[3], labels, f_t)
        for k in (1, 2, 3):
            f_k = stages(teacher, maps[k - 1], k)[-1]
            loss = loss + m * self.path(k - 1, logits(teacher, f_k), f_k, labels, f_t)
        loss.backward()
        self.ours.step()

    def path(self, connector: int, z: Tensor, f: Tensor, labels: Tensor, f_t: Tensor) -> Tensor:
        target = f_t.clamp(min=self.margin.view(1, -1, 1, 1))
        f = self.connectors[connector](f)
        apart = torch.where((f <= target) & (target <= 0), 0.0, (f - target) ** 2).sum() / len(f)
        return self.scale * (F.cross_entropy(z, labels) + LAMBDA * apart)


def stem(net: nn.Module, images: Tensor) -> Tensor:
    return net.bn1(net.conv1(images))


def stages(net: nn.Module, h: Tensor, after: int) -> list[Tensor]:
    """Pre-ReLU maps of the stages after the first so many, block by block."""
    maps = []
    for k in range(after + 1, 5):
        for block in getattr(net, f"layer{k}"):
            x = F.relu(h)
            h = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            if block.shortcut:
                h = h + (x if block.downsample is None else block.downsample(x))
        maps.append(h)
    return maps


def logits(net: nn.Module, h: Tensor) -> Tensor:
    return F.linear(F.relu(h).mean((2, 3)), net.fc.weight, net.fc.bias)


def margin_of(teacher: nn.Module) -> Tensor:
    """E[x | x < 0], x ~ N(beta, gamma^2), or -3 |gamma|, channel by channel."""
    norm = teacher.layer4[-1].bn2
    gamma, beta = norm.weight.detach().abs(), norm.bias.detach()
    normal, zero = torch.distributions.Normal(beta, gamma), torch.zeros_like(beta)
    below = normal.cdf(zero)
    return torch.where(below < 1e-3, -3 * gamma, beta - gamma**2 * normal.log_prob(zero).exp() / below)


def apart(a: JointRD, b: JointRD) -> dict[str, float]:
    """The largest relative difference of any parameter or BatchNorm statistic, by the method's part."""
    found: dict[str, float] = {}
    others = b.state_dict()
    for name, tensor in a.state_dict().items():
        part, one, other = name.split(".")[0], tensor.double(), others[name].double()
        found[part] = max(found.get(part, 0.0), ((one - other).norm() / other.norm().clamp_min(1e-300)).item())
    assert found.keys() == {"student", "teacher", "connectors"}
    return found


@pytest.mark.parametrize(("shortcuts", "quarter"), [("none", False), ("downsample", False), ("none", True)])
def test_three_steps_are_those_of_the_released_code_and_so_are_the_next_epochs(shortcuts, quarter, data):
    method = beside(shortcuts, quarter=quarter)
    by_hand = Released(copy.deepcopy(method), scale=0.25 if quarter else 1.0)
    start = copy.deepcopy(method)
    for epoch in fit(method, data, RECIPE, progress=False):
        assert epoch.losses["distance"] > 0 < epoch.losses["mixed_1_distance"]
        by_hand.epoch(data, epoch.epoch - 1)
        found = apart(method, by_hand.method)
        assert max(found.values()) < 1e-8, found
    assert min(apart(method, start).values()) > 0.1  # it did train


@pytest.mark.parametrize("departure", ["recomputes", "margins_each_step"])
def test_the_order_that_rdlib_had_before_would_be_seen(departure, data):
    method = beside()
    by_hand = Released(copy.deepcopy(method), **{departure: True})
    next(fit(method, data, RECIPE, progress=False))
    by_hand.epoch(data, 0)
    found = apart(method, by_hand.method)
    assert found["teacher"] < 1e-8  # the teacher is told nothing of it
    assert found["student"] > 1e-2, found
    assert found["connectors"] > 1e-2, found


def test_margins_are_those_of_the_epochs_start(data):
    method = beside()
    losses, seen = method.losses, []

    def watch(*batch: object) -> dict[str, Tensor]:
        seen.append((method.margin, margin_of(method.teacher)))
        return losses(*batch)

    method.losses = watch
    starts = [margin_of(method.teacher)]
    starts += [margin_of(method.teacher) for _ in fit(method, data, replace(RECIPE, epochs=2), progress=False)]
    for step, (used, now) in enumerate(seen):
        torch.testing.assert_close(used, starts[step // 3], rtol=1e-12, atol=0)
        assert not torch.allclose(used, now, rtol=1e-6, atol=0)  # the teacher has moved since
    assert len(seen) == 6
    assert not torch.allclose(starts[0], starts[1], rtol=1e-6, atol=0)


def test_a_method_that_is_trained_again_forgets_the_margins_of_before(data):
    once, twice = beside(), beside()
    recipe = replace(RECIPE, epochs=1)
    for method in (once, twice):
        list(fit(method, data, recipe, progress=False))
    fresh = beside()
    fresh.load_state_dict(once.state_dict())
    for method in (fresh, twice):
        list(fit(method, data, recipe, progress=False))
    assert_same(twice, snapshot(fresh))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6)


def used(**options: object) -> JointRD:
    """No BatchNorm in its initial state."""
    torch.manual_seed(2)
    return JointRD(network("none", 0), network("all", 1), regime="beside", **options).double()


def test_the_teachers_gradient_is_that_of_its_own_cross_entropy(batch):
    images, labels = batch
    method = used()
    alone = copy.deepcopy(method.teacher).train()
    F.cross_entropy(alone(images), labels).backward()
    terms = method.teacher_losses(images, labels)
    assert list(terms) == ["teacher_cross_entropy"]
    terms["teacher_cross_entropy"].backward()
    teacher, statistics = gradients(method.teacher), snapshot(method.teacher)
    torch.testing.assert_close(teacher, gradients(alone), rtol=1e-12, atol=1e-15)
    assert_same(alone, statistics)  # the same BatchNorm statistics, moved once
    sum(method.losses(images, labels, 0.0).values()).backward()  # leaves nothing in the teacher
    torch.testing.assert_close(gradients(method.teacher), teacher, rtol=0, atol=0)
    assert_same(method.teacher, statistics)
    assert method.teacher.training
    assert all(p.requires_grad for p in method.teacher.parameters())


def test_each_pass_of_the_teacher_serves_one_call_on_its_images(batch):
    """Never f_T of another batch, of an earlier step, or of none."""
    method, (images, labels) = used(), batch
    refused = pytest.raises(ConfigError, match="call teacher_losses on these very images first")
    with refused:
        method.losses(images, labels, 0.0)
    method.teacher_losses(images, labels)
    with refused:
        method.losses(images.clone(), labels, 0.0)
    method.teacher_losses(images, labels)
    assert method.losses(images, labels, 0.0)
    with refused:
        method.losses(images, labels, 0.0)
    method.teacher_losses(images, labels)
    with refused:
        copy.deepcopy(method).losses(images, labels, 0.0)
    with refused:  # what the figures on gradients measure
        evidence(method, [batch, batch], 0.0)
    assert all(module.training for module in method.modules())
    assert all(p.requires_grad for p in method.parameters())


def test_a_frozen_teachers_terms_need_no_step_before(batch):
    method = JointRD(network("none", 0), network("all", 1))
    assert method.teacher_losses(*batch) == {}
    assert method.passed is method.margin is None
    assert all(torch.equal(a, b) for a, b in zip(method.target(batch[0]), method.target(batch[0]), strict=True))


def test_a_cuda_graph_is_never_of_a_teacher_that_learns(monkeypatch):
    """A replay would not hand f_T on. (There is no GPU: the device is a name.)"""
    monkeypatch.setattr(JointRD, "to", lambda self, *_, **__: self)
    monkeypatch.setattr("rdlib.step.make_optimizer", lambda *_: None)
    device = SimpleNamespace(type="cuda")
    for regime, wanted in (("frozen", True), ("beside", False)):
        assert Step(beside(regime=regime), RECIPE, device, Speed(graph=True)).graph == wanted


@pytest.mark.parametrize("speed", [Speed(channels_last=False), Speed(fused=True), Speed(bfloat16=True)])
def test_f_t_is_handed_on_whatever_the_tricks(speed, data):
    method = beside().float()
    step = Step(method, RECIPE, CPU, speed)
    images, labels = next(batches(data, 0))
    for _ in range(2):
        terms = step(images.float(), labels, 0.0)
    assert method.passed is None
    assert next(iter(terms)) == "teacher_cross_entropy"
    assert all(term.isfinite() for term in terms.values())

"""The training loop: the same twice, the same when interrupted, and refusing what it cannot continue."""

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rdlib.errors import CheckpointError, ConfigError, NonFiniteLossError
from rdlib.images.dataset import Dataset
from rdlib.methods import JointRD, LogitDistillation, Method, Supervised
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.step import Speed, make_optimizer
from rdlib.train import Epoch, evaluate, fit, kept_epochs, make_scheduler, read_checkpoint, write_checkpoint

Curve = list[dict[str, object]]


def supervised(seed: int = 0, depth: int = 18, shortcuts: str = "none", width: int = 4) -> Supervised:
    torch.manual_seed(seed)
    return Supervised(resnet(depth, 10, shortcuts, width))


def beside(seed: int = 0, **options: object) -> JointRD:
    torch.manual_seed(seed)
    return JointRD(resnet(18, 10, "none", 4), resnet(18, 10, "all", 4), **{"regime": "beside"} | options)


def distilled() -> LogitDistillation:
    return LogitDistillation(resnet(18, 10, "none", 4), resnet(18, 10, "all", 4))


def curve(epochs: list[Epoch]) -> Curve:
    """Everything of a history but the time it took."""
    return [{key: value for key, value in asdict(epoch).items() if key != "seconds"} for epoch in epochs]


def trained(method: Method, data: Dataset, recipe: Recipe, **options: object) -> Curve:
    return curve(list(fit(method, data, recipe, progress=False, **options)))


def assert_same_weights(a: Method, b: Method) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    assert [name for name, tensor in a.state_dict().items() if not torch.equal(tensor, b.state_dict()[name])] == []


def watched(method: Method, see: Callable[..., object]) -> Method:
    """Let `see` have images, labels, progress and loss terms of every step; it may change the terms."""
    losses = method.losses

    def wrapped(*batch: object) -> dict[str, torch.Tensor]:
        terms = losses(*batch)
        see(*batch, terms)
        return terms

    method.losses = wrapped
    return method


def on_step(method: Method, step: int, act: Callable[[dict[str, torch.Tensor]], None]) -> Method:
    """Let `act` see the loss terms of the step-th batch, counted from 1 over all epochs."""
    steps = itertools.count(1)
    return watched(method, lambda *seen: act(seen[-1]) if next(steps) == step else None)


def interrupt(terms: dict[str, torch.Tensor]) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "run.checkpoint"


@pytest.mark.parametrize("make", [supervised, beside])
def test_same_seed_gives_the_same_curve_and_weights_bit_for_bit(make, dataset, recipe):
    a, b = make(), make()
    torch.manual_seed(7)  # the state of the global generator must not matter
    first = trained(a, dataset, recipe, seed=3)
    torch.manual_seed(8)
    assert trained(b, dataset, recipe, seed=3) == first
    assert_same_weights(a, b)


def test_another_seed_gives_another_curve_from_the_same_start(dataset, recipe):
    assert trained(supervised(), dataset, recipe, seed=0) != trained(supervised(), dataset, recipe, seed=1)


def test_each_epoch_is_shuffled_anew(dataset):
    recipe = Recipe(2, 16, crop_padding=0, flip=False)
    seen = []
    trained(watched(supervised(), lambda _, labels, *more: seen.append(labels.clone())), dataset, recipe)
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
@pytest.mark.parametrize("make", [supervised, beside])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(make, schedule, dataset, recipe, checkpoint):
    recipe = replace(recipe, schedule=schedule)
    whole = make()
    expected = trained(whole, dataset, recipe)
    for stop in (1, 2):
        epochs = fit(make(), dataset, recipe, checkpoint=checkpoint, progress=False)
        assert curve([next(epochs) for _ in range(stop)]) == expected[:stop]
        epochs.close()
    resumed = make(seed=99)  # its own weights must not matter
    assert trained(resumed, dataset, recipe, checkpoint=checkpoint) == expected
    assert_same_weights(resumed, whole)


@pytest.mark.parametrize("make", [supervised, beside])
def test_interrupted_within_an_epoch_and_resumed_equals_uninterrupted(make, dataset, recipe, checkpoint):
    whole = make()
    expected = trained(whole, dataset, recipe)
    with pytest.raises(KeyboardInterrupt):
        trained(on_step(make(), 5, interrupt), dataset, recipe, checkpoint=checkpoint)  # epoch 2 of 3, step 2 of 3
    resumed = make(seed=99)
    assert trained(resumed, dataset, recipe, checkpoint=checkpoint) == expected
    assert_same_weights(resumed, whole)


def test_a_finished_run_resumes_into_its_history_without_training(dataset, recipe, checkpoint):
    first = supervised()
    epochs = list(fit(first, dataset, recipe, checkpoint=checkpoint, progress=False))
    again = on_step(supervised(seed=1), 1, interrupt)
    assert list(fit(again, dataset, recipe, checkpoint=checkpoint, progress=False)) == epochs
    assert_same_weights(first, again)


def test_no_temporary_file_is_left_beside_the_checkpoint(dataset, recipe, tmp_path):
    trained(supervised(), dataset, recipe, checkpoint=tmp_path / "deep" / "run.checkpoint")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["run.checkpoint"]


def rates(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of each step."""
    optimizer = make_optimizer(torch.nn.Linear(1, 1), recipe)
    scheduler = make_scheduler(optimizer, recipe, steps)
    found = []
    for _ in range(recipe.epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_schedules():
    assert rates(Recipe(epochs=200), 2) == pytest.approx([0.1] * 200 + [0.01] * 100 + [0.001] * 100)
    cosine = rates(Recipe(epochs=10, schedule="cosine", learning_rate=0.2), 10)
    assert cosine == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 100)) for step in range(100)])
    cycle = rates(Recipe(epochs=10, schedule="one-cycle", learning_rate=0.2), 10)
    peak = cycle.index(max(cycle))
    assert (cycle[peak], 20 < peak < 40, cycle[-1] < 1e-4) == (pytest.approx(0.2), True, True)
    assert cycle[: peak + 1] == sorted(cycle[: peak + 1])
    assert cycle[peak:] == sorted(cycle[peak:], reverse=True)


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
def test_the_curve_holds_the_learning_rate_of_each_epochs_last_step(schedule, dataset):
    recipe = Recipe(4, 16, 0.05, schedule)
    steps = len(dataset.train) // 16
    found = [epoch["learning_rate"] for epoch in trained(supervised(), dataset, recipe)]
    assert found == pytest.approx(rates(recipe, steps)[steps - 1 :: steps])


def test_curve_holds_the_mean_terms_and_the_training_accuracy(dataset):
    recipe = Recipe(1, 16, crop_padding=0, flip=False)
    terms, hits, method = [], [], beside()

    def watch(images: torch.Tensor, labels: torch.Tensor, progress: float, found: dict[str, torch.Tensor]) -> None:
        terms.append({name: term.item() for name, term in found.items()})
        hits.append((method.student_logits.argmax(1) == labels).float().mean().item())

    (epoch,) = fit(watched(method, watch), dataset, recipe, progress=False)
    assert epoch.epoch == 1
    assert epoch.losses.keys() == {"teacher_cross_entropy", *terms[0]}
    for name in terms[0]:
        assert epoch.losses[name] == pytest.approx(sum(step[name] for step in terms) / 3)
    assert epoch.train_top1 == pytest.approx(100 * sum(hits) / 3)


def test_progress_runs_from_zero_towards_one_epoch_by_epoch(dataset):
    seen = []
    trained(watched(supervised(), lambda *batch: seen.append(batch[2])), dataset, Recipe(4, 48))
    assert seen == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_loss_names_epoch_step_and_term_and_keeps_the_last_checkpoint(value, dataset, recipe, checkpoint):
    expected = trained(beside(), dataset, recipe)

    def spoil(terms: dict[str, torch.Tensor]) -> None:
        terms["mixed_2_distance"] = terms["mixed_2_distance"] * value

    epochs = fit(on_step(beside(), 5, spoil), dataset, recipe, checkpoint=checkpoint, progress=False)
    next(epochs)
    with pytest.raises(NonFiniteLossError, match=r"mixed_2_distance.* epoch 2, step 2") as caught:
        next(epochs)
    assert "\n" not in str(caught.value)
    assert trained(beside(), dataset, recipe, checkpoint=checkpoint) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-2000]),
        lambda path: path.write_bytes(bytes(range(256)) * 40),
        lambda path: path.write_bytes(b""),
        lambda path: torch.save({"weights": torch.zeros(3)}, path),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_left_untouched(damage, dataset, recipe, checkpoint):
    trained(supervised(), dataset, replace(recipe, epochs=1), checkpoint=checkpoint)
    damage(checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match=r"run\.checkpoint is damaged") as caught:
        trained(supervised(), dataset, replace(recipe, epochs=1), checkpoint=checkpoint)
    assert "\n" not in str(caught.value)
    assert checkpoint.read_bytes() == before


def test_one_flipped_bit_of_a_checkpoint_is_refused_wherever_it_is(dataset, recipe, checkpoint):
    trained(supervised(), dataset, replace(recipe, epochs=1), checkpoint=checkpoint)
    good = checkpoint.read_bytes()
    for at in [0, len(good) - 1, *np.random.default_rng(0).integers(len(good), size=40)]:
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        checkpoint.write_bytes(bad)
        assert kept_epochs(checkpoint) == 0
        with pytest.raises(CheckpointError, match="is damaged"):
            next(fit(supervised(), dataset, replace(recipe, epochs=1), checkpoint=checkpoint, progress=False))


def test_every_epoch_says_which_code_trained_it(dataset, recipe, checkpoint):
    told = {"checkpoint": checkpoint, "progress": False}
    next(fit(supervised(), dataset, recipe, trained_by="old", **told))
    epochs = list(fit(supervised(), dataset, recipe, trained_by="new", **told))
    assert [epoch.trained_by for epoch in epochs] == ["old", "new", "new"]


@pytest.mark.parametrize(
    ("first", "then", "changes", "named"),
    [
        (supervised, supervised, {"recipe": {"learning_rate": 0.06}}, "other recipe"),
        (supervised, supervised, {"recipe": {"epochs": 4}}, "other recipe"),
        (supervised, supervised, {"recipe": {"holdout": "tune"}}, "other recipe"),
        (supervised, supervised, {"seed": 1}, "other seed"),
        (supervised, supervised, {"data": 1}, "other data"),
        (supervised, distilled, {}, "other method"),
        (supervised, lambda: supervised(depth=34), {}, "does not fit this network"),
        (supervised, lambda: supervised(width=8), {}, "does not fit this network"),
        (supervised, lambda: supervised(shortcuts="all"), {}, "other shortcuts"),
        (lambda: supervised(shortcuts="all"), lambda: supervised(shortcuts="downsample"), {}, "other shortcuts"),
        (beside, lambda: beside(m_min=0.1), {}, "other options"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_left_untouched(
    first, then, changes, named, make_dataset, recipe, checkpoint
):
    next(fit(first(), make_dataset(), recipe, checkpoint=checkpoint, progress=False))
    before, told = checkpoint.read_bytes(), {"seed": changes.get("seed", 0), "checkpoint": checkpoint}
    other = make_dataset(seed=changes.get("data", 0))
    with pytest.raises(CheckpointError, match=named) as caught:
        next(fit(then(), other, replace(recipe, **changes.get("recipe", {})), progress=False, **told))
    assert "\n" not in str(caught.value)
    assert checkpoint.read_bytes() == before


class Untouchable:
    """Stands in for the test split: any use of it fails."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self) -> int:
        raise AssertionError("the test split was counted")


@pytest.mark.parametrize("holdout", ["tune", "test"])
def test_fit_never_touches_the_test_split(holdout, dataset, recipe):
    guarded = replace(dataset, test=Untouchable())
    with pytest.raises(AssertionError, match="test split"):
        evaluate(supervised().student, guarded, guarded.test)
    assert len(trained(supervised(), guarded, replace(recipe, holdout=holdout))) == recipe.epochs


@pytest.mark.parametrize("holdout", ["tune", "test"])
def test_the_tune_split_is_trained_on_exactly_when_the_test_split_is_held_out(holdout, make_dataset):
    data = make_dataset(train=50)
    recipe = Recipe(6, 15, crop_padding=0, flip=False, holdout=holdout)
    seen = set()

    def each(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images.contiguous()}

    trained(watched(supervised(), lambda images, *more: seen.update(each(images))), data, recipe)
    tune, rest = (each(data.normalise(split.images)) for split in (data.tune, data.train_without_tune))
    assert len(tune) == 5
    assert seen == (rest if holdout == "tune" else rest | tune)


def test_tune_accuracy_is_that_of_the_student_after_each_epoch(dataset, recipe):
    method = beside()
    for epoch in fit(method, dataset, replace(recipe, holdout="tune"), progress=False):
        assert epoch.tune_top1 == evaluate(method.student, dataset, dataset.tune).top1
    assert trained(beside(), dataset, recipe)[0]["tune_top1"] is None


def test_fewer_images_than_one_batch_are_refused(dataset):
    with pytest.raises(ConfigError, match=r"49 is more than the 48 .* of tiny"):
        next(fit(supervised(), dataset, Recipe(batch_size=49), progress=False))
    with pytest.raises(ConfigError, match="the 44"):
        next(fit(supervised(), dataset, Recipe(batch_size=45, holdout="tune"), progress=False))


@pytest.mark.parametrize("classes", [10, 3])
def test_evaluate_equals_a_hand_count(classes, make_dataset):
    data = make_dataset(train=30, test=25, classes=classes)
    network = resnet(18, classes, width=4)
    list(fit(Supervised(network), data, Recipe(2, 15, 0.05), progress=False))
    network.eval()
    top1 = top5 = 0
    with torch.no_grad():
        for image, label in zip(data.test.images, data.test.labels.tolist(), strict=True):
            pixels = (image.float() / 255 - data.mean.view(3, 1, 1)) / data.std.view(3, 1, 1)
            ranking = network(pixels[None])[0].argsort(descending=True).tolist()
            top1 += ranking[0] == label
            top5 += label in ranking[:5]
    found = evaluate(network, data, data.test, batch_size=7)
    assert (found.top1, found.top5) == pytest.approx((100 * top1 / 25, 100 * top5 / 25))
    assert found.top1 < 100
    assert (found.top5 == 100) == (classes < 5)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_leaves_mode_and_statistics_as_they_were(mode, dataset):
    network = resnet(18, 10, width=4).train(mode)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    evaluate(network, dataset, dataset.test)
    assert {module.training for module in network.modules()} == {mode}
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_dirac_scales_do_not_decay_while_weights_do():
    network = resnet(18, 10, "none", 4, conv="dirac")
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = make_optimizer(network, Recipe(learning_rate=0.1, weight_decay=0.5, momentum=0.0))
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in network.named_parameters():
        shrunk = 1.0 if name.endswith(("alpha", "beta")) else 0.95
        torch.testing.assert_close(p.detach(), shrunk * before[name])
    assert sum(name.endswith("alpha") for name in before) == 16


def test_optimiser_has_nesterov_momentum_and_no_frozen_parameter():
    method = JointRD(resnet(18, 10, "none", 4), resnet(18, 10, "all", 4))
    optimizer = make_optimizer(method, Recipe())
    learning = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert learning == {id(p) for p in [*method.student.parameters(), *method.connectors.parameters()]}
    assert all(g["nesterov"] and (g["momentum"], g["weight_decay"]) == (0.9, 5e-4) for g in optimizer.param_groups)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"schedule": "linear"}, "step, cosine, one-cycle"),
        ({"holdout": "train"}, "test, tune"),
        ({"epochs": 0}, "epochs above 0"),
        ({"batch_size": -1}, "batch_size above 0"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"learning_rate": math.nan}, "learning_rate above 0"),
        ({"learning_rate": "abc"}, "numbers as learning rate"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": "3"}, "epochs"),
        ({"momentum": -0.1}, "momentum"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"milestones": (0.5, 75)}, "milestones"),
        ({"milestones": 0.5}, "milestones"),
        ({"flip": "no"}, "flip"),
    ],
)
def test_bad_recipe_values_are_refused_by_name(fields, named):
    with pytest.raises(ConfigError, match=named):
        Recipe(**fields)


def test_the_cifar_recipe_is_the_papers():
    paper = {"epochs": 200, "batch_size": 128, "learning_rate": 0.1, "schedule": "step", "milestones": (0.5, 0.75)}
    paper |= {"momentum": 0.9, "weight_decay": 5e-4, "crop_padding": 4, "flip": True, "holdout": "test"}
    assert asdict(Recipe()) == paper | dict.fromkeys(("cutout", "image_size", "optimizer", "shots"))


def test_compiled_stages_give_the_same_curve_in_every_mode_they_run_in(dataset, monkeypatch):
    """A run eager and compiled: through Dynamo and AOTAutograd, without the minute of code generation."""
    recipe = Recipe(2, 24, 0.01, holdout="tune", crop_padding=0)
    real, stages = torch.compile, []

    def without_codegen(function: object, **options: object) -> object:
        stages.append(function)
        return real(function, **options | {"backend": "aot_eager"})

    eager, method = beside(), beside()
    expected = list(fit(eager, dataset, recipe, progress=False))
    assert not stages
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", without_codegen)
    found = list(fit(method, dataset, recipe, speed=Speed(compile=True), progress=False))
    assert method.state_dict().keys() == eager.state_dict().keys()
    assert len(stages) == 8  # of student and teacher
    for a, b in zip(found, expected, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-3)
        assert a.tune_top1 == b.tune_top1
    frames = torch._dynamo.utils.counters["frames"]
    assert frames["ok"] == frames["total"]


def test_step_gradient_is_that_of_the_sum_of_the_terms(dataset):
    """One plain SGD step by hand: the loop only sums the terms."""
    recipe = Recipe(1, 48, 0.05, milestones=(), momentum=0.0, weight_decay=0.0, crop_padding=0, flip=False)
    method = supervised()
    twin = supervised().student
    list(fit(method, dataset, recipe, progress=False))
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    images, labels = dataset.normalise(dataset.train.images[order]), dataset.train.labels[order]
    loss = F.cross_entropy(twin(images), labels)
    for p, g in zip(twin.parameters(), torch.autograd.grad(loss, list(twin.parameters())), strict=True):
        p.data -= 0.05 * g
    for found, expected in zip(method.student.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("speed", [Speed(channels_last=False), Speed(fused=True), Speed(bfloat16=False)])
def test_a_trick_switched_alone_changes_no_more_than_rounding(speed, dataset, recipe):
    default, other = beside(), beside()
    expected = next(fit(default, dataset, recipe, progress=False))
    found = next(fit(other, dataset, recipe, speed=speed, progress=False))
    assert found.losses == pytest.approx(expected.losses, rel=1e-2)  # three steps amplify the last digits


def test_bfloat16_is_on_when_asked_for_and_off_on_a_cpu_by_default(dataset):
    seen = []

    class Watched(Supervised):
        def losses(self, images, labels, progress):
            seen.append(self.student(images).dtype)
            return super().losses(images, labels, progress)

    for speed in (Speed(), Speed(bfloat16=True)):
        next(fit(Watched(supervised().student), dataset, Recipe(1, 48), speed=speed, progress=False))
    assert seen == [torch.float32, torch.bfloat16]


def test_a_checkpoint_leaves_out_the_frozen_teacher_and_holds_a_learning_one(dataset, recipe, tmp_path):
    frozen = JointRD(supervised().student, beside().teacher)
    for method, held in ((frozen, False), (beside(), True)):
        path = tmp_path / f"{held}.checkpoint"
        next(fit(method, dataset, recipe, checkpoint=path, progress=False))
        names = read_checkpoint(path)["method"]
        assert any(name.startswith("teacher.") for name in names) == held
        assert any(name.startswith("connectors.") for name in names)


def test_a_checkpoint_of_more_processes_is_refused(dataset, recipe, tmp_path):
    path = tmp_path / "run.checkpoint"
    next(fit(supervised(), dataset, recipe, checkpoint=path, progress=False))
    state = read_checkpoint(path)
    write_checkpoint(path, state | {"identity": state["identity"] | {"ranks": 8}})
    with pytest.raises(CheckpointError, match="made by 8 processes, this job has 1: start 8"):
        next(fit(supervised(), dataset, recipe, checkpoint=path, progress=False))


def test_photographs_alone_can_be_cropped_to_a_size(dataset):
    with pytest.raises(ConfigError, match="image_size is for folders of photographs"):
        next(fit(supervised(), dataset, Recipe(1, 16, crop_padding=0, image_size=32), progress=False))


def test_a_larger_batch_scales_the_rate_linearly_and_is_another_recipe():
    assert Recipe().at_batch_size(512) == Recipe(batch_size=512, learning_rate=0.4)
    assert Recipe().at_batch_size(128) == Recipe()


def test_a_step_schedule_never_starts_below_its_learning_rate(dataset):
    (epoch,) = fit(supervised(), dataset, Recipe(1, 16), progress=False)
    assert epoch.learning_rate == 0.1

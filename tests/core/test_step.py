"""The step's tricks: each leaves the mathematics alone. (What only a GPU can show is in tests/gpu.)"""

import copy

import pytest
import torch
from networks import gradients, network
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.losses import margin_distance, negative_margin
from rdlib.methods import JointRD, LogitDistillation, Method, Taught
from rdlib.recipe import Recipe
from rdlib.rivals.register import METHODS
from rdlib.runs.run import Run
from rdlib.step import Speed, Step

CPU = torch.device("cpu")
FROZEN = [name for name, kind in METHODS.items() if issubclass(kind, Taught)]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, 3, 16, 16, dtype=torch.float64), torch.arange(12) % 10


def taught(kind: type[Method] = JointRD, **options: object) -> Method:
    """The same at every call."""
    student = "all" if kind.__name__ in ("Transfer", "FineTuned") else "none"
    return kind(network(student), network("all", seed=1), **options).double().train()


def computed(method: Method, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Terms and gradients."""
    terms = method.losses(*batch, 0.15)
    torch.stack(list(terms.values())).sum().backward()
    return {name: term.detach() for name, term in terms.items()} | gradients(method)


@pytest.mark.parametrize("name", FROZEN)
def test_a_folded_teacher_teaches_the_same(name, batch):
    options = {"cuts": 5} if name == "JointRDAtBlocks" else {}  # between the blocks of a small network
    method, twin = (taught(METHODS[name], **options) for _ in range(2))
    twin.fold_teacher()
    found, expected = computed(twin, batch), computed(method, batch)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11)
    assert not [p for p in twin.guide.parameters() if p.requires_grad or p.grad is not None]


def test_a_folded_teacher_is_no_part_of_the_state_and_a_learning_one_is_not_folded():
    method, beside = taught(), taught(regime="beside")
    before = method.state_dict().keys(), method.identity()
    for each in (method, beside):
        each.fold_teacher()
    assert (method.state_dict().keys(), method.identity()) == before
    assert beside.guide is beside.teacher
    assert method.guide is not method.teacher


@pytest.mark.parametrize("kind", [JointRD, LogitDistillation])
def test_the_step_folds_and_casts_the_teacher_once(kind, batch):
    """bfloat16 weights that are cast once are those that autocast makes at every step."""
    images, labels = batch[0].float(), batch[1]
    terms = []
    for fold in (True, False):
        method = taught(kind).float()
        step = Step(method, Recipe(), CPU, Speed(bfloat16=True, fold=fold))
        assert [{p.dtype for p in teacher.parameters()} for teacher in method.folded] == [{torch.bfloat16}] * fold
        assert method.guide.fc.weight.dtype == (torch.bfloat16 if fold else torch.float32)
        if not fold:  # the same folding, cast by autocast
            method.fold_teacher()
        terms.append(step.backward(images, labels, 0.15))
    assert terms[0].keys() == terms[1].keys()
    for name, term in terms[0].items():
        assert torch.equal(term, terms[1][name]), name


def test_sampled_paths_are_the_formula_on_a_third_of_the_batch_each(batch):
    method = taught(paths="sampled")
    images, labels = batch
    terms = method.losses(images, labels, 0.15)
    student, teacher, m = copy.deepcopy(method.student), method.teacher, method.m(0.15)
    maps, target = student.features(images), teacher.head(images, 4)
    margin = negative_margin(teacher.last_norm)
    for k in (1, 2, 3):
        mine = slice(4 * (k - 1), 4 * k)
        logits, last = teacher.tail(maps[k - 1][mine], k)
        distance = margin_distance(copy.deepcopy(method.connectors[k - 1])(last), target[mine], margin)
        torch.testing.assert_close(terms[f"mixed_{k}_cross_entropy"], m * F.cross_entropy(logits, labels[mine]))
        torch.testing.assert_close(terms[f"mixed_{k}_distance"], m * method.distance_weight * distance)
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(student.classify(maps[3]), labels))


def test_sampled_paths_are_an_option_that_renames_no_run_without_it():
    value = ("digits", "JointRD", 18, 4, "none", 0, Recipe())
    plain, sampled = (Run(*value, options, "0123456789ab") for options in ({}, {"paths": "sampled"}))
    assert "paths" not in plain.value["options"]
    assert plain == Run(*value, {"paths": None}, "0123456789ab")
    assert sampled.value["options"]["paths"] == "sampled"
    assert "paths=sampled" in sampled.label
    with pytest.raises(ValueError, match="unknown paths 'some': choose one of sampled"):
        Run(*value, {"paths": "some"}, "0123456789ab")


def test_sampled_paths_need_an_image_for_each(batch):
    with pytest.raises(ConfigError, match="paths='sampled' needs 3 images in every batch, not 2: take more"):
        taught(paths="sampled").losses(batch[0][:2], batch[1][:2], 0.15)

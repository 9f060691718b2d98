"""What only a GPU can answer: it computes what the CPU computes, with every trick, and its runs leave whole records.

`make test-gpu` runs this, meant for two minutes and not timed yet, without Jupyter, scikit-learn and ONNX.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rdlib.errors import ConfigError
from rdlib.files import DATA, write
from rdlib.images import dataset as images
from rdlib.images import load
from rdlib.images.dataset import Dataset, Split
from rdlib.methods import FeatureDistillation, JointRD, LogitDistillation, Method, Supervised
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.rivals.tailor import SkipRemoval
from rdlib.runs.execute import train
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import sweep
from rdlib.step import Speed, Step
from rdlib.train import evaluate, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda")
KINDS = [
    (Supervised, {}),
    (LogitDistillation, {}),
    (FeatureDistillation, {}),
    (JointRD, {}),
    (JointRD, {"paths": "sampled"}),
    (JointRD, {"regime": "beside"}),
    (SkipRemoval, {}),
]
FLOAT32 = Speed(bfloat16=False)


@pytest.fixture(autouse=True)
def float32_is_float32() -> Iterator[None]:
    """Convolutions and products without TF32, which would round to ten bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def build(kind: type[Method], width: int = 16, **options: object) -> Method:
    torch.manual_seed(0)
    networks = [resnet(18, 10, "none", width), resnet(18, 10, "all", width)]
    return kind(*networks[: 1 if kind is Supervised else 2], **options).train()


def batch(seed: int = 1, size: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(10, (size,), generator=generator)


def terms_and_gradients(method: Method, device: torch.device, speed: Speed) -> tuple[dict[str, Tensor], ...]:
    """Of one batch, on the CPU in float64; of a teacher that learns, its own first."""
    step = Step(method, Recipe(), device, speed)
    inputs = [tensor.to(device) for tensor in batch()]
    terms: dict[str, Tensor] = {}
    for progress in [None, 0.15] if method.teacher_learns else [0.15]:
        terms |= step.backward(*inputs, progress)
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return tuple({name: tensor.double().cpu() for name, tensor in of.items()} for of in (terms, gradients))


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of all tensors together, relative to their norm."""
    assert found.keys() == expected.keys()
    apart = sum(float((found[name] - b).square().sum()) for name, b in expected.items())
    return (apart / sum(float(b.square().sum()) for b in expected.values())) ** 0.5


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_float32_computes_what_the_cpu_computes(kind, options):
    ours, theirs = build(kind, **options), build(kind, **options)
    found, expected = (terms_and_gradients(m, d, FLOAT32) for m, d in ((ours, GPU), (theirs, torch.device("cpu"))))
    assert difference(found[0], expected[0]) < 1e-4
    # A ReLU whose input lies within rounding of zero may switch, and then single gradients jump.
    assert difference(found[1], expected[1]) < 1e-2


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_bfloat16_stays_within_its_digits(kind, options):
    """Eight bits over some twenty layers turn the gradient of a new network, that of a plain one by up to 30 degrees.

    (On a CPU, ResNet-18 and plain-18 of width 16: cosine 0.96 and 0.86, all early layers alike.)
    """
    (terms, found), (exact, expected) = (
        terms_and_gradients(build(kind, **options), GPU, s) for s in (Speed(), FLOAT32)
    )
    assert float(sum(terms.values())) == pytest.approx(float(sum(exact.values())), rel=2e-2)
    ours, theirs = (torch.cat([of[name].flatten() for name in expected]) for of in (found, expected))
    assert F.cosine_similarity(ours, theirs, dim=0) > 0.7


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_replayed_graph_computes_what_the_step_computes(kind, options):
    """Other images at every call, the weights standing still."""
    method = build(kind, **options)
    if method.teacher_learns:
        pytest.skip("no graph is made where a teacher learns")
    step = Step(method, Recipe(), GPU, Speed(bfloat16=False, graph=True))
    results: list[list[tuple[dict[str, Tensor], ...]]] = []
    for compute in (step.backward, step.replayed):
        results.append([])
        for seed in range(4):
            step.optimizer.zero_grad(set_to_none=True)
            terms = compute(*(tensor.to(GPU) for tensor in batch(seed)), 0.5)
            gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
            results[-1].append(tuple({name: t.clone() for name, t in of.items()} for of in (terms, gradients)))
    for expected, found in zip(*results, strict=True):
        assert difference(found[0], expected[0]) < 1e-4
        assert difference(found[1], expected[1]) < 1e-2


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_cuda_graph_trains_as_eager_steps_do(kind, options):
    """Twelve steps, in which the progress changes, and with it m(t) or the shortcuts that are lent.

    Where a teacher learns both are eager.
    """
    moved, curves = [], []
    for graph in (False, True):
        method = build(kind, **options)
        step = Step(method, Recipe(learning_rate=0.01), GPU, Speed(bfloat16=False, graph=graph))
        before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        curves.append([])
        for i in range(12):
            inputs = [tensor.to(GPU) for tensor in batch(seed=i)]
            terms = step(*inputs, 0.0 if i < 6 else 0.5)
            hits = (method.student_logits.argmax(1) == inputs[1]).sum()
            curves[-1].append([*(float(term) for term in terms.values()), int(hits)])
        assert bool(step.graphs) == (graph and not method.teacher_learns)
        moved.append({name: t - before[name] for name, t in method.state_dict().items() if t.is_floating_point()})
    assert difference(moved[1], moved[0]) < 0.1  # of a movement, not of the weights: those hardly move
    for found, expected in zip(*curves, strict=True):
        assert found[:-1] == pytest.approx(expected[:-1], rel=5e-2)
        assert abs(found[-1] - expected[-1]) <= 3


def test_compiled_stages_compute_what_eager_ones_do():
    eager, compiled = (build(JointRD, width=8) for _ in range(2))
    found, expected = (
        terms_and_gradients(method, GPU, Speed(bfloat16=False, compile=wanted))
        for method, wanted in ((compiled, True), (eager, False))
    )
    assert difference(found[0], expected[0]) < 1e-4
    assert difference(found[1], expected[1]) < 1e-2


@pytest.fixture
def learnable(make_dataset) -> Dataset:
    """Random images on the GPU."""
    data = make_dataset(train=512, test=256, side=16)
    train_split, test_split = (Split(s.images.to(GPU), s.labels.to(GPU)) for s in (data.train, data.test))
    return Dataset("tiny", data.classes, train_split, test_split, data.mean.to(GPU), data.std.to(GPU), data.sha256)


@pytest.mark.parametrize("graph", [False, True])
def test_resumed_equals_uninterrupted(graph, learnable, tmp_path):
    """Within what the order of a GPU's sums leaves open."""
    recipe, speed = Recipe(4, 64, 0.02, crop_padding=2), Speed(bfloat16=False, graph=graph)
    whole, first, rest = (build(JointRD, width=8) for _ in range(3))
    expected = list(fit(whole, learnable, recipe, speed=speed, progress=False))
    stopped = fit(first, learnable, recipe, checkpoint=tmp_path / "c", speed=speed, progress=False)
    assert [next(stopped).epoch, next(stopped).epoch] == [1, 2]
    stopped.close()
    found = list(fit(rest, learnable, recipe, checkpoint=tmp_path / "c", speed=speed, progress=False))
    assert [epoch.epoch for epoch in found] == [1, 2, 3, 4]
    for a, b in zip(found, expected, strict=True):
        assert sum(a.losses.values()) == pytest.approx(sum(b.losses.values()), rel=5e-2)


@pytest.fixture
def prepared(make_dataset) -> Iterator[str]:
    """A data set that other processes find too."""
    name, data = "gpu-check", make_dataset(train=512, test=256, side=16)
    splits = {"train": data.train, "test": data.test}
    tensors = {f"{split}_{what}": getattr(of, what) for split, of in splits.items() for what in ("images", "labels")}
    path = DATA / f"{name}.safetensors"
    write(path, images.packed(tensors, data.classes))
    yield name
    path.unlink()


def test_two_processes_share_a_gpu_and_leave_records_and_weights(prepared, tmp_path: Path):
    store = Store(tmp_path / "store")
    teacher = Run(prepared, "Supervised", 18, 8, "all", 0, Recipe(2, 64, 0.05, crop_padding=2))
    plain = Run(prepared, "Supervised", 18, 8, "none", 0, teacher.recipe)
    student = Run(prepared, "JointRD", 18, 8, "none", 0, teacher.recipe, teacher=teacher.id)
    outcome = sweep([teacher, plain, student], store, jobs=2, device="cuda")
    assert not outcome.failures
    for run in (teacher, plain, student):
        record = store.record(run)
        assert record.provenance["device"] == torch.cuda.get_device_name(0)
        assert record.provenance["precision"] == "bfloat16 autocast"
        assert record.provenance["peak_memory_bytes"] > 0
        here = load(prepared)
        assert evaluate(store.network(run), here, here.test).top1 == pytest.approx(record.top1, abs=1.0)


def test_too_little_memory_ends_in_a_sentence(prepared, tmp_path: Path):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-3)
    try:
        with pytest.raises(ConfigError, match="out of memory with batch_size 512, width 64, depth 18: lower"):
            train(Run(prepared, "Supervised", 18, 64, "none", 0, Recipe(1, 512)), Store(tmp_path), "cuda", False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_method_can_be_copied_off_the_gpu():
    """What a notebook does with a student: the folded teacher does not hold it there."""
    method = build(JointRD, width=8)
    Step(method, Recipe(), GPU)(*(tensor.to(GPU) for tensor in batch()), 0.0)
    student = copy.deepcopy(method.student).cpu().eval()
    assert student(batch()[0]).isfinite().all()

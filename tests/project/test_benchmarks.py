"""The benchmarks compare like with like: the fast step equals the reference, and the report says what was measured."""

import copy
import json
import platform
import queue
import re
import threading

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command_line
from benchmarks import floor, growth, packing, reference, report, results, step, variants
from benchmarks.clock import Timing, interleaved
from benchmarks.reference import TERMS, ReferenceStep, loader, reference_terms
from benchmarks.setting import Setting
from benchmarks.variants import SequentialPaths, TeacherGradients
from rdlib.errors import RecordError
from rdlib.experiments.rows import TAUGHT
from rdlib.losses import negative_margin
from rdlib.methods import FeatureDistillation, JointRD, LogitDistillation, Supervised, Taught
from rdlib.models import resnet
from rdlib.recipe import Recipe
from rdlib.rivals.register import METHODS
from rdlib.step import Step

CPU = torch.device("cpu")
TINY = Setting(depth=18, width=2, batch_size=6, side=8)
KINDS = [
    *((kind, {}) for kind in (Supervised, LogitDistillation, FeatureDistillation, JointRD)),
    (JointRD, {"regime": "beside", "quarter": True}),
]
EXACT = (torch.float64, torch.channels_last, 1e-10)
OTHER_LAYOUT = (torch.float32, torch.channels_last, 5e-5)
PRECISIONS = [
    (torch.float32, torch.contiguous_format, 1e-5),
    # In channels_last torch sums in another order: single tensors, mostly BatchNorm weights, then differ by some 2e-5,
    # even of Supervised, whose formula is the same line. In float64 nothing of that is left.
    OTHER_LAYOUT,
    EXACT,
]


def build(kind, shortcuts="none", dtype=torch.float64, **options):
    """A method of width 8 whose BatchNorms have left their initial state."""
    torch.manual_seed(0)
    networks = [resnet(18, 10, shortcuts, 8), resnet(18, 10, "all", 8)][: 1 + issubclass(kind, Taught)]
    for module in (module for network in networks for module in network.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                torch.nn.init.uniform_(tensor, low, low + 1)
    return kind(*networks, **options).train().to(dtype)


def batch(dtype=torch.float64, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 3, 16, 16, generator=generator).to(dtype, memory_format=layout)
    return images, torch.randint(10, (16,), generator=generator)


def gradients(method):
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


def worst(found, expected):
    """The largest ||a - b|| / ||b|| of any tensor; none of them has a gradient that is analytically zero."""
    assert found.keys() == expected.keys()
    return max(float(((found[name] - b).norm() / b.norm()).detach()) for name, b in expected.items())


def disagreement(kind, precision=EXACT, shortcuts="none", progress=0.15, folded=False, **options):
    """Worst relative error of the losses and gradients, fast against reference; also of a learning teacher's own."""
    dtype, layout, _ = precision
    fast = build(kind, shortcuts, dtype, **options)
    slow = copy.deepcopy(fast).requires_grad_(True)
    fast.to(memory_format=layout)
    if folded:
        fast.fold_teacher()
        assert bool(fast.folded) == (not fast.teacher_learns)
    images, labels = batch(dtype, layout)
    errors, given = [], None
    if fast.teacher_learns:
        theirs, f_t = reference.teacher_pass(slow.teacher, images.contiguous(), labels)
        given = f_t, negative_margin(slow.teacher.last_norm)
        errors = compared(fast, slow, fast.teacher_losses(images, labels), theirs)
    theirs = reference_terms(slow, images.contiguous(), labels, progress, given)
    return max(errors + compared(fast, slow, fast.losses(images, labels, progress), theirs))


def compared(fast, slow, ours, theirs):
    """Worst relative error of the terms and of their gradients, which are taken and cleared."""
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    if isinstance(slow, Taught) and "teacher_cross_entropy" not in theirs:
        slow.teacher.zero_grad()  # computed and thrown away
    errors = [worst(ours, theirs), worst(gradients(fast), gradients(slow))]
    fast.zero_grad()
    slow.zero_grad()
    return errors


def test_measuring_needs_no_plots():
    for path in results.FOLDER.parent.glob("*.py"):
        if path.name != "figures.py":
            assert not re.search(
                r"^(from|import) .*(matplotlib|seaborn|figures|publish)", path.read_text(), re.MULTILINE
            )


def test_every_method_of_the_paper_has_a_reference():
    assert {METHODS[one.method] for one in TAUGHT.values()} == set(TERMS)


@pytest.mark.parametrize("precision", PRECISIONS, ids=["float32", "float32 channels_last", "float64"])
@pytest.mark.parametrize("shortcuts", ["none", "downsample"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_losses_and_gradients_equal_the_references(monkeypatch, kind, options, shortcuts, precision):
    if precision is OTHER_LAYOUT:
        # Of some 10^5 inputs of a ReLU one or two lie within float32's rounding of zero; where one of them changes its
        # sign, single gradients jump by 1e-2 (so they do between float32 and float64). A smooth function has no kink.
        monkeypatch.setattr(F, "relu", F.softplus)
    for progress in (0.0, 0.15, 0.7) if kind is JointRD and precision is EXACT else (0.15,):
        assert disagreement(kind, precision, shortcuts, progress, **options) < precision[2]


@pytest.mark.parametrize("precision", PRECISIONS, ids=["float32", "float32 channels_last", "float64"])
@pytest.mark.parametrize(("kind", "options"), KINDS[1:])
def test_with_a_folded_teacher_too(monkeypatch, kind, options, precision):
    if precision is not EXACT:
        monkeypatch.setattr(F, "relu", F.softplus)  # without kinks, as above
    assert disagreement(kind, precision, folded=True, **options) < precision[2]


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("mixed_weight", lambda method, progress: 1.001 * method.m(progress)),
        ("negative_margin", lambda norm: torch.zeros_like(norm.weight)),
        ("target", lambda teacher, images: reference_target(teacher.train(), images)),
    ],
)
def test_a_mistake_would_be_seen(monkeypatch, name, mistake):
    """A weight off by a thousandth, another margin, a teacher in train mode."""
    assert disagreement(JointRD) < 1e-10
    monkeypatch.setattr(reference, name, mistake)
    assert disagreement(JointRD) > 1e-4


reference_target = reference.target


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_steps_move_the_weights_equally(kind, options):
    fast = build(kind, **options)
    slow, before = copy.deepcopy(fast), copy.deepcopy(fast)
    recipe = Recipe(learning_rate=0.05)
    for each in (Step(fast, recipe, CPU), ReferenceStep(slow, recipe, CPU)):
        for progress in (0.0, 0.1, 0.2):
            terms = each(*batch(), progress)
    assert set(terms) >= {"cross_entropy"}
    assert ("teacher_cross_entropy" in terms) == (options.get("regime") == "beside")
    expected = {name: t.double() for name, t in slow.state_dict().items()}
    assert worst({name: t.double() for name, t in fast.state_dict().items()}, expected) < 1e-10
    moved = {
        name.split(".")[0] for name, t in before.state_dict().items() if not torch.equal(t, slow.state_dict()[name])
    }
    assert ("teacher" in moved) == (options.get("regime") == "beside")


@pytest.mark.parametrize("kind", [SequentialPaths, TeacherGradients])
def test_variants_without_a_trick_compute_the_same(kind):
    found, expected = build(kind), build(JointRD)
    for method in (found, expected):
        sum(method.losses(*batch(), 0.15).values()).backward()
    assert worst(gradients(found), gradients(expected)) < 1e-10
    assert not [p for p in found.teacher.parameters() if p.requires_grad or p.grad is not None]


def counted(method, terms):
    with FlopCounterMode(display=False) as counter:
        sum(terms(*batch(), 0.15).values()).backward()
    return counter.get_total_flops()


def test_wasted_gradients_are_really_computed():
    ours, wasteful = build(JointRD), build(TeacherGradients)
    slow = build(JointRD).requires_grad_(True)
    needed = counted(ours, ours.losses)
    assert counted(wasteful, wasteful.losses) > 1.1 * needed
    assert counted(slow, lambda *arguments: reference_terms(slow, *arguments)) > 1.1 * needed
    one_by_one = build(SequentialPaths)
    assert counted(one_by_one, one_by_one.losses) == needed


def test_a_step_is_counted_as_three_forwards_less_the_images_gradient():
    network, images = TINY.build(Supervised).student, torch.randn(TINY.batch_size, 3, TINY.side, TINY.side)
    with FlopCounterMode(display=False) as counter:
        network(images)
    first = 2 * 9 * 3 * TINY.width * TINY.side**2 * TINY.batch_size
    assert TINY.flops(Supervised) == 3 * counter.get_total_flops() - first
    assert floor.described(Timing((1.0,)), 4, 10, 20.0)["share_of_floor"] == 0.5


def test_the_loader_gives_the_same_images_as_the_device():
    data = TINY.dataset(2, CPU)
    recipe = Recipe(batch_size=TINY.batch_size, crop_padding=0, flip=False)
    found = list(loader(data, recipe, steps=2, workers=0))
    assert len(found) == 2
    expected = data.normalise(data.train.images)
    for images, labels in found:
        for image, label in zip(images, labels, strict=True):
            nearest = (expected - image).abs().amax((1, 2, 3)).argmin()
            torch.testing.assert_close(image, expected[nearest], rtol=0, atol=1e-6)
            assert label == data.train.labels[nearest]


def test_the_clock_interleaves():
    calls: list[str] = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3, CPU, warm_up=2)
    assert calls == [*"aabb", *"ab" * 3]
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}
    assert Timing((3.0, 1.0, 2.0)).value == {"median": 2.0, "min": 1.0, "max": 3.0}


@pytest.fixture
def quick(monkeypatch):
    """One step a turn, nothing compiled, no other process."""
    for module in (step, growth):
        monkeypatch.setattr(module, "matrix_rate", lambda device: 1e11)
    monkeypatch.setattr(step, "peak_elsewhere", lambda *_: {"peak_bytes": 2**30, "before_bytes": 2**29})
    monkeypatch.setattr(step.Plan, "steps", lambda self, setting: 1)
    return step.Plan(CPU, rounds=1, warm_up=1, workers=0)


def test_measurements_become_a_report(quick, tmp_path):
    folder = tmp_path / "results"
    (entry,) = step.measure([TINY], quick, folder)
    growth.measure(TINY, {"depth": (18, 34)}, quick, folder)
    assert {"setting", "provenance", "floor", "memory", "variants", "methods", "parts"} == entry.keys()
    assert set(variants.variants(CPU)) == entry["variants"].keys()
    written = report.write(folder)
    assert [path.name for path in written] == ["step.png", "growth.png", "README.md"]
    text = written[-1].read_text()
    fast, slow = (entry["variants"][name]["seconds"]["median"] for name in ("fast", "reference"))
    assert f"| fast | {1000 * fast:.4g} | " in text
    assert f"{slow / fast:.2f} times as fast" in text
    assert "| reference | 1,024 | 512 |" in text
    assert "| mixed paths, forward and backward | " in text
    assert "| JointRD, joint teacher | " in text
    assert "No GPU run yet: `python -m benchmarks step --device cuda`" in text
    assert re.findall("No CPU run yet: (.*)", text) == ["`python -m benchmarks imagenet`."]
    (along_depth,) = results.read(next(folder.glob("growth-*.json")))["entries"]
    assert f"| {along_depth['points'][1]['epoch_seconds'] / 60:.3g} |" in text
    assert platform.node() not in next(folder.glob("step-*.json")).read_text().replace(platform.machine(), "")


def test_an_interrupted_measurement_keeps_what_it_has(quick, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "parts", interrupted)
    monkeypatch.setattr(step, "turn", lambda *_: lambda: None)
    with pytest.raises(KeyboardInterrupt):
        step.measure([TINY], quick, tmp_path)
    (entry,) = results.read(next(tmp_path.glob("step-*.json")))["entries"]
    assert "methods" in entry
    assert "parts" not in entry
    assert "times as fast" in report.step_section(entry)


def test_entries_replace_those_of_the_same_setting(tmp_path):
    place = results.Results("step", CPU, tmp_path)
    for width, value in ((64, 1), (8, 2), (64, 3)):
        place.put({"setting": Setting(width=width).value, "value": value})
    entries = results.read(place.path)["entries"]
    assert [(entry["setting"]["width"], entry["value"]) for entry in entries] == [(8, 2), (64, 3)]
    place.path.write_text("{}")
    with pytest.raises(RecordError, match="no file of measurements"):
        results.read(place.path)


def test_the_data_share_is_never_negative():
    def share(fixed):
        seconds = {"fast": {"median": 1.0, "min": 0.9, "max": 1.1}, "fast, one fixed batch": {"median": fixed}}
        return report.images_share({name: {"seconds": value} for name, value in seconds.items()})

    assert "step: 5.0 % (its rounds differ by 20.0 %)" in share(0.95)
    assert "not above the noise" in share(1.05)


def test_packing_counts_images_and_recommends_the_fewest_near_the_best():
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    packing.train(TINY, 1, 0.2, "cpu", 1, threading.Barrier(1), answers)
    assert float(answers.get()) > 0
    packing.train(TINY, 1, 0.2, "nowhere", 1, threading.Barrier(1), answers)
    assert "RuntimeError" in str(answers.get())
    assert packing.recommended({"1": 100.0, "2": 180.0, "3": 188.0, "4": 150.0}) == 2


def test_devices_have_plain_names():
    assert results.slug("NVIDIA H200") == "nvidia-h200"
    assert results.slug("cpu x86_64 AVX512") == "cpu-x86_64-AVX512"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["step", "--device", "abacus"], "device 'abacus' is not available here"),
        (["step", "--widths", "16;64"], "--widths takes whole numbers with commas between them, not '16;64'"),
        (["growth", "--threads", "0"], "--threads and --rounds need at least 1"),
        (["memory", "fastest"], "unknown variant 'fastest'"),
        (["memory", "fast", "--depth", "20"], "unknown depth 20"),
    ],
)
def test_bad_input_ends_in_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as stop:
        command_line.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert message.startswith(f"error: {sentence}")
    assert message.count("\n") == 1


def test_memory_command_prints_json(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "memory", "fast", "--width", "2", "--batch-size", "4"])
    with pytest.raises(SystemExit, match="0"):
        command_line.main()
    found = json.loads(capsys.readouterr().out)
    assert found["peak_bytes"] >= found["before_bytes"] > 0


def test_the_committed_page_is_what_the_measurements_give():
    assert (results.FOLDER.parent / "README.md").read_text() == report.page(results.FOLDER)

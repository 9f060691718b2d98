"""Rivals: what is trained is what is deployed, every loss is its formula, and every row of the comparisons learns."""

import copy
from dataclasses import asdict, replace

import pytest
import torch
from networks import as_if_trained, assert_same, gradients, network, randomise, snapshot
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.convolutions import CONVOLUTIONS, DiracConv2d, Reparametrised, RepVGGConv2d, fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.errors import ConfigError
from rdlib.experiments.comparisons import MATCHED
from rdlib.experiments.profiles import profile
from rdlib.experiments.rows import JOINT_TEACHER
from rdlib.experiments.tables import rows_of
from rdlib.measure import candidates
from rdlib.methods import JointRD, Taught
from rdlib.models import Architecture, StagedResNet, resnet
from rdlib.recipe import Recipe
from rdlib.rivals.distillation import AttentionTransfer, Hints, SimilarityPreserving, attention_distance
from rdlib.rivals.finetuned import FineTuned
from rdlib.rivals.inherited import Inherited
from rdlib.rivals.pruning import pruned, ratios
from rdlib.rivals.redistill import ReDistill
from rdlib.rivals.register import METHODS
from rdlib.rivals.tailor import SkipRemoval, blocks
from rdlib.runs.execute import assemble, build
from rdlib.runs.execute import train as train_run
from rdlib.runs.run import Record, Run, defaults_of
from rdlib.runs.store import Store
from rdlib.step import make_optimizer
from rdlib.train import Epoch, fit

LABELS = torch.tensor([3, 1, 4, 1])


def pictures(side: int = 16, number: int = 4, channels: int = 3) -> Tensor:
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def small(counts: tuple[int, ...] = (2, 1, 1, 1), classes: int = 10, width: int = 4, **fields: str) -> StagedResNet:
    return as_if_trained(
        StagedResNet(Architecture(**{"block": "basic"} | fields, counts=counts, num_classes=classes, width=width))
    )


# Convolutions that fold


@pytest.mark.parametrize("shortcuts", ["none", "downsample"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_the_folded_network_computes_what_was_trained(conv, block, shortcuts):
    trained = small(block=block, shortcuts=shortcuts, conv=conv).eval()
    kinds = [part for part in trained.modules() if isinstance(part, Reparametrised)]
    assert bool(kinds) == (conv != "plain")
    folded = fold(trained)
    assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d | Reparametrised)]
    with torch.no_grad():
        logits = trained(pictures())
        assert logits.std() > 0.1
        assert (folded(pictures()) - logits).abs().max() < 1e-9


def test_the_exported_repvgg_network_adds_nothing(tmp_path):
    images = pictures()
    trained = randomise(small(shortcuts="none", conv="repvgg"), images).float()
    path = export(fold(trained), tmp_path / "net.onnx", 16)
    found = read_graph(path)
    assert not found.joins
    assert set(found.operators) <= {"Conv", "Relu", "GlobalAveragePool", "ReduceMean", "Reshape", "Gemm"}
    assert found.operators["Conv"] == 1 + 5 * 2


SIZES = [(4, 4, 1, 1), (4, 4, 2, 1), (4, 8, 1, 1), (4, 8, 2, 1), (4, 4, 1, 2)]  # channels in and out, stride, groups


def repvgg(c_in: int = 4, c_out: int = 4, stride: int = 1, groups: int = 1) -> RepVGGConv2d:
    conv = as_if_trained(RepVGGConv2d(c_in, c_out, 3, stride, 1, groups)).eval()
    assert isinstance(conv, RepVGGConv2d)
    return conv


def merged(conv: RepVGGConv2d, mistake: str = "") -> tuple[Tensor, Tensor]:
    """Section 3.3 of the paper, channel by channel; one of the classic mistakes on demand."""
    out, within = conv.weight.shape[:2]
    weight, bias = torch.zeros(out, within, 3, 3, dtype=torch.float64), torch.zeros(out, dtype=torch.float64)
    branches = {"3x3": conv.norm, "1x1": conv.pointwise_norm, "identity": conv.identity_norm}
    for o in range(out):
        own = o % (out // conv.groups) if conv.groups == 1 else o % within  # the input of the group that is channel o
        for branch, norm in branches.items():
            if norm is None:
                continue
            eps = 0.0 if mistake == "eps is forgotten" else norm.eps
            scale = norm.weight[o] / (norm.running_var[o] + eps) ** 0.5
            shift = norm.bias[o] - scale * norm.running_mean[o]
            if branch == "identity" and mistake == "the identity's BatchNorm is forgotten":
                scale, shift = torch.tensor(1.0), torch.tensor(0.0)
            if branch == "3x3":
                weight[o] += scale * conv.weight[o]
            elif branch == "1x1":
                at = 0 if mistake == "the 1x1 kernel is padded to a corner" else 1
                weight[o, :, at, at] += scale * conv.pointwise.weight[o, :, 0, 0]
            else:
                weight[o, own, 1, 1] += scale
            bias[o] += shift
    return weight, bias


@pytest.mark.parametrize(("c_in", "c_out", "stride", "groups"), SIZES)
def test_a_repvgg_convolution_is_the_sum_of_its_branches_and_merges_as_the_paper_says(c_in, c_out, stride, groups):
    conv, x = repvgg(c_in, c_out, stride, groups), pictures(channels=c_in)
    assert (conv.identity_norm is not None) == (stride == 1 and c_in == c_out)
    with torch.no_grad():
        expected = conv.norm(F.conv2d(x, conv.weight, None, stride, 1, groups=groups))
        expected = expected + conv.pointwise_norm(F.conv2d(x, conv.pointwise.weight, None, stride, groups=groups))
        if stride == 1 and c_in == c_out:
            expected = expected + conv.identity_norm(x)
        plain, (weight, bias) = conv.folded(), merged(conv)
        for found in (conv(x), plain(x), F.conv2d(x, weight, bias, stride, 1, groups=groups)):
            assert (found - expected).abs().max() < 1e-12
    assert type(plain) is nn.Conv2d
    assert plain.weight.shape == conv.weight.shape


@pytest.mark.parametrize(
    "mistake", ["the identity's BatchNorm is forgotten", "eps is forgotten", "the 1x1 kernel is padded to a corner"]
)
def test_the_classic_mistakes_of_merging_would_be_seen(mistake):
    conv, x = repvgg(), pictures(channels=4)
    with torch.no_grad():
        weight, bias = merged(conv, mistake)
        assert (F.conv2d(x, weight, bias, padding=1) - conv(x)).abs().max() > 1e-7  # a hundred times what passes


def test_repvgg_is_made_for_3x3_kernels_alone():
    for kernel, padding in ((1, 0), (5, 2), (3, 0)):
        with pytest.raises(ConfigError, match=f"not {kernel} and {padding}$"):
            RepVGGConv2d(4, 4, kernel, 1, padding)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_scales_belong_to_one_output_channel_each(groups):
    conv = DiracConv2d(4, 8, 3, 1, 1, groups)
    assert conv.alpha.tolist() == [1.0] * 8
    assert conv.beta.tolist() == pytest.approx([0.1] * 8)
    as_if_trained(conv)
    with torch.no_grad():
        weight = conv.folded_weight()
        for o in range(8):
            kernel = conv.beta[o] * conv.weight[o]
            own = o % (8 // groups)
            if own < 4 // groups:  # a group's further output channels have no input of their own
                kernel[own, 1, 1] += conv.alpha[o]
            torch.testing.assert_close(weight[o], kernel, rtol=0, atol=1e-15)
        x = pictures(channels=4)
        torch.testing.assert_close(conv(x), F.conv2d(x, weight, padding=1, groups=groups), rtol=0, atol=1e-12)
    conv(x)[:, 3].sum().backward()
    for scale in (conv.alpha, conv.beta):
        assert scale.grad.nonzero().flatten().tolist() == ([3] if scale is conv.beta or groups == 1 else [])


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_of_all_that_learns_only_dirac_scales_are_spared_weight_decay(conv):
    method = JointRD(resnet(18, 10, "none", 4, conv=conv), resnet(18, 10, "all", 4))
    names = {id(p): name for name, p in method.named_parameters()}
    groups = make_optimizer(method, Recipe(weight_decay=0.5)).param_groups
    found = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert found.keys() == {name for name, p in method.named_parameters() if p.requires_grad}
    spared = {name for name, decay in found.items() if decay == 0}
    assert spared == {name for name in found if name.endswith((".alpha", ".beta"))}
    assert len(spared) == (2 * 16 if conv == "dirac" else 0)
    assert all(found[name] == 0.5 for name in found.keys() - spared)


# The student starts from the teacher


@pytest.mark.parametrize("depth", [18, 50])
def test_a_dirac_student_started_from_a_teacher_computes_what_the_plain_one_does(depth):
    teacher = network("all", 1, depth)
    plain, dirac = (Inherited(network("none", 0, depth, conv=conv), teacher).student for conv in ("plain", "dirac"))
    weights = teacher.state_dict()
    assert_same(plain, {name: weights[name] for name in plain.state_dict()})
    with torch.no_grad():
        for training in (False, True):
            logits = plain.train(training)(pictures())
            assert logits.std() > 0.1
            assert (dirac.train(training)(pictures()) - logits).abs().max() < 1e-9


@pytest.mark.parametrize("depth", [18, 50])
def test_of_a_repvgg_student_the_3x3_branches_start_from_the_teacher_and_the_others_do_not(depth):
    teacher, student = network("all", 1, depth), network("none", 0, depth, conv="repvgg")
    own = snapshot(student)
    theirs, started = snapshot(teacher), Inherited(student, teacher).student.state_dict()
    kept = 0
    for name, tensor in started.items():
        if "pointwise" in name or "identity_norm" in name:
            assert torch.equal(tensor, own[name]), name
            kept += 1
        else:  # the branch's BatchNorm is the teacher's after that convolution
            of = name.replace("conv1.norm", "bn1").replace("conv2.norm", "bn2")
            assert torch.equal(tensor, theirs[of]), name
            assert not torch.equal(tensor, own[name]) or "num_batches" in name, name
    assert kept > 16
    student.layer1[0].conv2.weight.data.zero_()
    assert_same(teacher, theirs)


ELSEWHERE = {"Adopted", "Transfer"}  # not trained here; taught by a network of other classes (test_transfer)
TAUGHT = {name: kind for name, kind in METHODS.items() if issubclass(kind, Taught) and name not in ELSEWHERE}


@pytest.mark.parametrize("name", TAUGHT)
def test_a_teacher_that_does_not_fit_is_refused_in_one_sentence(name):
    """Of another class count always; of another depth or width where the student is to start from it. ReDistill, which
    compares averages over channels, takes a teacher of any depth and width."""
    make, options = TAUGHT[name], {"init": "teacher"} if "init" in defaults_of(name) else {}
    options |= {"cuts": 2} if "cuts" in defaults_of(name) else {}  # of so few blocks
    shortcuts = "all" if make is FineTuned else "none"
    others = {
        "classes": small(classes=5),
        "deeper": small((2, 2, 1, 1)),
        "shallower": small((1, 1, 1, 1)),
        "wider": small(width=8),
    }
    if make is ReDistill:
        for teacher in (others.pop(which) for which in ("deeper", "shallower", "wider")):
            terms = make(small(shortcuts="all"), teacher).double().losses(pictures(number=2), LABELS[:2], 0.5)
            assert all(term.isfinite() for term in terms.values())
    for which, teacher in others.items():
        named = "student and teacher tell 10 and 5 classes apart" if which == "classes" else "depth|width|channels"
        with pytest.raises(ConfigError, match=named) as caught:
            make(small(shortcuts=shortcuts), teacher, **options)
        assert "\n" not in str(caught.value), which
    make(small(shortcuts=shortcuts), small(), **options)  # one that fits is taken


# Losses of the rivals


def assert_formula(
    method: Taught, logits: Tensor, term: dict[str, Tensor], *pairs: tuple[nn.Module, nn.Module]
) -> None:
    """Logits, terms and gradients are those written out with the copies of the method's parts (pairs of both)."""
    terms = {"cross_entropy": F.cross_entropy(logits, LABELS)} | term
    found = method.losses(pictures(), LABELS, 0.3)
    assert torch.equal(method.student_logits, logits)
    assert list(found) == list(terms)
    for name, expected in terms.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=0, msg=name)
    sum(found.values()).backward()
    sum(terms.values()).backward()
    for part, twin in pairs:
        expected = gradients(twin)
        assert expected.keys() == gradients(part).keys() == dict(part.named_parameters()).keys()
        for name, gradient in gradients(part).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-11, msg=name)
    assert not gradients(method.teacher)


@pytest.mark.parametrize(("options", "weight"), [({}, 10.0), ({"weight": 3.0}, 3.0)])
def test_hints_are_their_formula(options, weight):
    method = Hints(network(), network("all", 1, width=6), **options).double()
    student, regressor = copy.deepcopy(method.student).train(), copy.deepcopy(method.regressor)
    guided = student.layer2(student.layer1(student.stem(pictures())))
    logits = student.classify(student.layer4(student.layer3(guided)))
    teacher = copy.deepcopy(method.teacher).eval()
    with torch.no_grad():
        hint = teacher.layer2(teacher.layer1(teacher.stem(pictures())))
    assert (guided.shape[1], hint.shape[1]) == (8, 12)
    mapped = torch.einsum("oc,nchw->nohw", regressor.weight[:, :, 0, 0], guided) + regressor.bias.view(-1, 1, 1)
    term = {"hint": weight * (mapped - hint).square().sum() / hint.numel()}
    assert_formula(method, logits, term, (method.student, student), (method.regressor, regressor))


def distance_by_hand(student: Tensor, teacher: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for ours, theirs in zip(student, teacher, strict=True):
        maps = [sum(channel.clamp_min(0) ** 2 for channel in h).flatten() for h in (ours, theirs)]
        first, second = (q / (q**2).sum() ** 0.5 for q in maps)
        total = total + ((first - second) ** 2).sum()
    return total / (len(student) * student.shape[2] * student.shape[3])


@pytest.mark.parametrize(("options", "weight"), [({}, 1000.0), ({"weight": 3.0}, 3.0)])
def test_attention_transfer_is_its_formula(options, weight):
    method = AttentionTransfer(network(), network("all", 1, width=6), **options).double()
    student, teacher = copy.deepcopy(method.student).train(), copy.deepcopy(method.teacher).eval()
    ours, theirs = student.stem(pictures()), teacher.stem(pictures())
    distance = torch.zeros((), dtype=torch.float64)
    for stage, reference in zip(student.stages, teacher.stages, strict=True):
        ours, theirs = stage(ours), reference(theirs).detach()
        distance = distance + distance_by_hand(ours, theirs)
    logits = student.classify(ours)
    assert_formula(method, logits, {"attention": weight * distance}, (method.student, student))


def test_the_attention_distance_knows_no_scale_and_no_number_of_channels():
    ours, theirs = pictures(8, channels=5), pictures(8, channels=12)
    distance = attention_distance(ours, theirs)
    assert distance == pytest.approx(distance_by_hand(ours, theirs).item(), rel=1e-12)
    assert distance > 1e-4
    same = [
        (3 * ours, theirs),
        (ours, 0.1 * theirs),
        (ours.repeat(1, 2, 1, 1), theirs),
        (ours, theirs.repeat(1, 3, 1, 1)),
    ]
    same += [(ours.flip(1), theirs), (torch.where(ours < 0, 7 * ours, ours), theirs), (theirs, ours)]
    for pair in same:
        assert attention_distance(*pair) == pytest.approx(distance.item(), rel=1e-12)
    left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]], [[0.0, 5.0]]]])
    assert attention_distance(left, right) == pytest.approx(1.0)  # (1 + 1) / 2 positions
    assert attention_distance(left, 2 * left) == 0


@pytest.mark.parametrize(("options", "weight"), [({}, 3000.0), ({"weight": 3.0}, 3.0)])
def test_similarity_preserving_is_its_formula(options, weight):
    method = SimilarityPreserving(network(), network("all", 1, width=6), **options).double()
    student, teacher = copy.deepcopy(method.student).train(), copy.deepcopy(method.teacher).eval()
    feature, target = student.head(pictures(), 4), teacher.head(pictures(), 4).detach()
    rows = []
    for maps in (feature, target):
        alike = [torch.stack([(one.clamp_min(0) * two.clamp_min(0)).sum() for two in maps]) for one in maps]
        rows.append([row / (row**2).sum() ** 0.5 for row in alike])
    distance = sum(((one - two) ** 2).sum() for one, two in zip(*rows, strict=True)) / 4**2
    assert distance > 1e-5
    logits = student.classify(feature)
    assert_formula(method, logits, {"similarity": weight * distance}, (method.student, student))


# Shortcuts that go one by one


def skip_removal(seed: int = 0, **options: float) -> SkipRemoval:
    method = SkipRemoval(network("none", seed), network("all", 1), **options).double()
    assert isinstance(method.train(), SkipRemoval)  # as the training loop does before each epoch
    return method


def plain_copy(student: StagedResNet) -> StagedResNet:
    """A strictly plain network with the student's weights: every key fits and none is left."""
    plain = resnet(18, 10, "none", 4).double()
    plain.load_state_dict(student.state_dict())
    return plain


def lent(method: SkipRemoval) -> list[bool]:
    """By block of the student: whether something is added to its residual branch in train mode."""
    found, h = [], method.student.stem(pictures())
    for block in blocks(method.student):
        alone = block.residual(F.relu(h))
        h = block(h)
        found.append(not torch.equal(h, alone))
    return found


def test_at_first_the_student_computes_what_the_trained_resnet_does():
    method = skip_removal()
    teacher = copy.deepcopy(method.teacher).train()
    for block in blocks(method.student):
        assert not block.shortcut
        assert block.downsample is None
    method.losses(pictures(), LABELS, 0.0)
    with torch.no_grad():
        logits = teacher(pictures())
    assert logits.std() > 0.1
    assert (method.student_logits - logits).abs().max() < 1e-12
    learning = {name for name, p in method.named_parameters() if p.requires_grad}
    assert {name for name, _ in method.named_parameters() if not name.startswith("teacher.")} == learning


@pytest.mark.parametrize("removed_by", [0.6, 1.0])
def test_the_shortcuts_go_one_after_another_from_the_first_block_on(removed_by):
    method = skip_removal(removed_by=removed_by)
    for progress, gone in [(removed_by * i / 8, i) for i in range(9)] + [(removed_by * 0.99, 7), (1.0, 8)]:
        method.losses(pictures(), LABELS, progress)
        with torch.no_grad():
            assert lent(method) == [False] * gone + [True] * (8 - gone), progress


@pytest.mark.parametrize(
    ("progress", "options"), [(0.6, {}), (0.9, {}), (0.2, {"removed_by": 0.2}), (0.0, {"removed_by": 0.0})]
)
def test_in_the_end_the_student_is_the_plain_network_in_training_too(progress, options):
    method = skip_removal(**options)
    plain = plain_copy(method.student).train()
    method.losses(pictures(), LABELS, progress)
    assert torch.equal(method.student_logits, plain(pictures()))


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.6])
def test_what_is_evaluated_has_no_shortcut_at_any_time(progress):
    method = skip_removal()
    method.losses(pictures(), LABELS, progress)
    method.eval()
    with torch.no_grad():
        logits = method.student(pictures())
        assert torch.equal(logits, plain_copy(method.student).eval()(pictures()))
        assert torch.equal(logits, copy.deepcopy(method.student)(pictures()))
    assert method.student.state_dict().keys() == resnet(18, 10, "none", 4).state_dict().keys()


@pytest.mark.parametrize(("options", "weight"), [({}, 0.35), ({"logit_weight": 0.8}, 0.8)])
def test_skip_removal_weighs_labels_and_logits(options, weight):
    method = skip_removal(**options)
    student = plain_copy(method.student).train()
    logits = student(pictures())
    with torch.no_grad():
        target = method.teacher(pictures())
    terms = {
        "cross_entropy": (1 - weight) * F.cross_entropy(logits, LABELS),
        "logit_distance": weight * ((logits - target) ** 2).sum() / (4 * 10),
    }
    method.removed = 0  # that of an earlier step must not matter
    found = method.losses(pictures(), LABELS, 0.9)
    torch.testing.assert_close(found, terms, rtol=1e-10, atol=0)
    sum(found.values()).backward()
    sum(terms.values()).backward()
    torch.testing.assert_close(gradients(method.student), gradients(student), rtol=1e-8, atol=1e-11)


def curve(epochs: list[Epoch]) -> list[dict[str, object]]:
    return [asdict(epoch) | {"seconds": 0} for epoch in epochs]


def test_skip_removal_resumed_equals_uninterrupted_bit_for_bit(dataset, recipe, tmp_path):
    def make(seed: int = 0) -> SkipRemoval:
        return skip_removal(seed).float()

    whole, checkpoint = make(), tmp_path / "run.checkpoint"
    teacher = snapshot(whole.teacher)
    expected = curve(list(fit(whole, dataset, recipe, progress=False)))
    for stop in (1, 2):
        epochs = fit(make(), dataset, recipe, checkpoint=checkpoint, progress=False)
        assert curve([next(epochs) for _ in range(stop)]) == expected[:stop]
        epochs.close()
    resumed = make(seed=99)  # its own weights must not matter
    assert curve(list(fit(resumed, dataset, recipe, checkpoint=checkpoint, progress=False))) == expected
    assert_same(resumed, snapshot(whole))
    assert_same(whole.teacher, teacher)
    learned, start = whole.lent.state_dict(), make().lent.state_dict()
    assert not all(torch.equal(learned[name], start[name]) for name in start)  # what is lent learns too
    plain_copy(whole.student)


# A network that keeps its shortcuts and loses channels


def test_the_fine_tuned_network_is_the_teacher_without_channels_and_is_read_back_as_it_was(tiny_runs, store, dataset):
    teachers = tiny_runs(shortcuts="all", recipe=Recipe(1, 16, 0.05, crop_padding=1))
    train_run(teachers, store, "cpu", progress=False)
    run = tiny_runs("FineTuned", "all", teacher=teachers.id, options={"ratio": 0.5, "round_to": 1})
    method, trained = build(run, store, 10), store.network(teachers)
    assert isinstance(method, FineTuned)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (method.student, trained)]
    assert sizes[0] < 0.4 * sizes[1]
    images = pictures(8).float()
    with torch.no_grad():
        expected = pruned(trained, 0.5, 4, 1)(images)
        assert torch.equal(copy.deepcopy(method.student).eval()(images), expected)
    assert all(p.requires_grad for p in method.student.parameters())
    assert all(module.training for module in method.student.modules())
    start = snapshot(method.student)
    list(fit(method, dataset, run.recipe, progress=False))
    assert_same(method.teacher, trained.state_dict())
    assert not torch.equal(method.student.conv1.weight, start["conv1.weight"])
    metrics = {"test_top1": 1.0, "test_top5": 1.0, "tune_top1": None, "train_loss": 1.0}
    store.save(Record(run, metrics, [], {}), method.student)
    again = store.network(run)
    assert again.state_dict().keys() == method.student.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(again(images), method.student.eval()(images))


def test_a_network_of_another_kind_than_the_teacher_cannot_be_fine_tuned():
    with pytest.raises(ConfigError, match="needs its depth, width and shortcuts"):
        FineTuned(network("none"), network("all"))


# The rows of the comparisons

QUICK = profile("quick", 1)


def cases() -> dict[str, tuple[Run, int]]:
    """The runs of all comparisons with their teachers' widths, each configuration once: depth 18, half the width."""
    found = {}
    for table in ("rivals", "ablations", "depth", "deeper", "alone", "redistill"):
        rows = rows_of(profile("cifar10-small", 1) if table == "redistill" else QUICK, table)
        runs = {run.id: run for row in rows for run in row.runs}
        for row in rows:
            run = replace(row.runs[0], depth=18, width=row.runs[0].width // 2, recipe=Recipe())
            if "cuts" in run.options:  # between eight blocks
                run = replace(run, options=run.options | {"cuts": min(run.options["cuts"], 7)})
            teacher = runs[run.teacher].width // 2 if run.teacher else run.width
            if (replace(run, teacher=run.teacher and "0" * 12), teacher) not in found.values():
                found[row.name] = (replace(run, teacher=run.teacher and "0" * 12), teacher)
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_every_row_gives_finite_terms_and_a_gradient_to_all_that_learns(name):
    run, width = CASES[name]
    teacher = None if run.teacher is None else resnet(18, 10, "all", width)
    method = assemble(run, teacher, 10)
    method.train()
    images, labels = pictures(number=2).float(), LABELS[:2]
    for terms in (method.teacher_losses(images, labels), method.losses(images, labels, 0.95)):  # when least is in use
        assert all(term.isfinite() and term.ndim == 0 for term in terms.values())
        if terms:
            sum(terms.values()).backward()
    found, learning = gradients(method), {name for name, p in method.named_parameters() if p.requires_grad}
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert found.keys() <= learning
    needed = {name for name in learning if name.startswith("student.")} if method.partial else learning
    assert needed <= found.keys()
    assert any(name.startswith("student.") for name in needed)
    assert method.student_logits.shape == (2, 10)


def test_every_way_and_every_ablation_has_a_row():
    taught = {run.method for run, _ in CASES.values()}
    assert taught == METHODS.keys() - ELSEWHERE
    assert {run.conv for run, _ in CASES.values()} == set(CONVOLUTIONS)


def test_the_published_records_keep_their_ids():
    """A new field of a run or a new method must not rename what was trained before it."""
    store, quick = Store(), profile("quick")
    for row in rows_of(quick, "3"):
        if row.teaching != JOINT_TEACHER:  # those at this rate are trained anew
            assert all(store.record(run) is not None for run in row.runs), row.name
    shared, rivals = ({run.id for row in rows_of(quick, table) for run in row.runs} for table in ("3", "rivals"))
    assert len(shared & rivals) >= 3 * 3  # the ResNet, the plain network and JointRD of table 3 are not trained again


def test_the_matched_sizes_are_the_largest_that_cost_no_more_than_the_plain_network():
    price = candidates.cost("traffic", 16)
    target = price(resnet(34, 10, "none", 8))
    (match,) = (match for match in MATCHED[34, 8] if match.what == "traffic")
    whole = resnet(34, 10, "all", 8)
    sizes = ratios(whole, match.round_to)
    larger = sizes[sizes.index(match.ratio) - 1]
    costs = [price(pruned(whole, ratio, match.stages, match.round_to)) for ratio in (match.ratio, larger)]
    assert costs[0] <= target < costs[1]
    costs = [price(resnet(34, 10, "all", width)) for width in (match.width, match.width + 1)]
    assert costs[0] <= target < costs[1]


@pytest.mark.parametrize("conv", ["dirac", "repvgg"])
@pytest.mark.parametrize("init", ["scratch", "teacher"])
def test_a_teacher_of_reparametrised_convolutions_is_refused(conv, init):
    """Its raw weights are not those that it computes with, so a copy of them would be another network."""
    teacher = resnet(18, 10, "all", 4, conv=conv)
    with pytest.raises(ConfigError, match=f"a teacher needs plain convolutions, not {conv}"):
        JointRD(resnet(18, 10, "none", 4, conv=conv), teacher, init=init)


def test_what_would_change_nothing_is_refused():
    plain, whole = resnet(18, 10, "none", 4), resnet(18, 10, "all", 4)
    with pytest.raises(ConfigError, match="no shortcut can be removed"):
        SkipRemoval(resnet(18, 10, "all", 4), whole)
    with pytest.raises(ConfigError, match="no shortcut can be removed"):
        SkipRemoval(plain, resnet(18, 10, "none", 4))
    for options in ({"ratio": 1.0}, {"ratio": 0.0}, {"stages": 5}, {"round_to": 0}):
        with pytest.raises(ConfigError, match="pruning takes a ratio between 0 and 1"):
            FineTuned(resnet(18, 10, "all", 4), whole, **options)

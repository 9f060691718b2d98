"""Who teaches which stage: true to autograd, without a trace in the training, whole or absent as a record."""

import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from rdlib.errors import ConfigError, RecordError
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, JOINTRD, Row
from rdlib.figures import gradients as evidence_figures
from rdlib.measure import gradients_record as evidence_record
from rdlib.measure import record as measured
from rdlib.measure.gradients import (
    PARTS,
    cosine,
    evidence,
    gradients,
    gram,
    hsic,
    linear_cka,
    parts_of,
    probe_of,
    teacher_grams,
    undisturbed,
)
from rdlib.measure.retrain import weights_equal
from rdlib.methods import JointRD, Supervised
from rdlib.models import fingerprint, plain, resnet
from rdlib.paper import gradients as verdicts
from rdlib.recipe import Recipe
from rdlib.runs.execute import build, train
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import fit

QUICK = PROFILES["quick"]


@pytest.fixture
def joint():
    """JointRD of a plain-18 in train mode, in float64."""
    return JointRD(plain(18, 10, 4), resnet(18, 10, width=4)).double().train()


def seed(n):
    return torch.Generator().manual_seed(n)


# --- gradients by path


def equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def terms(joint):
    return joint.losses(torch.randn(12, 3, 8, 8, dtype=torch.float64, generator=seed(0)), torch.arange(12) % 10, 0.2)


def test_each_path_is_the_gradient_of_its_own_terms_and_they_add_up_to_that_of_the_loss(joint):
    parts = parts_of(joint.student)
    with undisturbed(joint):
        found = gradients(terms(joint), parts)
    for path, named in (("own", ("cross_entropy", "distance")), ("all", terms(joint).keys())):
        joint.zero_grad()
        sum(term for name, term in terms(joint).items() if name in named).backward()
        equal(found[path], [torch.cat([p.grad.flatten() for p in part]) for part in parts])
    equal(found["all"], [own + mixed for own, mixed in zip(found["own"], found["mixed"], strict=True)])
    assert all(vector.norm() > 0 for vector in found["own"])


def test_the_mixed_paths_one_by_one_add_up_and_reach_only_what_lies_before_they_leave(joint):
    each, whole = (gradients(terms(joint), parts_of(joint.student), each) for each in (True, False))
    assert set(each) == {"own", "mixed_1", "mixed_2", "mixed_3", "mixed", "all"}
    for path in whole:
        equal(each[path], whole[path])
    for k in (1, 2, 3):
        assert [bool(vector.norm() > 0) for vector in each[f"mixed_{k}"]] == [i <= k for i in range(5)]
    assert cosine(whole["own"][4], whole["mixed"][4]) is None


def test_a_method_without_mixed_paths_has_an_own_path_alone(dataset):
    found = evidence(Supervised(resnet(18, 10, width=4)), probe_of(dataset, 8), 0.0)
    assert set(found["norm"]) == set(found["agreement"]) == {"own"}
    assert found["cosine"] is None
    assert found["cka"] is None


def test_the_gradient_of_the_probe_is_the_mean_of_its_halves_and_equal_halves_agree(dataset):
    method, probe = Supervised(resnet(18, 10, width=4)), probe_of(dataset, 8)
    one = evidence(method, (probe[0], probe[0]), 0.0)
    assert one["agreement"]["own"] == pytest.approx([1.0] * 5, abs=1e-4)
    got = [gradients(method.losses(*half, 0.0), parts_of(method.student))["own"] for half in probe]
    wanted = [float((a + b).norm() / 2) for a, b in zip(*got, strict=True)]
    assert evidence(method, probe, 0.0)["norm"]["own"] == pytest.approx(wanted, rel=1e-4)


# --- linear CKA


def test_cka_sees_through_rotation_scale_and_shift():
    x = torch.randn(40, 6, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    assert linear_cka([gram(x)], [gram(3 * x @ rotation + 7)]) == pytest.approx(1, abs=1e-9)
    assert linear_cka([gram(x)], [gram(x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 1]).double()))]) < 0.9


def test_cka_equals_the_definition_written_out():
    """U-statistic of HSIC as a sum over all ordered quadruples of distinct images (Song et al., 2012, eq. 4)."""
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)

    def by_hand(a, b):
        k, m, n = a @ a.T, b @ b.T, 6
        total = 0.0
        for i in range(n):
            for j in {*range(n)} - {i}:
                total += k[i, j] * m[i, j] / (n * (n - 1))
                for q in {*range(n)} - {i, j}:
                    total -= 2 * k[i, j] * m[i, q] / (n * (n - 1) * (n - 2))
                    for r in {*range(n)} - {i, j, q}:
                        total += k[i, j] * m[q, r] / (n * (n - 1) * (n - 2) * (n - 3))
        return float(total)

    assert hsic(gram(x), gram(y)) == pytest.approx(by_hand(x, y), rel=1e-9)
    wanted = by_hand(x, y) / math.sqrt(by_hand(x, x) * by_hand(y, y))
    assert linear_cka([gram(x)], [gram(y)]) == pytest.approx(wanted, rel=1e-9)


def test_unrelated_features_are_not_alike_however_many_there_are():
    """Where features outnumber images the biased estimate is near 1 for anything."""
    x, y = torch.randn(2, 40, 400, dtype=torch.float64)
    centred = [features - features.mean(0) for features in (x, y)]
    a, b = (features @ features.T for features in centred)
    assert float((a * b).sum() / (a.norm() * b.norm())) > 0.85
    assert abs(linear_cka([gram(x)], [gram(y)])) < 0.1


def test_features_that_do_not_depend_on_the_image_have_no_cka():
    assert linear_cka([gram(torch.ones(8, 3))], [gram(torch.randn(8, 3))]) is None


def test_each_stage_of_the_student_is_held_against_the_same_stage_of_the_teacher(dataset):
    network, probe = resnet(18, 10, width=4), probe_of(dataset, 12)

    def by_hand():
        return [[gram(network.head(images, k)) for images, _ in probe] for k in range(1, 5)]

    with undisturbed(Supervised(network)), torch.no_grad():  # batch statistics, as the student has them
        assert evidence(Supervised(network), probe, 0.0, by_hand())["cka"] == pytest.approx([1.0] * 4, abs=1e-6)
    network.eval()
    for stage, wanted in zip(teacher_grams(network, probe), by_hand(), strict=True):
        for a, b in zip(stage, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # of feature maps in float32
    assert not network.training


# --- the probe


def test_the_probe_is_disjoint_the_same_each_time_and_has_every_class(dataset):
    probe = probe_of(dataset, 20)
    pixels = torch.cat([images for images, _ in probe])
    assert len(torch.unique(pixels.flatten(1), dim=0)) == 40
    assert {tuple(image.flatten().tolist()) for image in pixels} <= {
        tuple(image.flatten().tolist()) for image in dataset.normalise(dataset.train.images)
    }
    assert torch.equal(pixels, torch.cat([images for images, _ in probe_of(dataset, 20)]))


@pytest.mark.parametrize("half", [3, 25])
def test_a_probe_of_a_size_that_cannot_be_is_refused(dataset, half):
    with pytest.raises(ConfigError, match=f"half a probe is 4 to 24 of the training images, not {half}"):
        probe_of(dataset, half)


# --- no trace


def tiny_rows():
    """ResNet, plain and JointRD of one seed on the tiny data, as the rows of a profile."""
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05, crop_padding=1)
    teacher = Run("tiny", "Supervised", 18, 4, "all", 0, recipe)
    plain_one = Run("tiny", "Supervised", 18, 4, "none", 0, recipe)
    taught = Run("tiny", "JointRD", 18, 4, "none", 0, recipe, teacher=teacher.id)
    kinds = (("all", CROSS_ENTROPY), ("none", CROSS_ENTROPY), ("none", JOINTRD))
    return [Row(18, *kind, (run,)) for kind, run in zip(kinds, (teacher, plain_one, taught), strict=True)]


def patch(monkeypatch, dataset):
    monkeypatch.setattr("rdlib.images.dataset.in_memory", lambda name, root=None, device="cpu": dataset)
    monkeypatch.setattr(evidence_record, "HALF", 8)
    monkeypatch.setattr(evidence_record, "rows", lambda profile: tiny_rows())


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_dataset):
    """A folder with a store, in which the rows are trained, and the record of the trainings that were watched."""
    folder = tmp_path_factory.mktemp("evidence")
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch, make_dataset())
        for row in tiny_rows():
            train(row.runs[0], Store(folder / "store"), "cpu", progress=False)
        evidence_record.measure(QUICK, Store(folder / "store"), folder / "teaching.json")
    return folder


@pytest.fixture
def cells(made, store, dataset, monkeypatch):
    """The rows, trained in `store`."""
    patch(monkeypatch, dataset)
    shutil.copytree(made / "store", store.root)
    return tiny_rows()


@pytest.fixture
def path(made, cells, tmp_path):
    """The record of the rows."""
    return Path(shutil.copy(made / "teaching.json", tmp_path))


def test_recording_leaves_method_and_random_generators_bit_equal(cells, store, dataset):
    method = build(cells[2].runs[0], store, 10)
    list(fit(method, dataset, cells[2].runs[0].recipe, progress=False))
    method.student.layer2.eval()  # a mode that train() would not give
    before, modes, rng = fingerprint(method), [m.training for m in method.modules()], torch.get_rng_state()
    held = [None if p.grad is None else p.grad.clone() for p in method.parameters()]
    logits = method.student_logits.clone()
    evidence(method, probe_of(dataset, 8), 0.5, teacher_grams(method.teacher, probe_of(dataset, 8)))
    assert fingerprint(method) == before
    assert [m.training for m in method.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(method.student_logits, logits)
    assert not any(m._forward_hooks for m in method.modules())
    for p, grad in zip(method.parameters(), held, strict=True):
        assert (p.grad is None) == (grad is None)
        assert grad is None or torch.equal(p.grad, grad)


def test_recording_sees_batch_statistics_whatever_mode_the_method_is_in(dataset):
    method, probe = Supervised(resnet(18, 10, width=4)), probe_of(dataset, 8)
    training = evidence(method.train(), probe, 0.0)
    assert evidence(method.eval(), probe, 0.0) == training


def test_a_watched_training_ends_with_the_weights_of_the_published_run(path, cells):
    entries = evidence_record.RECORD.runs(QUICK, Store(), path)
    assert [entries[row.runs[0].id]["weights_equal"] for row in cells] == [True] * 3
    assert list(evidence_record.overview(QUICK, Store(), path)["weights as published"]) == ["1/1"] * 3


def test_weights_that_differ_are_told_and_those_of_another_processor_not_compared(cells, store, dataset):
    run = cells[0].runs[0]
    record, network = store.record(run), store.network(run)
    assert weights_equal(network, record, dataset) is True
    with torch.no_grad():
        network.layer1[0].bn1.running_mean[0] += 1e-6
    assert weights_equal(network, record, dataset) is False
    elsewhere = replace(record, provenance=record.provenance | {"device": "cpu (another)"})
    assert weights_equal(network, elsewhere, dataset) is None
    assert weights_equal(network, None, dataset) is None


# --- the record


def test_the_record_holds_every_epoch_and_part_and_reads_back(path, cells):
    found = evidence_record.by_epoch(QUICK, Store(), path)
    assert len(found) == 3 * 3 * len(PARTS)  # runs, epochs 0 to 2, parts
    resnets, plain_ones, jointrd = (found[found["network"] == name] for name in ("ResNet", "plain", "JointRD"))
    assert jointrd.groupby("epoch")["m"].unique().map(list)[[0, 2]].tolist() == [[1.0], [0.5]]
    for column, mixed in (("share", jointrd["norm_mixed"]), ("share_at_1", jointrd["norm_mixed"] / jointrd["m"])):
        assert jointrd[column].tolist() == pytest.approx((mixed / (mixed + jointrd["norm_own"])).tolist())
    assert (jointrd[jointrd["part"] == "stage 4"]["share"] == 0).all()
    assert resnets["cka"].isna().all()
    assert plain_ones[plain_ones["part"] != "stem"]["cka"].notna().all()
    entry = evidence_record.RECORD.runs(QUICK, Store(), path)[cells[1].runs[0].id]
    first = plain_ones[(plain_ones["epoch"] == 0) & (plain_ones["part"] != "stem")]
    assert first["cka"].tolist() == entry["epochs"][0]["cka"]
    assert plain_ones["norm_all"].equals(plain_ones["norm_own"])


def test_finished_runs_are_kept_and_those_of_other_code_made_again(path, cells, store, monkeypatch):
    before = path.read_text()
    told = []
    monkeypatch.setattr(evidence_record, "watch", lambda *args: pytest.fail("trained all the same"))
    evidence_record.measure(QUICK, store, path, told.append)
    assert path.read_text() == before
    assert [line.rpartition(": ")[2] for line in told] == ["kept"] * 3
    monkeypatch.setattr(evidence_record, "code_digest", lambda: "other code")
    done = []
    entry = evidence_record.RECORD.runs(QUICK, Store(), path)[cells[0].runs[0].id]
    monkeypatch.setattr(evidence_record, "watch", lambda run, *more: done.append(run.id) or entry)
    evidence_record.measure(QUICK, store, path)
    assert done == [row.runs[0].id for row in cells]


def test_an_interrupted_record_keeps_what_is_finished(cells, store, tmp_path, monkeypatch):
    path, watch = tmp_path / "teaching.json", evidence_record.watch

    def stopped(run, *more):
        if run.method == "JointRD":
            raise KeyboardInterrupt
        return watch(run, *more)

    monkeypatch.setattr(evidence_record, "watch", stopped)
    with pytest.raises(KeyboardInterrupt):
        evidence_record.measure(QUICK, store, path)
    assert set(evidence_record.RECORD.runs(QUICK, Store(), path)) == {row.runs[0].id for row in cells[:2]}
    overview = evidence_record.overview(QUICK, Store(), path)
    assert list(overview["n"]) == ["1/1", "1/1", "0/1"]
    assert list(overview["to fill"]) == ["", "", "python -m rdlib measure teaching quick"]


def test_a_run_whose_teacher_has_no_weights_is_told_and_left_out(cells, store, tmp_path):
    store.weights_path(cells[0].runs[0]).unlink()
    told = []
    evidence_record.measure(QUICK, store, tmp_path / "teaching.json", told.append)
    assert all(line.endswith("its teacher has no weights here, left out") for line in told)
    assert len(told) == 3


def test_a_record_that_lacks_a_number_is_refused(path):
    runs = evidence_record.RECORD.runs(QUICK, Store(), path)
    next(iter(runs.values()))["epochs"][0].pop("agreement")
    measured.write(path, {"runs": runs})
    with pytest.raises(RecordError, match=r"teaching\.json cannot be read \('agreement'\)"):
        evidence_record.by_epoch(QUICK, Store(), path)


def test_without_a_record_tables_and_figures_are_empty_and_the_command_is_named(store):
    found = evidence_record.by_epoch(QUICK, store)
    assert found.empty
    assert evidence_record.over_phases(found, "share").empty
    overview = evidence_record.overview(QUICK, store)
    assert set(overview["to fill"]) == {f"python -m rdlib measure teaching quick --store {store.root}"}
    assert len(overview) == 6
    for draw in evidence_figures.OF_A_RECORD:
        draw(found)


def test_a_profile_without_small_images_is_refused_and_its_tables_are_empty(store, tmp_path):
    with pytest.raises(ConfigError, match="profile imagenet has no networks of table 3"):
        evidence_record.measure(PROFILES["imagenet"], store, tmp_path / "teaching.json")
    assert evidence_record.overview(PROFILES["imagenet"], store).empty


def test_the_rows_are_the_three_networks_at_both_rates_with_the_teacher_of_their_own_rate_and_seed():
    found = evidence_record.rows(QUICK)
    assert [evidence_record.short_name(row) for row in found] == ["ResNet", "plain", "JointRD"] * 2
    assert [row.runs[0].recipe.learning_rate for row in found] == [0.9] * 3 + [0.1] * 3
    for row in found:
        for run in row.runs:
            teacher = evidence_record.teacher_of(run, found)
            assert run.teacher in (None, teacher.id)
            assert (teacher.seed, teacher.recipe) == (run.seed, run.recipe)


def test_values_over_phases_are_mean_and_range_of_the_seeds_and_seeds_are_counted(path):
    found = evidence_record.by_epoch(QUICK, Store(), path)
    both = pd.concat([found, found.assign(seed=1, norm_own=found["norm_own"] * 3)])
    table = evidence_record.over_phases(both, "norm_own", ".3f")
    assert list(table.columns) == ["learning rate", "network", "part", "before training", "epochs 1 to 3"]
    stem = found[(found["network"] == "ResNet") & (found["part"] == "stem")]["norm_own"].to_numpy()
    for column, value in (("before training", stem[0]), ("epochs 1 to 3", stem[1:].mean())):
        assert table.iloc[0][column] == f"{2 * value:.3f} ({value:.3f} to {3 * value:.3f})"
    lengths = evidence_record.by_phase(both, "norm_own").xs(("ResNet", "stem"), level=("network", "part"))
    counted = evidence_record.seeds_where(lengths > lengths.mean())
    assert counted.iloc[0].tolist() == [0.05, "1/2", "1/2"]


# --- the figures


def test_every_figure_draws_what_the_record_has(path, cells, store):
    found = evidence_record.by_epoch(QUICK, Store(), path)
    for draw in evidence_figures.OF_A_RECORD:
        figure = draw(found)
        assert any(ax.lines for ax in figure.axes)
        for ax in figure.axes:
            assert ax.get_xlabel() or ax.get_shared_x_axes().joined(ax, figure.axes[-1])


def test_single_paths_are_drawn_at_the_means_of_the_seeds_and_named_apart():
    found = evidence_record.by_epoch(QUICK, Store())
    figure = evidence_figures.directions(found)
    (last,) = (ax for ax in figure.axes if ax.get_yscale() == "log" and ax.texts)
    texts = {text.get_text(): text for text in last.texts}
    assert set(texts) == {"own path", *(f"leaves after stage {k}" for k in (1, 2, 3))}
    heights = sorted(text.get_window_extent().y0 for text in texts.values())
    assert min(b - a for a, b in itertools.pairwise(heights)) > 10, "no label lies over another"
    of = found[(found["network"] == "JointRD") & (found["part"] == "stage 1") & (found["rate"] == 0.1)]
    (line,) = (line for line in last.lines if line.get_label() == "leaves after stage 2")
    means = of.dropna(subset=["norm_mixed_2"]).groupby("epoch")["norm_mixed_2"].mean()
    assert line.get_ydata().tolist() == pytest.approx(means[[0, 1, 2, 3, 5, 10]].tolist())


# --- the tables


def test_seeds_are_counted_against_each_half_of_the_claim_and_directions_averaged():
    found = evidence_record.by_epoch(QUICK, Store())
    table = verdicts.in_seeds(found).set_index(["learning rate", "part"])
    assert set(table.index.get_level_values("part")) == {"stem", "stage 1", "stage 2", "stage 3"}
    stage = found[(found["part"] == "stage 1") & (found["rate"] == 0.1) & (found["network"] == "JointRD")]
    early, middle = (stage[stage["epoch"].between(*ends)].groupby("seed") for ends in ((1, 3), (11, 20)))
    line = table.loc[(0.1, "stage 1")]
    assert line["over half"] == f"{(early['share'].mean() > 0.5).sum()}/3"
    assert line["over equal paths*"] == f"{(early['share_at_1'].mean() > 0.75).sum()}/3"
    assert line["lower*, 11 to 20"] == f"{(middle['share_at_1'].mean() < early['share_at_1'].mean()).sum()}/3"
    cosines = verdicts.directions(found).set_index(["learning rate", "between"])
    assert cosines.loc[(0.1, "own and mixed"), "epochs 1 to 3"] == f"{early['cosine'].mean().mean():.2f}"
    short = found[found["epoch"] <= 2]
    assert list(verdicts.in_seeds(short))[2:] == ["over half", "over equal paths*"]
    assert verdicts.directions(short)["between"].tolist() == ["own path", "mixed paths", "own and mixed"] * 2
    for make in (verdicts.in_seeds, verdicts.directions):
        assert make(found[:0]).empty


def test_the_verdicts_are_counted_in_a_sentence(store):
    assert "no record" in verdicts.said(verdicts.judged(QUICK, store))
    judged = pd.DataFrame({"early?": ["yes", "no", "yes"], "fades?": ["undecided", "not run", "yes"]})
    assert verdicts.said(judged) == "By the rule, of 3 lines: it dominates early in 2, and has faded at the end in 1"

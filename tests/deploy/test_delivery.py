"""`rdlib export` makes a verified file with a true report; `classify` reads it without PyTorch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import rdlib
from rdlib.__main__ import main
from rdlib.convolutions import fold
from rdlib.deploy.delivery import Delivery, batches, deliver
from rdlib.deploy.export import Deployed, Verification
from rdlib.deploy.kinds import about_of
from rdlib.deploy.quantize import quantize
from rdlib.errors import DeployError
from rdlib.models import plain, resnet
from rdlib.runs.execute import train
from rdlib.train import evaluate


@pytest.fixture
def export(store, tmp_path, monkeypatch, capsys):
    """`rdlib export` with some words, in a folder of its own; returns exit code, what it said, and the errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rdlib", "export", *words, "--store", str(store.root)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def taught(tiny_runs, store):
    """A ResNet and the plain network it taught, trained in the store."""
    teacher = train(tiny_runs("Supervised", "all"), store, "cpu", progress=False).run
    student = tiny_runs("JointRD", "none", teacher=teacher.id)
    return teacher, train(student, store, "cpu", progress=False)


def test_absent_weights_are_trained_again_teacher_first_and_the_command_reports_what_the_file_is(
    taught, dataset, store, tmp_path, export
):
    teacher, record = taught
    before = store.record_path(record.run).read_bytes()
    for run in (teacher, record.run):
        store.weights_path(run).unlink()
    code, out, _ = export(record.run.id, "--to", "net.onnx")
    assert code == 0
    told = [line for line in out.splitlines() if "are not here, training them again" in line]
    assert [teacher.id in told[0], record.run.id in told[1]] == [True, True]
    assert store.record_path(record.run).read_bytes() == before
    assert "additions: none, neither in the file nor after ONNX Runtime's own optimisation" in out
    assert "equal top-1 on 30, largest difference" in out
    assert f"test top-1: network {record.top1:.2f} %, this file {record.top1:.2f} %" in out
    assert "17 Conv" in out
    to = tmp_path / "net.onnx"
    assert evaluate(Deployed(to), dataset, dataset.test).top1 == pytest.approx(record.top1)
    facts = about_of(to)
    assert (facts["run"], facts["classes"], facts["side"]) == (record.run.id, dataset.classes, 8)
    assert facts["mean"] == dataset.mean.tolist()


def test_int8_reports_both_accuracies(taught, tmp_path, export):
    teacher, _ = taught
    code, out, _ = export(teacher.id, "--to", "net.onnx", "--int8")
    assert code == 0
    assert re.search(r"^net\.onnx: .* KiB, int8$", out, re.MULTILINE)
    assert "additions: 8 (" in out
    assert "; ONNX Runtime fuses 0 of them into convolutions" in out  # in float32 it fuses all eight
    assert " QuantizeLinear" in out
    assert "int8 on 30 test images: equal top-1 on" in out
    assert re.search(r"int8 changes top-1 by [+-]\d+\.\d\d points", out.splitlines()[-1])
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["net.onnx"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["0123456789ab", "--to", "net.onnx"], "neither the store nor a profile has run 0123456789ab"),
        (["RUN", "--to", "absent/net.onnx"], "cannot write net.onnx (No such file or directory)"),
        (["RUN", "--to", "net.tflite"], "the file's suffix chooses its kind, one of .onnx, .pt2, .pte"),
        (["RUN", "--to", "net.pte", "--int8"], "the file's suffix chooses its kind, one of .onnx"),
        (["RUN", "--to", "net.pt2", "--opset", "20"], "one of .onnx: int8 and opsets are of no other"),
        (["RUN", "--to", "net.ONNX"], "the file's suffix chooses its kind, one of .onnx, .pt2, .pte"),
        (["RUN", "--to", "net.onnx", "--opset", "17"], "opset 17 cannot be exported: choose one from 18 to 26"),
        (["RUN", "--to", "net.onnx", "--opset", "-1"], "opset -1 cannot be exported"),
        (["RUN", "--to", "net.pte", "--batch", "0"], "batch 0 cannot be exported: choose one from 1 to 256"),
        (["RUN", "--to", "net.onnx", "--batch", "1000000000000"], "batch 1000000000000 cannot be exported"),
    ],
)
def test_bad_input_ends_in_one_sentence(words, sentence, tiny_runs, store, tmp_path, export):
    teacher = train(tiny_runs(shortcuts="all"), store, "cpu", progress=False).run
    code, out, err = export(*(teacher.id if word == "RUN" else word for word in words))
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_file_is_compared_with_the_network_as_trained_and_one_that_does_not_verify_is_not_left(
    dataset, tmp_path, monkeypatch
):
    network, to = plain(18, 10, width=4).eval(), tmp_path / "net.onnx"
    to.write_bytes(b"an older file")

    def wrong(network):
        folded = fold(network)
        folded.fc.bias.copy_(folded.fc.bias.roll(1) + 0.1)
        return folded

    monkeypatch.setattr("rdlib.deploy.delivery.fold", wrong)
    with pytest.raises(DeployError, match=r"^net\.onnx does not compute what the network computes"):
        deliver(network, dataset, to)
    assert to.read_bytes() == b"an older file"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("before", "after", "images", "warned"),
    [
        *[(65.6, 43.0, 500, True), (95.0, 93.5, 500, False), (95.0, 92.9, 500, True), (95.0, 93.9, 10000, False)],
        *[(95.0, 93.7, 10000, True), (100.0, 98.5, 500, True), (100.0, 96.7, 30, False), (50.0, 60.0, 500, False)],
    ],
)
def test_a_loss_above_one_point_beyond_the_binomial_error_is_warned_of(before, after, images, warned, tmp_path):
    (tmp_path / "net.onnx").touch()
    same = Verification(images, 0.0, images)
    *_, last = Delivery(tmp_path / "net.onnx", before, after, same, same, images, None).lines()
    assert f"int8 changes top-1 by {after - before:+.2f} points" in last
    assert last.startswith("WARNING: ") == warned
    assert "\n" not in last


def test_opset_and_batch_are_reported(dataset, tmp_path):
    lines = deliver(plain(18, 10, width=4).eval(), dataset, tmp_path / "net.onnx", opset=18, batch=4).lines()
    assert "batch: exactly 4 a pass" in lines
    assert "input images [4 x 3 x 8 x 8] float32, normalised; output logits [4 x 10]; ONNX opset 18" in lines


def test_int8_is_calibrated_on_training_images(make_dataset, tmp_path, monkeypatch):
    images, seen = make_dataset(train=100, test=60), []
    monkeypatch.setattr(
        "rdlib.deploy.delivery.quantize",
        lambda path, to, given: seen.extend(given) or quantize(path, to, given),
    )
    deliver(plain(18, 10, width=8).eval(), images, tmp_path / "net.onnx", int8=True)
    assert torch.equal(torch.cat(seen), torch.cat(batches(images, images.train, 256)))


def test_images_for_comparison_are_evenly_spaced_over_the_classes(make_dataset):
    images = make_dataset(train=100, test=60)
    chosen = torch.cat(batches(images, images.train, 10))
    assert torch.equal(chosen, images.normalise(images.train.images[torch.arange(10) * 11]))
    assert sum(map(len, batches(images, images.test, 500))) == 60


def test_classify_needs_neither_pytorch_nor_this_package(digits, tmp_path):
    network = resnet(18, 10, "none", 4).eval()
    deliver(network, digits, tmp_path / "net.onnx")
    shutil.copy(Path(rdlib.__file__).parent / "deploy/classify.py", tmp_path / "classify.py")
    pixels = digits.test.images[123]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "digit.png")
    with torch.no_grad():
        chances = network(digits.normalise(pixels[None])).softmax(1)[0]
    alone = "import sys; sys.modules['torch'] = sys.modules['rdlib'] = None; import runpy; sys.argv = sys.argv[1:]; "
    alone += "runpy.run_path(sys.argv[0], run_name='__main__')"

    def classify(*words: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-c", alone, "classify.py", *words]
        return subprocess.run(whole, cwd=tmp_path, capture_output=True, text=True)

    done = classify("net.onnx", "digit.png")
    assert done.returncode == 0, done.stderr
    best = int(chances.argmax())
    assert done.stdout.splitlines()[0].split() == [f"{100 * chances[best]:.1f}", "%", digits.classes[best]]
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")  # pillow warns of half its limit
    done = classify("net.onnx", "large.png")
    assert (done.returncode, done.stdout.count("%"), done.stderr) == (0, 5, "")
    for words, sentence in (
        (("net.onnx",), "usage: python classify.py NETWORK.onnx IMAGE"),
        (("absent.onnx", "digit.png"), "error: there is no file absent.onnx: name a network that rdlib exported"),
        (("net.onnx", "absent.png"), "error: there is no file absent.png: name an image"),
        (("net.onnx", "classify.py"), "error: classify.py cannot be used as an image (cannot identify"),
    ):
        done = classify(*words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(sentence)

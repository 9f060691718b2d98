"""An int8 network keeps its shape, facts and most of its answers; calibration images that cannot serve are refused."""

import onnx
import pytest
import torch
from networks import randomise

from rdlib.convolutions import fold
from rdlib.deploy.export import OPSET, Deployed, export, verify
from rdlib.deploy.kinds import about_of
from rdlib.deploy.quantize import quantize
from rdlib.errors import DeployError
from rdlib.models import resnet


@pytest.fixture(scope="module")
def exported(digits, tmp_path_factory):
    """A network, its file, and training images to calibrate with."""
    torch.manual_seed(0)
    calibration = digits.normalise(digits.train.images[::10]).contiguous()
    network = randomise(resnet(18, 10, "none", 8), calibration)
    path = export(fold(network), tmp_path_factory.mktemp("float") / "net.onnx", 16, {"classes": digits.classes})
    return network, path, calibration


def test_an_int8_network_answers_nearly_the_same(exported, test_images, tmp_path):
    network, path, calibration = exported
    to = quantize(path, tmp_path / "int8.onnx", calibration.split(32))
    found = verify(network, to, test_images.split(100), tolerance=None)
    assert found.equal_top1 > 450  # of 500
    assert found.difference > 1e-3  # so something was quantised
    assert found.adds_nothing
    assert found.runtime_graph.operators["QLinearConv"] == 17
    weights = {t.name: t for t in onnx.load(to).graph.initializer}
    assert sum(t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4 for t in weights.values()) == 17
    scales = [t for name, t in weights.items() if name.startswith("layer4.1.conv2.weight_scale")]
    assert [list(t.dims) for t in scales] == [[64]]  # one an output channel
    assert to.stat().st_size < 0.5 * path.stat().st_size
    assert about_of(to) == about_of(path)
    model = onnx.load(to)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]  # those of its nodes alone
    onnx.checker.check_model(model, full_check=True)


def test_an_int8_file_keeps_opset_and_batch(exported, test_images, tmp_path):
    network, _, calibration = exported
    path = export(fold(network), tmp_path / "net.onnx", 16, opset=18, batch=7)
    to = quantize(path, tmp_path / "int8.onnx", calibration[:20].split(10))
    assert [(entry.domain, entry.version) for entry in onnx.load(to).opset_import] == [("", 18)]
    assert Deployed(to).batch == 7
    assert verify(network, to, [test_images[:50]], tolerance=None).equal_top1 > 40


def test_ranges_come_from_the_calibration_images(exported, tmp_path):
    _, path, calibration = exported
    near = Deployed(quantize(path, tmp_path / "near.onnx", [calibration]))
    dim = Deployed(quantize(path, tmp_path / "dim.onnx", [0.01 * calibration]))
    wanted = Deployed(path)(calibration)
    assert (near(calibration) - wanted).abs().mean() < 0.5 * (dim(calibration) - wanted).abs().mean()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda c: [], "the calibration set is empty: give some hundred training images"),
        (lambda c: [c[:0]], "the calibration set is empty"),
        (lambda c: [c[:, :1]], r"calibration images are \[1, 16, 16\], the network takes \[3, 16, 16\]"),
        (lambda c: [c, c[..., :8]], r"calibration images are \[3, 16, 8\]"),
        (lambda c: [c / 0], "a calibration image holds a value that is not finite"),
    ],
)
def test_a_calibration_set_that_cannot_serve_is_refused(spoil, sentence, exported, tmp_path):
    _, path, calibration = exported
    with pytest.raises(DeployError, match=sentence):
        quantize(path, tmp_path / "int8.onnx", spoil(calibration))
    assert not list(tmp_path.iterdir())


def test_only_our_files_are_quantised_and_only_where_they_can_be_written(exported, tmp_path):
    _, path, calibration = exported
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(DeployError, match=r"other\.onnx is not a readable ONNX file"):
        quantize(tmp_path / "other.onnx", tmp_path / "int8.onnx", [calibration])
    with pytest.raises(DeployError, match=r"cannot write int8\.onnx"):
        quantize(path, tmp_path / "absent" / "int8.onnx", [calibration])
    assert [file.name for file in tmp_path.iterdir()] == ["other.onnx"]

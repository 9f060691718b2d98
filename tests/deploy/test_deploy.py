"""Folded and exported networks compute the same, and strictly plain ones add nothing, not even inside the runtime."""

import os
from pathlib import Path

import onnx
import pytest
import torch
from networks import KINDS, randomise
from torch import nn

from rdlib.convolutions import DiracConv2d, fold
from rdlib.deploy.export import OPSET, Deployed, export, require_target, verify
from rdlib.deploy.graph import read_graph
from rdlib.deploy.kinds import INPUT, OUTPUT, about_of
from rdlib.errors import ConfigError, DeployError
from rdlib.models import resnet


@pytest.mark.parametrize(("depth", "shortcuts", "conv"), KINDS)
def test_folding_changes_nothing_but_the_form(depth, shortcuts, conv, test_images):
    images = test_images[:64].double()
    network = randomise(resnet(depth, 10, shortcuts, 8, conv=conv).double(), images)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold(network)
    with torch.no_grad():
        wanted = network(images)
        assert (folded(images) - wanted).abs().max() < 1e-9
    assert wanted.std() > 0.1
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d | DiracConv2d)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_file_says_what_it_is_and_no_machine_path(test_images, tmp_path):
    network = fold(resnet(18, 10, "none", 4).eval())
    path = export(network, tmp_path / "net.onnx", 16, {"classes": ["a", "ü"], "mean": [0.5]})
    model = onnx.load(path)
    assert {entry.version for entry in model.opset_import if not entry.domain} == {OPSET}
    graph = read_graph(path, batch=7)
    assert (graph.input, graph.output) == (INPUT, OUTPUT)
    assert (graph.shapes[INPUT], graph.shapes[OUTPUT]) == ((7, 3, 16, 16), (7, 10))
    assert about_of(path) == {"classes": ["a", "ü"], "mean": [0.5]}
    assert str(Path(torch.__file__).parents[1]).encode() not in path.read_bytes()
    assert b".py" not in path.read_bytes()


def test_the_memory_layout_leaves_no_trace(tmp_path):
    """Training makes networks channels_last; exported so, they would undo it with some twenty operators."""
    network = fold(resnet(18, 10, "all", 4, "imagenet").eval())
    plain, last = (tmp_path / name for name in ("plain.onnx", "last.onnx"))
    export(network, plain, 32)
    export(network.to(memory_format=torch.channels_last), last, 32)
    assert network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert read_graph(last).operators == read_graph(plain).operators


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "pte"])
def test_every_kind_of_file_runs_any_batch_and_only_onnx_files_can_be_said_to_add_nothing(
    suffix, trained, test_images, tmp_path
):
    network = trained()
    path = export(fold(network), tmp_path / f"net.{suffix}", 16)
    for batch in (1, 2, 5):
        found, wanted = Deployed(path)(test_images[:batch]), network(test_images[:batch])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    found = verify(network, path, [test_images[:20]])
    assert (found.equal_top1, found.adds_nothing, found.graph is not None) == (20, *[suffix == "onnx"] * 2)
    assert b"/rdlib/" not in path.read_bytes()


def test_synchronised_norms_of_several_gpus_fold_too(trained, test_images):
    network = trained()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(resnet(18, 10, "none", 4)).eval()
    synchronised.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fold(synchronised)(test_images[:4]), fold(network)(test_images[:4]))


def test_a_projection_of_few_channels_keeps_its_bias_where_gradients_are_on(trained, test_images):
    """It learns by another way than it is deployed, and that way knows no bias."""
    folded = fold(trained("all"))
    with torch.no_grad():
        wanted = folded(test_images[:4])
    assert torch.equal(folded(test_images[:4]), wanted)


def test_multiply_additions_and_parameters_are_those_that_torch_counts(tmp_path):
    from torch.utils.flop_counter import FlopCounterMode

    network = fold(randomise(resnet(50, 10, "all", 8), torch.randn(4, 3, 32, 32)))  # the exporter drops biases of zero
    graph = read_graph(export(network, tmp_path / "net.onnx", 32))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    assert 2 * graph.macs == counter.get_total_flops()
    assert graph.parameters == sum(p.numel() for p in network.parameters())


def test_a_file_of_other_weights_or_without_finite_logits_is_refused(trained, test_images, tmp_path):
    network, images = fold(trained()), test_images[:8]
    path = export(network, tmp_path / "net.onnx", 16)
    torch.manual_seed(1)
    with pytest.raises(DeployError, match=r"net.onnx does not compute what the network computes: a logit differs by"):
        verify(trained(), path, [images])
    with pytest.raises(DeployError, match=r"gives outputs \[8, 10\] where the network gives \[8, 9\]"):
        verify(trained(classes=9), path, [images])
    with pytest.raises(DeployError, match="no images to compare on"):
        verify(network, path, [])
    network.fc.bias.fill_(float("nan"))
    export(network, path, 16)
    for tolerance in (1e-4, None):
        with pytest.raises(DeployError, match=r"net\.onnx gives logits that are not finite"):
            verify(network, path, [images], tolerance)


@pytest.mark.parametrize(
    ("in_training", "sentence"),
    [
        ("", r"a network in training mode cannot be deployed: call network\.eval"),
        ("layer2", "a network in training mode cannot be deployed"),
        (None, r"bn1 is not folded \(BatchNorm2d\): deploy fold\(network\)"),
    ],
)
def test_a_network_in_training_mode_is_neither_exported_nor_folded_and_one_not_folded_not_exported(
    in_training, sentence, tmp_path
):
    network = resnet(18, 10, "none", 4).eval()
    if in_training is not None:
        network.get_submodule(in_training).train()
        with pytest.raises(DeployError, match="training mode cannot be folded"):
            fold(network)
    with pytest.raises(DeployError, match=sentence):
        export(network, tmp_path / "net.onnx", 16)
    assert not list(tmp_path.iterdir())


def test_fold_refuses_a_batchnorm_without_convolution():
    with pytest.raises(DeployError, match="the BatchNorm 1 follows no convolution"):
        fold(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval())


def test_targets_that_cannot_be_written_are_refused_before_any_work(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "kept.onnx").touch(mode=0o444)
    os.mkfifo(tmp_path / "pipe.onnx")
    for path, sentence in (
        (tmp_path / "kept.onnx", r"cannot write kept.onnx \(Permission denied\)"),
        (tmp_path / "pipe.onnx", r"cannot write pipe.onnx \(Permission denied\)"),
        (tmp_path / "absent" / "net.onnx", r"cannot write net.onnx \(No such file or directory\)"),
        (tmp_path / "folder.onnx", r"cannot write folder.onnx \(Is a directory\)"),
        (tmp_path / "net.pb", "net.pb: the file's suffix chooses its kind, one of .onnx, .pt2, .pte"),
    ):
        with pytest.raises(DeployError, match=sentence):
            require_target(path)
        with pytest.raises(DeployError, match=sentence):
            export(fold(resnet(18, 10, "none", 4).eval()), path, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "kept.onnx", "pipe.onnx"]


def test_an_export_that_fails_leaves_the_old_file_and_nothing_half_written(monkeypatch, tmp_path):
    path = export(fold(resnet(18, 10, "none", 4).eval()), tmp_path / "net.onnx", 16)
    before = path.read_bytes()

    def half(to: Path, content: bytes) -> None:
        with to.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(DeployError, match=r"cannot write net.onnx \(No space left on device\): make room"):
        export(fold(resnet(18, 10, "all", 4).eval()), path, 16)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_files_that_are_not_ours_are_refused(tmp_path):
    foreign = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> agraph (float[N, 3] images) => (float[N, 3] logits) '
        "{ logits = Relu(images) }"
    )
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for name in ("broken.onnx", "broken.pt2", "broken.pte", "net.txt"):
        (tmp_path / name).write_bytes(b"no network")
    for name, sentence in (
        ("foreign.onnx", "foreign.onnx was not exported by rdlib"),
        ("broken.onnx", "broken.onnx is not a readable ONNX file"),
        ("broken.pt2", "broken.pt2 is no program that torch.export can load"),
        ("broken.pte", "broken.pte is no program that ExecuTorch can load"),
        ("absent.onnx", "there is no file absent.onnx: make it with"),
        ("net.txt", "the file's suffix tells its kind"),
    ):
        with pytest.raises(DeployError, match=sentence) as caught:
            Deployed(tmp_path / name, trusted=True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["pt2", "pte"])
def test_a_program_that_another_process_wrote_is_opened_only_where_it_is_trusted(
    suffix, trained, test_images, tmp_path, monkeypatch
):
    """torch.export.load can run code of whoever wrote the file."""
    path = export(fold(trained()), tmp_path / f"net.{suffix}", 16)
    copy = path.rename(tmp_path / f"moved.{suffix}")
    ours = Deployed(copy)(test_images[:3])
    monkeypatch.setattr("rdlib.deploy.export.EXPORTED", set())  # as in another process
    monkeypatch.setattr(torch.export, "load", lambda file: pytest.fail("it was opened"))
    for refused in (lambda: Deployed(copy), lambda: verify(trained(), copy, [test_images])):
        with pytest.raises(
            DeployError, match=rf"moved\.{suffix} was not exported by this process, and opening it can run"
        ):
            refused()
    monkeypatch.undo()
    assert torch.equal(Deployed(copy, trusted=True)(test_images[:3]), ours)


@pytest.mark.parametrize(
    ("suffix", "opset", "batch"),
    [("onnx", 18, None), ("onnx", 19, 1), ("onnx", 26, 7), ("onnx", None, 3), ("pt2", None, 3), ("pte", None, 3)],
)
def test_a_file_has_the_opset_and_the_batch_that_were_asked_for(suffix, opset, batch, trained, test_images, tmp_path):
    network = trained("all")
    path = export(fold(network), tmp_path / f"net.{suffix}", 16, opset=opset, batch=batch)
    assert Deployed(path).batch == batch
    assert verify(network, path, [test_images[:10]]).equal_top1 == 10  # any number, in parts of the fixed batch
    if suffix == "onnx":
        model, graph = onnx.load(path), read_graph(path)
        assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", opset or OPSET)}
        dimensions = {
            value.type.tensor_type.shape.dim[0].dim_value for value in (*model.graph.input, *model.graph.output)
        }
        assert dimensions == {batch or 0}
        assert (graph.opset, graph.batch, graph.fixed) == (opset or OPSET, batch or 1, batch is not None)
        assert graph.macs == (batch or 1) * read_graph(export(fold(network), tmp_path / "free.onnx", 16)).macs


RANGES = {"opset": "18 to 26", "batch": "1 to 256"}


@pytest.mark.parametrize("value", [0, -1, 17, 27, 10**30])
@pytest.mark.parametrize("what", ["opset", "batch"])
def test_another_opset_or_batch_is_refused_and_nothing_written(what, value, tmp_path):
    if (what, value) in {("batch", 17), ("batch", 27)}:
        value += 256
    network = fold(resnet(18, 10, "none", 4).eval())
    with pytest.raises(ConfigError, match=rf"^{what} {value} cannot be exported: choose one from {RANGES[what]}\b"):
        export(network, tmp_path / "net.onnx", 16, **{what: value})
    with pytest.raises(DeployError, match=r"one of \.onnx: int8 and opsets are of no other"):
        export(network, tmp_path / "net.pt2", 16, opset=20)
    assert not list(tmp_path.iterdir())


def test_metadata_that_were_changed_are_refused(tmp_path):
    path = export(fold(resnet(18, 10, "none", 4).eval()), tmp_path / "net.onnx", 16, {"side": 16})
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"rdlib": "0", "rdlib.side": "sixteen"})
    onnx.save(model, path)
    with pytest.raises(DeployError, match=r"net\.onnx has metadata that were changed"):
        about_of(path)

"""A ResNet in anyone's file is found and computes the same; what is wrong is named, the true cause first."""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from networks import randomise
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rdlib.errors import CheckpointError, ConfigError
from rdlib.models import resnet
from rdlib.runs.weights import read_resnet

Weights = dict[str, Tensor]
IMAGES = torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
NETWORK: Any = randomise(resnet(18, 2, "all", 4, "imagenet"), IMAGES)
STATE: Weights = NETWORK.state_dict()
OTHER = {name: tensor * 2 for name, tensor in STATE.items()}
FC = {name: STATE[f"fc.{name}"] for name in ("weight", "bias")}
BODY = {name: tensor for name, tensor in STATE.items() if not name.startswith("fc.")}


def behind(prefix: str, weights: Weights = STATE) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def called(layer: str, body: Weights = BODY) -> Weights:
    return body | behind(f"{layer}.", FC)


def of(kind: torch.dtype) -> Weights:
    return {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}


def with_one(name: str, value: float) -> Weights:
    changed = copy.deepcopy(STATE)
    changed[name].view(-1)[0] = value
    return changed


OPTIONS = argparse.Namespace(lr=0.1)
FILES: dict[str, tuple[Any, str]] = {
    "bare": (STATE, ""),
    "DataParallel": (behind("module."), "stripped 'module.'"),
    "compiled": (behind("_orig_mod.module."), "stripped '_orig_mod.module.'"),
    "many prefixes": (behind("module.model.backbone.encoder."), "stripped 'module.model.backbone.encoder.'"),
    "a list": ([STATE], "unwrapped '0'"),
    "an epoch beside it": ((3, STATE), "unwrapped '1'"),
    "nested": ({"a": {"model": {"state_dict": behind("net.")}}}, "unwrapped 'a/model/state_dict', stripped 'net.'"),
    "torchvision": ({"model": STATE, "args": OPTIONS, "best": np.float64(3), "n": np.int64(1)}, "unwrapped 'model'"),
    "EMA": (
        {"model_ema": AveragedModel(NETWORK).state_dict()},
        "unwrapped 'model_ema', stripped 'module.'",
    ),
    "EMA beside it": ({"model": STATE, "model_ema": OTHER}, "unwrapped 'model', left 'model_ema/' alone"),
    "teacher": ({"student": OTHER, "teacher": STATE}, "unwrapped 'teacher', left 'student/' alone"),
    "Lightning": (
        {"state_dict": behind("model.") | {"loss.weight": torch.ones(2)}, "hyper_parameters": {"lr": 1}},
        "unwrapped 'state_dict', stripped 'model.', ignored state_dict/loss.weight",
    ),
    "mmcls": (called("head.fc", behind("backbone.", BODY)), "stripped 'backbone.', took 'head.fc' for its classifier"),
    "Sequential": (called("1.1", behind("0.", BODY)), "stripped '0.', took '1.1' for its classifier"),
    "two dicts": ({"body": BODY, "head": FC}, "unwrapped 'body', took 'head' for its classifier"),
    **{name: (called(name), f"took {name!r} for its classifier") for name in ("fc.1", "head", "classifier", "head.fc")},
    "pytorch-cifar": (
        {"net": {name.replace("downsample", "shortcut"): tensor for name, tensor in called("linear").items()}},
        "unwrapped 'net', took 'linear' for its classifier",
    ),
    "copies": (behind("model.") | behind("attacker.model."), "stripped 'model.', left 'attacker.model.' alone"),
    "no counts": ({name: t for name, t in STATE.items() if "num_batches" not in name}, ""),
    "profiled": (STATE | {"total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)}, ""),
    "float64": (of(torch.float64), "made float32 of float64"),
    "float16": (of(torch.float16), "made float32 of float16"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_network_is_found_wherever_it_lies_and_computes_the_same(name: str, tmp_path: Path) -> None:
    content, said = FILES[name]
    torch.save(content, tmp_path / "a.pth")
    network, done = read_resnet(tmp_path / "a.pth", 2)
    assert done == said
    assert not network.training
    close = 0.02 if name == "float16" else 1e-5
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES), NETWORK(IMAGES), rtol=close, atol=close)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.ckpt"])
def test_safetensors_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    save_file(behind("module."), tmp_path / name)
    assert read_resnet(tmp_path / name, 2, 18, 4)[1] == "stripped 'module.'"


def quantised() -> Weights:
    return STATE | {"fc.weight": torch.quantize_per_tensor(STATE["fc.weight"], 0.1, 0, torch.qint8)}


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (lambda: with_one("bn1.weight", float("nan")), "1 of 4 values of its bn1.weight are NaN"),
    "infinite": (lambda: with_one("fc.bias", float("inf")), "1 of 2 values of its fc.bias are NaN or infinite:"),
    "too large": (lambda: {k: v.double() * 1e300 for k, v in STATE.items()}, "conv1.weight .* infinite in float32"),
    "variance": (lambda: with_one("layer2.0.bn1.running_var", -1), "layer2.0.bn1.running_var has negative variances"),
    "integers": (lambda: {k: v.to(torch.int8) for k, v in STATE.items()}, "its conv1.weight is of int8"),
    "complex": (lambda: of(torch.complex64), "its conv1.weight is of complex64"),
    "quantised": (quantised, "its fc.weight is of qint8"),
    "whole": (lambda: torchvision.models.resnet18(), r"models.resnet.ResNet\), .* run code .*model.state_dict\(\)"),
    "whole inside": (lambda: {"model": NETWORK, "epoch": 1}, r"holds more than weights \(rdlib.models.StagedResNet\)"),
    "other classes": (lambda: resnet(18, 4, "all", 4).state_dict(), "tells 4 classes apart where the data set has 2"),
    "plain": (lambda: resnet(18, 2, "none", 4).state_dict(), "has no shortcuts"),
    "two heads": (lambda: called("fc.3", called("fc.0")), r"several linear layers .* \(fc.0.weight, fc.3.weight\)"),
    "normed head": (
        lambda: called("head.1", behind("backbone.", BODY)) | {"head.0.running_mean": torch.zeros(32)},
        "no place for its head.0.running_mean",
    ),
    "no head": (lambda: BODY, "has no linear layer for its classifier"),
    "attention": (lambda: STATE | {"layer1.0.se.weight": torch.ones(2, 2)}, "no place for its layer1.0.se.weight"),
    "anti-aliased": (
        lambda: STATE | {"layer2.0.conv2.1.filt": torch.ones(9)},
        "no place for its layer2.0.conv2.1.filt",
    ),
    "normalises": (
        lambda: STATE | {"norm.mean": torch.zeros(3)},
        r"normalises .* itself \(norm.mean\).* as mean and std",
    ),
    "grey": (lambda: STATE | {"conv1.weight": torch.ones(4, 1, 7, 7)}, "takes images of 1 channels"),
    "three stages": (lambda: {k: v for k, v in STATE.items() if "layer4" not in k}, "it has no layer4.0.conv1.weight"),
    "no statistics": (lambda: dict(NETWORK.named_parameters()), "it has no bn1.running_mean"),
    "several": (lambda: {"a": STATE, "b": OTHER}, r"several networks \(a/, b/\)"),
    "another": (lambda: {"net": {"stem.weight": torch.ones(1)}}, "holds no ResNet .* it has net/stem.weight"),
    "no name": (lambda: {"\x1b[31m": torch.ones(1)}, r"it has \?\[31m"),
    "empty": (dict, "no tensors at all"),
    "shapes": (lambda: STATE | {"conv1.weight": torch.tensor(1.0)}, r"its conv1.weight is \[\], which no ResNet has"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_in_one_sentence(name: str, tmp_path: Path) -> None:
    make, said = BAD[name]
    torch.save(make(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"^a\.pth.*{said}") as caught:
        read_resnet(tmp_path / "a.pth", 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [{"depth": 34}, {"depth": 50}, {"width": 64}])
def test_another_depth_or_width_than_the_files_is_told_which_it_is(told: dict[str, int], tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds a ResNet-18, width 4, first convolution 7x7, not one of"):
        read_resnet(tmp_path / "a.pth", 2, **told)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        (b"", "is an empty file"),
        (b"no weights", "is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("half", "is damaged"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_absent_or_damaged_are_named(content: bytes | str | None, said: str, name: str, tmp_path: Path):
    file = tmp_path / name
    if content == "half":
        torch.save(STATE, file) if name == "a.pth" else save_file(STATE, file)
        content = file.read_bytes()[:5000]
    if isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises((ConfigError, CheckpointError), match=said) as caught:
        read_resnet(file, 2)
    assert "\n" not in str(caught.value)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": STATE, "args": Evil()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="could run code from the file"):
        read_resnet(tmp_path / "a.pth", 2)
    assert not (tmp_path / "ran").exists()

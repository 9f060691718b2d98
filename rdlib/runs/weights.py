"""Anyone's file of a trained ResNet: containers opened, prefixes stripped, its weights named as torchvision names them.

Nothing in a file is run. A file holds names and shapes, and no proof of what its network computes with them: a dilated
or anti-aliased ResNet, or one that normalises its images itself, may have the same. The proof is the accuracy that
`adopt.accuracy_of_teacher` shows before anything is taught.
"""

import argparse
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from rdlib.errors import CheckpointError, ConfigError
from rdlib.models import StagedResNet
from rdlib.runs.layout import architecture_of, depth_of, described, load_into

FOUND_BY = "layer1.0.conv1.weight"  # with whatever stands before it, a ResNet's name
COUNTS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")  # of batches, averages, a profiler
AVERAGED = {"ema", "swa", "averaged"}  # words in the names of averaged copies
MOST = 6  # names shown
# Harmless objects beside the weights of many checkpoints: their options, and numbers such as the best accuracy.
SCALAR = np.float64(0).__reduce__()[0]
PLAIN: list[Any] = [argparse.Namespace, SCALAR, (SCALAR, "numpy.core.multiarray.scalar"), np.dtype]
PLAIN += [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]


def read_resnet(
    file: Path, classes: int, depth: int | None = None, width: int | None = None
) -> tuple[StagedResNet, str]:
    """The ResNet in a file of torch.save or safetensors, in eval mode on the CPU, and what was done to read it.

    It may lie in containers ("state_dict", "model", a list, ...) and behind prefixes ("module.", "backbone.", ...), in
    any precision, its classifier under another name. depth and width, where told, must be the file's.

    Raises ConfigError without the file, CheckpointError for one without a ResNet, with several, with unsound weights,
    or of other classes, depth or width.
    """
    weights, done = read_weights(file)
    try:
        architecture = architecture_of(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{file.name}: {error}") from None
    what = described(architecture)
    for option, told, value in (("depth", depth, depth_of(architecture)), ("width", width, architecture.width)):
        if told is not None and told != value:
            raise CheckpointError(f"{file.name} holds a {what}, not one of {option} {told}: leave {option} out")
    network = StagedResNet(architecture)
    load_into(network, weights, f"{file.name} has the names of a {what}, but")
    if architecture.num_classes != classes:
        raise CheckpointError(
            f"{file.name} tells {architecture.num_classes} classes apart where the data set has {classes}: "
            "take the images that it was trained on"
        )
    return network.eval(), done


def read_weights(file: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of the one ResNet in a file, float32, and what was done to find them, in words (or nothing).

    Raises as `read_resnet` does.
    """
    content = dict(flattened(opened(file)))
    prefixes = [name.removesuffix(FOUND_BY) for name in content if re.search(rf"(^|[./]){re.escape(FOUND_BY)}$", name)]
    if not prefixes:
        raise CheckpointError(
            f"{file.name} holds no ResNet in torchvision's layout, for nothing in it is called {FOUND_BY}: "
            f"it has {shown(content)}"
        )
    prefix = the_one(prefixes, content, file.name)
    container, _, stripped = prefix.rpartition("/")
    found = {
        name.removeprefix(prefix).replace(".shortcut.", ".downsample."): tensor
        for name, tensor in content.items()
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix) and not name.endswith(COUNTS)
    }
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in found.values()} - {"float32"}
    found = {name: sound(tensor, name, file.name) for name, tensor in found.items()}  # before anything else is said
    if own := [name for name in found if re.search(r"(?<!running_)(mean|std)$", name)]:
        raise CheckpointError(
            f"{file.name} holds a network that normalises its images itself ({shown(own)}): save it without these, "
            "and give them as mean and std"
        )
    besides = {name: content[name] for name in content if not name.startswith(prefix) and not name.endswith(COUNTS)}
    done = [f"unwrapped {container!r}"] if container else []
    done += [f"stripped {stripped!r}"] if stripped else []
    done += with_classifier(found, besides, prefix, file.name)
    found |= {name: sound(found[name], name, file.name) for name in ("fc.weight", "fc.bias")}
    done += [f"made float32 of {', '.join(sorted(kinds))}"] if kinds else []
    done += [f"left {other!r} alone" for other in prefixes if other != prefix]
    taken = tuple(prefixes) if prefix else ("",)
    left = [name for name in besides if name.rpartition("/")[0] == container and not name.startswith(taken)]
    done += [f"ignored {shown(left)}"] if left else []
    return found, ", ".join(done)


def opened(file: Path) -> Any:
    """What a file holds. Raises ConfigError without the file, CheckpointError where it cannot be read as weights."""
    if not file.is_file():
        raise ConfigError(f"there is no file {file}: name one that torch.save or safetensors wrote")
    start = b""
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
        if start[8:9] == b"{":
            return load_safetensors(file.read_bytes())
        with torch.serialization.safe_globals(PLAIN), warnings.catch_warnings(action="ignore"):
            return torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its container format happens to meet
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, PermissionError):
            why = "may not be read by you: change its permissions"
        elif not start:
            why = "is an empty file: copy it again"
        elif start.startswith(b"version https://git-lfs"):
            why = "is a pointer of Git LFS and not the file itself: run `git lfs pull` where it comes from"
        elif "TorchScript" in str(error):
            why = "is a TorchScript program: where it was made, save the state_dict() of torch.jit.load(FILE)"
        elif foreign:
            why = (
                f"holds more than weights ({foreign[1]}), and reading that could run code from the file: "
                "where it was made, torch.save(model.state_dict(), FILE)"
            )
        else:
            why = "is damaged, or neither torch.save nor safetensors wrote it: save the network's state_dict() again"
        raise CheckpointError(f"{file.name} {why}") from error


def flattened(content: Any, path: str = "", known: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a container, named by the containers around it: "state_dict/module.conv1.weight".

    known: containers seen so far, for one may lie in many others, or in itself.
    """
    known = set() if known is None else known
    if isinstance(content, Tensor):
        yield path, content
    elif isinstance(content, Mapping | list | tuple) and id(content) not in known:
        known.add(id(content))
        for key, inner in content.items() if isinstance(content, Mapping) else enumerate(content):
            name = re.sub(r"[^!-~]", "?", str(key))  # it is printed
            yield from flattened(inner, f"{path}/{name}" if path else name, known)


def the_one(prefixes: list[str], content: Mapping[str, Tensor], file: str) -> str:
    """The prefix of the network that is meant: no averaged copy where there is the original, rather a teacher.

    Raises CheckpointError where several are left that are not copies of one.
    """
    chosen = [prefix for prefix in prefixes if not AVERAGED & set(re.split(r"[./_]", prefix.lower()))] or prefixes
    chosen = [prefix for prefix in chosen if "teacher" in prefix.lower()] or chosen
    first, *others = chosen
    for other in others:
        for name in (name.removeprefix(first) for name in content if name.startswith(first)):
            one, two = content[first + name], content.get(other + name)
            if two is None or one.dtype != two.dtype or not torch.equal(one, two):
                raise CheckpointError(f"{file} holds several networks ({shown(chosen)}): save the one that shall teach")
    return first


def with_classifier(found: dict[str, Tensor], besides: dict[str, Tensor], prefix: str, file: str) -> list[str]:
    """Give the one linear layer outside the stages the name `fc`, taken from `besides` if need be; says what was done.

    Raises CheckpointError where there is none, or more than one.
    """
    inside = [name for name, tensor in found.items() if tensor.dim() == 2 and not name.startswith("layer")]
    others = [name for name, tensor in besides.items() if tensor.dim() == 2 and re.search(r"[./]weight$", name)]
    source = found if inside else besides
    linear = inside or others
    if len(linear) != 1:
        raise CheckpointError(
            f"{file} has {'several linear layers' if linear else 'no linear layer'} for its classifier"
            f"{f' ({shown(linear)})' if linear else ''}: a ResNet that teaches has one, after its last stage"
        )
    layer = linear[0].removesuffix("weight")
    weight, bias = source.pop(linear[0]), source.pop(f"{layer}bias", None)
    parent = re.sub(r"[^./]*.$", "", layer)
    if source is besides and not prefix.startswith(parent):  # another layer beside it, which ours would not have
        found.update({name: besides[name] for name in besides if name.startswith(parent)})
    bias, said = (weight.new_zeros(len(weight)), ["gave its classifier a bias of 0"]) if bias is None else (bias, [])
    found |= {"fc.weight": weight, "fc.bias": bias}
    return ([] if layer == "fc." else [f"took {layer[:-1]!r} for its classifier"]) + said


def sound(tensor: Tensor, name: str, file: str) -> Tensor:
    """The tensor in float32. Raises CheckpointError, naming it, where its values cannot be a trained network's."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_meta:
        raise CheckpointError(
            f"{file}: its {name} is of {kind}{'' if tensor.layout is torch.strided else ', sparse'}, and only weights "
            "of real floating-point numbers can teach: take the network as it was trained, before any conversion"
        )
    values = tensor.detach().float()
    if wrong := int((~values.isfinite()).sum()):
        raise CheckpointError(
            f"{file}: {wrong} of {values.numel()} values of its {name} are NaN or infinite"
            f"{'' if tensor.isfinite().all() == values.isfinite().all() else ' in float32'}: "
            "its training diverged or the file is damaged, take an earlier checkpoint"
        )
    if name.endswith("running_var") and (values < 0).any():
        raise CheckpointError(f"{file}: its {name} has negative variances: the file is damaged, copy or save it again")
    return values


def shown(names: Iterable[str]) -> str:
    """The first names, in words."""
    listed = list(names)
    more = f" and {len(listed) - MOST} more" if len(listed) > MOST else ""
    return (
        ", ".join(name or "a tensor without a name" for name in listed[:MOST]) + more if listed else "no tensors at all"
    )

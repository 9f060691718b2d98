"""Publish a trained network and load it again: weights, what it was built from, and a card filled from its record.

A published network is a folder of config.json, model.safetensors (torchvision's names) and README.md, in the Hugging
Face Hub's layout. `save_pretrained` writes it and uploads nothing; `from_pretrained(folder).push_to_hub(...)` does.
Those that come with rdlib lie in results/published/ (`deploy.gallery` puts them there) and are loaded by name.
"""

import copy
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from safetensors.torch import save
from torch import Tensor

from rdlib.deploy.card import card
from rdlib.deploy.export import explained, quiet
from rdlib.errors import DeployError, require_choice
from rdlib.files import RESULTS, sha256_of
from rdlib.models import Architecture, StagedResNet
from rdlib.runs.run import Record, Run

Precision = Literal["float32", "float16"]
OURS = RESULTS / "published"
SUMS = "SHA256SUMS"  # in OURS, as sha256sum writes and checks it
FILES = ("config.json", "model.safetensors", "README.md")
LOADED = FILES[:2]
ABOUT = ("dataset", "classes", "side", "mean", "std")


class Published(StagedResNet, PyTorchModelHubMixin, library_name="rdlib", license="apache-2.0"):
    """A trained network together with what its user needs.

    about: name of the data set, its classes, side of the images in pixels, mean and std of their channels in units of
    [0, 1]. weights_sha256: of the weights as loaded, as safetensors in float32. record: of the run that trained it,
    without the history. precision: of the weights in the file; loaded they are float32. checked: how many test images
    ("images") it answered correctly ("right") as it lies in the file.
    """

    def __init__(
        self,
        architecture: Architecture,
        about: dict[str, Any],
        weights_sha256: str,
        record: dict[str, Any] | None,
        precision: Precision = "float32",
        checked: dict[str, int] | None = None,
    ):
        super().__init__(replace(architecture, counts=tuple(architecture.counts)))  # JSON knows no tuples
        self.about, self.weights_sha256, self.record = about, weights_sha256, record
        self.precision, self.checked = precision, checked

    @property
    def trained(self) -> Record | None:
        """The record of the run that trained it, without the history."""
        if self.record is None:
            return None
        return Record(Run.from_value(self.record["run"]), self.record["metrics"], [], self.record["provenance"])

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> what the network takes: float32, zero mean and unit deviation."""
        mean, std = (torch.tensor(self.about[x], device=images.device).view(1, 3, 1, 1) for x in ("mean", "std"))
        return (images / 255 - mean) / std

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        return ModelCard(card(self))

    def _save_pretrained(self, save_directory: Path) -> None:
        stored = copy.deepcopy(self).half() if self.precision == "float16" else self
        super(Published, stored)._save_pretrained(save_directory)


def rounded(network: StagedResNet) -> StagedResNet:
    """A copy in float32 with the weights that a file in float16 holds."""
    return copy.deepcopy(network).half().float()


def save_pretrained(
    network: StagedResNet,
    folder: Path,
    about: Mapping[str, Any],
    record: Record | None = None,
    precision: Precision = "float32",
    checked: Mapping[str, int] | None = None,
) -> Path:
    """Write a trained network, not folded, into a new folder; returns its path.

    about: "dataset", "classes", "side", "mean" and "std", as in a delivered ONNX file. record: of the network as it is
    passed; without one the card claims no accuracy. precision: of the file; in float16 it takes half the room, and what
    is loaded is `rounded`. checked: as in `Published`. The folder appears whole or not at all.

    Raises ConfigError for another precision, and DeployError for a network that was folded, pruned or is not in
    float32, for weights other than the record's or trained elsewhere, for missing facts, and where the folder is not
    empty or cannot be written.
    """
    if not isinstance(network, StagedResNet):
        raise DeployError(f"only rdlib's networks can be published, not a {type(network).__name__}")
    if missing := [name for name in ABOUT if name not in about]:
        raise DeployError(f"a published network needs {', '.join(missing)} of its images: pass them in about")
    digest, known = sha256_of_weights(network), None
    if record is not None:
        require_ours(record, digest)
        known = json.loads(record.to_json())
        del known["history"], known["digest"]
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DeployError(f"{folder.name} is there and not empty: publish into a new folder")
    require_choice("precision", precision, get_args(Precision))
    facts = {name: plain_value(about[name]) for name in ABOUT}
    kept = network if precision == "float32" else rounded(network)
    tested = plain_value(dict(checked)) if checked else None
    with torch.device("meta"):
        published = Published(network.architecture, facts, sha256_of_weights(kept), known, precision, tested)
    require_same_layers(network, published)
    published.load_state_dict(kept.state_dict(), assign=True)
    with explained(folder, "place"), tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary, quiet():
        published.save_pretrained(made := Path(temporary) / folder.name)
        os.replace(made, folder)
    return folder


def from_pretrained(where: Path | str, revision: str | None = None) -> Published:
    """Load a published network: from a folder, by the name of one that comes with rdlib ("digits-plain-50-jointrd",
    `names` has all), or from the Hub by its repository id; on the CPU, in float32, in eval mode.

    Its weights are the saved ones bit for bit, and in the same memory layout so are its logits. Raises DeployError for
    an unknown name, for a folder or repository that is absent, cannot be fetched or is no network of ours, and where a
    file or the weights have another SHA-256 than is said of them.
    """
    folder, name = Path(where), where.name if isinstance(where, Path) else where
    if not folder.is_dir():
        folder = fetched(where, revision) if isinstance(where, Path) or "/" in where else ours(where)
    for file in LOADED:
        if not (folder / file).is_file():
            raise DeployError(f"{name} has no {file}: it is no network that rdlib has published")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            network = Published.from_pretrained(folder, strict=True)
    except Exception as error:  # of JSON, of safetensors, of a layer that does not fit
        raise DeployError(f"{name} is damaged or no network of rdlib: fetch or save it again") from error
    if sha256_of_weights(network) != network.weights_sha256:
        raise DeployError(f"the weights in {name} are not those that it names: fetch or save it again")
    return network


def sums() -> dict[str, str]:
    """By "NAME/FILE" the SHA-256 of every file that is loaded of the networks in OURS; empty where there are none."""
    path = OURS / SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    return {file: digest for digest, _, file in (line.partition("  ") for line in lines)}


def names() -> list[str]:
    """The names of the networks that come with rdlib."""
    return list(dict.fromkeys(file.partition("/")[0] for file in sums()))


def ours(name: str) -> Path:
    """The folder of the network of that name. Raises DeployError where there is none or a file is absent or damaged."""
    known = sums()
    if name not in names():
        raise DeployError(
            f"no published network is called {name!r}: name one of {', '.join(names()) or '(none is here)'}, "
            "a folder, or a repository OWNER/NAME of the Hub"
        )
    for file in LOADED:
        path = OURS / name / file
        if not path.is_file() or sha256_of(path) != known.get(f"{name}/{file}"):
            found = "damaged, its SHA-256 is another" if path.is_file() else "not here"
            raise DeployError(f"{file} of {name} is {found}: `git checkout -- results/published` restores it")
    return OURS / name


def plain_value(value: Any) -> Any:
    """As JSON holds it; the Hub's mixin silently leaves out what is not. Raises DeployError for anything else."""
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise DeployError(f"{value!r} cannot be published: pass numbers, words and lists in about") from error


def fetched(where: Path | str, revision: str | None) -> Path:
    """The folder of a repository of the Hub, downloaded or from the cache."""
    if isinstance(where, Path):
        raise DeployError(f"there is no folder {where.name}: name one that `save_pretrained` wrote, or a repository id")
    try:
        with quiet():
            return Path(snapshot_download(where, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # of the name, of the server, of every layer of the network between
        raise DeployError(
            f"{where!r} is no folder here, and as a repository it cannot be fetched: check its name and the network"
        ) from error


def require_same_layers(network: StagedResNet, built: StagedResNet) -> None:
    """Raise DeployError unless the layers are those that the architecture builds."""
    found, expected = network.state_dict(), built.state_dict()
    for name in [*expected, *found]:
        if name not in found or name not in expected or found[name].shape != expected[name].shape:
            raise DeployError(
                f"{name} is not what the network's architecture has: publish it neither folded nor pruned "
                "(ReDistill's network cannot be published)"
            )
        if found[name].dtype != expected[name].dtype:
            raise DeployError(f"{name} is {found[name].dtype}: publish the network in float32")


def require_ours(record: Record, digest: str) -> None:
    """Raise DeployError unless the record is that of these weights, and they were trained here."""
    if record.provenance.get("weights_sha256") != digest:
        raise DeployError(f"the network's weights are not those of run {record.run.id}: pass the record of these")
    if record.provenance["protocol"] == "adopted":
        raise DeployError(
            f"run {record.run.id} was trained elsewhere: publish it where it comes from, as it is licensed"
        )


def sha256_of_weights(network: StagedResNet) -> str:
    """Of the file that a store holds of this network."""
    return hashlib.sha256(save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})).hexdigest()

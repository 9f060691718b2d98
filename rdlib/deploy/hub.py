"""Publish a trained network and load it again: weights, what it was built from, and a card filled from its record.

A published network is a folder of config.json, model.safetensors (torchvision's names) and README.md, in the Hugging
Face Hub's layout. `save_pretrained` writes it and uploads nothing; `from_pretrained(folder).push_to_hub(...)` does.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData, PyTorchModelHubMixin, snapshot_download
from safetensors.torch import save
from torch import Tensor

from rdlib.deploy.export import explained, quiet
from rdlib.errors import DeployError
from rdlib.models import KINDS, Architecture, StagedResNet
from rdlib.runs.run import Record, Run

FILES = ("config.json", "model.safetensors", "README.md")
ABOUT = ("dataset", "classes", "side", "mean", "std")


class Published(StagedResNet, PyTorchModelHubMixin, library_name="rdlib", license="apache-2.0"):
    """A trained network together with what its user needs.

    about: name of the data set, its classes, side of the images in pixels, mean and std of their channels in units of
    [0, 1]. weights_sha256: of the weights as safetensors. record: of the run that trained it, without the history.
    """

    def __init__(
        self, architecture: Architecture, about: dict[str, Any], weights_sha256: str, record: dict[str, Any] | None
    ):
        super().__init__(replace(architecture, counts=tuple(architecture.counts)))  # JSON knows no tuples
        self.about, self.weights_sha256, self.record = about, weights_sha256, record

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> what the network takes: float32, zero mean and unit deviation."""
        mean, std = (torch.tensor(self.about[x], device=images.device).view(1, 3, 1, 1) for x in ("mean", "std"))
        return (images / 255 - mean) / std

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        return ModelCard(card(self))


def save_pretrained(
    network: StagedResNet, folder: Path, about: Mapping[str, Any], record: Record | None = None
) -> Path:
    """Write a trained network, not folded, into a new folder; returns its path.

    about: "dataset", "classes", "side", "mean" and "std", as in a delivered ONNX file. record: without one the card
    claims no accuracy. The folder appears whole or not at all.

    Raises DeployError for a network that was folded, pruned or is not in float32, for weights other than the record's
    or trained elsewhere, for missing facts, and where the folder is not empty or cannot be written.
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
    with torch.device("meta"):
        published = Published(network.architecture, {name: plain_value(about[name]) for name in ABOUT}, digest, known)
    require_same_layers(network, published)
    published.load_state_dict(network.state_dict(), assign=True)
    with explained(folder, "place"), tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary, quiet():
        published.save_pretrained(made := Path(temporary) / folder.name)
        os.replace(made, folder)
    return folder


def from_pretrained(where: Path | str, revision: str | None = None) -> Published:
    """Load a published network from a folder, or from the Hub by its repository id; on the CPU, in eval mode.

    Its weights are the saved ones bit for bit, and in the same memory layout so are its logits. Raises DeployError for
    a folder or repository that is absent, cannot be fetched, is no network of ours, or whose weights are not those that
    it names.
    """
    folder, name = Path(where), where.name if isinstance(where, Path) else where
    if not folder.is_dir():
        folder = fetched(where, revision)
    for file in FILES[:2]:
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
                f"{name} is not what the network's architecture has: publish it neither folded nor pruned"
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


def card(network: Published) -> str:
    """The model card: metadata of the Hub and Markdown; every number is the record's."""
    of, about, results = network.architecture, network.about, None
    depth = 2 + sum(of.counts) * (3 if of.block == "bottleneck" else 2)
    title = f"{KINDS[of.shortcuts].format(depth)}, on {about['dataset']}"
    rows = {
        "architecture": listed(asdict(of)),
        "images": f"RGB, side {about['side']}; mean {listed(about['mean'])}, deviation {listed(about['std'])}",
        "classes": len(about["classes"]),
        "accuracy": "not recorded: none is claimed",
    }
    if network.record is not None:
        body = network.record
        record = Record(Run.from_value(body["run"]), body["metrics"], [], body["provenance"])
        rows |= rows_of(record)
        result = EvalResult(
            task_type="image-classification",
            dataset_type=about["dataset"],
            dataset_name=about["dataset"],
            dataset_split=record.split,
            metric_type="accuracy",
            metric_name="top-1 (%), last epoch, one run",
            metric_value=record.top1,
        )
        results = [result]
    data = ModelCardData(
        license="apache-2.0",
        library_name="rdlib",
        pipeline_tag="image-classification",
        tags=["pytorch_model_hub_mixin", "model_hub_mixin", "residual-distillation"],
        model_name=title,
        eval_results=results,
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return CARD.format(metadata=data.to_yaml(), title=title, table=table, weights_sha256=network.weights_sha256)


def rows_of(record: Record) -> dict[str, Any]:
    """What the card says of a run."""
    run, origin = record.run, record.provenance
    teacher = f"run {run.teacher}" if run.teacher else "trained beside the student" if run.trains_teacher else "none"
    if "teacher_weights_sha256" in origin:
        teacher += f", weights' SHA-256 {origin['teacher_weights_sha256']}"
    return {
        "run": run.id,
        "data set": f"{run.dataset}, SHA-256 {origin['data_sha256']}",
        "method": f"{run.method}; {listed(run.options)}" if run.options else run.method,
        "teacher": teacher,
        "seed": run.seed,
        "accuracy": f"{record.top1:.2f} % top-1 on the {record.split} split after the last epoch; one run (n = 1), "
        "so nothing is known here of the spread over seeds",
        "recipe": listed(run.value["recipe"]),
        "protocol": origin["protocol"],
        "commit": (origin["commit"] or "not known") + (", with uncommitted changes" if origin["dirty"] else ""),
        "versions": listed(dict(sorted(origin["versions"].items()))),
    }


def listed(values: Any) -> str:
    """A mapping or a list in one line."""
    if isinstance(values, Mapping):
        return ", ".join(f"{name} {value}" for name, value in values.items())
    return ", ".join(f"{value:.4f}" for value in values)


CARD = """---
{metadata}
---

# {title}

From an independent reproduction of *Residual Distillation: Towards Portable Deep Neural Networks without Shortcuts*
(NeurIPS 2020, JointRD). A plain network has no shortcuts when deployed. Not by the paper's authors.

```python
from rdlib.deploy.hub import from_pretrained

network = from_pretrained("this folder or repository id")
logits = network(network.normalise(images))  # images: uint8 [N, 3, side, side]
label = network.about["classes"][int(logits[0].argmax())]
```

## Where it comes from

| | |
| --- | --- |
{table}
| SHA-256 of the weights | {weights_sha256} |

## Limits

| | |
| --- | --- |
| purpose | research code: made to test a paper's claims, not for decisions about people or safety |
| evidence | one run; compare methods with the tables over several seeds, not with this number |
| data | knows the classes of its data set alone, and answers with one of them whatever it is shown |
| robustness | not measured: other cameras, noise, shifted data, adversarial images |
| protocol | where it says "reduced", the recipe is shorter or the data smaller than the paper's |
"""

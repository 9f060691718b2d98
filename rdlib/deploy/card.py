"""The model card of a published network: metadata of the Hub and Markdown, filled from the network's record."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCardData

from rdlib.models import KINDS
from rdlib.runs.run import Record

if TYPE_CHECKING:
    from rdlib.deploy.hub import Published


def card(network: "Published") -> str:
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
    if (record := network.trained) is not None:
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
    kept = {"float32": "float32", "float16": "float16; loaded they are float32, and so is what the last SHA-256 is of"}
    rows["weights in the file"] = kept[network.precision]
    if network.checked is not None:
        rows["checked as it lies here"] = "{right} of {images} test images right".format_map(network.checked)
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

network = from_pretrained("this folder, its repository id, or its name where it comes with rdlib")
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

"""The networks that come with rdlib, in results/published/: which runs they are, and how they are put there.

A folder a network, as `deploy.hub` writes it; beside them SHA256SUMS, by which `from_pretrained` knows their names and
whether they are whole, and a README.md. Both are made from the folders alone.
"""

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rdlib.deploy.delivery import size
from rdlib.deploy.hub import LOADED, OURS, SUMS, Precision, Published, from_pretrained, rounded, save_pretrained
from rdlib.errors import ConfigError, DeployError
from rdlib.experiments.comparisons import depths
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.rows import CROSS_ENTROPY, Row, three_rows
from rdlib.experiments.tables import in_store
from rdlib.files import sha256_of, write
from rdlib.images.dataset import Images
from rdlib.models import StagedResNet
from rdlib.runs.execute import images_of, require_same_images
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.train import evaluate

SPARE = 1  # test images: float16 may answer so many more or fewer of them correctly


def wanted() -> dict[str, Run]:
    """The runs to publish by name, teachers first: of the first seed ResNet, plain and JointRD at one depth of digits
    (quick networks at the paper's rate) and of cifar10-small."""
    rows = [row for row in depths(PROFILES["quick"]) if row.depth == 50]
    rows += three_rows(PROFILES["cifar10-small"], 34)
    return {name_of(row): row.runs[0] for row in rows}


def name_of(row: Row) -> str:
    """`digits-plain-50-jointrd`: data set, network, depth and, but for cross-entropy, who taught it."""
    taught = "" if row.teaching == CROSS_ENTROPY else f"-{row.teaching.name}"
    return f"{row.runs[0].dataset}-{row.network}-{row.depth}{taught}".lower()


def chosen(asked: list[str]) -> dict[str, Run]:
    """Those of `wanted` that are asked for, by name or data set; all where nothing is. Raises ConfigError otherwise."""
    runs = wanted()
    known = {*runs, *(run.dataset for run in runs.values())}
    for one in asked:
        if one not in known:
            raise ConfigError(f"nothing to publish is called {one!r}: choose from {', '.join(sorted(known))}")
    return {name: run for name, run in runs.items() if not asked or name in asked or run.dataset in asked}


def require_weights(name: str, run: Run, store: Store) -> None:
    """Raise ConfigError, with the command that trains it, where the store lacks a run's weights or their record."""
    record = store.record(run)
    if record is None or not store.has_weights(run):
        how = "--run" if record is None else "--again"  # a record stays; what is repeated is for its weights
        command = in_store(f"python -m rdlib train {how} {run.id}", store)
        raise ConfigError(f"{name} is not published, its weights are not in the store: `{command}` trains it")


def right(network: StagedResNet, images: Images[Any]) -> int:
    """How many test images a network answers correctly."""
    return round(evaluate(network, images, images.test).top1 * len(images.test) / 100)


def fitting(network: StagedResNet, images: Images[Any]) -> tuple[Precision, int]:
    """The precision to store a network in, and how many test images it then answers correctly.

    float16 where that number is float32's to within SPARE and no weight is too large for it; else float32.
    """
    half = rounded(network)
    whole, halved = right(network, images), right(half, images)
    finite = all(bool(tensor.isfinite().all()) for tensor in half.state_dict().values())
    return ("float16", halved) if finite and abs(halved - whole) <= SPARE else ("float32", whole)


def publish(name: str, run: Run, store: Store, folder: Path = OURS) -> Published:
    """Write the trained network of a run into `folder`/`name`, in place of what is there, and the folder's index.

    Loaded again and evaluated before it takes its place. Raises ConfigError where the store lacks its weights,
    CheckpointError, RecordError or DeployError where they are not those of its record or the images have changed.
    """
    require_weights(name, run, store)
    images = images_of(run, store)
    require_same_images(run, store, images)
    network, record = store.network(run), store.record(run)
    precision, count = fitting(network, images)
    about = {"dataset": images.name, "classes": images.classes, "side": images.side}
    about |= {"mean": images.mean, "std": images.std}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        checked = {"right": count, "images": len(images.test)}
        made = save_pretrained(network, Path(temporary) / name, about, record, precision, checked)
        loaded = from_pretrained(made)
        if (again := right(loaded, images)) != count:
            raise DeployError(f"{name} was {count} times right and is {again} times loaded again: nothing is published")
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        os.replace(made, folder / name)
    write_index(folder)
    return loaded


def write_index(folder: Path) -> None:
    """Write SHA256SUMS and README.md over the networks in a folder. Raises OSError, DeployError for a damaged one."""
    places = [folder / name for name in wanted() if (folder / name).is_dir()]
    sums = "".join(f"{sha256_of(place / file)}  {place.name}/{file}\n" for place in places for file in LOADED)
    write(folder / SUMS, sums)
    write(folder / "README.md", README.format(table="\n".join(map(line, places)), sums=sums.rstrip()))


def line(place: Path) -> str:
    """A published network in the README's table."""
    network = from_pretrained(place)
    record, checked, weights = network.trained, network.checked, place / LOADED[1]
    assert record is not None
    assert checked is not None
    run = record.run
    how = f"{run.method}, width {run.width}, learning rate {run.recipe.learning_rate:g}, {run.recipe.epochs} epochs"
    here = f"{100 * checked['right'] / checked['images']:.2f} ({checked['right']} of {checked['images']})"
    cells = (
        *(f"[{place.name}]({place.name}/README.md)", how, f"{run.id}, seed {run.seed}", f"{record.top1:.2f}", here),
        *(network.precision, size(weights.stat().st_size)),
    )
    return f"| {' | '.join(cells)} |"


def told(name: str, network: Published, folder: Path) -> str:
    """What was published, in one line."""
    assert network.checked is not None
    weights = size((folder / name / LOADED[1]).stat().st_size)
    count = "{right} of {images} test images right".format_map(network.checked)
    record = f"{network.trained.top1:.2f} % by its record" if network.trained else "no record"
    return f"{name}: {network.precision}, {weights}, {count} ({record}), in {shlex.quote(folder.name)}/"


README = """# Published networks

Trained networks of one seed, ready to use; written by `python -m rdlib publish`, never by hand.

| name | trained by | run | test top-1 (%), record | as it lies here | weights | size |
| --- | --- | --- | --- | --- | --- | --- |
{table}

```python
from rdlib.deploy.hub import from_pretrained, names

print(names())
network = from_pretrained("digits-plain-50-jointrd")  # float32, eval mode, on the CPU
logits = network(network.normalise(images))  # images: uint8 [N, 3, side, side]
label = network.about["classes"][int(logits[0].argmax())]
```

Each folder is in the Hugging Face Hub's layout: `config.json` (architecture, classes, mean and deviation, and the run's
record), `model.safetensors` (torchvision's names) and `README.md`, its model card with the limits.
One seed each: compare methods with the tables over several seeds in [results/README.md](../README.md), not with these.

**Half precision.** A network is stored in float16 where it then answers as many test images correctly as in float32,
or one more or fewer, and no weight is too large for float16; otherwise in float32. It is loaded in float32 either way.
*Record* is what the run left (it stands in `config.json`; one of the same run made on another processor may lie in
`results/runs/`, and differ), *as it lies here* the file loaded again and evaluated when it was published; on another
processor an image or two may differ.

**SHA-256.** `from_pretrained` checks them when a network is asked for by name; so does `sha256sum -c SHA256SUMS` here.

```
{sums}
```

**Licence.** [Apache-2.0](../../LICENSE), as the code. No image of a data set is in these files.
"""

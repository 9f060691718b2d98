"""What a store's records say of their making: data, recipes, seeds, seconds, machines, commits, and what is missing."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from rdlib.errors import RdlibError
from rdlib.experiments.profiles import PROFILES
from rdlib.experiments.tables import NAMED, TABLES, rows_of
from rdlib.images import load
from rdlib.images.dataset import TUNE_SHARE
from rdlib.images.sources import KNOWN
from rdlib.images.subsets import SUBSETS
from rdlib.measure.latency_record import records as latency_records
from rdlib.paper.rendering import Linked
from rdlib.runs.run import Record
from rdlib.runs.store import Store

EXAMPLES = {
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
}  # training and test images, each class alike


def versions(records: Iterable[Record]) -> str:
    """Every version of every library that the records name."""
    found = {pair for record in records for pair in record.provenance["versions"].items()}
    return ", ".join(f"{name} {version}" for name, version in sorted(found)) or "none"


def devices(records: Iterable[Record]) -> str:
    """What the runs were trained on, and how many on each."""
    found = Counter(
        f"{one.provenance['device']}, {one.provenance['threads']} thread{'s' * (one.provenance['threads'] > 1)}"
        for one in records
    )
    return "; ".join(f"{device}: {count}" for device, count in sorted(found.items())) or "none"


def machines(store: Store) -> str:
    """What latencies were taken on."""
    return "; ".join(sorted({one.machine for one in latency_records(store.root / "measured").values()})) or "none"


@cache
def cells() -> dict[str, dict[str, list[list[Path]]]]:
    """By profile and table, where a store keeps the records of every cell; to look up thousands of times."""
    place, found = Store(Path()), dict[str, dict[str, list[list[Path]]]]()
    for profile in PROFILES.values():
        tables = {table: rows_of(profile, table) for table in (*TABLES, *NAMED)}
        found[profile.name] = {
            table: [[place.record_path(run) for run in row.runs] for row in rows] for table, rows in tables.items()
        }
    return found


def seeds_of_cells(store: Store) -> list[int]:
    """How many seeds each cell of every table has, of the cells that have any."""
    distinct = {tuple(cell) for tables in cells().values() for rows in tables.values() for cell in rows}
    counts = [sum((store.root / path).exists() for path in cell) for cell in distinct]
    return [count for count in counts if count]


def missing(store: Store) -> str:
    """Of every profile, how many runs of the paper's tables lack a record."""
    said = []
    for name, tables in cells().items():
        paths = {path for table in TABLES for cell in tables[table] for path in cell}
        lacking = sum(not (store.root / path).exists() for path in paths)
        said += [f"{name} {lacking} of {len(paths)}"] if lacking else []
    return ", ".join(said) or "none"


def recipes() -> Linked:
    """The recipe of every profile."""
    lines = []
    for profile in PROFILES.values():
        recipe = profile.recipe
        lines.append(
            {
                "profile": profile.name,
                "depths": ", ".join(map(str, sorted(profile.depths))),
                "width": str(profile.width),
                "seeds": str(len(profile.seeds)),
                "epochs": str(recipe.epochs),
                "batch": str(recipe.batch_size),
                "rate": f"{recipe.learning_rate:g}",
                "schedule": recipe.schedule,
                "momentum": f"{recipe.momentum:g}",
                "decay": f"{recipe.weight_decay:g}",
                "crop": f"{recipe.image_size} at random" if recipe.image_size else f"padding {recipe.crop_padding}",
                "flip": "yes" if recipe.flip else "no",
                "protocol": "full" if profile.full else "reduced",
            }
        )
    return Linked(pd.DataFrame(lines))


def sets(records: Iterable[Record]) -> Linked:
    """The data of the records: sizes of the splits, and the first digits of their SHA-256."""
    sums = Counter((record.run.dataset, record.provenance["data_sha256"]) for record in records)
    lines = [
        {"data": name, **sizes(name), "SHA-256": value[:12], "runs": str(count)}
        for (name, value), count in sorted(sums.items())
    ]
    return Linked(pd.DataFrame(lines))


def sizes(name: str) -> dict[str, str]:
    """Classes, side in pixels and images of each split; empty where neither published nor embedded."""
    counts: tuple[int, ...] = ()
    part = SUBSETS.get(name)
    whole = part.whole if part else name
    if whole in EXAMPLES:
        of, side = KNOWN[whole]
        classes = len(part.classes) if part else of
        counts = (classes, side, *(images * classes // of for images in EXAMPLES[whole]))
    elif whole == "digits":  # comes with scikit-learn, so that this reads the same on every machine
        try:
            images = load(name)
            counts = (len(images.classes), images.side, len(images.train), len(images.test))
        except RdlibError:
            pass
    if not counts:
        return dict.fromkeys(("classes", "side", "train", "of it tune", "test"), "")
    classes, side, train, test = counts
    tune = int(train * TUNE_SHARE)
    split = {"train": f"{train:,}", "of it tune": f"{tune:,}", "test": f"{test:,}"}
    return {"classes": str(classes), "side": str(side), **split}


def compute(records: Iterable[Record]) -> Linked:
    """Trainings, hours and seconds a run by data set and device."""
    seconds: dict[tuple[str, ...], list[float]] = {}
    for one in records:
        how = one.provenance
        place = (one.run.dataset, how["device"], str(how["threads"]), how["protocol"])
        seconds.setdefault(place, []).append(how["seconds"])
    lines = [
        {
            **dict(zip(("data", "device", "threads", "protocol"), place, strict=True)),
            "runs": str(len(of)),
            "hours": f"{sum(of) / 3600:.1f}",
            "seconds a run": f"{sum(of) / len(of):.0f} ({min(of):.0f} to {max(of):.0f})",
        }
        for place, of in sorted(seconds.items())
    ]
    every = [one for of in seconds.values() for one in of]
    return Linked(pd.DataFrame(lines), [f"in all: {len(every)} trainings, {sum(every) / 3600:.1f} hours"])

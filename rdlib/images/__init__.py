"""Image data sets by name: `prepare` makes the file of one below data/, `load` opens it, of whatever kind it is.

Small images of one size are held in memory (`dataset`); photographs of many sizes stay in the folder where they lie
(`photographs`), and an index of them is kept.
"""

import json
from pathlib import Path
from typing import Any

import torch

from rdlib import files
from rdlib.errors import ConfigError, DataError
from rdlib.files import DATA
from rdlib.images import arrays, dataset, sources
from rdlib.images.dataset import Images
from rdlib.images.normalisation import Numbers, seen_as
from rdlib.images.published import GET, SCANS
from rdlib.images.subsets import DERIVED


def load(
    name: str,
    root: Path = DATA,
    device: str | torch.device = "cpu",
    image_size: int | None = None,
    *,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    resize: float | None = None,
) -> Images[Any]:
    """Load a prepared data set (`digits` needs no preparation); `image_size` (default 224) is for photographs only.

    mean, std, resize: as a network that was trained elsewhere saw its images, see `normalisation.seen_as`.
    Raises DataError or ConfigError, with the command that helps, where it is absent, damaged or its folder has gone.
    """
    index = root / f"{name}.index.json"
    if index.exists():
        from rdlib.images import photographs  # and with it torchvision, which takes a second

        images: Images[Any] = photographs.open_index(index, name, torch.device(device), image_size)
    elif name in GET:
        raise DataError(f"{name} is not prepared here: {GET[name]}")
    else:
        images = dataset.in_memory(name, root, device)
    return seen_as(images, mean, std, resize)


def prepare(name: str, source: Path | None = None, root: Path = DATA, in_place: bool = False) -> Path:
    """Write `root/NAME.safetensors`, or, in place (always so for the data sets of GET), `root/NAME.index.json`.

    source: a folder train/<class>/* and test/<class>/*, or an .npz file (`arrays`); without, cifar10 and cifar100 are
    downloaded. In place, the test images may also be in val/ (where there are both, ImageNet's are val/, everyone
    else's test/), or the folder is as its authors publish it. Returns the path of the file, which is written whole or
    not at all. Raises DataError with the first class, file or array that is wrong, ConfigError where the name cannot
    be prepared so.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"a data set name is letters, digits, '-' and '_', not {name!r}")
    if derived := DERIVED.get(name):
        raise ConfigError(f"{name} is {derived.words} and needs no preparation of its own: prepare {derived.whole}")
    in_place = in_place or name in GET
    path, other = root / f"{name}.index.json", root / f"{name}.safetensors"
    if not in_place:
        path, other = other, path
    if other.exists():
        raise ConfigError(f"{name} is prepared here in the other form: delete {other.name} or take another name")
    try:
        if in_place:
            content: str | bytes = index_of(name, source)
        elif source is not None and arrays.is_file(source):
            content = dataset.packed(*arrays.from_arrays(name, source))
        else:
            content = dataset.packed(*sources.obtain(name, source, root))
    except OSError as error:
        what, gone = error.filename or source, isinstance(error, FileNotFoundError)
        advice = "it is not there, or a link to what is not: put it there" if gone else "make it readable"
        raise DataError(f"{what} cannot be read ({error.strerror or error}): {advice}") from error
    try:
        files.write(path, content)
    except OSError as error:
        raise DataError(f"cannot write {path.name} into the data folder: {error}") from error
    return path


def index_of(name: str, source: Path | None) -> str:
    """The content of an index: the folder, and its class names, file names and sizes with a checksum."""
    if name in sources.KNOWN:
        raise ConfigError(f"{name} is held in memory: leave out --in-place")
    if source is None:
        raise ConfigError(f"{name} needs --from FOLDER" + (f": {GET[name]}" if name in GET else ""))
    if name not in GET and arrays.is_file(source):
        raise ConfigError(f"{source.name} holds its images itself, and none stay in place: leave out --in-place")
    images = SCANS.get(name, sources.scan)(source)
    content = {"folder": str(source.resolve()), "sha256": files.digest(images), "images": images}
    return json.dumps(content, separators=(",", ":"))

"""One function turns a file into RGB, for small images and for photographs; whatever it cannot is one true sentence."""

import numpy as np
import pictures
import pytest
from PIL import Image

from rdlib.distributed import Shard
from rdlib.images import load, prepare
from rdlib.images.decode import decoded

kinds = pytest.mark.parametrize(("file", "make", "shown"), pictures.KINDS.values(), ids=pictures.KINDS)
broken = pytest.mark.parametrize(("file", "make", "said"), pictures.BROKEN.values(), ids=pictures.BROKEN)


@kinds
def test_a_file_of_any_kind_gives_the_pixels_it_shows(tmp_path, file, make, shown, recwarn) -> None:
    make(tmp_path / file)
    found = decoded(tmp_path / file, file)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), shown)
    assert not recwarn


@pytest.mark.parametrize(("file", "make"), pictures.LOSSY.values(), ids=pictures.LOSSY)
def test_lossy_formats_and_inks_keep_their_colour(tmp_path, file, make) -> None:
    make(tmp_path / file)
    assert np.abs(np.asarray(decoded(tmp_path / file, file)).astype(int) - pictures.flat).max() < 8


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize(
    ("file", "odd"), [("x.png", False), ("x.png", True), ("x.jpg", True), ("x.webp", False), ("x.tif", False)]
)
def test_a_picture_is_turned_as_its_camera_was_held(tmp_path, file, odd, orientation) -> None:
    """By EXIF's definition: where row 0 and column 0 of what is stored are to be seen. 9 is no orientation."""
    shown = np.kron(pictures.COLOUR, np.ones((16, 16, 1), np.uint8))
    stored = shown[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]
    if orientation in (5, 6, 7, 8):
        stored = stored.transpose(1, 0, 2)
    options = {"lossless": True} if file == "x.webp" else {}
    Image.fromarray(stored).save(tmp_path / file, exif=pictures.held(orientation, odd), **options)
    found = np.asarray(decoded(tmp_path / file, file)).astype(int)
    assert found.shape == shown.shape
    assert np.abs(found - shown).mean() < (15 if file == "x.jpg" else 1e-9)


@broken
@pytest.mark.parametrize("in_place", [False, True], ids=["in memory", "in place"])
def test_what_is_no_image_is_named_with_its_cause_and_never_to_be_removed(
    folder, root, refused, in_place, file, make, said
) -> None:
    """In place no file is opened, so what only opening shows comes up in training."""
    place = folder / "train" / "class7"
    make(place / f"a{file}")
    with refused(f"train/class7/a{file} .*({said})") as caught:
        prepare("mine", folder, root, in_place)
        images = load("mine", root, image_size=32)
        list(images.evaluation_batches(images.train, 99, Shard()))
    assert "remove" not in str(caught.value)

"""The classifier that stands alone sees the pixels that training saw, and says one sentence of what is no image."""

import re
import runpy
import sys

import numpy as np
import pictures
import pytest

from rdlib.deploy import classify
from rdlib.images.decode import FORMATS, LONGEST, decoded

EXACT = {name: (file, make) for name, (file, make, _) in pictures.KINDS.items()} | pictures.LOSSY
HELD = {
    f"orientation {n}": ("x.jpg", lambda f, n=n: pictures.picture.save(f, exif=pictures.held(n, odd=True)))
    for n in range(1, 9)
}


@pytest.mark.parametrize(("file", "make"), (EXACT | HELD).values(), ids=EXACT | HELD)
def test_it_sees_the_pixels_that_training_sees(tmp_path, file, make) -> None:
    make(tmp_path / file)
    found = classify.decoded(str(tmp_path / file))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(decoded(tmp_path / file, file)))


def test_it_takes_and_refuses_the_same_kinds() -> None:
    assert classify.FORMATS == FORMATS
    assert classify.LONGEST == LONGEST


def said(monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What the file, run as a program, says as it exits with 1."""
    monkeypatch.setattr("sys.argv", ["classify.py", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(classify.__file__, run_name="__main__")
    assert isinstance(left.value.code, str)  # Python prints it and exits with 1
    return left.value.code


@pytest.mark.parametrize(("file", "make", "cause"), pictures.BROKEN.values(), ids=pictures.BROKEN)
def test_what_is_no_image_is_one_sentence(tmp_path, monkeypatch, file, make, cause) -> None:
    make(tmp_path / file)
    sentence = said(monkeypatch, classify.__file__, tmp_path / file)
    assert re.fullmatch(f"error: .*({cause}).*", sentence)


def test_an_absent_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime numpy pillow" in said(monkeypatch)

"""Normalisation by name or by numbers; images seen so hold the same pixels, normalised and cut as was told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from rdlib.distributed import Shard
from rdlib.errors import ConfigError
from rdlib.images import load, prepare
from rdlib.images.dataset import Dataset
from rdlib.images.normalisation import IMAGENET, normalisation, seen_as

HALF = [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (None, None, {}),
        ("none", None, {"mean": [0.0] * 3, "std": [1.0] * 3}),
        (None, "imagenet", {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1])}),
        ("0.5,0.5,0.5", "none", {"mean": HALF, "std": [1.0] * 3}),
        ("[0.5, 0.5, 0.5]", (0.5, 0.5, 0.5), {"mean": HALF, "std": HALF}),
        ("0.5 0.5 0.5", 0.5, {"mean": HALF, "std": HALF}),
        (np.array(HALF), torch.tensor(HALF), {"mean": HALF, "std": HALF}),
    ],
)
def test_names_and_numbers_are_the_same_value_however_they_are_written(mean, std, expected):
    assert normalisation(mean, std) == expected


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ("0.5,0.5,0.5", None, "mean without its std"),
        (None, 0.5, "std without its mean"),
        ("Imagenet", None, "mean is imagenet, none, or three numbers"),
        ("0.5,0.5", "none", "three numbers"),
        ("", "none", "three numbers"),
        (True, "none", "three numbers"),
        ([0.5, "x", 0.5], "none", "three numbers"),
        ("none", "0.5,0,0.5", "not 0"),
        ([123.7, 116.3, 103.5], "none", "divide .* by 255"),
        ([0.5, 0.5, 0.5], [58.4, 57.1, 57.4], "divide .* by 255"),
        ([-0.1, 0.5, 0.5], "none", "units of"),
        ("nan", "none", "units of"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(mean, std, said):
    with pytest.raises(ConfigError, match=said) as caught:
        normalisation(mean, std)
    assert "\n" not in str(caught.value)


def test_images_in_memory_are_normalised_as_told(dataset: Dataset):
    seen = seen_as(dataset, "none", None, None)
    torch.testing.assert_close(seen.normalise(seen.test.images), dataset.test.images / 255)
    assert seen == replace(dataset, mean=seen.mean, std=seen.std)
    assert seen_as(dataset, None, None, None) is dataset
    with pytest.raises(ConfigError, match="resize is for photographs"):
        seen_as(dataset, None, None, 256)


def test_photographs_are_resized_before_the_crop_as_told(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / "own" / split / name).mkdir(parents=True)
            Image.effect_noise((50, 60), 80).convert("RGB").save(tmp_path / "own" / split / name / "0.png")
    prepare("own", tmp_path / "own", tmp_path, in_place=True)
    images = load("own", tmp_path, image_size=32, mean=HALF, std=0.25, resize=48)
    assert images.resize == 1.5  # as a delivered file says it
    found, _ = next(images.evaluation_batches(images.test, 2, Shard()))
    pixels = v2.functional.pil_to_tensor(Image.open(tmp_path / "own/test/a/0.png"))
    cut = v2.Compose([v2.Resize(48, antialias=True), v2.CenterCrop(32)])(pixels) / 255
    torch.testing.assert_close(found[0], (cut - 0.5) / 0.25)
    for wrong in (16, "abc", float("nan"), True):
        with pytest.raises(ConfigError, match="a number from 32"):
            load("own", tmp_path, image_size=32, resize=wrong)

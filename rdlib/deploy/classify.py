"""Classify an image with an exported network: needs onnxruntime, numpy and pillow, neither PyTorch nor this package.

    python classify.py NETWORK.onnx IMAGE.png

The file carries its classes and how its images are normalised. Copy both wherever you like.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image


def classify(network: str, image: str) -> list[tuple[str, float]]:
    """The five likeliest classes of one image with their probabilities, the likeliest first.

    As in evaluation, the shorter side is resized (of photographs to 256 / 224 of the network's) and the middle cut out.
    Raises FileNotFoundError where one of the two is no file.
    """
    for file, what in ((network, "a network that rdlib exported"), (image, "an image")):
        if not Path(file).is_file():
            raise FileNotFoundError(f"there is no file {file}: name {what}")
    session = InferenceSession(network, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    if "rdlib" not in facts:
        raise ValueError(f"{network} was not exported by rdlib, so its classes are unknown")
    side, classes, mean, std = (json.loads(facts[f"rdlib.{name}"]) for name in ("side", "classes", "mean", "std"))
    shorter = round(side * json.loads(facts["rdlib.resize"]))
    pixels = np.asarray(middle_square(Image.open(image).convert("RGB"), side, shorter), np.float32) / 255
    normalised = ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None]
    logits = session.run(None, {session.get_inputs()[0].name: normalised})[0][0].astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    return [(classes[i], float(chances[i])) for i in np.argsort(-chances)[:5]]


def middle_square(image: Image.Image, side: int, shorter: int) -> Image.Image:
    scale = shorter / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python classify.py NETWORK.onnx IMAGE")
    try:
        found = classify(*sys.argv[1:])
    except Exception as error:  # whatever the runtime or pillow say of a file that is not theirs
        sys.exit(f"error: {error}")
    for name, chance in found:
        print(f"{100 * chance:5.1f} %  {name}")

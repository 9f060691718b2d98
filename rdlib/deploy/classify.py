"""Classify an image with an exported network: needs onnxruntime, numpy and pillow, neither PyTorch nor this package.

    python classify.py NETWORK.onnx IMAGE.png

The file carries its classes and how its images are normalised. Copy both wherever you like.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

try:
    import numpy as np
    from onnxruntime import InferenceSession
    from PIL import ExifTags, Image, ImageOps
except ModuleNotFoundError as error:
    sys.exit(f"error: the package {error.name} is absent: pip install onnxruntime numpy pillow")

FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP"}
LONGEST = 100  # times the shorter side


def classify(network: str, image: str) -> list[tuple[str, float]]:
    """The five likeliest classes of one image with their probabilities, the likeliest first.

    As in evaluation, the shorter side is resized (of photographs to 256 / 224 of the network's) and the middle cut out.
    Raises FileNotFoundError where one of the two is no file, ValueError where it is one of another kind.
    """
    for file, what in ((network, "a network that rdlib exported"), (image, "an image")):
        if not Path(file).is_file():
            raise FileNotFoundError(f"there is no file {file}: name {what}")
    picture = decoded(image)
    session = InferenceSession(network, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    if "rdlib" not in facts:
        raise ValueError(f"{network} was not exported by rdlib, so its classes are unknown")
    side, classes, mean, std = (json.loads(facts[f"rdlib.{name}"]) for name in ("side", "classes", "mean", "std"))
    shorter = round(side * json.loads(facts["rdlib.resize"]))
    pixels = np.asarray(middle_square(picture, side, shorter), np.float32) / 255
    normalised = ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None]
    batch = session.get_inputs()[0].shape[0]  # a number where it is fixed
    normalised = np.repeat(normalised, batch if isinstance(batch, int) else 1, axis=0)
    logits = session.run(None, {session.get_inputs()[0].name: normalised})[0][0].astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    return [(classes[i], float(chances[i])) for i in np.argsort(-chances)[:5]]


def decoded(path: str) -> Image.Image:
    """An image file as `rgb` gives it. Raises ValueError where it is damaged or cannot be scaled to 8 bits."""
    Image.init()
    try:
        with Image.open(path, formats=sorted(FORMATS & {*Image.OPEN})) as image:
            return rgb(image)
    except Exception as error:  # a damaged file may lead a decoder to any
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be used as an image ({reason}): mend it or convert it to PNG") from error


def rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel, the pixels of rdlib's `images.decode`: turned as the EXIF orientation says, laid on white where
    it is transparent, of 16-bit greys the high byte, of several pictures the first."""
    if max(image.size) > LONGEST * min(image.size):
        raise ValueError(f"one side is over {LONGEST} times as long as the other")
    image.load()
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        tags = getattr(image, "tag_v2", {})  # of TIFF, which leaves 12 bits unscaled
        levels = np.asarray(image).astype(np.int32) >> tags.get(ExifTags.Base.BitsPerSample, (16,))[0] - 8
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # 0 is white
            levels = 255 - levels
        levels[np.asarray(image) == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("its numbers are of unknown range, not of 8 or 16 bits")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    image.info = {}  # else turning would write the file's EXIF data anew, which fails where they are odd
    image.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(image, in_place=True)
    return image


def middle_square(image: Image.Image, side: int, shorter: int) -> Image.Image:
    scale = shorter / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python classify.py NETWORK.onnx IMAGE")
    warnings.simplefilter("ignore")  # pillow's, of half its own limit of pixels and of odd descriptions
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what is raised as well
    try:
        found = classify(*sys.argv[1:])
    except Exception as error:  # whatever the runtime or pillow say of a file that is not theirs
        sys.exit(f"error: {' '.join(str(error).split()) or type(error).__name__}")
    for name, chance in found:
        print(f"{100 * chance:5.1f} %  {name}")

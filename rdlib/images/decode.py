"""One image file as RGB: what is scaled, turned, laid on white or refused is decided here alone.

`deploy/classify.py` stands alone and repeats `rgb`; a test holds that both give the same pixels.
"""

import errno
import logging
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rdlib.errors import DataError

Image.init()
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what is raised as well
FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP"}
SUFFIXES = {suffix for suffix, kind in Image.EXTENSION.items() if kind in FORMATS}
LONGEST = 100  # times the shorter side: else resizing the shorter one to 256 pixels would take gigabytes


def size_of(path: Path, where: str) -> int:
    """Bytes of a file that may be an image, which is not opened.

    Raises DataError where it is no file, is empty, or has no suffix of an image; OSError where it cannot be reached.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DataError(
            f"{where} is a folder inside a class folder: put its images directly into the class folder, or make it a "
            "class of its own beside that"
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{where} is no file but a pipe, socket or device: put an image file there")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{where} has no suffix of an image that can be read here (.png, .jpg, .gif, .webp, .tif, .bmp and their "
            "like): convert or rename it if it is an image, else keep it outside the class folders"
        )
    if status.st_size == 0:
        raise DataError(f"{where} is an empty file: copy it there again")
    return status.st_size


def decoded(path: Path, where: str) -> Image.Image:
    """An image file as RGB, 8 bits a channel; `where` is what errors call it.

    It is turned as its EXIF orientation says and, where it is transparent, laid on white. Of 16-bit greys the high byte
    is taken, as pillow does for colours. Of an animation or a file of several pages it is the first. Colour profiles
    are not applied. Raises DataError where it is damaged, of a range that cannot be known (floating point, 32 bits),
    too large for pillow or over LONGEST times as long as wide; OSError where it cannot be reached.
    """
    size_of(path, where)
    here = sorted(FORMATS & {*Image.OPEN})  # by the pillow that is installed
    try:
        # pillow warns of half its own limit of pixels, and of oddities in what describes an image
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=here) as image:
            return rgb(image, where)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{where} has over {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: make it smaller") from error
    except Exception as error:  # a damaged file may lead a decoder to any
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # no decoder that is led astray
            raise
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if unknown else " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{where} cannot be read as an image ({reason}): it is damaged or of a kind that pillow does not read, so "
            "copy it again, or convert it to PNG"
        ) from error


def rgb(image: Image.Image, where: str) -> Image.Image:
    """See `decoded`. Raises DataError for what that refuses, or whatever the decoder of a damaged file raises."""
    if max(image.size) > LONGEST * min(image.size):
        raise DataError(
            f"{where} is {image.width}x{image.height} pixels, expected at most {LONGEST} times as many on one side as "
            "on the other: cut it"
        )
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
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise DataError(f"{where} holds {kind} numbers of unknown range: save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    image.info = {}  # else turning would write the file's EXIF data anew, which fails where they are odd
    image.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(image, in_place=True)
    return image

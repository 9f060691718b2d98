"""Image files of every kind users may bring, made from pixels that are known, and files that only look like one."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COLOUR = np.random.RandomState(0).randint(0, 256, (6, 8, 3)).astype(np.uint8)  # H, W, RGB
GREY = np.repeat(COLOUR[..., :1], 3, 2)
FEW = (COLOUR[..., :1] > 99) * np.uint8([200, 30, 90])  # two colours, for palettes
HOLES = COLOUR[..., 0] > 128  # where nothing is painted
ON_WHITE = np.where(HOLES[..., None], np.uint8(255), COLOUR)
ALPHA = np.where(HOLES, 0, 255).astype(np.uint8)
picture = Image.fromarray(COLOUR)
wide = GREY[..., 0].astype(np.uint16) * 257
Make = Callable[[Path], object]


def png(file: Path, levels: np.ndarray, kind: int, transparent: bytes = b"") -> None:
    """A PNG of 16 bits, of greys (kind 0) or colours (2), that pillow does not write itself."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, kind, 0, 0, 0)
    middle = chunk(b"tRNS", transparent) if transparent else b""
    content = chunk(b"IHDR", head) + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def tiff(file: Path, data: bytes, bits: int, white: int, numbers: int = 1, bands: int = 1) -> None:
    """A little-endian TIFF of greys; white: 1 where 0 is black; numbers: 1 whole, 2 signed, 3 floating point."""
    entries = ((256, 8), (257, 6), (258, bits), (259, 1), (262, white), (273, 8), (277, bands), (279, len(data)))
    fields = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in (*entries, (339, numbers)))
    file.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", 9) + fields + b"\0" * 4)


def twelve_bits() -> bytes:
    """GREY's levels times 16, two in three bytes."""
    pairs = (wide >> 4).reshape(-1, 2).astype(int)
    return bytes(b for p, q in pairs for b in (p >> 4, (p & 15) << 4 | q >> 8, q & 255))


def painted(mode: str) -> Image.Image:
    """COLOUR, transparent in its HOLES."""
    with_alpha = picture.copy()
    with_alpha.putalpha(Image.fromarray(ALPHA))
    return with_alpha.convert(mode)


def palette(file: Path, **options: object) -> None:
    Image.fromarray(FEW).convert("P", palette=Image.Palette.ADAPTIVE, colors=2).save(file, **options)


def several(file: Path, pixels: np.ndarray = FEW, **options: object) -> None:
    """These pixels, then a black picture."""
    first = Image.fromarray(pixels)
    first.save(file, save_all=True, append_images=[Image.new("RGB", first.size)], **options)


def paletted_hole(file: Path) -> None:
    """FEW, with its black transparent."""
    image = Image.fromarray((FEW[..., 0] > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 200, 30, 90])
    image.save(file, transparency=0)


LAID = np.where(FEW[..., :1] > 0, FEW, np.uint8(255))
MARKED = tuple(int(level) for level in COLOUR[2, 3])  # one colour that a file declares transparent
UNMARKED = np.where((COLOUR == MARKED).all(2, keepdims=True), np.uint8(255), COLOUR)
GREY_UNMARKED = np.where((MARKED[:1] == GREY), np.uint8(255), GREY)
KINDS: dict[str, tuple[str, Make, np.ndarray]] = {  # file name, how it is made, and what it shows
    "8-bit colour": ("x.png", picture.save, COLOUR),
    "upper case": ("X.PNG", picture.save, COLOUR),
    "8-bit grey": ("x.bmp", Image.fromarray(GREY[..., 0]).save, GREY),
    "1 bit": ("x.png", Image.fromarray(HOLES).save, np.repeat(HOLES[..., None] * np.uint8(255), 3, 2)),
    "16-bit grey PNG": ("x.png", Image.fromarray(wide).save, GREY),
    "16-bit grey TIFF": ("x.tiff", Image.fromarray(wide).save, GREY),
    "16-bit grey TIFF, big-endian": ("x.tif", Image.fromarray(wide.astype(">u2")).save, GREY),
    "16-bit grey TIFF, 0 is white": ("x.tif", lambda f: tiff(f, (65535 - wide).tobytes(), 16, 0), GREY),
    "12-bit grey TIFF": ("x.tif", lambda f: tiff(f, twelve_bits(), 12, 1), GREY),
    "16-bit grey JPEG 2000": ("x.jp2", lambda f: Image.fromarray(wide).save(f, irreversible=False), GREY),
    "16-bit PGM": ("x.pgm", lambda f: f.write_bytes(b"P5 8 6 65535\n" + wide.astype(">u2").tobytes()), GREY),
    "16-bit grey PNG, one level transparent": (
        "x.png", lambda f: png(f, wide, 0, struct.pack(">H", MARKED[0] * 257)), GREY_UNMARKED),
    "16-bit colour PNG": ("x.png", lambda f: png(f, COLOUR.astype(int) * 257, 2), COLOUR),
    "palette": ("x.png", palette, FEW),
    "palette with a hole": ("x.png", paletted_hole, LAID),
    "RGBA": ("x.png", painted("RGBA").save, ON_WHITE),
    "RGBA WebP": ("x.webp", lambda f: painted("RGBA").save(f, lossless=True), ON_WHITE),
    "RGBA TIFF": ("x.tif", painted("RGBA").save, ON_WHITE),
    "half transparent": ("x.png", Image.new("RGBA", (8, 6), (0, 0, 0, 51)).save, np.full((6, 8, 3), 204, np.uint8)),
    "grey with alpha": ("x.png", Image.merge("LA", [Image.fromarray(x) for x in (GREY[..., 0], ALPHA)]).save,
                        np.where(HOLES[..., None], np.uint8(255), GREY)),
    "colour, one of them transparent": ("x.png", lambda f: picture.save(f, transparency=MARKED), UNMARKED),
    "grey, one level transparent": (
        "x.png", lambda f: Image.fromarray(GREY[..., 0]).save(f, transparency=MARKED[0]), GREY_UNMARKED),
    "GIF": ("x.gif", palette, FEW),
    "GIF with a hole": ("x.gif", paletted_hole, LAID),
    "animated GIF": ("x.gif", several, FEW),
    "animated PNG": ("x.apng", several, FEW),
    "animated WebP": ("x.webp", lambda f: several(f, lossless=True), FEW),
    "TIFF of two pages": ("x.tiff", several, FEW),
    "QOI": ("x.qoi", picture.save, COLOUR),
}  # fmt: skip
flat = np.full((16, 24, 3), (200, 30, 90), np.uint8)  # what a lossy format keeps nearly
LOSSY: dict[str, tuple[str, Make]] = {
    name: (file, lambda f, mode=mode: Image.fromarray(flat).convert(mode).save(f, quality=95))
    for name, file, mode in (
        ("JPEG", "x.jpg", "RGB"), ("JPEG, upper case", "X.JPG", "RGB"), ("CMYK JPEG", "x.jpeg", "CMYK"),
        ("CMYK TIFF", "x.tif", "CMYK"), ("YCbCr TIFF", "x.tif", "YCbCr"), ("AVIF", "x.avif", "RGB"),
    )
} | {
    "JFIF": ("x.jfif", lambda f: Image.fromarray(flat).save(f, "JPEG")),
    "two pictures of a camera": ("x.jpg", lambda f: several(f, flat, format="MPO")),
}  # fmt: skip


def held(orientation: int, odd: bool = False) -> bytes:
    """EXIF data that say how the camera was held; odd ones have a tag that pillow reads and cannot write."""
    tags = [struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0), struct.pack(">HHI4s", 0x0213, 2, 2, b"a")][: 1 + odd]
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(tags)) + b"".join(tags) + b"\0" * 4


def header_only(file: Path) -> None:
    """A PNG that says 20000x20000 pixels and has none."""
    png(file, np.zeros((1, 1), np.uint16), 0)
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)


def truncated(file: Path) -> None:
    picture.resize((40, 40)).save(file)
    file.write_bytes(file.read_bytes()[:-300])


def listening(file: Path) -> None:
    """A socket; the path of one must be short."""
    here = os.open(file.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{here}/{file.name}")
    os.close(here)


whole = np.arange(48, dtype=np.int32).reshape(6, 8)
BROKEN: dict[str, tuple[str, Make, str]] = {  # file name, how it is made, and what is said of it
    "float TIFF": ("x.tif", Image.fromarray(whole.astype(np.float32)).save, "unknown range"),
    "32-bit TIFF": ("x.tif", Image.fromarray(whole).save, "unknown range"),
    "16-bit signed TIFF": ("x.tif", lambda f: tiff(f, wide.tobytes(), 16, 1, numbers=2), "unknown range"),
    "float PFM": ("x.pfm", Image.fromarray(whole.astype(np.float32)).save, "unknown range"),
    "bomb": ("x.png", header_only, "pixels"),
    "1x300": ("x.png", Image.new("RGB", (1, 300)).save, "100 times"),
    "text": ("x.png", lambda f: f.write_text("hello"), "cannot be .*image"),
    "truncated": ("x.png", truncated, "cannot be .*image .*truncated"),
    "TIFF of five bands": ("x.tif", lambda f: tiff(f, wide.tobytes() * 5, 16, 1, bands=5), "cannot be .*image"),
    "EPS": ("x.png", lambda f: picture.save(f, "EPS"), "cannot be .*image"),
    "empty": ("x.png", Path.touch, "empty|cannot be"),
    "folder": ("x.png", Path.mkdir, "is a folder|is no file|no file"),
    "pipe": ("x.png", os.mkfifo, "no file"),
    "socket": ("x.png", listening, "no file"),
    "device": ("x.png", lambda f: f.symlink_to("/dev/zero"), "no file"),
    "link to itself": ("x.png", lambda f: f.symlink_to(f), "symbolic links|no file"),
    "link to nothing": ("x.png", lambda f: f.symlink_to(f.with_name("absent")), "No such file|no file"),
}  # fmt: skip

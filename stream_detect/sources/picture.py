"""Still pictures: whatever Pillow reads becomes one RGB `Frame`."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stream_detect.decode.convert import check_area
from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError, SourceUnsupported
from stream_detect.sources.feed import check_file

PICTURE_ENDINGS = {
    ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pnm", ".tga",
    ".avif", ".jp2", ".ico",
}  # fmt: skip
MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
)
SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def kind_of(path: Path | str) -> Literal["image", "video"]:
    """Whether a file is to be read as a picture or as a video: by its first bytes, else by its ending."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(16)
    except OSError:
        start = b""
    if start.startswith(MAGIC[:-1]) or start == MAGIC[-1] or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return "image"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "image"
    return "image" if Path(path).suffix.lower() in PICTURE_ENDINGS else "video"


def read_picture(path: Path | str) -> Frame:
    """A still picture as a frame, upright (EXIF), 8-bit RGB; of an animated one the first picture.

    Grey and 16-bit pictures become RGB, CMYK and palettes are resolved, what is transparent lies on white.

    Raises:
        SourceNotFound: if there is no such file.
        SourceUnsupported: if it is no picture that can be read, or larger than 100 million pixels.
    """
    path = Path(path)
    check_file(path, str(path))
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            check_area(picture.width, picture.height)
            rgb = _rgb(ImageOps.exif_transpose(picture))
    except SourceError as error:
        raise type(error)(f"{path}: {error}") from error
    except Image.DecompressionBombError as error:
        raise SourceUnsupported(f"{path}: the picture is too large, the limit is 100 million pixels") from error
    except UnidentifiedImageError as error:
        raise SourceUnsupported(f"{path}: not a picture that can be read") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, OverflowError) as error:
        raise SourceUnsupported(f"{path}: the picture is damaged or cut off ({error})") from error
    return Frame.from_rgb(rgb, source=path.name)


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode in SIXTEEN_BIT:
        return _from_sixteen_bits(np.asarray(picture, np.int64), picture.mode)
    if picture.mode == "F":
        return _from_float(np.asarray(picture))
    if picture.has_transparency_data:
        picture = _on_white(picture.convert("RGBA"))
    return np.array(picture.convert("RGB"))


def _from_sixteen_bits(levels: np.ndarray, mode: str) -> np.ndarray:
    """Grey levels of 16 bits to 8; mode "I" has no fixed range: what fits 8 bits is taken as it is."""
    scaled = levels if mode == "I" and levels.max(initial=0) < 256 else (levels + 128) // 257
    return _three(np.clip(scaled, 0, 255))


def _from_float(levels: np.ndarray) -> np.ndarray:
    """Grey levels in [0, 1], or in [0, 255] if any is above 1."""
    finite = np.nan_to_num(levels, posinf=255.0, neginf=0.0)
    return _three(np.clip(finite * (255.0 if finite.max(initial=0) <= 1 else 1.0), 0, 255).round())


def _three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _on_white(picture: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", (picture.width, picture.height), "white")
    return Image.alpha_composite(ground, picture)

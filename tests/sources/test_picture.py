"""Still pictures of every kind become one upright RGB frame, or one clear error."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stream_detect.errors import SourceNotFound, SourceUnsupported
from stream_detect.sources import kind_of, read_picture
from tests import clips


def saved(picture: Image.Image, path: Path, **options) -> np.ndarray:
    picture.save(path, **options)
    frame = read_picture(path)
    assert (frame.height, frame.width) == (picture.height, picture.width)
    return frame.rgb((0, 0, frame.width, frame.height))


def test_an_rgb_picture_is_taken_as_it_is(tmp_path: Path):
    rgb = clips.scenery(1)[0]
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(saved(Image.fromarray(rgb), tmp_path / name), rgb)


def test_grey_of_8_and_16_bits(tmp_path: Path):
    levels = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(saved(Image.fromarray(levels), tmp_path / "a.png")[:, :, 1], levels)
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    np.testing.assert_array_equal(saved(deep, tmp_path / "b.png")[:, :, 1], levels)
    np.testing.assert_array_equal(saved(deep, tmp_path / "b.tif")[:, :, 1], levels)
    dark = Image.fromarray(np.full((4, 4), 200, np.uint16))
    assert saved(dark, tmp_path / "c.png").max() == 1


def test_cmyk_palette_and_float(tmp_path: Path):
    red = Image.new("RGB", (8, 8), (250, 10, 10))
    assert saved(red.convert("CMYK"), tmp_path / "a.jpg", quality=95)[4, 4] == pytest.approx([250, 10, 10], abs=12)
    np.testing.assert_array_equal(saved(red.quantize(), tmp_path / "a.gif")[4, 4], saved(red, tmp_path / "a.png")[4, 4])
    half = Image.fromarray(np.full((4, 4), 0.5, np.float32))
    assert saved(half, tmp_path / "a.tif")[0, 0, 0] == 128


def test_what_is_transparent_lies_on_white(tmp_path: Path):
    rgb = saved(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), tmp_path / "a.png")
    assert (rgb == 255).all()


def test_of_an_animation_the_first_picture(tmp_path: Path):
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    rgb = saved(pictures[0], tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    np.testing.assert_array_equal(rgb[0, 0], [255, 0, 0])


def test_a_picture_taken_sideways_stands_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise to be upright
    Image.fromarray(clips.scenery(1, 40, 60)[0]).save(tmp_path / "a.jpg", exif=exif)
    frame = read_picture(tmp_path / "a.jpg")
    assert (frame.height, frame.width) == (60, 40)


def test_one_pixel(tmp_path: Path):
    np.testing.assert_array_equal(saved(Image.new("RGB", (1, 1), (1, 2, 3)), tmp_path / "a.png"), [[[1, 2, 3]]])


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_001, 10_000)])
def test_an_enormous_picture_is_refused_before_it_is_read(width: int, height: int, tmp_path: Path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(SourceUnsupported, match="100 million pixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp", ".tif"])
def test_a_cut_picture_fails_clearly(suffix: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(SourceUnsupported, match=r"a\.\w+"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256))])
def test_foreign_bytes_fail_clearly(content: bytes, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(SourceUnsupported, match=r"not a picture|empty"):
        read_picture(tmp_path / "a.jpg")


def test_a_missing_picture_fails_clearly(tmp_path: Path):
    with pytest.raises(SourceNotFound, match="check the path"):
        read_picture(tmp_path / "nothing.png")


def test_kinds_go_by_content_then_by_ending(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.mp4", "PNG")
    clips.write_clip(tmp_path / "clip.mp4", clips.numbered(2))
    assert kind_of(tmp_path / "picture.mp4") == "image"
    assert kind_of(tmp_path / "clip.mp4") == "video"
    assert kind_of(tmp_path / "missing.JPG") == "image"
    assert kind_of("missing.mov") == "video"

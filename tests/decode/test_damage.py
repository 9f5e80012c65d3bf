"""Damage that only the pictures show, and what looks like it but is none."""

from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stream_detect.decode.convert import Converter
from stream_detect.decode.damage import Smears, damage_of
from stream_detect.decode.frame import Layout
from tests.clips import scenery, talking_head

Planes = tuple[np.ndarray, ...]
SUBSAMPLED: dict[Layout, tuple[int, int]] = {"yuv420": (2, 2), "yuv422": (1, 2), "yuv444": (1, 1)}


def noise(layout: Layout = "yuv420", height: int = 96, width: int = 128) -> Planes:
    rng = np.random.default_rng(0)
    rows, columns = SUBSAMPLED[layout]
    sizes = ((height, width), *[(height // rows, width // columns)] * 2)
    return tuple(rng.integers(30, 220, size, dtype=np.uint8) for size in sizes)


def of_rgb(rgb: np.ndarray, pix_fmt: str = "yuv420p") -> Planes:
    """The planes of a picture as a camera or a screen share codes them."""
    return Converter()(av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt))[0]


@pytest.mark.parametrize("layout", SUBSAMPLED)
@pytest.mark.parametrize(("word", "value"), [("grey", 128), ("green", 0)])
def test_a_part_that_was_never_decoded_is_seen(layout: Layout, word: str, value: int) -> None:
    planes = noise(layout)
    assert damage_of(planes, layout) is None
    for plane in planes:
        plane[plane.shape[0] * 2 // 3 :] = value
    assert damage_of(planes, layout) == word


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_an_mjpeg_picture_cut_short_is_seen(kept: float) -> None:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 480, 360, "yuvj420p", Fraction(1, 25)
    (packet,) = encoder.encode(av.VideoFrame.from_ndarray(talking_head(1)[0], format="rgb24"))
    whole = bytes(packet)
    (picture,) = decoded("mjpeg", [whole])
    assert damage_of(picture, "yuv420") is None
    (picture,) = decoded("mjpeg", [whole[: int(kept * len(whole))]])
    assert damage_of(picture, "yuv420") == "green"


def slide(background: tuple[int, int, int]) -> np.ndarray:
    rgb = np.full((360, 640, 3), background, np.uint8)
    cv2.putText(rgb, "Quarterly figures", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (20, 20, 20), 3)
    return rgb


def boxed(rgb: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A picture with bars above and below."""
    return cv2.copyMakeBorder(rgb, 60, 60, 0, 0, cv2.BORDER_CONSTANT, value=color).astype(np.uint8, copy=False)


WHOLE = {
    "scenery": scenery(1, 360, 480)[0],
    "a face": talking_head(1)[0],
    "black bars": boxed(talking_head(1)[0], (0, 0, 0)),
    "white bars": boxed(talking_head(1)[0], (255, 255, 255)),
    "grey bars": boxed(talking_head(1)[0], (128, 128, 128)),
    "night": talking_head(1)[0] // 16,
    "a black picture": np.zeros((360, 480, 3), np.uint8),
    "a green screen": slide((0, 177, 64)),
    "the greenest green": slide((0, 255, 0)),
    "dark green": slide((0, 100, 0)),
    "a grey slide": slide((128, 128, 128)),
    "a white slide": slide((255, 255, 255)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_picture_is_not_damaged(name: str) -> None:
    assert damage_of(of_rgb(WHOLE[name]), "yuv420") is None
    if "grey" not in name:  # the middle of the full range is what codecs begin with
        assert damage_of(of_rgb(WHOLE[name], "yuvj420p"), "yuv420") is None


def test_pictures_that_are_tiny_or_not_yuv_are_left_alone() -> None:
    assert damage_of((np.full((2, 2), 128, np.uint8), *[np.full((1, 1), 128, np.uint8)] * 2), "yuv420") is None
    assert damage_of((np.zeros((64, 64, 3), np.uint8),), "rgb") is None
    assert damage_of((np.full((64, 64), 128, np.uint8),), "gray") is None
    assert not Smears().is_smeared(np.zeros((1, 1), np.uint8))


def test_smears_of_a_broken_hevc_stream_are_seen() -> None:
    stream = hevc(talking_head(50, 360, 640))
    assert smeared(stream) == []
    key = next(i for i, (_, is_key) in enumerate(stream) if i and is_key)
    whole = stream[key][0]
    stream[key] = (whole[: len(whole) // 3] + whole[len(whole) // 3 + 1200 :], True)  # what a lost packet takes along
    assert key in smeared(stream)


def test_a_window_that_opens_is_no_smear() -> None:
    smears, luma = Smears(), cv2.cvtColor(talking_head(1, 360, 640)[0], cv2.COLOR_RGB2GRAY)
    assert not any(smears.is_smeared(luma) for _ in range(10))
    luma[80:240, 160:480] = 250
    assert not smears.is_smeared(luma)


def test_what_stays_is_taken_for_usual() -> None:
    smears, luma = Smears(), np.full((360, 640), 100, np.uint8)
    assert not any(smears.is_smeared(luma) for _ in range(10))
    blocks = np.random.default_rng(0).integers(0, 256, (45, 80), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    answers = [smears.is_smeared(blocks) for _ in range(100)]
    assert answers[0]
    assert not answers[-1]


def hevc(pictures: list[np.ndarray]) -> list[tuple[bytes, bool]]:
    """Each packet and whether it is a key frame: one a second, as a camera codes them."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = *pictures[0].shape[:2], "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size, encoder.bit_rate = Fraction(1, 25), Fraction(25), 25, 10**6
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none"}
    frames: list[av.VideoFrame | None] = [av.VideoFrame.from_ndarray(rgb, format="rgb24") for rgb in pictures]
    for index, frame in enumerate(frames):
        assert frame is not None
        frame.pts = index
    return [(bytes(packet), packet.is_keyframe) for frame in [*frames, None] for packet in encoder.encode(frame)]


def smeared(stream: list[tuple[bytes, bool]]) -> list[int]:
    smears = Smears()
    return [i for i, planes in enumerate(decoded("hevc", [data for data, _ in stream])) if smears.is_smeared(planes[0])]


def decoded(codec: str, packets: list[bytes]) -> Iterator[Planes]:
    decoder, convert = av.CodecContext.create(codec, "r"), Converter()
    assert isinstance(decoder, av.VideoCodecContext)
    for data in [*packets, None]:
        for picture in decoder.decode(None if data is None else av.Packet(data)):
            yield convert(picture)[0]

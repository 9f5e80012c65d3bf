"""Pictures that stand still, as they are or coded anew each time, and those that only seem to."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.decode.stillness import Stillness
from tests.clips import portrait

FPS = 25


def coded(pictures: list[np.ndarray], kbits_s: int = 300) -> list[np.ndarray]:
    """The luma of pictures after H.264 at a camera's bit rate, with a key frame every two seconds."""
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    assert isinstance(encoder, av.VideoCodecContext)
    assert isinstance(decoder, av.VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = *pictures[0].shape[:2], "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, FPS), Fraction(FPS), 2 * FPS
    encoder.bit_rate, encoder.options = 1000 * kbits_s, {"preset": "superfast", "tune": "zerolatency"}
    frames: list[av.VideoFrame | None] = [av.VideoFrame.from_ndarray(rgb, format="rgb24") for rgb in pictures]
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    out = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    return [picture.to_ndarray(format="gray") for picture in out]


def noisy(rgb: np.ndarray, index: int) -> np.ndarray:
    noise = np.random.default_rng(index).normal(0, 2, (*rgb.shape[:2], 1))
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def answers(lumas: list[np.ndarray], after_s: float = 1.0) -> list[bool]:
    stillness = Stillness(after_s)
    return [stillness.is_frozen(Frame((luma,), "gray", arrived_s=i / FPS)) for i, luma in enumerate(lumas)]


def test_the_very_same_picture_is_frozen_after_a_while() -> None:
    said = answers([np.full((48, 64), 90, np.uint8)] * 40)
    assert said == [False] * 26 + [True] * 14


@pytest.mark.parametrize("kbits_s", [300, 1000])
def test_one_picture_coded_anew_each_time_is_frozen(kbits_s: int) -> None:
    said = answers(coded([noisy(portrait(), 0)] * 220, kbits_s))
    assert not any(said[: 3 * FPS])
    assert all(said[-20:])


@pytest.mark.parametrize("kbits_s", [150, 1000])
def test_an_empty_room_is_not_frozen(kbits_s: int) -> None:
    room = cv2.GaussianBlur(portrait(), (31, 31), 8).astype(np.uint8, copy=False)
    assert not any(answers(coded([noisy(room, index) for index in range(120)], kbits_s)))


def test_somebody_who_sits_still_is_not_frozen() -> None:
    """Drawn without noise, and coded at so few bits that little else is left: breathing alone tells."""
    breaths = [240 + 0.7 * np.sin(2 * np.pi * index / (4 * FPS)) for index in range(160)]
    assert not any(answers(coded([portrait(center=(x, 180)) for x in breaths], 150)))


def test_what_moves_again_is_not_frozen() -> None:
    frozen = coded([noisy(portrait(), 0)] * 220, 1000)
    moving = [np.roll(frozen[-1], 8 * index, axis=1) for index in range(1, 40)]
    said = answers([*frozen, *moving])
    assert said[len(frozen) - 1]
    assert not any(said[len(frozen) + FPS :])


def test_a_picture_of_another_size_begins_anew() -> None:
    said = answers([*[np.full((48, 64), 90, np.uint8)] * 40, np.full((24, 32), 90, np.uint8)])
    assert said[-2:] == [True, False]

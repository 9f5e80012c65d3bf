"""Damage that only the picture shows."""

import numpy as np

from stream_detect.decode.damage import damage_of


def planes(height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return tuple(rng.integers(20, 220, size, dtype=np.uint8) for size in sizes)  # type: ignore[return-value]


def test_a_whole_picture_is_not_damaged() -> None:
    assert damage_of(planes(), "yuv420") is None


def test_a_part_that_was_never_decoded_is_seen() -> None:
    for word, value in (("grey", 128), ("green", 0)):
        luma, first, second = planes()
        luma[64:], first[32:], second[32:] = value, value, value
        assert damage_of((luma, first, second), "yuv420") == word

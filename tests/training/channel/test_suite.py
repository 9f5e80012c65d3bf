"""The eight channels of the robustness suite."""

import numpy as np
import pytest

from stream_detect.training.degrade import CHANNELS, Degradation
from tests import clips


def whole(frame):
    return frame.rgb((0, 0, frame.width, frame.height))


def test_there_are_eight_and_each_is_described():
    assert len(CHANNELS) == 8
    assert all(channel.__doc__ for channel in CHANNELS.values())


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_a_channel_is_deterministic(name):
    first, second = (CHANNELS[name](np.random.default_rng(3), 150.0) for _ in range(2))
    assert first == second
    rgb = clips.portrait(280, 300, 150)
    assert np.array_equal(whole(first(rgb)), whole(second(rgb)))


@pytest.mark.parametrize("name", sorted(set(CHANNELS) - {"untouched"}))
def test_a_face_has_the_size_of_a_call(name):
    rng = np.random.default_rng(0)
    sides = [150 * CHANNELS[name](rng, 150.0).scale for _ in range(30)]
    assert 80 <= min(sides) < 100 < 140 < max(sides) <= 150
    assert {CHANNELS[name](rng, 60.0).scale for _ in range(5)} == {1.0}


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_only_the_untouched_stays_untouched(name):
    rgb = clips.portrait(140, 160, 75)
    frame = CHANNELS[name](np.random.default_rng(1), 75.0)(rgb)
    assert (frame.height, frame.width) == (140, 160)
    assert np.array_equal(whole(frame), rgb) == (name == "untouched")


def test_channels_carry_what_they_are_named_after():
    drawn: dict[str, Degradation] = {
        name: channel(np.random.default_rng(0), 150.0) for name, channel in CHANNELS.items()
    }
    for codec in ("h264", "h265", "vp8", "vp9"):
        assert drawn[f"{codec}_call"].last.codec == codec
    assert drawn["jpeg"].first.codec == drawn["jpeg"].last.codec == "jpeg"
    assert drawn["screen_capture"].detour.shift != (0.0, 0.0)
    assert drawn["filters_low_light_loss"].last.lost in ("slice", "rows")
    assert drawn["filters_low_light_loss"].optics.dimmed < 0.3

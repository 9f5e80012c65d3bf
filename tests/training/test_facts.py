"""The baseline that never looks at a pixel: it finds a give-away, and only on people whom it has not seen."""

import numpy as np
import pytest
from PIL import Image

from stream_detect.training.facts import FileFacts, file_facts, guess_from_facts
from stream_detect.training.metrics import auc
from tests import clips

FAKES = np.arange(40) % 2 == 1
PEOPLE = np.arange(40)


def facts(codec="h264", bits=0.1, height=256):
    return FileFacts(height, 256, codec, 25.0, bits)


def test_a_codec_that_gives_it_away_is_found():
    some = [facts("vp9" if fake else "h264") for fake in FAKES]
    assert auc(guess_from_facts(some, FAKES, PEOPLE), FAKES) == 1.0


def test_a_rate_that_gives_it_away_is_found():
    rng = np.random.default_rng(0)
    some = [facts(bits=0.1 * np.exp(rng.normal(0, 0.2) + fake)) for fake in FAKES]
    assert auc(guess_from_facts(some, FAKES, PEOPLE), FAKES) > 0.95


def test_files_that_are_alike_can_not_be_told_apart():
    assert guess_from_facts([facts()] * 40, FAKES, PEOPLE) == pytest.approx(0.5, abs=1e-6)


def test_nobody_is_guessed_from_their_own_files():
    """Each person has a size of their own: learned by heart it would tell everything, out of fold it tells nothing."""
    people = np.repeat(np.arange(10), 4)
    is_fake = people % 2 == 1
    rng = np.random.default_rng(1)
    heights = rng.permutation(10) * 40 + 200
    some = [facts(codec=f"codec{person}", height=int(heights[person])) for person in people]
    assert auc(guess_from_facts(some, is_fake, people), is_fake) < 0.9


def test_the_facts_of_a_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(clips.portrait(90, 120, 60)).save(path)
    found = file_facts(path)
    assert (found.height, found.width, found.codec, found.fps) == (90, 120, "JPEG", 0.0)
    assert found.bits_per_pixel == pytest.approx(path.stat().st_size * 8 / (90 * 120))


def test_the_facts_of_a_clip(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.scenery(20, 64, 96), fps=10)
    found = file_facts(path)
    assert (found.height, found.width, found.codec, found.fps) == (64, 96, "h264", 10.0)
    assert found.bits_per_pixel == pytest.approx(path.stat().st_size * 8 / (64 * 96 * 20), rel=0.02)

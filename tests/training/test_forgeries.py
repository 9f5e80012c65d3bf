"""Forgeries change the face, keep the picture's form and come out the same from the same seed."""

import numpy as np
import pytest

from stream_detect.training.forgeries import Tint, face_mask, misfit, self_blend, swap, transfer_color
from stream_detect.types import Face
from tests.training.made import made_face, noise

FACE = made_face()
NEAR = (slice(60, 250), slice(60, 240))  # the face with what a softened mask may reach


def forged(seed, rgb=None):
    return self_blend(noise() if rgb is None else rgb, FACE, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_makes_the_same_forgery(seed):
    first, second, other = forged(seed), forged(seed), forged(seed + 100)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(300, 300), (301, 257), (170, 420)])
def test_a_forgery_keeps_shape_and_kind(shape):
    rgb = noise(*shape)
    for seed in range(6):
        made = forged(seed, rgb)
        assert (made.shape, made.dtype) == (rgb.shape, np.uint8)


def test_either_the_face_alone_is_changed_or_the_picture_is_tinted():
    """The change goes to the source, which only the mask lets through, or to all of the target."""
    rgb, kinds = noise(), set()
    for seed in range(30):
        change = np.abs(forged(seed).astype(int) - rgb).max(axis=2)
        assert change[NEAR].max() > 0
        around = change.copy()
        around[NEAR] = 0
        kinds.add("face" if around.max() == 0 else "picture")
        assert around.max() == 0 or (around > 0).mean() > 0.2
    assert kinds == {"face", "picture"}


def test_a_swap_brings_the_pixels_of_the_source():
    rng = np.random.default_rng(1)
    target, source = np.full((300, 300, 3), 128, np.uint8), noise(260, 280, seed=4)
    for _ in range(8):
        made = swap(target, FACE, source, made_face(140, 120, 90), rng)
        around = made.copy()
        around[NEAR] = 128
        assert (around == 128).all()
        assert made[130:170, 130:170].std() > 0.5  # little where colours, and so contrast, are those of plain grey
        assert (made.shape, made.dtype) == (target.shape, np.uint8)


def test_the_mask_covers_the_face_and_no_corner():
    for seed in range(10):
        mask = face_mask((300, 300), FACE, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0, 1}
        assert mask[150, 150] == 1
        assert mask[:60].max() == mask[:, :60].max() == 0


def similar(face, turn, shift):
    points = face.landmarks @ np.array([1, 1j]) * turn + shift
    landmarks = np.stack([points.real, points.imag], axis=1).astype(np.float32)
    return Face(face.box, landmarks, 0.9)


def test_a_face_that_is_only_moved_turned_and_scaled_fits():
    assert misfit(similar(FACE, 1.7 * np.exp(0.4j), 30 - 12j), FACE) < 1e-6


def test_another_pose_fits_badly():
    squeezed = Face(FACE.box, FACE.landmarks * np.array([0.5, 1], np.float32), 0.9)
    turned = Face(FACE.box, FACE.landmarks + np.array([[0, 0], [0, 0], [15, 0], [0, 0], [0, 0]], np.float32), 0.9)
    assert misfit(squeezed, FACE) > 0.03
    assert misfit(turned, FACE) > 0.03


def test_a_tint_of_nothing_changes_nothing():
    neutral = Tint((0.0, 0.0, 0.0), 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)
    assert np.abs(neutral(noise()).astype(int) - noise()).max() <= 1


def test_a_tint_does_what_it_says():
    grey = np.full((40, 40, 3), 100, np.uint8)
    assert Tint((10.0, 0.0, -10.0), 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)(grey)[0, 0].tolist() == [110, 100, 90]
    soft, sharp = Tint((0.0,) * 3, 0.0, 1.0, 0.0, 1.0, 3.0, 0.0), Tint((0.0,) * 3, 0.0, 1.0, 0.0, 1.0, 1.0, 0.8)
    assert soft(noise()).std() < noise().std() < sharp(noise()).std()


def test_colours_are_transferred_under_the_mask():
    source, target = noise(seed=1), np.clip(noise(seed=2) * 0.5 + 90, 0, 255).astype(np.uint8)
    mask = face_mask((300, 300), FACE, np.random.default_rng(0))
    where = mask > 0.5
    before = np.abs(source[where].mean(0) - target[where].mean(0)).max()
    after = np.abs(transfer_color(source, target, mask)[where].mean(0) - target[where].mean(0)).max()
    assert after < 3 < before


def test_without_a_mask_no_colour_is_transferred():
    assert np.array_equal(transfer_color(noise(), noise(seed=1), np.zeros((300, 300), np.float32)), noise())

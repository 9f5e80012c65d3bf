"""Light, lens, sensor and filters: each does what it says, none moves or resizes anything."""

import numpy as np
import pytest

from stream_detect.training.channel.optics import DENOISERS, Optics, skin
from tests import clips
from tests.training.made import noise

GREY = np.full((64, 64, 3), 100, np.uint8)
STEPS = [
    Optics(blur_px=1.0),
    Optics(motion=(4.0, 0.7)),
    Optics(white_balance=(1.2, 0.8)),
    Optics(dimmed=0.2, photons=100.0, gain=3.0),
    Optics(noise=4.0, grain_px=0.5),
    *(Optics(denoiser=denoiser, denoising=0.6) for denoiser in DENOISERS),
    Optics(gamma=1.3),
    Optics(brightness=-0.1),
    Optics(contrast=1.2),
    Optics(smoothing=0.8),
    Optics(smoothing=0.5, is_skin_only=False),
    Optics(glow=0.5),
    Optics(sharpening=1.0),
]


def sharpness(rgb):
    return float(np.abs(np.diff(rgb.astype(float), axis=1)).mean())


def test_no_optics_give_the_picture_itself():
    rgb = noise()
    assert Optics()(rgb) is rgb


@pytest.mark.parametrize("optics", STEPS, ids=repr)
def test_each_step_changes_the_picture_and_keeps_its_size(optics):
    rgb = clips.portrait(101, 122, 80)
    seen = optics(rgb)
    assert seen.shape == rgb.shape
    assert seen.dtype == np.uint8
    assert not np.array_equal(seen, rgb)
    assert np.array_equal(optics(rgb), seen)


def test_light():
    assert Optics(brightness=0.1)(GREY).mean() == pytest.approx(125.5, abs=0.6)
    assert Optics(gamma=2.0)(GREY).mean() == pytest.approx(255 * (100 / 255) ** 2, abs=0.6)
    assert Optics(contrast=1.2)(GREY).mean() == pytest.approx(127.5 - 1.2 * 27.5, abs=0.6)
    assert Optics(dimmed=0.5)(GREY).mean() == pytest.approx(100 * 0.5 ** (1 / 2.2), abs=0.6)
    assert Optics(dimmed=0.5, gain=2.0)(GREY).mean() == pytest.approx(100, abs=0.6)


def test_white_balance_changes_red_and_blue():
    red, green, blue = Optics(white_balance=(1.2, 0.8))(GREY).mean(axis=(0, 1))
    assert red > green == 100 > blue


def test_noise_is_as_strong_as_asked():
    for grain_px in (0.0, 0.8):
        seen = Optics(noise=5.0, grain_px=grain_px, seed=1)(GREY)
        assert seen.std() == pytest.approx(5, rel=0.1)
        assert seen.mean() == pytest.approx(100, abs=0.3)


def test_fewer_photons_are_noisier():
    few, many = (Optics(dimmed=0.2, gain=5.0, photons=photons)(GREY).std() for photons in (60.0, 600.0))
    assert few > 2 * many > 0


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_a_denoiser_takes_noise_away(denoiser):
    noisy = Optics(noise=6.0)(GREY)
    assert Optics(denoiser=denoiser, denoising=0.8)(noisy).std() < 0.8 * noisy.std()


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.5, 2.8])
@pytest.mark.parametrize("length_px", [1.5, 4.0, 7.0])
def test_motion_moves_nothing(angle, length_px):
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[19:22, 19:22] = 255
    luma = Optics(motion=(length_px, angle))(dot)[..., 0].astype(float)
    rows, columns = np.mgrid[:41, :41]
    assert (luma * columns).sum() / luma.sum() == pytest.approx(20, abs=0.1)
    assert (luma * rows).sum() / luma.sum() == pytest.approx(20, abs=0.1)


def test_blur_softens_and_sharpening_sharpens():
    rgb = clips.portrait(120, 120, 90)
    soft, sharp = Optics(blur_px=1.0)(rgb), Optics(sharpening=1.0)(rgb)
    assert sharpness(soft) < sharpness(rgb) < sharpness(sharp)


def test_skin_is_smoothed_and_the_rest_is_left():
    grain = np.random.default_rng(0).normal(0, 5, (80, 160, 1))
    rgb = np.full((80, 160, 3), (60, 110, 190), np.uint8)
    rgb[:, :80] = (200, 150, 125)
    rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
    seen = Optics(smoothing=0.8)(rgb)
    assert skin(rgb)[:, 10:70].mean() > 0.6 > 0.05 > skin(rgb)[:, 90:150].mean()
    assert seen[:, 10:70].std(axis=(0, 1)).mean() < 0.7 * rgb[:, 10:70].std(axis=(0, 1)).mean()
    assert seen[:, 90:150].std() == pytest.approx(rgb[:, 90:150].std(), rel=0.05)
    assert Optics(glow=0.8)(rgb)[:, 10:70].mean() > rgb[:, 10:70].mean() + 3

"""Sizes: what is asked comes, nothing moves, smooth kernels don't alias."""

import numpy as np
import pytest

from stream_detect.training.channel.resampling import KERNELS, Detour, scaled
from tests.training.made import noise


def disc(height=120, width=160):
    y, x = np.mgrid[:height, :width]
    dot = 60 + 150 * np.exp(-((x - 90) ** 2 + (y - 50) ** 2) / 72)
    return dot[..., None].repeat(3, axis=-1).astype(np.uint8)


def center(rgb):
    weight = np.clip(rgb[..., 0].astype(float) - 100, 0, None)
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("is_smooth", [True, False])
def test_scaling_keeps_things_where_they_are(kernel, is_smooth):
    for scale in (0.4, 0.75, 1.3):
        small = scaled(disc(), scale, kernel, is_smooth)
        assert small.shape == (round(120 * scale), round(160 * scale), 3)
        assert center(small) == pytest.approx((90.5 * scale - 0.5, 50.5 * scale - 0.5), abs=0.35)


def test_nothing_to_scale_gives_the_picture_itself():
    rgb = noise()
    assert scaled(rgb, 1.0, "cubic") is rgb


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel != "nearest"])
def test_smooth_scaling_does_not_alias(kernel):
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    assert scaled(stripes, 0.26, kernel)[4:-4, 4:-4].std() < 12


def test_kernels_that_do_not_widen_alias():
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    assert scaled(stripes, 0.26, "linear", is_smooth=False)[4:-4, 4:-4].std() > 25


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [0.5, 0.57, 0.8, 1.4])
def test_a_detour_comes_back_to_the_same_size_and_place(kernel, factor):
    detour = Detour(factor, "area", kernel)
    rgb = detour.home(detour.out(disc()), 120, 160)
    assert rgb.shape == (120, 160, 3)
    assert center(rgb) == pytest.approx((90, 50), abs=0.35)


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel != "nearest"])
def test_a_detour_over_a_screen_is_shifted_by_less_than_a_pixel(kernel):
    detour = Detour(1 / 1.5, "area", kernel, shift=(0.4, -0.3))
    assert center(detour.home(detour.out(disc()), 120, 160)) == pytest.approx((90.4, 49.7), abs=0.25)


def test_a_detour_costs_detail():
    rgb = noise(120, 160)
    back = Detour(0.5).home(Detour(0.5).out(rgb), 120, 160)
    assert np.abs(back.astype(int) - rgb).mean() > 3


def test_a_detour_never_makes_a_picture_vanish():
    assert Detour(0.01).out(noise(40, 50)).shape == (16, 16, 3)

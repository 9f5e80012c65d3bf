"""A higher bit-rate means a finer quantizer, and the table says what was measured."""

import numpy as np
import pytest

from stream_detect.training.channel.rates import HEIGHTS, QUANTIZERS, RATES, quantizer_at


@pytest.mark.parametrize("codec", sorted(RATES))
def test_the_table_falls_with_the_quantizer_and_rises_with_the_height(codec):
    rates = np.array(RATES[codec])
    assert rates.shape == (len(HEIGHTS), len(QUANTIZERS[codec]))
    assert (np.diff(rates, axis=1) < 0).all()
    assert (np.diff(rates, axis=0) >= 0).all()


@pytest.mark.parametrize("codec", sorted(RATES))
def test_measured_rates_give_back_their_quantizers(codec):
    for height, row in zip(HEIGHTS, RATES[codec], strict=True):
        for quantizer, kbps in zip(QUANTIZERS[codec], row, strict=True):
            assert quantizer_at(codec, height, kbps) == quantizer


def test_less_rate_larger_frames_and_more_motion_are_coarser():
    usual = quantizer_at("h264", 360, 300)
    assert quantizer_at("h264", 360, 150) > usual
    assert quantizer_at("h264", 720, 300) > usual
    assert quantizer_at("h264", 360, 300, motion=3.0) > usual


def test_beyond_the_table_the_outermost_quantizers_are_taken():
    assert quantizer_at("vp8", 180, 10_000) == 8
    assert quantizer_at("vp8", 1080, 1) == 60

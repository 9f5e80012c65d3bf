"""The color fingerprint: how a face uses the range of luma and how its chroma behaves.

Generators normalize what they make, so that saturated and under-exposed pixels become rare, and mix their channels in
ways a camera's sensor, demosaicing and white balance do not. Sources: S. McCloskey and M. Albright, "Detecting
GAN-generated imagery using color cues", 2018 (https://arxiv.org/abs/1812.08247) for exposure counts and chromaticity;
H. Li et al., "Identification of deep network generated images using disparities in color components", 2020
(https://arxiv.org/abs/1808.07276) for statistics of first differences of chroma.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from stream_detect.arrays import array_namespace, clip, constant

FLOOR = 1e-6  # added to variances: 0.07 gray levels squared
BRIGHT = (235, 245, 252, 255)  # a pixel whose largest channel is at least this counts as saturated
DARK = (20, 10, 4, 0)  # a pixel whose smallest channel is at most this counts as under-exposed
PERCENTILES = (5, 25, 75, 95)
BEND_LIMIT = 24 / 255  # second differences count no more than this: edges are not residuals
STEP_FLOOR = 1e-4  # added to their mean magnitude: a fortieth of a gray level
STEP_LIMIT = 3 / 255  # the same of the first differences of Y, Cb, Cr
PERCENTILE_STRIDE = 4  # percentiles are read off every fourth pixel

_PLANES = ("y", "cb", "cr")
_PAIRS = (("y", "cb"), ("y", "cr"), ("cb", "cr"))
_CHANNELS = ("r", "g", "b")
_CHANNEL_PAIRS = (("r", "g"), ("r", "b"), ("g", "b"))

COLOR_NAMES: tuple[str, ...] = (
    *(f"saturated_{level}" for level in BRIGHT),
    *(f"under_exposed_{level}" for level in DARK),
    *(f"{plane}_mean" for plane in _PLANES),
    *(f"{plane}_log_variance" for plane in _PLANES),
    *(f"{plane}_skewness" for plane in _PLANES),
    *(f"{plane}_log_kurtosis" for plane in _PLANES),
    *(f"{a}_{b}_correlation" for a, b in _PAIRS),
    *(f"{plane}_percentile_{percent}" for percent in PERCENTILES for plane in _PLANES[1:]),
    *(f"{plane}_lag_{way}" for way in ("h", "v") for plane in _PLANES),
    *(f"difference_{plane}_log_variance" for plane in _PLANES),
    *(f"difference_{a}_{b}_correlation" for a, b in _PAIRS),
    *(f"difference_{a}_{b}_correlation" for a, b in _CHANNEL_PAIRS),
    *(f"chromaticity_{channel}_{what}" for what in ("mean", "log_variance") for channel in ("r", "g")),
    "chromaticity_correlation",
    *(f"bend_{channel}_log_variance" for channel in _CHANNELS),
    *(f"bend_{a}_{b}_correlation" for a, b in _CHANNEL_PAIRS),
    *(f"step_{plane}_{way}" for way in ("h", "v") for plane in _PLANES),
)
COLOR_DIM = len(COLOR_NAMES)


def color_features(pixels: UInt8[Any, "faces height width 3"]) -> Float[Any, "faces features"]:
    """Exposure and chroma statistics of each face, named by `COLOR_NAMES` in their order.

    Y, Cb, Cr are BT.601 full range, Y in [0, 1], Cb and Cr in [-0.5, 0.5]. Neighbours are neighbours on the grid that
    `pixels` was picked on.

    - saturated, under_exposed: share of pixels whose largest (smallest) channel reaches the level, in [0, 1].
    - mean, log_variance, skewness, log_kurtosis (a Gaussian has log 3), correlation: of the planes.
    - percentile: of Cb and Cr, less their mean.
    - lag: correlation of a plane with itself one pixel to the right (h) or below (v).
    - difference: variance (less luma's for Cb and Cr) and correlations of the differences to both neighbours.
    - bend: log variance and correlations of the channels' second differences to the sides, each within 24 levels:
      what is left of a channel in another's residual differs between sensors, generators and blends.
    - step: log of the mean magnitude of a plane's first differences, each within 3 levels.
    - chromaticity: of r = R / (R + G + B) and g = G / (R + G + B).

    Args:
        pixels: (faces, 64, 64, 3) uint8 RGB, never interpolated; any grid of at least 3 x 3. Any namespace.

    Returns:
        (faces, COLOR_DIM) float32 in the namespace and on the device of `pixels`; finite for any pixels.

    Raises:
        ValueError: if `pixels` has another shape.
    """
    if len(pixels.shape) != 4 or pixels.shape[3] != 3 or min(pixels.shape[1:3]) < 3:
        raise ValueError(f"expected pixels of shape (faces, 3 or more, 3 or more, 3), got {tuple(pixels.shape)}")
    xp = array_namespace(pixels)
    rgb = xp.astype(xp.stack([pixels[..., c] for c in range(3)], axis=1), xp.float32) / 255  # (faces, 3, height, width)
    planes = _ycbcr(xp, rgb)
    moments, centred = _moments(xp, planes)
    parts = [
        _exposure(xp, rgb),
        *moments,
        _correlations(xp, _products(xp, centred)),
        _percentiles(xp, centred),
        _lag(xp, centred[..., 1:], centred[..., :-1]),
        _lag(xp, centred[..., 1:, :], centred[..., :-1, :]),
        *_differences(xp, rgb),
        *_chromaticity(xp, rgb),
        *_bends(xp, rgb),
        _steps(xp, planes),
    ]
    return xp.concat(parts, axis=1)


@lru_cache(maxsize=1)
def ycbcr_matrix() -> Float32[np.ndarray, "3 3"]:
    """From R, G, B to Y, Cb, Cr: BT.601, full range, without the offset of Cb and Cr."""
    luma = np.array([0.299, 0.587, 0.114])
    red, _, blue = np.eye(3)
    return np.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402]).astype(np.float32)


def _ycbcr(xp: Any, rgb: Any) -> Any:
    red, green, blue = rgb[:, 0, ...], rgb[:, 1, ...], rgb[:, 2, ...]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return xp.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], axis=1)


def _exposure(xp: Any, rgb: Any) -> Any:
    """Shares are counted half a gray level off the threshold, where rounding can't matter."""
    largest, smallest = xp.max(rgb, axis=1), xp.min(rgb, axis=1)
    bright = [largest > (level - 0.5) / 255 for level in BRIGHT]
    dark = [smallest < (level + 0.5) / 255 for level in DARK]
    return _mean(xp, xp.astype(xp.stack([*bright, *dark], axis=1), xp.float32))


def _moments(xp: Any, planes: Any) -> tuple[tuple[Any, Any, Any, Any], Any]:
    """Mean, log variance, skewness and log kurtosis of each plane, and the planes without their means."""
    mean = _mean(xp, planes)
    centred = planes - mean[..., None, None]
    square = centred * centred
    variance = _mean(xp, square) + FLOOR
    skewness = _mean(xp, square * centred) / (variance * xp.sqrt(variance))
    kurtosis = (_mean(xp, square * square) + FLOOR**2) / (variance * variance)
    return (mean, xp.log(variance), skewness, xp.log(kurtosis)), centred


def _percentiles(xp: Any, centred: Any) -> Any:
    faces = centred.shape[0]
    chroma = xp.reshape(centred[:, 1:, ...], (faces, 2, -1))[..., ::PERCENTILE_STRIDE]
    ordered = xp.sort(chroma, axis=-1)
    last = ordered.shape[-1] - 1
    return xp.concat([ordered[..., round(last * percent / 100)] for percent in PERCENTILES], axis=1)


def _lag(xp: Any, one: Any, other: Any) -> Any:
    energy = (_mean(xp, one * one) + _mean(xp, other * other)) / 2
    return _mean(xp, one * other) / (energy + FLOOR)


def _differences(xp: Any, rgb: Any) -> tuple[Any, Any, Any]:
    """Log variances and correlations of first differences of Y, Cb, Cr, and correlations of those of R, G, B."""
    channels = (_products(xp, rgb[..., 1:] - rgb[..., :-1]) + _products(xp, rgb[..., 1:, :] - rgb[..., :-1, :])) / 2
    to_ycbcr = constant(ycbcr_matrix, rgb)
    planes = xp.matmul(xp.matmul(to_ycbcr, channels), to_ycbcr.T)  # products of sums are sums of products
    variance = xp.log(xp.linalg.diagonal(planes) + FLOOR)
    against_luma = xp.concat([variance[:, :1], variance[:, 1:] - variance[:, :1]], axis=1)
    return against_luma, _correlations(xp, planes), _correlations(xp, channels)


def _products(xp: Any, planes: Any) -> Any:
    """Mean products of three planes with each other: (faces, 3, 3)."""
    flat = xp.reshape(planes, (planes.shape[0], 3, -1))
    return xp.matmul(flat, xp.permute_dims(flat, (0, 2, 1))) / flat.shape[2]


def _correlations(xp: Any, products: Any) -> Any:
    """Correlations of planes 0 and 1, 0 and 2, 1 and 2 from their `_products`."""
    spread = xp.sqrt(xp.linalg.diagonal(products) + FLOOR)
    table = products / (spread[:, :, None] * spread[:, None, :])
    return xp.stack([table[:, 0, 1], table[:, 0, 2], table[:, 1, 2]], axis=1)


def _chromaticity(xp: Any, rgb: Any) -> tuple[Any, Any, Any]:
    share = (rgb[:, :2, ...] + 1 / 255) / (xp.sum(rgb, axis=1, keepdims=True) + 3 / 255)  # black counts as gray
    mean = _mean(xp, share)
    centred = share - mean[..., None, None]
    variance = _mean(xp, centred * centred) + FLOOR
    product = _mean(xp, centred[:, 0, ...] * centred[:, 1, ...])
    return mean, xp.log(variance), (product / xp.sqrt(variance[:, 0] * variance[:, 1]))[:, None]


def _bends(xp: Any, rgb: Any) -> tuple[Any, Any]:
    """Log variances and correlations of the truncated second differences of R, G, B along rows."""
    bend = clip(rgb[..., 2:] - 2 * rgb[..., 1:-1] + rgb[..., :-2], -BEND_LIMIT, BEND_LIMIT)
    products = _products(xp, bend)
    return xp.log(xp.linalg.diagonal(products) + FLOOR), _correlations(xp, products)


def _steps(xp: Any, planes: Any) -> Any:
    """How much Y, Cb and Cr change to the right, then below: edges count no more than `STEP_LIMIT`."""
    across, down = planes[..., 1:] - planes[..., :-1], planes[..., 1:, :] - planes[..., :-1, :]
    sizes = [_mean(xp, clip(xp.abs(step), 0.0, STEP_LIMIT)) for step in (across, down)]
    return xp.log(xp.concat(sizes, axis=1) + STEP_FLOOR)


def _mean(xp: Any, values: Any) -> Any:
    return xp.mean(values, axis=(-2, -1))

"""The spectrum fingerprint: how much power a face has at each spatial frequency, alone and against its surroundings.

Up-sampling leaves a wrong fall-off and replicas at high frequencies, blending and re-synthesis make a face smoother
than what is around it, and coders leave peaks at multiples of 1/8 cycle per pixel. Sources: R. Durall et al.,
"Unmasking DeepFakes with simple features", 2019 (https://arxiv.org/abs/1911.00686) for the azimuthal mean of the log
power spectrum; P. Welch, 1967, for averaging windowed periodograms. Pixels are never resized: every tile is 64 native
pixels wide, so a ring means the same number of cycles per pixel on every face.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32

from stream_detect.arrays import array_namespace, constant, is_cupy
from stream_detect.experts.tiles import EXTREMES, PLACES, check_tiles, extremes, layout
from stream_detect.types import INSIDE_TILES, TILE_PX

FLOOR = 1e-7  # added to every power: a thirteenth of the rounding noise of 8-bit luma, 1 / (12 * 255**2)
REFERENCE_RINGS = slice(3, 8)  # rings 4..8, 0.06 to 0.13 cycles per pixel: their mean log power is taken as zero
CORNER_RINGS = ((33, 35), (36, 38), (39, 41), (42, 45))  # beyond 0.5 cycles per pixel only diagonals are left
PEAKS = (8, 16, 24, 32)  # bins of 1/8, 1/4, 3/8 and 1/2 cycles per pixel
OCTAVES = ((2, 4), (4, 8), (8, 16), (16, 33))  # bins [low, high) of the sectors
BANDS = (
    (2, 4),
    (4, 6),
    (6, 9),
    (9, 13),
    (13, 18),
    (18, 24),
    (24, 33),
    (33, 46),
)  # bins [low, high) of the coarse bands
REFERENCE_BAND = slice(2, 3)  # of `BANDS`: bins 6..8, against which a tile's extremes are taken

_RING_NAMES = (*(f"ring_{k:02d}" for k in range(1, 33)), *(f"ring_{low}_{high}" for low, high in CORNER_RINGS))
_PEAK_NAMES = tuple(f"peak_{way}_{k}_64" for k in PEAKS for way in ("h", "v", "d"))
_OCTAVE_NAMES = tuple(f"{low}_{high - 1}" for low, high in OCTAVES)
_BAND_NAMES = tuple(f"{low}_{high - 1}" for low, high in BANDS)
_GROUPS = len(_RING_NAMES), len(_PEAK_NAMES), len(_PEAK_NAMES), 3 * len(OCTAVES), len(BANDS)
_ENDS = np.cumsum(_GROUPS).tolist()
RINGS, ON_PEAK, BESIDE_PEAK, SECTORS, COARSE = (
    slice(end - count, end) for end, count in zip(_ENDS, _GROUPS, strict=True)
)

SPECTRUM_NAMES: tuple[str, ...] = (
    *(f"inside_{name}" for name in _RING_NAMES),
    *(f"against_{name}" for name in _RING_NAMES),
    *(f"inside_{name}" for name in _PEAK_NAMES),
    *(f"against_{name}" for name in _PEAK_NAMES),
    *(f"horizontal_against_vertical_{name}" for name in _OCTAVE_NAMES),
    *(f"diagonal_against_axes_{name}" for name in _OCTAVE_NAMES),
    *(f"spread_{name}" for name in _BAND_NAMES),
    *(f"level_against_{name}" for name in _BAND_NAMES),
    *(f"{place}_{name}" for place in PLACES for name in _BAND_NAMES),
    *(f"{what}_{name}" for what in EXTREMES for name in _BAND_NAMES),
)
SPECTRUM_DIM = len(SPECTRUM_NAMES)


class SpectrumCurve(NamedTuple):
    """Radial profiles for plots: mean over a face's tiles of 10 * log10 of ring power, in decibels."""

    cycles_per_px: Float32[np.ndarray, " rings"]  # middle of each ring, 1/64 to 0.68; 0.5 is Nyquist along an axis
    inside_db: Any  # (faces, rings), of the input's namespace
    around_db: Any  # (faces, rings)


def spectrum_features(tiles: Float[Any, "faces tiles height width"]) -> Float[Any, "faces features"]:
    """Log-power statistics of each face, named by `SPECTRUM_NAMES` in their order; natural logarithms.

    A tile's mean is removed, a Hann window laid over it, and |FFT|^2 averaged over groups of bins (`radial_power`).

    - inside: the 36 rings of the mean log spectrum of the face's tiles, less the mean of rings 4..8, so that
      neither brightness nor contrast matters.
    - against: the same 36 rings, face minus surroundings, each profile on its own zero.
    - inside/against peak: power around 1/8, 1/4, 3/8 and 1/2 cycle per pixel (horizontal, vertical, diagonal) over the
      power beside it, from the tiles' mean power: replicas of up-samplers and block grids of coders.
    - horizontal_against_vertical, diagonal_against_axes: direction of the face's power in four octaves.
    - spread: standard deviation over the face's tiles of log power in eight coarse bands.
    - level_against: mean log power of each band, face minus surroundings, brightness and contrast included.
    - row_1 (brow) .. row_4 (mouth), middle: log power of each row of the face's 4 x 4 tiles less that of all, and of
      the two middle columns less that of the outer two (`layout`): forged mouths and eyes are smoother than the rest.
    - lowest, highest: of a tile's log power in each band less that in bins 6..8, over the face's tiles, less their
      mean; "against" the lowest and highest around the face. spread_around: standard deviation of it around the face.

    Args:
        tiles: (faces, 28, 64, 64) float luma in [0, 1]; 0..15 lie on the face, 16..27 around it. Any namespace.

    Returns:
        (faces, SPECTRUM_DIM) float32 in the namespace and on the device of `tiles`; finite for any finite tiles.

    Raises:
        ValueError: if `tiles` has another shape.
    """
    return over_faces(array_namespace(tiles), radial_power(tiles))


def over_faces(xp: Any, power: Float[Any, "faces tiles groups"]) -> Float[Any, "faces features"]:
    """The features of each face from the `radial_power` of its tiles."""
    inside, around = power[:, :INSIDE_TILES, :], power[:, INSIDE_TILES:, :]
    face, ring = _profile(xp, inside), _profile(xp, around)
    peaks, peaks_around = _peaks(xp, inside), _peaks(xp, around)
    parts = [face, face - ring, peaks, peaks - peaks_around, *_directions(xp, inside), _spread(xp, inside)]
    parts += _over_tiles(xp, xp.log(power[..., COARSE] + FLOOR))
    return xp.astype(xp.concat(parts, axis=1), xp.float32)


def spectrum_curve(tiles: Float[Any, "faces tiles height width"]) -> SpectrumCurve:
    """The radial profile of each face and of its surroundings, for plots; arguments as for `spectrum_features`."""
    xp = array_namespace(tiles)
    decibels = xp.log(radial_power(tiles)[..., RINGS] + FLOOR) * (10 / math.log(10))
    inside = xp.mean(decibels[:, :INSIDE_TILES, :], axis=1)
    return SpectrumCurve(_ring_middles(), inside, xp.mean(decibels[:, INSIDE_TILES:, :], axis=1))


def radial_power(tiles: Float[Any, "faces tiles height width"]) -> Float[Any, "faces tiles groups"]:
    """Mean power of each windowed tile in groups of frequency bins: rings, peaks, sectors and coarse bands.

    White noise of variance s has power s in every group but the innermost ring, which loses a quarter with the tile's
    mean. The groups are the columns of `group_weights`; the slices
    `RINGS`, `ON_PEAK`, `BESIDE_PEAK`, `SECTORS` and `COARSE` tell them apart.

    Raises:
        ValueError: if the tiles are not (faces, more than 16, 64, 64).
    """
    check_tiles(tiles)
    xp = array_namespace(tiles)
    waves = xp.fft.rfftn(_windowed(xp, tiles), axes=(-2, -1))
    bins = xp.reshape(waves, (-1, TILE_PX * (TILE_PX // 2 + 1)))
    groups = _group_means_by_kernel(bins) if is_cupy(tiles) else _group_means(xp, bins)
    return xp.reshape(groups, (tiles.shape[0], tiles.shape[1], groups.shape[1]))


def _group_means(xp: Any, waves: Any) -> Any:
    real, imag = xp.real(waves), xp.imag(waves)
    return xp.matmul(xp.astype(real * real + imag * imag, xp.float32), constant(group_weights, waves))


def _group_means_by_kernel(waves: Any) -> Any:
    """`_group_means` on a GPU, by kernels/radial_power.cu."""
    import cupy

    from stream_detect.cuda import fingerprints
    from stream_detect.cuda.kernels import CudaBench

    return fingerprints.radial_power(CudaBench(), cupy.ascontiguousarray(waves, dtype=cupy.complex64))


def _windowed(xp: Any, tiles: Any) -> Any:
    """The tiles without their mean, under a Hann window of unit energy; a constant tile becomes zero exactly."""
    window = constant(hann_window, tiles)
    mean = xp.sum(tiles * window, axis=(-2, -1), keepdims=True) / float(hann_window().sum())
    return (tiles - mean) * window


def _profile(xp: Any, power: Any) -> Any:
    rings = xp.mean(xp.log(power[..., RINGS] + FLOOR), axis=1)
    return rings - xp.mean(rings[:, REFERENCE_RINGS], axis=1, keepdims=True)


def _peaks(xp: Any, power: Any) -> Any:
    mean = xp.mean(power, axis=1) + FLOOR
    return xp.log(mean[:, ON_PEAK] / mean[:, BESIDE_PEAK])


def _directions(xp: Any, power: Any) -> tuple[Any, Any]:
    sectors = xp.mean(xp.log(power[..., SECTORS] + FLOOR), axis=1)
    count = len(OCTAVES)
    horizontal, vertical, diagonal = (sectors[:, k * count : (k + 1) * count] for k in range(3))
    return horizontal - vertical, diagonal - (horizontal + vertical) / 2


def _spread(xp: Any, power: Any) -> Any:
    return xp.std(xp.log(power[..., COARSE] + FLOOR), axis=1)


def _over_tiles(xp: Any, bands: Any) -> list[Any]:
    """How the log power of the coarse bands differs between face and ring, and from tile to tile."""
    shape = bands - bands[..., REFERENCE_BAND]
    face, around = bands[:, :INSIDE_TILES, :], bands[:, INSIDE_TILES:, :]
    level = xp.mean(face, axis=1) - xp.mean(around, axis=1)
    return [level, layout(xp, face), extremes(xp, shape[:, :INSIDE_TILES, :], shape[:, INSIDE_TILES:, :])]


@lru_cache(maxsize=1)
def hann_window() -> Float32[np.ndarray, "64 64"]:
    """The separable periodic Hann window, scaled so that its squares sum to one."""
    side = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TILE_PX) / TILE_PX)
    window = np.outer(side, side)
    return np.asarray(window / np.sqrt((window**2).sum()), np.float32)


@lru_cache(maxsize=1)
def group_weights() -> Float32[np.ndarray, "bins groups"]:
    """What each of the 64 * 33 bins of a real FFT counts in the mean of each group; every column sums to one."""
    y, x = _frequencies()
    radius = np.round(np.hypot(y, x))
    sector = np.abs(np.degrees(np.arctan2(y, x)))  # 0 is horizontal, 90 vertical; x is never negative
    rings = [radius == k for k in range(1, 33)] + [(radius >= low) & (radius <= high) for low, high in CORNER_RINGS]
    on, beside = zip(*(_peak_masks(y, x, k, way) for k in PEAKS for way in "hvd"), strict=True)
    ways = (sector <= 15, sector >= 75, (sector >= 30) & (sector <= 60))
    sectors = [way & (radius >= low) & (radius < high) for way in ways for low, high in OCTAVES]
    bands = [(radius >= low) & (radius < high) for low, high in BANDS]
    masks = np.stack([*rings, *on, *beside, *sectors, *bands], axis=-1).reshape(-1, sum(_GROUPS))
    weights = masks * np.where((x == 0) | (x == TILE_PX // 2), 1.0, 2.0).reshape(-1, 1)  # the half that rfft leaves out
    return np.asarray(weights / weights.sum(axis=0), np.float32)


@lru_cache(maxsize=1)
def group_starts() -> Int32[np.ndarray, " groups_and_one"]:
    """Where each group's entries begin in `group_bins` and `group_entries`, and where the last one's end."""
    counts = np.count_nonzero(group_weights(), axis=0)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


@lru_cache(maxsize=1)
def group_bins() -> Int32[np.ndarray, " entries"]:
    """The bins of each group, group after group: `group_weights` without its zeros."""
    return np.nonzero(group_weights().T)[1].astype(np.int32)


@lru_cache(maxsize=1)
def group_entries() -> Float32[np.ndarray, " entries"]:
    """What each bin of `group_bins` counts."""
    weights = group_weights().T
    return np.asarray(weights[weights != 0], np.float32)


def _frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Signed vertical and unsigned horizontal frequency of each bin, in cycles per tile."""
    return np.meshgrid(np.fft.fftfreq(TILE_PX, 1 / TILE_PX), np.arange(TILE_PX // 2 + 1), indexing="ij")


def _peak_masks(y: np.ndarray, x: np.ndarray, k: int, way: str) -> tuple[np.ndarray, np.ndarray]:
    """Bins within one of a grid frequency, and bins 3 to 4 away from it along the same direction."""
    at_y, at_x = {"h": (0, k), "v": (k, 0), "d": (k, k)}[way]
    off_y, off_x = np.abs(np.abs(y) - at_y), np.abs(x - at_x)
    on = (off_y <= 1) & (off_x <= 1)
    if way == "d":
        return on, (np.maximum(off_y, off_x) >= 3) & (np.maximum(off_y, off_x) <= 4)
    across, along = (off_y, off_x) if way == "h" else (off_x, off_y)
    return on, (across <= 2) & (along >= 3) & (along <= 4)


@lru_cache(maxsize=1)
def _ring_middles() -> Float32[np.ndarray, " rings"]:
    middles = [*range(1, 33), *((low + high) / 2 for low, high in CORNER_RINGS)]
    return np.array(middles, np.float32) / TILE_PX

"""The residual fingerprint: what is left of a face when its smooth content is filtered out, and of its surroundings.

Sources: J. Fridrich and J. Kodovsky, "Rich models for steganalysis of digital images", 2012, for the high-pass bank
(first, second and third order, EDGE 3x3, SQUARE 3x3, SQUARE 5x5) and for truncation; C. Tan et al., "Rethinking the
up-sampling operations in CNN-based generative network" (NPR), CVPR 2024, for differences inside 2x2 blocks, which
up-samplers leave correlated. Filters are sums of shifted slices, so that any array namespace runs them.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.arrays import array_namespace, clip, constant
from stream_detect.experts.tiles import EXTREMES, PLACES, check_tiles, extremes, layout
from stream_detect.types import INSIDE_TILES, TILE_PX

STEP = 1 / 255  # one gray level of 8-bit luma: the fine truncation
LIMIT = 4 / 255  # the coarse truncation: edges count no more than this
FLOOR = 1e-3 * STEP  # added to mean magnitudes: a thousandth of a gray level
PERIODS = (4, 8, 16)  # block sizes of coders, in pixels

WEIGHTS = {  # each filter's weight at its centre: its output is measured in multiples of it
    "first_h": 1.0,
    "first_v": 1.0,
    "second_h": 2.0,
    "second_v": 2.0,
    "third_h": 3.0,
    "third_v": 3.0,
    "edge3": 4.0,
    "square3": 4.0,
    "square5": 12.0,
}
FACE_NAMES = (
    *(f"{name}_{what}" for what in ("fine", "coarse", "peaked") for name in WEIGHTS),
    *("first_h_lag_v", "first_v_lag_h", "square3_lag_h", "square3_lag_v"),
    *("square3_sign_h", "square3_sign_v"),
    *("npr_right_below", "npr_right_diagonal", "npr_below_diagonal"),
    *("npr_right_phase_h", "npr_right_phase_v", "npr_below_phase_h", "npr_below_phase_v"),
    *(f"grid_{way}_{period}" for way in ("h", "v") for period in PERIODS),
)
_LOCAL = (  # what is also told by place on the face and of its extreme tiles
    *("first_h_coarse", "first_v_coarse", "square3_fine", "square3_coarse", "square3_peaked"),
    *("square3_lag_h", "square3_lag_v", "first_h_lag_v", "first_v_lag_h", "npr_right_below"),
)
_SPREAD_OF = ("first_h", "first_v", "square3", "square5")

RESIDUAL_NAMES: tuple[str, ...] = (
    *(f"inside_{name}" for name in FACE_NAMES),
    *(f"against_{name}" for name in FACE_NAMES),
    *(f"spread_{name}" for name in _SPREAD_OF),
    *(f"spread_against_{name}" for name in _SPREAD_OF),
    *(f"{place}_{name}" for place in PLACES for name in _LOCAL),
    *(f"{what}_{name}" for what in EXTREMES for name in _LOCAL),
)
RESIDUAL_DIM = len(RESIDUAL_NAMES)


def residual_features(tiles: Float[Any, "faces tiles height width"]) -> Float[Any, "faces features"]:
    """High-pass statistics of each face, named by `RESIDUAL_NAMES` in their order.

    Every statistic is taken per tile, then averaged over the face's 16 tiles ("inside"); "against" is that less the
    same average over the 12 tiles around the face; "spread" is the standard deviation over tiles of "coarse", and
    "spread_against" the same less the spread around. With r a filter's output, scaled to one at its centre:

    - fine, coarse: log of the mean of min(|r|, 1 gray level) and of min(|r|, 4 gray levels).
    - peaked: log of mean square over squared mean of min(|r|, 4 gray levels); 0 if all are equal.
    - lag: correlation of r, clipped at +-4 gray levels, with its neighbour to the right (h) or below (v);
      sign: the same of r clipped at +-1 gray level, a smooth form of the co-occurrence of {-1, 0, 1}.
    - npr: correlation of two of the three differences (to the right, below, diagonal) that a pixel has in a 2x2 block.
    - npr phase: contrast between even and odd columns (h) or rows (v) of a difference's magnitude, over its mean:
      0 without up-sampling by two, up to 1 with nearest-neighbour up-sampling, wherever its blocks begin.
    - grid: strength of a 4, 8 or 16 pixel period in the first differences, over their mean, wherever the grid begins.
    - row_1 (brow) .. row_4 (mouth), middle, lowest, highest, spread_around: of ten statistics, by place on the face and
      of its extreme tiles (`stream_detect.experts.tiles`).

    Args:
        tiles: (faces, 28, 64, 64) float luma in [0, 1]; 0..15 lie on the face, 16..27 around it. Any namespace.

    Returns:
        (faces, RESIDUAL_DIM) float32 in the namespace and on the device of `tiles`; finite for any finite tiles.

    Raises:
        ValueError: if `tiles` has another shape.
    """
    check_tiles(tiles)
    xp = array_namespace(tiles)
    return over_faces(xp, xp.astype(xp.concat(_tile_statistics(xp, tiles), axis=-1), xp.float32))


def over_faces(xp: Any, per_tile: Float[Any, "faces tiles statistics"]) -> Float[Any, "faces features"]:
    """The features of each face from the statistics of its tiles, which `FACE_NAMES` names."""
    inside, around = per_tile[:, :INSIDE_TILES, :], per_tile[:, INSIDE_TILES:, :]
    face, ring = xp.mean(inside, axis=1), xp.mean(around, axis=1)
    spread, spread_around = _spread(xp, inside), _spread(xp, around)
    local = _local(xp, per_tile)
    where = layout(xp, local[:, :INSIDE_TILES, :]), extremes(xp, local[:, :INSIDE_TILES, :], local[:, INSIDE_TILES:, :])
    return xp.concat([face, face - ring, spread, spread - spread_around, *where], axis=1)


def high_pass(tiles: Float[Any, "... height width"]) -> dict[str, Any]:
    """The residuals of the SRM bank by name, with integer kernels; smaller than `tiles` by their reach.

    First order and SQUARE 3x3 are taken everywhere; the others on every second row, which halves their cost. With
    D = (1, -2, 1), SQUARE 3x3 is D across D, and the published SQUARE 5x5 (KV) kernel is minus SQUARE 3x3 smoothed by
    2 at the centre and 1 at the four diagonals.
    """
    return dict(_each_high_pass(tiles))


def _each_high_pass(tiles: Any) -> Iterator[tuple[str, Any]]:
    """`high_pass` one by one, so that what is done with each stays within a CPU's cache."""
    first_v = tiles[..., 1:, :] - tiles[..., :-1, :]
    yield "first_v", first_v
    second_v = first_v[..., 1::2, :] - first_v[..., :-1:2, :]
    yield "second_v", second_v
    third_v = first_v[..., 2::2, :] - first_v[..., 1:-1:2, :]
    yield "third_v", third_v - second_v[..., : third_v.shape[-2], :]  # one row of it is left over in odd heights
    first_h = tiles[..., 1:] - tiles[..., :-1]
    yield "first_h", first_h
    second_h = first_h[..., 1:] - first_h[..., :-1]
    rows = second_h[..., ::2, :]
    yield "second_h", rows
    yield "third_h", rows[..., 1:] - rows[..., :-1]
    slope = second_h[..., 1:, :] - second_h[..., :-1, :]
    yield "edge3", slope[..., ::2, :] + second_h[..., 1::2, :]
    square3 = slope[..., 1:, :] - slope[..., :-1, :]
    yield "square3", square3
    beside = square3[..., ::2, 2:] + square3[..., ::2, :-2]
    yield "square5", beside[..., 1:, :] + beside[..., :-1, :] + 2 * square3[..., 1:-1:2, 1:-1]


def _tile_statistics(xp: Any, tiles: Any) -> list[Any]:
    """The statistics of `FACE_NAMES`, in groups of shape (faces, tiles, some)."""
    means, edges, lags, lines = {}, {}, {}, {}
    for name, residual in _each_high_pass(tiles):
        edge = clip(residual, -LIMIT * WEIGHTS[name], LIMIT * WEIGHTS[name])
        size = xp.abs(edge)
        means[name] = _truncated_means(xp, size, WEIGHTS[name])
        if name in _LAGS:
            lags[name] = _LAGS[name](xp, edge, means[name][2] * WEIGHTS[name] ** 2)
        if name == "square3":
            signs = clip(residual, -4 * STEP, 4 * STEP)
            lags["sign"] = _both_lags(xp, signs, _mean_square(xp, signs))
        if name in ("first_h", "first_v"):
            edges[name], lines[name] = edge, (xp.mean(size, axis=-2), xp.mean(size, axis=-1))
    correlations = [*lags["first_h"], *lags["first_v"], *lags["square3"], *lags["sign"], *_neighbours(xp, tiles, edges)]
    return [*shapes(xp, means), xp.stack(correlations, axis=-1), *phases_and_grids(xp, lines)]


def shapes(xp: Any, means: dict[str, tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """Fine, coarse and peaked of all filters in the order of `WEIGHTS`, from their `_truncated_means`."""
    fine, coarse, square = (xp.stack([means[name][k] for name in WEIGHTS], axis=-1) for k in range(3))
    mean = coarse + FLOOR
    return xp.log(fine + FLOOR), xp.log(mean), xp.log((square + FLOOR**2) / (mean * mean))


def _truncated_means(xp: Any, size: Any, weight: float) -> tuple[Any, Any, Any]:
    """Mean of the finely, mean and mean square of the coarsely truncated magnitude, in multiples of `weight`."""
    fine = _mean(xp, clip(size, 0.0, STEP * weight))
    return fine / weight, _mean(xp, size) / weight, _mean_square(xp, size) / weight**2


def _both_lags(xp: Any, residual: Any, energy: Any) -> tuple[Any, Any]:
    return *_lag_h(xp, residual, energy), *_lag_v(xp, residual, energy)


def _lag_h(xp: Any, residual: Any, energy: Any) -> tuple[Any]:
    return (_mean(xp, residual[..., 1:] * residual[..., :-1]) / (energy + FLOOR**2),)


def _lag_v(xp: Any, residual: Any, energy: Any) -> tuple[Any]:
    return (_mean(xp, residual[..., 1:, :] * residual[..., :-1, :]) / (energy + FLOOR**2),)


_LAGS = {"first_h": _lag_v, "first_v": _lag_h, "square3": _both_lags}  # each (xp, residual, its mean square)


def _neighbours(xp: Any, tiles: Any, edges: dict[str, Any]) -> list[Any]:
    """Correlations of NPR's three differences to the upper left pixel of every 2x2 block."""
    right, below = edges["first_h"][..., :-1, :], edges["first_v"][..., :-1]
    diagonal = clip(tiles[..., 1:, 1:] - tiles[..., :-1, :-1], -LIMIT, LIMIT)
    along, down, across = (_mean_square(xp, step) for step in (right, below, diagonal))
    pairs = ((right, below, along + down), (right, diagonal, along + across), (below, diagonal, down + across))
    return [2 * _mean(xp, one * other) / (energies + FLOOR**2) for one, other, energies in pairs]


def phases_and_grids(xp: Any, lines: dict[str, tuple[Any, Any]]) -> list[Any]:
    """Periods of two, then of the coders' blocks, in the mean magnitude of each column and of each row."""
    (right, right_rows), (below_columns, below) = lines["first_h"], lines["first_v"]
    phases = _contrast(xp, xp.stack([line[..., :62] for line in (right, right_rows, below_columns, below)], axis=-2))
    grids = _periodicity(xp, xp.stack([right, below], axis=-2))
    return [phases, xp.reshape(grids, (*grids.shape[:2], 2 * len(PERIODS)))]


def _contrast(xp: Any, line: Any) -> Any:
    even, odd = xp.mean(line[..., ::2], axis=-1), xp.mean(line[..., 1::2], axis=-1)
    return xp.abs(even - odd) / (even + odd + FLOOR)


def _periodicity(xp: Any, line: Any) -> Any:
    level = xp.mean(line, axis=-1, keepdims=True)
    waves = xp.matmul(xp.astype(line - level, xp.float32), constant(period_waves, line))
    cosine, sine = waves[..., : len(PERIODS)], waves[..., len(PERIODS) :]
    return xp.sqrt(cosine * cosine + sine * sine) / (level + FLOOR)


@lru_cache(maxsize=1)
def period_waves() -> Float32[np.ndarray, "63 waves"]:
    """Cosines, then sines, of each period, so that a wave 1 + cos(x) of that period has strength one."""
    places = np.arange(TILE_PX - 1)
    angles = 2 * np.pi * places[:, None] / np.array(PERIODS)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (places + 1) / TILE_PX)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * window[:, None]
    return np.asarray(2 * waves / window.sum(), np.float32)


def _local(xp: Any, per_tile: Any) -> Any:
    return xp.stack([per_tile[..., FACE_NAMES.index(name)] for name in _LOCAL], axis=-1)


def _spread(xp: Any, per_tile: Any) -> Any:
    coarse = [per_tile[..., FACE_NAMES.index(f"{name}_coarse")] for name in _SPREAD_OF]
    return xp.std(xp.stack(coarse, axis=-1), axis=1)


def _mean(xp: Any, values: Any) -> Any:
    return xp.mean(values, axis=(-2, -1))


def _mean_square(xp: Any, values: Any) -> Any:
    """In one pass, where a product would first be written to memory."""
    norm = xp.linalg.vector_norm(values, axis=(-2, -1))
    return norm * norm / (values.shape[-2] * values.shape[-1])

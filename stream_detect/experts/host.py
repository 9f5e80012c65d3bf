"""The fingerprints on a CPU: the numbers of their definitions with fewer passes over memory, in NumPy and BLAS alone.

`spectrum_features` and `residual_features` run on any arrays, and their NumPy run is the definition. Here tiles lie end
to end, so that every step runs over memory without a break: what a difference gives where a row or a tile ends is set
to zero and adds nothing to a sum. Sums and sums of products are BLAS's, and a few tiles at a time stay within a core's
cache. No product is so large that BLAS would share it among threads, which then wait spinning. Spectra are matrix
products: no group of bins tells the two signs of the vertical frequency apart, and the power of both is twice the sum
of four squares, of products with cosines and with sines.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from stream_detect.experts import residual, spectrum
from stream_detect.experts.residual import FLOOR, LIMIT, STEP, WEIGHTS
from stream_detect.experts.spectrum import group_weights, hann_window
from stream_detect.experts.tiles import check_tiles
from stream_detect.types import TILE_PX

AT_ONCE = 14  # tiles, 229 kB an array: with fewer the many small steps cost more than memory out of the cache
SUMS = 3 * len(WEIGHTS) + 9 + 4 * TILE_PX  # of a tile
AREA = TILE_PX * TILE_PX
LAST = TILE_PX - 1
HALF = TILE_PX // 2

KEPT = {"first_v": "below", "first_h": "right"}  # residuals whose truncated values are needed later

_own = threading.local()

Flat = Float32[np.ndarray, "tiles _"]  # of every tile its pixels, row after row
Each = Float32[np.ndarray, " tiles"]


class Truncated(NamedTuple):
    """A residual clipped at `LIMIT`, its magnitude, and `residual.shapes`' three means of it."""

    edge: np.ndarray  # (tiles, pixels), zero where the residual has no value
    size: np.ndarray  # (tiles, pixels)
    means: tuple[np.ndarray, np.ndarray, np.ndarray]  # (tiles,): fine and coarse magnitude, square

    def energy(self, name: str) -> Each:
        """Mean square in the units of `edge`."""
        energy: np.ndarray = self.means[2] * WEIGHTS[name] ** 2
        return energy


def residual_on_host(tiles: Float32[np.ndarray, "faces tiles height width"]) -> Float32[np.ndarray, "faces features"]:
    """What `residual_features` gives, to within 1e-4.

    Raises:
        ValueError: if `tiles` has another shape.
    """
    sums = tile_by_tile(tile_sums, tiles, SUMS)
    means, correlations, lines = np.split(sums, (3 * len(WEIGHTS), SUMS - 4 * TILE_PX), axis=2)
    of_filters = {
        name: (means[..., 3 * k], means[..., 3 * k + 1], means[..., 3 * k + 2]) for k, name in enumerate(WEIGHTS)
    }
    right, right_rows, below_columns, below = (lines[..., start : start + TILE_PX] for start in range(0, 256, TILE_PX))
    periods = {"first_h": (right[..., :63], right_rows), "first_v": (below_columns, below[..., :63])}
    groups = [*residual.shapes(np, of_filters), correlations, *residual.phases_and_grids(np, periods)]
    return np.asarray(residual.over_faces(np, np.concatenate(groups, axis=2)), np.float32)


def spectrum_on_host(tiles: Float32[np.ndarray, "faces tiles height width"]) -> Float32[np.ndarray, "faces features"]:
    """What `spectrum_features` gives, to within 1e-3: a ring of one cycle a tile is all rounding on some slopes.

    Raises:
        ValueError: if `tiles` has another shape.
    """
    power = tile_by_tile(group_power, tiles, group_weights().shape[1])
    return np.asarray(spectrum.over_faces(np, power), np.float32)


def tile_by_tile(
    measure: Callable[[Flat], np.ndarray], tiles: Float32[np.ndarray, "faces tiles height width"], dim: int
) -> Float32[np.ndarray, "faces tiles {dim}"]:
    """What `measure` says of each tile, `dim` numbers, some tiles at once."""
    check_tiles(tiles)
    every = np.ascontiguousarray(tiles, np.float32).reshape(-1, AREA)
    parts = [measure(every[start : start + AT_ONCE]) for start in range(0, len(every), AT_ONCE)]
    return np.concatenate([np.zeros((0, dim), np.float32), *parts]).reshape(*tiles.shape[:2], dim)


def group_power(tiles: Flat) -> Float32[np.ndarray, "tiles groups"]:
    """What `radial_power` gives."""
    window = hann_window()
    mean = products(tiles, np.broadcast_to(window.reshape(-1), tiles.shape)) / np.float32(window.sum())
    side, (centred, turned) = waves(), room("spectrum", (2, *tiles.shape))
    np.subtract(tiles, mean[:, None], out=centred)
    np.matmul(grid(centred), side.T, out=grid(turned))
    squares = np.matmul(side, grid(turned), out=grid(centred))
    np.square(squares, out=squares)
    squares[:, 1:HALF] += squares[:, HALF + 1 :]
    squares[:, : HALF + 1, 1:HALF] += squares[:, : HALF + 1, HALF + 1 :]
    power = squares[:, : HALF + 1, : HALF + 1].reshape(len(tiles), -1)
    return np.concatenate(np.matmul(power, folded_weights()), axis=1)


@lru_cache(maxsize=1)
def waves() -> Float32[np.ndarray, "64 64"]:
    """A side of the window by the cosines of 0..32 cycles a tile, then by the sines of 1..31."""
    angles = 2 * np.pi * np.outer(np.arange(HALF + 1), np.arange(TILE_PX)) / TILE_PX
    window = np.sqrt(np.diagonal(hann_window().astype(np.float64)))
    return np.asarray(np.concatenate([np.cos(angles), np.sin(angles[1:-1])]) * window, np.float32)


@lru_cache(maxsize=1)
def folded_weights() -> Float32[np.ndarray, "parts bins groups"]:
    """`group_weights`, in parts of eight, with both signs of the vertical frequency as one: its power is their sum."""
    both = group_weights().reshape(TILE_PX, HALF + 1, -1)
    folded = both[: HALF + 1].copy()
    folded[1:HALF] += both[:HALF:-1]
    return np.ascontiguousarray(folded.reshape((HALF + 1) ** 2, -1, 8).swapaxes(0, 1))


def tile_sums(tiles: Flat) -> Float32[np.ndarray, "tiles sums"]:
    """Three means of each filter, nine correlations, and the mean magnitudes of columns and rows, in lines of 64.

    As in `residual.high_pass`, first order and SQUARE 3x3 are taken everywhere, the others on every second row.
    """
    first_v = difference(tiles, TILE_PX, "first_v")
    grid(first_v)[:, LAST] = 0
    first_h = difference(tiles, 1, "first_h")
    grid(first_h)[:, :, LAST] = 0
    second_h = difference(first_h, 1, "second_h")
    grid(second_h)[:, :, LAST - 1 :] = 0
    below, right = truncated("first_v", first_v, 63 * 64), truncated("first_h", first_h, 64 * 63)
    square, signs, others = squares(second_h)
    means = {"first_v": below.means, "first_h": right.means, "square3": square.means}
    means |= vertical(first_v) | horizontal(second_h) | others
    lags = (*first_lags(right, below), *square_lags(square.edge, square.energy("square3")), *signs)
    columns = [mean for name in WEIGHTS for mean in means[name]]
    lines = (*line_means(right.size, 64, 63), *line_means(below.size, 63, 64))
    return np.concatenate([np.stack([*columns, *lags, *neighbours(tiles, right, below)], axis=1), *lines], axis=1)


def vertical(first_v: Flat) -> dict[str, tuple[Each, Each, Each]]:
    """Means of the second and third order along columns."""
    pairs = grid(first_v).reshape(-1, HALF, 2, TILE_PX)
    second, third = room("vertical", (2, len(pairs), HALF, TILE_PX))
    np.subtract(pairs[:, :, 1], pairs[:, :, 0], out=second)
    second[:, -1] = 0
    third[:, -1] = 0
    np.subtract(pairs[:, 1:, 0], pairs[:, :-1, 1], out=third[:, :-1])
    third -= second
    return {
        "second_v": truncated("second_v", flat(second), 31 * 64).means,
        "third_v": truncated("third_v", flat(third), 31 * 64).means,
    }


def horizontal(second_h: Flat) -> dict[str, tuple[Each, Each, Each]]:
    """Means of the second and third order along rows."""
    second = flat(grid(second_h)[:, ::2])
    third = difference(second, 1, "third_h")
    grid(third)[:, :, LAST - 2 :] = 0
    return {
        "second_h": truncated("second_h", second, 32 * 62).means,
        "third_h": truncated("third_h", third, 32 * 61).means,
    }


def squares(second_h: Flat) -> tuple[Truncated, tuple[Each, Each], dict[str, tuple[Each, Each, Each]]]:
    """SQUARE 3x3, the two lags of its signs, and the means of EDGE 3x3 and SQUARE 5x5."""
    slope = difference(second_h, TILE_PX, "slope")
    grid(slope)[:, LAST] = 0
    edge3 = room("edge3", (len(slope), HALF, TILE_PX))
    np.add(grid(slope)[:, ::2], grid(second_h)[:, 1::2], out=edge3)
    square3 = difference(slope, TILE_PX, "square3")
    grid(square3)[:, LAST - 1 :] = 0
    signs = square3.clip(-4 * STEP, 4 * STEP, out=slope)
    return (
        truncated("square3", square3, 62 * 62),
        square_lags(signs, products(signs, signs) / (62 * 62)),
        {
            "edge3": truncated("edge3", flat(edge3), 32 * 62).means,
            "square5": truncated("square5", square_five(square3), 30 * 60).means,
        },
    )


def square_five(square3: Flat) -> Flat:
    """SQUARE 5x5 on every second row, 32 of which the last two hold nothing."""
    pairs = grid(square3).reshape(-1, HALF, 2, TILE_PX)
    beside, square5 = room("square5", (2, len(pairs), HALF, TILE_PX))
    np.add(pairs[:, :, 0, 2:], pairs[:, :, 0, :-2], out=beside[:, :, :-2])
    np.add(beside[:, 1:-1], beside[:, :-2], out=square5[:, :-2])
    np.multiply(pairs[:, :-2, 1, 1:-1], 2, out=beside[:, :-2, :-2])
    square5[:, :-2] += beside[:, :-2]
    square5[:, -2:] = 0
    square5[:, :, LAST - 3 :] = 0
    return flat(square5)


def truncated(name: str, values: Flat, count: int) -> Truncated:
    """The residual `name` of each tile, which has `count` values, truncated and summed up."""
    weight, ones = WEIGHTS[name], np.broadcast_to(all_ones(values.shape[1]), values.shape)
    edge, size, small = room(KEPT.get(name, "truncated"), (3, *values.shape))
    values.clip(-LIMIT * weight, LIMIT * weight, out=edge)
    np.abs(edge, out=size)
    coarse, square = products(size, ones), products(edge, edge)
    fine = products(size.clip(0.0, STEP * weight, out=small), ones)
    return Truncated(edge, size, (fine / (weight * count), coarse / (weight * count), square / (weight**2 * count)))


def first_lags(right: Truncated, below: Truncated) -> tuple[Each, Each]:
    """Of the differences to the right their correlation along columns, of those below along rows."""
    rows = grid(below.edge)
    across_ends = (rows[:, :-1, LAST] * rows[:, 1:, 0]).sum(axis=1)  # the end of a row with the start of the next one
    along = (lagged(below.edge, 1) - across_ends) / (63 * 63)
    down = lagged(right.edge, TILE_PX) / (63 * 63)
    return down / (right.energy("first_h") + FLOOR**2), along / (below.energy("first_v") + FLOOR**2)


def square_lags(square3: Flat, energy: Each) -> tuple[Each, Each]:
    """Correlations of SQUARE 3x3 along rows and along columns."""
    along, down = lagged(square3, 1) / (62 * 61), lagged(square3, TILE_PX) / (61 * 62)
    return along / (energy + FLOOR**2), down / (energy + FLOOR**2)


def neighbours(tiles: Flat, right: Truncated, below: Truncated) -> list[Each]:
    """Correlations of NPR's three differences to the upper left pixel of every 2x2 block."""
    across = difference(tiles, TILE_PX + 1, "diagonal")
    np.clip(across, -LIMIT, LIMIT, out=across)
    grid(across)[:, LAST] = 0
    grid(across)[:, :, LAST] = 0
    last_row, last_column = grid(right.edge)[:, LAST], grid(below.edge)[:, :, LAST]
    along = products(right.edge, right.edge) - products(last_row, last_row)
    down = products(below.edge, below.edge) - products(last_column, last_column)
    diagonal = products(across, across)
    pairs = (
        (right.edge, below.edge, along + down),
        (right.edge, across, along + diagonal),
        (below.edge, across, down + diagonal),
    )
    return [2 * products(one, other) / (energies + FLOOR**2 * 63 * 63) for one, other, energies in pairs]


def line_means(size: Flat, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every column and of every row, (tiles, 64) each; there are values in so many `rows` and `columns`."""
    ones = all_ones(TILE_PX)
    return np.matmul(ones, grid(size)) / rows, np.matmul(grid(size), ones) / columns


def difference(values: Flat, by: int, name: str) -> Flat:
    """Each pixel's difference to the one `by` pixels further on, across the ends of rows and tiles; 0 for the last."""
    result = room(f"difference {name}", values.shape)
    one, end = values.reshape(-1), result.reshape(-1)
    np.subtract(one[by:], one[:-by], out=end[:-by])
    end[-by:] = 0
    return result


def lagged(values: Flat, by: int) -> Each:
    """Sum over each tile of the products of pixels that lie `by` apart."""
    return products(values[:, by:], values[:, :-by])


def products(one: Flat, other: Flat) -> Each:
    """Sum over each tile of the products of two residuals."""
    sums: np.ndarray = np.matmul(one[:, None], other[:, :, None])[:, 0, 0]
    return sums


def grid(values: Flat) -> Float32[np.ndarray, "tiles rows 64"]:
    return values.reshape(len(values), -1, TILE_PX)


def flat(values: Float32[np.ndarray, "tiles rows 64"]) -> Flat:
    return values.reshape(len(values), -1)


def room(name: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """An array of this thread's own, taken again by the next one to ask for that name: memory fresh from the system
    costs more than the arithmetic done in it.
    """
    taken: dict[str, np.ndarray] = _own.__dict__
    if name not in taken or taken[name].shape != shape:
        taken[name] = np.zeros(shape, np.float32)
    return taken[name]


@lru_cache(maxsize=8)
def all_ones(count: int) -> Float32[np.ndarray, " count"]:
    return np.ones(count, np.float32)

"""The residual fingerprint of faces on a GPU, by kernels/residual.cu; `stream_detect.experts.residual` defines it."""

from typing import Any

from jaxtyping import Float, Float32

from stream_detect.arrays import constant
from stream_detect.cuda.kernels import Bench
from stream_detect.experts.residual import RESIDUAL_DIM, period_waves
from stream_detect.types import AROUND_TILES, INSIDE_TILES, TILE_PX

STEM = "residual"
TILES = INSIDE_TILES + AROUND_TILES
STATISTICS = 46  # of each tile
THREADS = 128  # a block's, any whole number of warps up to 256: these hold a tile's sums in registers
TILES_SHAPE = (TILES, TILE_PX, TILE_PX)
FLOAT_BYTES = 4


def residual_features(
    bench: Bench, tiles: Float[Any, "faces tiles height width"], threads: int = THREADS
) -> Float32[Any, "faces 200"]:
    """`stream_detect.experts.residual.residual_features` in two launches; no residual is written to memory.

    Args:
        bench: where the kernels run.
        tiles: (faces, 28, 64, 64) float32 luma in [0, 1], an array of `bench.xp`.
        threads: a block's, a multiple of 32, at most 256.

    Returns:
        (faces, RESIDUAL_DIM) float32 of `bench.xp`, in the order of `RESIDUAL_NAMES`; the same bits for the same tiles.

    Raises:
        ValueError: if `tiles` has another shape or type.
    """
    statistics = tile_statistics(bench, tiles, threads)
    features = bench.xp.empty((len(tiles), RESIDUAL_DIM), bench.xp.float32)
    bench.launch(STEM, "residual_features", len(tiles), threads, statistics, features)
    return features


def tile_statistics(
    bench: Bench, tiles: Float[Any, "faces tiles height width"], threads: int = THREADS
) -> Float32[Any, "faces 28 46"]:
    """The residual statistics of each tile, before they are put together for a face; arguments as above."""
    whole = checked_tiles(bench, tiles)
    statistics = bench.xp.empty((len(whole), TILES, STATISTICS), bench.xp.float32)
    waves = constant(period_waves, whole)
    bench.launch(STEM, "residual_tiles", len(whole) * TILES, threads, whole, waves, statistics)
    return statistics


def checked_tiles(bench: Bench, tiles: Any) -> Float32[Any, "faces 28 64 64"]:
    """`tiles` in one piece of memory, as kernels take them.

    Raises:
        ValueError: if `tiles` is not (faces, 28, 64, 64) float32.
    """
    if tuple(tiles.shape[1:]) != TILES_SHAPE or tiles.dtype != bench.xp.float32:
        expected = f"float32 tiles of shape (faces, {', '.join(map(str, TILES_SHAPE))})"
        raise ValueError(f"expected {expected}, got {tiles.dtype} of shape {tuple(tiles.shape)}")
    return bench.xp.ascontiguousarray(tiles)


def bytes_moved(faces: int) -> int:
    """The least that `residual_features` reads from and writes to a GPU's memory.

    Tiles are read once, their statistics are written and read again, and a face's features are written.
    """
    values = TILES * TILE_PX * TILE_PX + 2 * TILES * STATISTICS + RESIDUAL_DIM
    return FLOAT_BYTES * (faces * values + period_waves().size)

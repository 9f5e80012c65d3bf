"""The quality measures of faces on a GPU, by kernels/quality.cu; `stream_detect.fusion.quality` defines them."""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.arrays import constant
from stream_detect.cuda.kernels import Bench
from stream_detect.cuda.residual import FLOAT_BYTES, checked_tiles
from stream_detect.fusion.quality import QUALITY_NAMES, STEP, USED_TILES, WINDOW
from stream_detect.types import TILE_PX

STEM = "quality"
TILE_SUMS = 11  # that a tile leaves behind
THREADS = 128  # a block's, any whole number of warps up to 256
FACES_A_BLOCK = 32  # where one thread puts a face together
ROUNDING = np.float32(STEP**2 / 12 * float((WINDOW**2).sum()))  # in each bin of a windowed line, as for white noise


def quality_measures(
    bench: Bench,
    tiles: Float[Any, "faces tiles height width"],
    face_px: Float[Any, " sizes"],
    around_share: Float[Any, " shares"],
    threads: int = THREADS,
) -> Float32[Any, "faces 8"]:
    """`stream_detect.fusion.quality.measure_quality` in two launches.

    Args:
        bench: where the kernels run.
        tiles: (faces, 28, 64, 64) float32 luma in [0, 1], an array of `bench.xp`.
        face_px: geometric mean of each box's sides, in pixels; of `bench.xp`, or of NumPy, which is then copied there.
        around_share: share of the surrounding tiles' area outside the face, in [0, 1]; likewise.
        threads: a block's, a multiple of 32, at most 256.

    Returns:
        (faces, 8) float32 of `bench.xp`, in the order of `QUALITY_NAMES`; the same bits for the same faces.

    Raises:
        ValueError: if an array has another shape, or `tiles` another type.
    """
    whole = checked_tiles(bench, tiles)
    faces = len(whole)
    known = _beside(bench, face_px, faces, "face_px"), _beside(bench, around_share, faces, "around_share")
    sums = bench.xp.empty((faces, len(USED_TILES), TILE_SUMS), bench.xp.float32)
    measures = bench.xp.empty((faces, len(QUALITY_NAMES)), bench.xp.float32)
    grid = (len(USED_TILES), faces)
    bench.launch(STEM, "quality_tiles", grid, threads, whole, constant(line_waves, whole), sums)
    blocks = -(-faces // FACES_A_BLOCK)
    bench.launch(STEM, "quality_measures", blocks, FACES_A_BLOCK, sums, *known, ROUNDING, np.int32(faces), measures)
    return measures


@lru_cache(maxsize=1)
def line_waves() -> Float32[np.ndarray, "3 64"]:
    """The window of a line, then one turn of a cosine and of a sine."""
    turn = 2 * np.pi * np.arange(TILE_PX) / TILE_PX
    return np.stack([WINDOW, np.cos(turn), np.sin(turn)]).astype(np.float32)


def bytes_moved(faces: int) -> int:
    """The least that `quality_measures` reads from and writes to a GPU's memory.

    The used tiles are read once, their sums are written and read again, and two values come and eight go a face.
    """
    values = len(USED_TILES) * (TILE_PX * TILE_PX + 2 * TILE_SUMS) + 2 + len(QUALITY_NAMES)
    return FLOAT_BYTES * (faces * values + line_waves().size)


def _beside(bench: Bench, values: Any, faces: int, name: str) -> Any:
    """One value a face, in the memory of `bench`."""
    array = bench.xp.ascontiguousarray(bench.xp.asarray(values, bench.xp.float32))
    if array.shape != (faces,):
        raise ValueError(f"expected one {name} for each of {faces} faces, got an array of shape {array.shape}")
    return array

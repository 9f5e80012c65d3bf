"""Where on a face something differs: statistics of its 4 x 4 tiles by row and by column, and of its extreme tiles.

Means over all tiles hide a forged mouth or forged eyes, which are a quarter of the face and less.
"""

from typing import Any

from jaxtyping import Float

from stream_detect.types import INSIDE_TILES, TILE_PX

SIDE = 4  # a face's tiles lie on a grid of so many rows and columns, row by row
PLACES = ("row_1", "row_2", "row_3", "row_4", "middle")  # what `layout` gives of every statistic, in this order
EXTREMES = ("lowest", "highest", "lowest_against", "highest_against", "spread_around")  # what `extremes` gives


def check_tiles(tiles: Any) -> None:
    """Raise ValueError unless `tiles` are (faces, more than 16, 64, 64)."""
    if len(tiles.shape) != 4 or tiles.shape[1] <= INSIDE_TILES or tuple(tiles.shape[2:]) != (TILE_PX, TILE_PX):
        expected = f"(faces, more than {INSIDE_TILES}, {TILE_PX}, {TILE_PX})"
        raise ValueError(f"expected tiles of shape {expected}, got {tuple(tiles.shape)}")


def layout(xp: Any, per_tile: Float[Any, "faces 16 some"]) -> Float[Any, "faces places_some"]:
    """Each row's mean less that of all tiles, then the two middle columns less the outer two.

    Args:
        xp: the namespace of `per_tile`, as `array_namespace` gives it.
        per_tile: statistics of the tiles inside a face.

    Returns:
        (faces, 5 * some): all statistics of the first row (forehead and eyes), and so on down to the mouth and chin.
    """
    faces, _, some = per_tile.shape
    grid = xp.reshape(per_tile, (faces, SIDE, SIDE, some))
    rows, columns = xp.mean(grid, axis=2), xp.mean(grid, axis=1)
    rows = rows - xp.mean(rows, axis=1, keepdims=True)
    middle = (columns[:, 1, :] + columns[:, 2, :] - columns[:, 0, :] - columns[:, 3, :]) / 2
    return xp.concat([xp.reshape(rows, (faces, SIDE * some)), middle], axis=1)


def extremes(
    xp: Any, face: Float[Any, "faces 16 some"], around: Float[Any, "faces ring some"]
) -> Float[Any, "faces extremes_some"]:
    """The lowest and the highest over the face's tiles, less their mean, then less those around; the spread around.

    Args:
        xp: the namespace of `face` and `around`.
        face: statistics of the tiles inside a face.
        around: the same of the tiles around it.

    Returns:
        (faces, 5 * some): all statistics of each of `EXTREMES`, one after the other.
    """
    lowest, highest, mean = xp.min(face, axis=1), xp.max(face, axis=1), xp.mean(face, axis=1)
    against = lowest - xp.min(around, axis=1), highest - xp.max(around, axis=1)
    return xp.concat([lowest - mean, highest - mean, *against, xp.std(around, axis=1)], axis=1)

"""Where on a face something differs: statistics of its 4 x 4 tiles by row and by column."""

from typing import Any

from jaxtyping import Float

SIDE = 4  # a face's tiles lie on a grid of so many rows and columns, row by row
PLACES = ("row_1", "row_2", "row_3", "row_4", "middle")  # what `layout` gives of every statistic, in this order


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

"""Tells from a picture alone that a decoder had to make up part of it, where its own flags say nothing."""

from typing import Any

import numpy as np

from stream_detect.decode.frame import SUBSAMPLING, Layout

GRID_PX = 8  # pixels are looked at so far apart, in both directions
FILLED_SHARE = 0.02  # of a picture that must be filling for it to count as damaged
FILLINGS = {"grey": 128, "green": 0}  # one value in all planes: what stands where nothing was decoded


def damage_of(planes: tuple[Any, ...], layout: Layout) -> str | None:
    """How a picture is visibly damaged: "grey", "green"; None if it is not, or nothing can be said.

    `planes` are NumPy's, as a `Frame` has them; only YUV layouts can be told.
    """
    if layout not in SUBSAMPLING:
        return None
    rows, columns = SUBSAMPLING[layout]
    luma = planes[0][GRID_PX // 2 :: GRID_PX, GRID_PX // 2 :: GRID_PX]
    half_rows, half_columns = GRID_PX // rows, GRID_PX // columns
    first, second = (plane[half_rows // 2 :: half_rows, half_columns // 2 :: half_columns] for plane in planes[1:])
    height, width = min(luma.shape[0], first.shape[0]), min(luma.shape[1], first.shape[1])
    luma, first, second = (part[:height, :width] for part in (luma, first, second))
    for word, value in FILLINGS.items():
        filled = (luma == value) & (first == value) & (second == value)
        share = np.count_nonzero(filled) / max(1, filled.size)
        if FILLED_SHARE <= share < 1:
            return word
    return None

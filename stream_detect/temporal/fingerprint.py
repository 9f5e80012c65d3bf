"""The fingerprint of a whole picture: what its camera, encoder and every resampling left in it, whoever is to be seen.

Native 64-pixel tiles spread over the picture, away from the faces, are looked at as those of a face are
(`stream_detect.experts.spectrum`): how power falls off over the coarse bands, and how far grids of 8, 4, 8/3 and 2
pixels"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from stream_detect.decode.frame import Frame
from stream_detect.experts.host import AT_ONCE, group_power
from stream_detect.experts.spectrum import BANDS, BESIDE_PEAK, COARSE, FLOOR, ON_PEAK, PEAKS, REFERENCE_BAND
from stream_detect.types import TILE_PX

ROWS, COLUMNS = 4, 6  # of tiles, spread evenly
FEWEST_TILES = 4  # away from faces and not flat, below which nothing is said
FLAT = 2e-5  # variance of luma in [0, 1] below which a tile shows nothing but its encoder's silence
FACE_MARGIN = 0.25  # of a face's sides, around which no tile is taken
NUM_PLACES = ROWS * COLUMNS
NUM_FEATURES = len(BANDS) + len(PEAKS)

Box = tuple[float, float, float, float]


def picture_fingerprint(frame: Frame, faces: Sequence[Box]) -> Float32[np.ndarray, "places features"] | None:
    """Natural logarithms of relative power at every place, NaN where a tile shows nothing or touches a face.

    None where fewer than `FEWEST_TILES` tiles can be taken.

    Args:
        faces: boxes, xyxy in pixels of the frame.
    """
    if frame.height < TILE_PX or frame.width < TILE_PX:
        return None
    on_host = frame.on_host() if frame.is_on_device else frame
    corners = places(frame.height, frame.width)
    taken = [k for k, (x, y) in enumerate(corners) if not any(touches(x, y, face) for face in faces)]
    tiles = {k: on_host.luma((x, y, x + TILE_PX, y + TILE_PX)) for k, (x, y) in enumerate(corners) if k in taken}
    told = {k: tile for k, tile in tiles.items() if tile.var() > FLAT}
    if len(told) < FEWEST_TILES:
        return None
    prints = np.full((len(corners), NUM_FEATURES), np.nan, np.float32)
    prints[list(told)] = prints_of(np.array(list(told.values()), np.float32))
    return prints


def prints_of(tiles: Float32[np.ndarray, "tiles height width"]) -> Float32[np.ndarray, "tiles features"]:
    """The bands and grids of each tile."""
    flat = tiles.reshape(len(tiles), TILE_PX * TILE_PX)
    parts = [group_power(flat[k : k + AT_ONCE]) for k in range(0, len(flat), AT_ONCE)]
    power = np.log(np.concatenate(parts) + FLOOR)  # (tiles, groups)
    bands = power[:, COARSE]
    bands = bands - bands[:, REFERENCE_BAND].mean(axis=1, keepdims=True)
    peaks = (power[:, ON_PEAK] - power[:, BESIDE_PEAK]).reshape(len(tiles), len(PEAKS), -1).mean(axis=2)
    both: np.ndarray = np.concatenate([bands, peaks], axis=1)
    return both.astype(np.float32)


def places(height: int, width: int) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of the tiles, on the grid of 8-pixel blocks; always `NUM_PLACES` of them."""
    xs = [int(x) // 8 * 8 for x in np.linspace(0, width - TILE_PX, COLUMNS)]
    ys = [int(y) // 8 * 8 for y in np.linspace(0, height - TILE_PX, ROWS)]
    return [(x, y) for y in ys for x in xs]


def touches(x: int, y: int, face: Box) -> bool:
    x1, y1, x2, y2 = face
    margin_x, margin_y = FACE_MARGIN * (x2 - x1), FACE_MARGIN * (y2 - y1)
    beside = x + TILE_PX <= x1 - margin_x or x >= x2 + margin_x
    return not (beside or y + TILE_PX <= y1 - margin_y or y >= y2 + margin_y)

"""The fingerprint of a whole picture: what its camera, encoder and every resampling left in it, whoever is to be seen.

Native 64-pixel tiles spread over the picture, away from the faces, are looked at as those of a face are
(`stream_detect.experts.spectrum`): how power falls off over the coarse bands, and how far grids of 8, 4, 8/3 and 2
pixels stand out, as block codecs and up-samplers leave them. The median over tiles lets what is in them matter little.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from stream_detect.decode.frame import Frame
from stream_detect.experts.spectrum import (
    BANDS,
    BESIDE_PEAK,
    COARSE,
    FLOOR,
    ON_PEAK,
    PEAKS,
    REFERENCE_BAND,
    radial_power,
)
from stream_detect.types import INSIDE_TILES, TILE_PX

ROWS, COLUMNS = 4, 6  # of tiles, spread evenly
FEWEST_TILES = 4  # away from faces and not flat, below which nothing is said
AS_FACES = INSIDE_TILES + 1  # tiles that `radial_power` asks for at least
FLAT = 2e-5  # variance of luma in [0, 1] below which a tile shows nothing but its encoder's silence
FACE_MARGIN = 0.25  # of a face's sides, around which no tile is taken
NUM_FEATURES = len(BANDS) + len(PEAKS)

Box = tuple[float, float, float, float]


def picture_fingerprint(frame: Frame, faces: Sequence[Box]) -> Float32[np.ndarray, " features"] | None:
    """Natural logarithms of relative power, `NUM_FEATURES` of them; None where too few tiles can be taken.

    Args:
        faces: boxes, xyxy in pixels of the frame; tiles don't touch them.
    """
    on_host = frame.on_host() if frame.is_on_device else frame
    corners = free_corners(frame.height, frame.width, faces)
    tiles = np.array([on_host.luma((x, y, x + TILE_PX, y + TILE_PX)) for x, y in corners], np.float32)
    tiles = tiles[tiles.var(axis=(1, 2)) > FLAT] if len(tiles) else tiles
    if len(tiles) < FEWEST_TILES:
        return None
    padded = np.concatenate([tiles, np.zeros((max(0, AS_FACES - len(tiles)), TILE_PX, TILE_PX), np.float32)])
    power = np.log(np.asarray(radial_power(padded[None]))[0, : len(tiles)] + FLOOR)  # (tiles, groups)
    bands = power[:, COARSE]
    bands = bands - bands[:, REFERENCE_BAND].mean(axis=1, keepdims=True)
    peaks = (power[:, ON_PEAK] - power[:, BESIDE_PEAK]).reshape(len(tiles), len(PEAKS), -1).mean(axis=2)
    middle: np.ndarray = np.median(np.concatenate([bands, peaks], axis=1), axis=0)
    return middle.astype(np.float32)


def free_corners(height: int, width: int, faces: Sequence[Box]) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of the tiles of the grid that touch no face, on the grid of 8-pixel blocks."""
    if height < TILE_PX or width < TILE_PX:
        return []
    xs = [int(x) // 8 * 8 for x in np.linspace(0, width - TILE_PX, COLUMNS)]
    ys = [int(y) // 8 * 8 for y in np.linspace(0, height - TILE_PX, ROWS)]
    return [(x, y) for y in dict.fromkeys(ys) for x in dict.fromkeys(xs) if not any(touches(x, y, f) for f in faces)]


def touches(x: int, y: int, face: Box) -> bool:
    x1, y1, x2, y2 = face
    margin_x, margin_y = FACE_MARGIN * (x2 - x1), FACE_MARGIN * (y2 - y1)
    beside = x + TILE_PX <= x1 - margin_x or x >= x2 + margin_x
    return not (beside or y + TILE_PX <= y1 - margin_y or y >= y2 + margin_y)

"""Somebody else's face blended in band by band: wide transitions for coarse bands, narrow ones for fine bands.

Burt & Adelson, "A multiresolution spline with application to image mosaics", ACM Trans. Graphics 2(4), 1983.
"""

from itertools import pairwise

import cv2
import numpy as np

from benchmarks.forgeries_unseen.canvas import (
    Colors,
    Weights,
    anchored,
    face_mask,
    partner,
    recolored,
    replaced,
    seen_as,
    skin_in_scene,
)
from stream_detect.training.forgeries.family import Footage, Forged, Rng

COARSEST_PX = 12  # no band has a smaller side
MOST_BANDS = 5


def swapped(footage: Footage, rng: Rng) -> Forged | None:
    """A partner's face, bent onto the target's landmarks and box, recoloured and splined in; None without one."""
    source = partner(footage, rng)
    if source is None:
        return None
    scene = footage.scene
    height, width = scene.rgb.shape[:2]
    target = scene.rgb.astype(np.float32) / 255
    mask = (face_mask(scene, grow=float(rng.uniform(0.84, 0.96))) > 0.5).astype(np.float32)
    drawn = seen_as(source, anchored(source.face), anchored(scene.face), height, width)
    mixed, weight = splined(recolored(drawn, target, skin_in_scene(scene)), target, mask)
    near = face_mask(scene, soft=0.2, grow=1.4)[..., None]  # further away not even the coarsest band is changed
    return replaced(scene, 255 * (target + near * (mixed - target)), weight)


def splined(over: Colors, under: Colors, mask: Weights) -> tuple[Colors, Weights]:
    """Both pictures mixed in every band of their Laplacian pyramids; and how much of each pixel is from `over`."""
    levels = 1
    while min(mask.shape) >> levels > COARSEST_PX and levels < MOST_BANDS:
        levels += 1
    weights = gaussian_pyramid(mask, levels)
    bands = [
        w[..., None] * a + (1 - w[..., None]) * b
        for w, a, b in zip(weights, laplacian_pyramid(over, levels), laplacian_pyramid(under, levels), strict=True)
    ]
    mixed = collapsed(bands)
    reach = cv2.resize(weights[min(2, levels - 1)], mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return mixed, np.clip(reach, 0, 1).astype(np.float32)


def gaussian_pyramid(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    pyramid = [picture]
    for _ in range(levels - 1):
        pyramid.append(cv2.pyrDown(pyramid[-1]))
    return pyramid


def laplacian_pyramid(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    """Bands from fine to coarse; the last is what remains."""
    smooth = gaussian_pyramid(picture, levels)
    fine = [a - cv2.pyrUp(b, dstsize=a.shape[1::-1]) for a, b in pairwise(smooth)]
    return [*fine, smooth[-1]]


def collapsed(bands: list[np.ndarray]) -> np.ndarray:
    picture = bands[-1]
    for band in reversed(bands[:-1]):
        picture = band + cv2.pyrUp(picture, dstsize=band.shape[1::-1])
    return np.asarray(np.clip(picture, 0, 1), np.float32)

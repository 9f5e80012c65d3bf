"""Two people in one face: both bent to a shape between theirs, their textures mixed half and half.

What is made so fools border gates and face matching: Ferrara, Franco & Maltoni, "The magic passport", IJCB 2014;
the warp-and-mix itself is Wolberg's, "Image morphing: a survey", The Visual Computer 14, 1998.
"""

import cv2
import numpy as np

from benchmarks.forgeries_unseen.canvas import (
    Colors,
    anchored,
    blended,
    face_mask,
    fitted,
    partner,
    recolored,
    seen_as,
    skin_in_scene,
)
from stream_detect.training.forgeries.family import Footage, Forged, Rng


def morphed(footage: Footage, rng: Rng) -> Forged | None:
    """The target and a partner mixed in the target's scene; None without a partner."""
    source = partner(footage, rng)
    if source is None:
        return None
    scene, share = footage.scene, float(rng.uniform(0.4, 0.6))
    height, width = scene.rgb.shape[:2]
    ours, theirs = anchored(scene.face), anchored(source.face)
    there = theirs @ (matrix := fitted(theirs, ours))[:, :2].T + matrix[:, 2]
    between = (1 - share) * ours + share * there
    frame = np.array([(x, y) for x in (0, width - 1) for y in (0, height - 1)], np.float64)  # stays where it is
    own = seen_as(scene, np.vstack([ours, frame]), np.vstack([between, frame]), height, width)
    other = seen_as(source, theirs, between, height, width)
    mask = face_mask(scene, soft=float(rng.uniform(0.05, 0.12)))
    other = recolored(other, own, skin_in_scene(scene))
    mixed = crisp((1 - share) * own + share * other, float(rng.uniform(0.2, 0.6)))
    return blended(scene, 255 * mixed, mask)


def crisp(picture: Colors, amount: float) -> Colors:
    """Sharpened, as morphs are, because mixing softens."""
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
    return np.asarray(np.clip(picture + amount * (picture - soft), 0, 1), np.float32)

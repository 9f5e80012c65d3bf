"""A face with another expression, by warping: what re-enactment does to a still or to a frame.

The warp is a thin-plate spline between landmarks, as in Zhao & Zhang, "Thin-Plate Spline Motion Model for Image
Animation", CVPR 2022 (https://arxiv.org/abs/2203.14367); the warped face is blended back into the frame. Written from
the paper's idea, without its network.
"""

import numpy as np

from stream_detect.training.forgeries.colors import blend, change_sharpness, transfer_color
from stream_detect.training.forgeries.family import Family, Footage, Forged, Rng
from stream_detect.training.forgeries.geometry import (
    FIVE_POINTS,
    Patch,
    apply,
    cut_patch,
    eye_distance,
    fit_similarity,
    misfit,
    paste,
)
from stream_detect.training.forgeries.masks import face_mask
from stream_detect.training.forgeries.swap import low_res
from stream_detect.training.forgeries.warps import RING, Warp, by_similarity, by_spline, draw
from stream_detect.training.scenes import Scene

LARGEST_SHIFT = 0.16  # of a landmark, in distances between the eyes
LEAST_SHIFT = 0.03  # mean, below which a sibling frame moves too little to be a driver
SPREAD = np.array([[0.05, 0.05], [0.05, 0.05], [0.07, 0.07], [0.07, 0.1], [0.07, 0.1]])  # of random shifts


def forge(footage: Footage, rng: Rng) -> Forged:
    """The frame's face driven by a sibling frame's landmarks (or made-up ones), or a sibling's face driven by them."""
    scene = footage.scene
    sibling = footage.find_sibling(rng)
    patch, source = cut_patch(scene), cut_patch(scene)
    is_sibling_drawn = sibling is not None and rng.random() < 0.4 and misfit(sibling.face, scene.face) < 0.08
    if sibling is not None and is_sibling_drawn:
        source = cut_patch(sibling)
    driver = _shifts(patch, None if is_sibling_drawn else sibling, rng)
    face = _drawn(source, patch, _warp(source, patch, driver), rng)
    mask = face_mask(patch.rgb.shape, patch.face, rng, grow=1.05)
    if is_sibling_drawn:
        face = transfer_color(face, patch.rgb, mask, "spread")
    return paste(scene.rgb, patch, blend(face, patch.rgb, mask), mask)


def _shifts(patch: Patch, driver: Scene | None, rng: Rng) -> np.ndarray:
    """(5, 2) shifts of the landmarks in pixels: the driver's expression, or a made-up one where it moves too little."""
    unit = eye_distance(patch.face)
    shifts = rng.normal(0, 1, (5, 2)) * SPREAD * unit
    if driver is not None:
        fitted = apply(fit_similarity(driver.face.landmarks, patch.face.landmarks), driver.face.landmarks)
        driven = fitted - patch.face.landmarks
        if np.hypot(*driven.T).mean() > LEAST_SHIFT * unit:
            shifts = driven * rng.uniform(0.7, 1.3)
    return np.asarray(np.clip(shifts, -LARGEST_SHIFT * unit, LARGEST_SHIFT * unit))


def _warp(source: Patch, patch: Patch, shifts: np.ndarray) -> Warp:
    """Reads the source so that its landmarks come to the patch's, shifted; a ring around the face stays."""
    to_source = by_similarity(source.face, patch.face)
    ring = apply(fit_similarity(FIVE_POINTS, patch.face.landmarks), RING)
    knots = np.vstack([patch.face.landmarks + shifts, ring])
    return by_spline(knots, np.vstack([source.face.landmarks, to_source(ring)]))


def _drawn(source: Patch, patch: Patch, warp: Warp, rng: Rng) -> np.ndarray:
    """The warped face: from a generator's canvas, or straight; at times a little softer or sharper than it was."""
    if rng.random() < 0.35:
        return low_res(source.rgb, warp, patch, rng, sides=(128, 192, 256, 256))
    face = draw(source.rgb, warp, patch.rgb.shape)
    if rng.random() < 0.5:
        return change_sharpness(face, reduce=float(rng.uniform(1.05, 1.8)))
    return change_sharpness(face, sharpen=float(rng.uniform(0, 0.6)))


FAMILY = Family(
    name="reenact",
    kind="blended",
    source="Zhao & Zhang (TPS motion model), CVPR 2022, https://arxiv.org/abs/2203.14367",
    forge=forge,
    share=0.8,
)

"""A face that a diffusion model with other people's faces for its training set draws over the target's: noise is added
to the picture and taken away again step by step, each step by the exact posterior mean over patches of those faces.

Convolutional diffusion models behave like this patch-wise score: Kamb & Ganguli, "An analytic theory of creativity in
convolutional diffusion models", 2024, arXiv 2412.20292. Starting from a noisy picture instead of from noise alone is
SDEdit: Meng et al., ICLR 2022. The steps are the probability flow's: Karras et al., NeurIPS 2022.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from benchmarks.forgeries_unseen.canvas import Canvas, Colors, face_mask, on_target, others, recolored, skin_mask
from stream_detect.training.forgeries.family import Footage, Forged, Rng

PEOPLE, LEAST_PEOPLE = 8, 2
FIRST_NOISE, LAST_NOISE, STEPS = 0.2, 0.02, 6  # standard deviations of the noise, of colours in [0, 1]
PATCH_PX = (17, 5)  # sides of the patches at the first and at the last step
SHIFTS_PX = ((0, 0), (-3, 0), (3, 0), (0, -3), (0, 3))  # how far from its place a patch is looked for
COARSE_SHARE = (
    0.09  # of a canvas side: what is coarser than this is the target's, as it is when a model is told whom to draw
)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The pictures that the score knows: each person's canvas, shifted a little in all ways."""

    pictures: Float32[np.ndarray, "known side side 3"]

    @classmethod
    def of(cls, bank: list[Colors]) -> "Known":
        return cls(np.stack([shift(one, dx, dy) for one in bank for dx, dy in SHIFTS_PX]))

    def mean(self, noisy: Colors, noise: float, patch_px: int) -> Colors:
        """What the clean picture is on average, pixel by pixel, given the noisy patch around each."""
        box = (patch_px, patch_px)
        error = np.stack([cv2.blur(((noisy - one) ** 2).sum(axis=2), box) for one in self.pictures])
        error *= patch_px**2 / (2 * noise**2)  # squared distance of whole patches, in units of the noise
        weight = np.exp(np.minimum(error, 1e4).min(axis=0) - error)
        weight /= weight.sum(axis=0)
        return np.asarray(np.einsum("kyx,kyxc->yxc", weight, self.pictures), np.float32)


def diffused(footage: Footage, rng: Rng) -> Forged | None:
    """The target's face drawn over by the score of other people's; None with fewer than two others."""
    scenes = others(footage, PEOPLE, rng)
    if len(scenes) < LEAST_PEOPLE:
        return None
    scene, canvas = footage.scene, Canvas.of(footage.scene.face)
    target, skin = canvas.cut(scene.rgb), skin_mask(canvas.side_px)
    bank = [recolored(canvas.of_other(other.face).cut(other.rgb), target, skin) for other in scenes]
    known = Known.of([on_target(one, target, COARSE_SHARE * canvas.side_px) for one in bank])
    return canvas.paste(scene, sampled(target, known, rng), face_mask(scene, soft=0.09))


def sampled(target: Colors, known: Known, rng: Rng) -> Colors:
    """From the target under noise down to a clean picture."""
    noises = np.geomspace(FIRST_NOISE, LAST_NOISE, STEPS)
    patches = [int(side) | 1 for side in np.geomspace(*PATCH_PX, STEPS)]
    picture = target + FIRST_NOISE * rng.standard_normal(target.shape, dtype=np.float32)
    for noise, after, patch_px in zip(noises, [*noises[1:], 0.0], patches, strict=True):
        clean = known.mean(picture, float(noise), patch_px)
        picture = clean + np.float32(after / noise) * (picture - clean)
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def shift(picture: Colors, dx: int, dy: int) -> Colors:
    """The picture moved by whole pixels, its border repeated."""
    return np.asarray(
        cv2.warpAffine(
            picture,
            np.array([[1.0, 0, dx], [0, 1, dy]]),
            picture.shape[1::-1],
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )

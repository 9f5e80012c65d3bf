"""One person's face on another: `swap` at full resolution, `low_res_swap` from a generator of few pixels.

The two-person blend follows Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020
(https://arxiv.org/abs/1912.13458); the piecewise warp FaceSwap of Rössler et al., "FaceForensics++", ICCV 2019. Live
face swappers draw the face on an upright canvas of 128 or 256 pixels and enlarge it into the frame (as Chen et al.,
"SimSwap", ACM MM 2020, and its successors), which is their commonest trace; half of the low-resolution forgeries are of
the own face, where that trace is all there is. Written from the papers' ideas.
"""

import numpy as np

from stream_detect.training.forgeries.colors import blend, change_sharpness, draw_transfer, transfer_color
from stream_detect.training.forgeries.family import AnyPicture, Family, Footage, Forged, Mask, Picture, Rng
from stream_detect.training.forgeries.geometry import Patch, cut_patch, eye_distance, mirrored, misfit, paste
from stream_detect.training.forgeries.masks import FACE_BOX, FACE_ELLIPSE, HULL, WITH_FOREHEAD, face_mask, hard_mask
from stream_detect.training.forgeries.warps import (
    Warp,
    by_affine,
    by_mesh,
    by_similarity,
    draw,
    draw_kernel,
    through_canvas,
)
from stream_detect.training.scenes import Scene

WORST_MISFIT = 0.07  # of landmarks, in sides of the face; worse pairs look like nothing
FITS = (by_similarity, by_affine, by_mesh)
FIT_SHARES = (0.4, 0.3, 0.3)
CANVASES_PX = (64, 96, 128, 128, 128, 160, 192, 224, 256, 256)
SPANS = (2.9, 3.7)  # width of a canvas, in distances between the eyes
BLEND_RATIOS = (0.6, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0)


def fitting_partner(footage: Footage, rng: Rng) -> Scene | None:
    """Somebody else's face in a pose like this one's, mirrored where that fits better; None without one."""
    partner = footage.find_partner(rng)
    if partner is None:
        return None
    other, face = mirrored(partner), footage.scene.face
    if misfit(other.face, face) < misfit(partner.face, face):
        partner = other
    return partner if misfit(partner.face, face) <= WORST_MISFIT else None


def forge_swap(footage: Footage, rng: Rng) -> Forged | None:
    """A partner's face warped onto this one's landmarks, in its colours, blended by a mask."""
    if (partner := fitting_partner(footage, rng)) is None:
        return None
    patch, source = cut_patch(footage.scene), cut_patch(partner)
    face = draw(source.rgb, draw_fit(source, patch, rng), patch.rgb.shape)
    mask = swap_mask(patch, rng)
    face = recolored(face, patch.rgb, mask, rng)
    if rng.random() < 0.4:
        face = match_sharpness(face, patch.rgb, mask)
    return _blended(footage.scene.rgb, patch, face, mask, rng)


def forge_low_res(footage: Footage, rng: Rng) -> Forged | None:
    """A partner's face, or the own one, from a small aligned canvas, in a frame that is sharper."""
    partner = fitting_partner(footage, rng) if rng.random() < 0.5 else None
    patch, source = cut_patch(footage.scene), cut_patch(partner or footage.scene)
    warp = draw_fit(source, patch, rng) if partner else by_similarity(source.face, patch.face)
    face = low_res(source.rgb, warp, patch, rng)
    mask = swap_mask(patch, rng)
    if partner or rng.random() < 0.3:
        face = recolored(face, patch.rgb, mask, rng)
    return _blended(footage.scene.rgb, patch, face, mask, rng)


def draw_fit(source: Patch, target: Patch, rng: Rng) -> Warp:
    """A warp from the target's pixels to the source's."""
    return FITS[rng.choice(len(FITS), p=FIT_SHARES)](source.face, target.face)


def low_res(source: AnyPicture, warp: Warp, patch: Patch, rng: Rng, sides: tuple[int, ...] = CANVASES_PX) -> AnyPicture:
    """A face drawn on a canvas of few pixels (fewer than the patch gives it, where it can), enlarged into the patch."""
    span = float(rng.uniform(*SPANS))
    native = span * eye_distance(patch.face)
    drawn = int(rng.choice(sides))
    px = max(32, min(drawn, round(native * rng.uniform(0.35, 0.8))))
    return through_canvas(source, warp, patch.face, patch.rgb.shape, px, span, draw_kernel(rng))


def swap_mask(patch: Patch, rng: Rng) -> Mask:
    """A soft mask mostly; at times the hard or hardly feathered outline that careless tools paste by."""
    if rng.random() < 0.8:
        return face_mask(patch.rgb.shape, patch.face, rng)
    outline = (HULL, WITH_FOREHEAD, FACE_BOX, FACE_ELLIPSE)[rng.integers(4)]
    feather_px = float(rng.uniform(0.5, 3.0) * eye_distance(patch.face) / 64)
    return hard_mask(patch.rgb.shape, patch.face, [outline], rng, feather_px)


def recolored(face: Picture, target: Picture, mask: Mask, rng: Rng) -> Picture:
    """The face in the target's colours; once in a while as it came."""
    return face if rng.random() < 0.08 else transfer_color(face, target, mask, draw_transfer(rng))


def match_sharpness(face: Picture, target: Picture, mask: Mask) -> Picture:
    """The face blurred where it is sharper than the target, sharpened where it is softer, by gradients on the mask."""
    ratio = _sharpness(face, mask) / max(_sharpness(target, mask), 1e-3)
    if ratio > 1.1:
        return change_sharpness(face, reduce=min(ratio, 3.0))
    return change_sharpness(face, sharpen=float(np.clip(1 / max(ratio, 1e-3) - 1, 0, 1.0)))


def _sharpness(rgb: Picture, mask: Mask) -> float:
    green = rgb[..., 1].astype(np.float32)
    steps = np.abs(np.diff(green, axis=1))
    return float(np.average(steps, weights=mask[:, 1:] + 1e-6))


def _blended(real: AnyPicture, patch: Patch, face: Picture, mask: Mask, rng: Rng) -> Forged:
    mask = mask * np.float32(rng.choice(BLEND_RATIOS))
    return paste(real, patch, blend(face, patch.rgb, mask), mask)


SWAP = Family(
    name="swap",
    kind="blended",
    source="Li et al. (Face X-ray), CVPR 2020, https://arxiv.org/abs/1912.13458",
    forge=forge_swap,
)
LOW_RES_SWAP = Family(
    name="low_res_swap",
    kind="blended",
    source="the canvas of live face swappers: Chen et al. (SimSwap), ACM MM 2020, https://arxiv.org/abs/2106.06340",
    forge=forge_low_res,
    share=1.2,
)

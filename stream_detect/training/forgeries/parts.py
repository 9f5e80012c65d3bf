"""A part of the face replaced, the rest left alone: `mouth` (lip-sync) and `eyes` (gaze and blinks re-enacted).

Lip-sync generators draw the lower face on a canvas of 96 pixels and paste it back: Prajwal et al., "A Lip Sync Expert
Is All You Need for Speech to Lip Generation In the Wild" (Wav2Lip), ACM MM 2020 (https://arxiv.org/abs/2008.10010). The
part comes from another frame of the clip, from somebody else, or from the own face warped (the mouth opened or closed,
the eyes narrowed, widened or turned). Written from the paper's idea.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_detect.training.forgeries.colors import blend, change_sharpness, draw_transfer, transfer_color
from stream_detect.training.forgeries.family import Family, Footage, Forged, Mask, Rng
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
from stream_detect.training.forgeries.masks import (
    EYE_BAND,
    EYES_AND_BROWS,
    LEFT_EYE,
    LOWER_BOX,
    LOWER_FACE,
    MOUTH,
    RIGHT_EYE,
    Outline,
    hard_mask,
    soft_mask,
)
from stream_detect.training.forgeries.swap import fitting_partner, low_res
from stream_detect.training.forgeries.warps import Warp, by_affine, by_shifts, by_similarity, chain, draw

SIBLING_MISFIT = 0.06  # of landmarks, in sides of the face, above which a sibling's part would sit askew
CANVASES_PX = (80, 96, 96, 96, 128, 160, 192, 256)
CANVAS_SHARE = 0.6  # of the replacements: those from a generator's canvas


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the face: the outlines it is pasted by, and the canonical points about which it is warped."""

    outlines: Sequence[Sequence[Outline]]
    shares: Sequence[float]
    centers: Sequence[tuple[float, float]]
    shifts: tuple[float, float]  # largest shift across and down, in distances between the eyes
    reach: float  # of the warp, in distances between the eyes


LIPS = Part(((MOUTH,), (LOWER_FACE,), (LOWER_BOX,)), (0.4, 0.45, 0.15), ((0.0, 1.02), (0.0, 1.32)), (0.05, 0.14), 0.22)
EYES = Part(
    ((EYES_AND_BROWS,), (EYE_BAND,), (LEFT_EYE, RIGHT_EYE)),
    (0.4, 0.3, 0.3),
    ((-0.5, -0.08), (-0.5, 0.08), (0.5, -0.08), (0.5, 0.08)),
    (0.06, 0.07),
    0.16,
)


def forge_mouth(footage: Footage, rng: Rng) -> Forged:
    """Lips or the lower face from a sibling frame, a partner, or the own ones opened or closed."""
    return _replaced(footage, LIPS, rng)


def forge_eyes(footage: Footage, rng: Rng) -> Forged:
    """Eyes, with or without the brows, from a sibling frame, a partner, or the own ones narrowed, widened or turned."""
    return _replaced(footage, EYES, rng)


def _replaced(footage: Footage, part: Part, rng: Rng) -> Forged:
    patch = cut_patch(footage.scene)
    source, warp = _source(footage, patch, part, rng)
    if rng.random() < CANVAS_SHARE:
        drawn = low_res(source.rgb, warp, patch, rng, sides=CANVASES_PX)
    else:
        drawn = draw(source.rgb, warp, patch.rgb.shape)
        drawn = change_sharpness(drawn, reduce=float(rng.uniform(1.0, 2.0)))
    mask = _mask(patch, part, rng)
    if source.rgb is not patch.rgb or rng.random() < 0.3:
        drawn = transfer_color(drawn, patch.rgb, mask, draw_transfer(rng))
    return paste(footage.scene.rgb, patch, blend(drawn, patch.rgb, mask), mask)


def _source(footage: Footage, patch: Patch, part: Part, rng: Rng) -> tuple[Patch, Warp]:
    """Where the part is read, and how: a sibling's, a partner's, or the own one warped."""
    chance = float(rng.random())
    if chance < 0.45 and (sibling := footage.find_sibling(rng)) is not None:
        if misfit(sibling.face, patch.face) < SIBLING_MISFIT:
            source = cut_patch(sibling)
            return source, by_similarity(source.face, patch.face)
    elif chance > 0.75 and (partner := fitting_partner(footage, rng)) is not None:
        source = cut_patch(partner)
        return source, by_affine(source.face, patch.face)
    return patch, _own_warp(patch, part, rng)


def _own_warp(patch: Patch, part: Part, rng: Rng) -> Warp:
    """The part's points drawn apart or together, and moved as a whole."""
    to_face, unit = fit_similarity(FIVE_POINTS, patch.face.landmarks), eye_distance(patch.face)
    centers = np.array(part.centers)
    middle = np.array([0.0, centers[:, 1].mean()])
    apart = np.sign(centers - middle) * [0, 1] * rng.uniform(-1, 1) * part.shifts[1]
    along = rng.uniform(-1, 1, 2) * part.shifts * np.array([1.0, 0.3])
    shifts = (apart + along) @ to_face[:, :2].T
    return chain(by_shifts(apply(to_face, centers), shifts, part.reach * unit))


def _mask(patch: Patch, part: Part, rng: Rng) -> Mask:
    outlines = part.outlines[rng.choice(len(part.outlines), p=part.shares)]
    if rng.random() < 0.15:
        feather_px = float(rng.uniform(0.5, 3.0) * eye_distance(patch.face) / 64)
        return hard_mask(patch.rgb.shape, patch.face, outlines, rng, feather_px)
    return soft_mask(patch.rgb.shape, patch.face, outlines, rng, softness=0.6)


MOUTH_FAMILY = Family(
    name="mouth",
    kind="partial",
    source="Prajwal et al. (Wav2Lip), ACM MM 2020, https://arxiv.org/abs/2008.10010",
    forge=forge_mouth,
    share=1.5,
)
EYES_FAMILY = Family(
    name="eyes",
    kind="partial",
    source="gaze redirection, as Ganin et al. (DeepWarp), ECCV 2016, https://arxiv.org/abs/1607.07215",
    forge=forge_eyes,
)

"""A face sewn together from patches of other people, each laid where it fits the target's soft picture and its
neighbours, and cut along the seam of least difference.

Efros & Freeman, "Image quilting for texture synthesis and transfer", SIGGRAPH 2001; a codebook of real patches in the
place of a generator's.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.forgeries_unseen.canvas import Canvas, Colors, face_mask, on_target, others, recolored, skin_mask
from stream_detect.training.forgeries.family import Footage, Forged, Rng

PEOPLE, LEAST_PEOPLE = 6, 2
PATCH_PX, OVERLAP_PX = 16, 6
STEP_PX = PATCH_PX - OVERLAP_PX
REACH_PX, REACH_STEP = 4, 4  # how far from its place a patch is looked for, on its owner's canvas
GUIDE_PX = 1.6  # blur of the picture that patches are fitted to
COARSE_SHARE = 0.05  # of a canvas side: what is coarser than this is the target's
TOLERANCE = 0.1  # one of the patches within this of the best is taken


def quilted(footage: Footage, rng: Rng) -> Forged | None:
    """The target's face anew from other people's patches; None with fewer than two others."""
    scenes = others(footage, PEOPLE, rng)
    if len(scenes) < LEAST_PEOPLE:
        return None
    canvas, scene = Canvas.of(footage.scene.face), footage.scene
    target, skin = canvas.cut(scene.rgb), skin_mask(canvas.side_px)
    bank = [recolored(canvas.of_other(other.face).cut(other.rgb), target, skin) for other in scenes]
    coarse_px = COARSE_SHARE * canvas.side_px
    quilt = sewn(target, np.stack([on_target(one, target, coarse_px) for one in bank]), rng)
    return canvas.paste(scene, quilt, face_mask(scene))


def sewn(target: Colors, bank: Float32[np.ndarray, "people side side 3"], rng: Rng) -> Colors:
    """The quilt, row by row; each patch is compared with the soft target and with what is already sewn."""
    side = target.shape[0]
    guide = cv2.GaussianBlur(target, (0, 0), GUIDE_PX)
    soft_bank = np.stack([cv2.GaussianBlur(one, (0, 0), GUIDE_PX) for one in bank])
    windows, soft_windows = patches_of(bank), patches_of(soft_bank)
    quilt = guide.copy()
    starts = sorted({*range(0, side - PATCH_PX + 1, STEP_PX), side - PATCH_PX})
    for top in starts:
        for left in starts:
            here = (slice(top, top + PATCH_PX), slice(left, left + PATCH_PX))
            rows, columns = near(top, side), near(left, side)
            shown = windows[:, rows[:, None], columns[None]].reshape(-1, PATCH_PX, PATCH_PX, 3)
            soft = soft_windows[:, rows[:, None], columns[None]].reshape(-1, PATCH_PX, PATCH_PX, 3)
            sewn_here = np.zeros((PATCH_PX, PATCH_PX), bool)
            sewn_here[:OVERLAP_PX] |= top > 0
            sewn_here[:, :OVERLAP_PX] |= left > 0
            error = mean_square(soft - guide[here], np.ones_like(sewn_here))
            error += mean_square(shown - quilt[here], sewn_here)
            fit = np.flatnonzero(error <= (1 + TOLERANCE) * error.min() + 1e-9)
            patch = shown[fit[int(rng.integers(len(fit)))]]
            weight = seam_weight(patch, quilt[here], top > 0, left > 0)
            quilt[here] += weight[..., None] * (patch - quilt[here])
    return quilt


def patches_of(bank: Float32[np.ndarray, "people side side 3"]) -> Float32[np.ndarray, "people y x patch patch 3"]:
    """Every patch of every picture, a view."""
    return np.moveaxis(sliding_window_view(bank, (PATCH_PX, PATCH_PX), axis=(1, 2)), 3, -1)


def near(start: int, side: int) -> np.ndarray:
    """Where along an axis a patch is looked for."""
    return np.unique(np.clip(start + np.arange(-REACH_PX, REACH_PX + 1, REACH_STEP), 0, side - PATCH_PX))


def mean_square(difference: Float32[np.ndarray, "n patch patch 3"], where: np.ndarray) -> Float[np.ndarray, " n"]:
    """Of each patch over the pixels that count; 0 where none does."""
    count = int(where.sum())
    if not count:
        return np.zeros(len(difference))
    picked = difference[:, where].reshape(len(difference), -1)
    return np.asarray(np.einsum("np,np->n", picked, picked) / (3 * count), np.float64)


def seam_weight(patch: np.ndarray, there: np.ndarray, is_above: bool, is_left: bool) -> Float32[np.ndarray, "p p"]:
    """1 where the new patch is shown: right of and below the cheapest cuts through its overlaps, softened a little."""
    error = ((patch - there) ** 2).sum(axis=2)
    shown = np.ones((PATCH_PX, PATCH_PX), bool)
    at = np.arange(OVERLAP_PX)
    if is_left:
        shown[:, :OVERLAP_PX] &= at[None, :] >= cheapest_cut(error[:, :OVERLAP_PX])[:, None]
    if is_above:
        shown[:OVERLAP_PX] &= at[:, None] >= cheapest_cut(error[:OVERLAP_PX].T)[None, :]
    return np.asarray(cv2.blur(shown.astype(np.float32), (3, 3)) if is_above or is_left else shown, np.float32)


def cheapest_cut(error: Float[np.ndarray, "length width"]) -> np.ndarray:
    """For each row the column of the cut with the smallest sum of errors, one step aside a row at most."""
    length, width = error.shape
    cost = np.full((length, width + 2), np.inf)
    cost[0, 1:-1] = error[0]
    for row in range(1, length):
        before = cost[row - 1]
        cost[row, 1:-1] = error[row] + np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    cut = np.zeros(length, np.intp)
    cut[-1] = 1 + int(np.argmin(cost[-1, 1:-1]))
    for row in range(length - 2, -1, -1):
        around = cost[row, cut[row + 1] - 1 : cut[row + 1] + 2]
        cut[row] = cut[row + 1] - 1 + int(np.argmin(around))
    return cut - 1

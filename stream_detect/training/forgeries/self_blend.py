"""A face blended into itself after a small change of colour, sharpness and place.

After Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022
(https://arxiv.org/abs/2204.08376); written from the paper's idea. Where the change is made to the surroundings, the
real partner is changed as well: what sets the two apart is inside the mask, never the colours of the whole picture.
"""

import cv2
import numpy as np

from stream_detect.training.forgeries.colors import Tint, blend
from stream_detect.training.forgeries.family import AnyPicture, Family, Footage, Forged, Mask, Rng
from stream_detect.training.forgeries.geometry import cut_patch, paste
from stream_detect.training.forgeries.masks import face_mask
from stream_detect.training.scenes import Scene
from stream_detect.types import Face

BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


def forge(footage: Footage, rng: Rng) -> Forged:
    """The face, or its surroundings, tinted; then one blended into the other a little out of place."""
    scene, tint = footage.scene, Tint.draw(rng)
    is_face_tinted = rng.random() < 0.5
    real = scene.rgb if is_face_tinted else tint(scene.rgb)
    patch = cut_patch(Scene(real, scene.face, scene.item))
    own = cut_patch(scene).rgb
    source, mask = tint(own) if is_face_tinted else own, face_mask(own.shape, patch.face, rng)
    source, mask = _nudge(source, mask, patch.face, rng)
    mask = mask * np.float32(rng.choice(BLEND_RATIOS))
    return paste(real, patch, blend(source, patch.rgb, mask), mask)


def _nudge(source: AnyPicture, mask: Mask, face: Face, rng: Rng) -> tuple[AnyPicture, Mask]:
    """Source and mask moved and scaled a little about the face's centre."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    scale = float(rng.uniform(0.95, 1 / 0.95))
    matrix = cv2.getRotationMatrix2D(((x1 + x2) / 2, (y1 + y2) / 2), 0, scale)
    matrix[:, 2] += np.array([rng.uniform(-0.03, 0.03) * (x2 - x1), rng.uniform(-0.015, 0.015) * (y2 - y1)])
    to = (source.shape[1], source.shape[0])
    return (
        cv2.warpAffine(source, matrix, to, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        cv2.warpAffine(mask, matrix, to, flags=cv2.INTER_LINEAR),
    )


FAMILY = Family(
    name="self_blend",
    kind="blended",
    source="Shiohara & Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376",
    forge=forge,
    share=1.2,
)

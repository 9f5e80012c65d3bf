"""How well a map of places finds what was forged on a face."""

import numpy as np
from jaxtyping import Float

from stream_detect.training.metrics import auc

FORGED = 0.5  # of a place that belongs to the forgery, from which it counts as forged
UNTOUCHED = 0.1  # and up to which as untouched; places between the two are left out


def localisation_auc(
    places: Float[np.ndarray, "faces height width"], masks: Float[np.ndarray, "_ mask_height mask_width"]
) -> Float[np.ndarray, " faces"]:
    """How often, on each face, a forged place gets a higher value than an untouched one, ties counting half.

    Args:
        places: of maps, any numbers that rise with suspicion.
        masks: how much of each spot is forged, in [0, 1], over the same part of the face; averaged over the places.

    Returns:
        In [0, 1], 0.5 for chance; NaN for a face on which no place is forged, or none is untouched.

    Raises:
        ValueError: if there are not as many masks as maps.
    """
    if len(places) != len(masks):
        raise ValueError(f"expected a mask for each of {len(places)} maps, got {len(masks)}")
    return np.array([one_auc(*pair) for pair in zip(places, masks, strict=True)], np.float64)


def blind_maps(masks: Float[np.ndarray, "faces height width"]) -> Float[np.ndarray, "faces height width"]:
    """What a map can say without looking: for each face, the mean mask of the others.

    Forgeries lie where faces have eyes, mouths and borders, so that much of a localisation can be guessed; a map is
    worth what its `localisation_auc` has beyond that of these.

    Raises:
        ValueError: if there are fewer than two masks.
    """
    if len(masks) < 2:
        raise ValueError(f"expected the masks of two faces or more, got {len(masks)}")
    others: np.ndarray = (masks.sum(axis=0) - masks) / (len(masks) - 1)
    return others


def one_auc(places: Float[np.ndarray, "height width"], mask: Float[np.ndarray, "_ _"]) -> float:
    import cv2

    share = cv2.resize(mask.astype(np.float32), places.shape[::-1], interpolation=cv2.INTER_AREA)
    told = (share >= FORGED) | (share <= UNTOUCHED)
    return auc(places[told].astype(np.float64), share[told] >= FORGED)

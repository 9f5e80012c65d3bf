"""Whether a probability means what it says: measuring that, and mending it with one scale and one offset."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stream_detect.experts.heads import balanced_weights, fit_logistic

LOGIT_LIMIT = 30.0  # beyond this a probability is 0 or 1 for every purpose


class Platt(NamedTuple):
    """`scale * logit + offset`: Platt's scaling (1999), or a temperature where the offset is 0."""

    scale: float  # >= 0: it never turns an order round
    offset: float

    def __call__(self, logits: Float[np.ndarray, " faces"]) -> Float[np.ndarray, " faces"]:
        result: np.ndarray = self.scale * logits + self.offset
        return result


def fit_platt(
    logits: Float[np.ndarray, " faces"], labels: np.ndarray, sample_weight: np.ndarray | None = None, l2: float = 1e-6
) -> Platt:
    """The scale and offset under which `logits` become log likelihood ratios: calibrated at a prior of 0.5.

    Args:
        logits: of faces that the fit of the logits has not seen; those that are not finite are left out.
        labels: 1 for fake, 0 for real.
        sample_weight: how much each face counts within its class.
        l2: a slight pull that keeps the scale finite where the classes are fully apart.

    Raises:
        ValueError: if one class is missing.
    """
    usable = np.isfinite(logits)
    given = None if sample_weight is None else np.asarray(sample_weight)[usable]
    labels = np.asarray(labels)[usable]
    column = np.clip(np.asarray(logits, dtype=np.float64)[usable, None], -LOGIT_LIMIT, LOGIT_LIMIT)
    scale, offset = fit_logistic(column, labels, balanced_weights(labels, given), np.array([l2]), np.zeros(1))
    return Platt(float(scale[0]), offset)


def expected_calibration_error(
    probabilities: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    bins: int = 15,
    sample_weight: np.ndarray | None = None,
) -> float:
    """Mean distance of the probability from the share of fakes, over bins of equal width (Guo et al., ICML 2017).

    Args:
        probabilities: that a face is fake, in [0, 1]; NaN (nothing was said) is left out.
        labels: 1 for fake, 0 for real.
        bins: how many of equal width cover [0, 1].
        sample_weight: how much each face counts.

    Returns:
        A number in [0, 1], 0 for perfect; NaN if nothing was said at all.

    Raises:
        ValueError: for a probability outside [0, 1].
    """
    said = ~np.isnan(probabilities)
    probabilities, labels = np.asarray(probabilities)[said], np.asarray(labels)[said]
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"probabilities must lie in [0, 1], got {probabilities.min():g} to {probabilities.max():g}")
    weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[said]
    if not weight.sum() > 0:
        return float("nan")
    member = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(member, weights=weight * (probabilities - labels), minlength=bins)
    return float(np.abs(gaps).sum() / weight.sum())

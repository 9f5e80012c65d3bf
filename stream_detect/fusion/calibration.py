"""Whether a probability means what it says, and what silence is worth: both measured, the first one mended."""

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


class Reliability(NamedTuple):
    """A reliability diagram: one entry a bin of equal width, in order; NaN for `said` and `fake` of an empty bin."""

    said: np.ndarray  # (bins,) mean probability
    fake: np.ndarray  # (bins,) share that is fake
    share: np.ndarray  # (bins,) of all faces, by weight; sums to 1
    faces: np.ndarray  # (bins,) how many

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al., ICML 2017), in [0, 1]; NaN if nothing was said at all."""
        full = self.faces > 0
        gaps = np.abs(self.said[full] - self.fake[full])
        return float((self.share[full] * gaps).sum()) if full.any() else float("nan")


def reliability(
    probabilities: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    bins: int = 15,
    sample_weight: np.ndarray | None = None,
) -> Reliability:
    """What was said against what was so, over bins of equal width.

    Args:
        probabilities: that a face is fake, in [0, 1]; NaN (nothing was said) is left out.
        labels: 1 for fake, 0 for real.
        bins: how many of equal width cover [0, 1].
        sample_weight: how much each face counts; faces of no weight are left out.

    Raises:
        ValueError: for a probability outside [0, 1].
    """
    weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    said = ~np.isnan(probabilities) & (weight > 0)
    probabilities, labels, weight = np.asarray(probabilities)[said], np.asarray(labels)[said], weight[said]
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"probabilities must lie in [0, 1], got {probabilities.min():g} to {probabilities.max():g}")
    member = np.minimum((probabilities * bins).astype(int), bins - 1)
    totals, said_sums, fake_sums = (
        np.bincount(member, weights=weight * values, minlength=bins)
        for values in (np.ones(len(labels)), probabilities, labels)
    )
    with np.errstate(invalid="ignore"):
        means = said_sums / totals, fake_sums / totals
    return Reliability(*means, totals / max(totals.sum(), 1e-300), np.bincount(member, minlength=bins))


def expected_calibration_error(
    probabilities: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    bins: int = 15,
    sample_weight: np.ndarray | None = None,
) -> float:
    """Mean distance of the probability from the share of fakes over the bins of `reliability`, which see.

    Returns:
        A number in [0, 1], 0 for perfect; NaN if nothing was said at all.
    """
    return reliability(probabilities, labels, bins, sample_weight).error


class RiskCoverage(NamedTuple):
    """The share of wrong answers when only the surest faces are answered; coverage rises to 1 (El-Yaniv, JMLR 2010)."""

    coverage: np.ndarray  # (steps,) share of all faces that are answered, rising, the last one 1
    risk: np.ndarray  # (steps,) share of the answers that are wrong
    area: float  # under the curve (AURC), in [0, 1]; 0 is perfect

    def at(self, coverage: float) -> float:
        """The risk at a coverage in [0, 1], linear between steps."""
        return float(np.interp(coverage, self.coverage, self.risk))


def risk_coverage(
    llr: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
) -> RiskCoverage:
    """Risk against coverage of calling a face fake where its llr is above 0; the surest are answered first.

    Args:
        llr: log likelihood ratios; a face of which nothing was said (NaN) comes last and is half wrong, as is an llr of
            0: a coin would do as well.
        labels: 1 for fake, 0 for real.
        sample_weight: how much each face counts.
        confidence: what the faces are sorted by, the surest highest; by default the size of the llr.

    Raises:
        ValueError: if there are no faces, or none that counts.
    """
    llr, labels = np.asarray(llr, dtype=np.float64), np.asarray(labels)
    weight = np.ones(len(llr)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if not weight.sum() > 0:
        raise ValueError(f"expected faces with a weight, got {len(llr)} faces that weigh {weight.sum():g}")
    said = np.isfinite(llr)
    wrong = np.where(said & (llr != 0), (llr > 0) != (labels == 1), 0.5)
    sure = np.where(said, np.abs(llr) if confidence is None else confidence, -np.inf)
    order = np.argsort(-sure, kind="stable")
    last = np.append(sure[order][1:] != sure[order][:-1], True)  # of each run of equal confidence
    answered, errors = np.cumsum(weight[order])[last], np.cumsum((weight * wrong)[order])[last]
    kept = answered > 0
    coverage, risk = answered[kept] / weight.sum(), errors[kept] / answered[kept]
    return RiskCoverage(coverage, risk, float((np.diff(coverage, prepend=0) * risk).sum()))

"""Where a verdict ends and "inconclusive" begins, chosen on faces that the fit has not seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from stream_detect.experts.heads import balanced_weights, weighted_quantiles
from stream_detect.fusion.calibration import risk_coverage
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits
from stream_detect.temporal import probability_of
from stream_detect.training.metrics import auc

FEWEST = 30  # faces of a class in a part of the quality, below which nothing is concluded from it
FEWEST_ALARMS = 2.5  # expected at the target among the real faces of a part, below which it has no limit of its own
CLEAR_FACE_PX = 64.0  # faces of at least this side ought to be judged
SIZES = (40.0, 48.0, 56.0, 64.0, 80.0, 96.0, 112.0)  # sides of faces among which the size limit is sought, in pixels


def fit_limits(
    llr: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    parts: np.ndarray | None = None,
    *,
    target_fpr: float = 0.01,
    target_misses: float = 0.05,
    most_misses: float = 0.2,
    least_coverage: float = 0.9,
) -> dict[str, float]:
    """The probabilities from which a face is called fake, and down to which real, with what they gave here.

    As few real faces as wished are called fake, as few fakes as wished real; more of these (up to `most_misses`) where
    otherwise too many faces would be left undecided.

    Args:
        llr: of faces that the fit has not seen; NaN where nothing was said, which is left out.
        labels: 1 for fake, 0 for real.
        groups: whose face each is; every group of a class then counts the same.
        sample_weight: how much each face counts within its class.
        parts: of what quality each face is, by number; in none of them twice as many real faces are called fake.
        target_fpr: share of real faces that may be called fake.
        target_misses: share of fakes that may be called real.
        most_misses: the same, where coverage asks for it.
        least_coverage: share of faces, real and fake ones weighing the same, that ought to be decided.

    Returns:
        "fake" and "real" (probabilities), "false_positive_rate", "miss_rate", "found" (fakes called fake), "coverage".

    Raises:
        ValueError: if a class is missing, or a share lies outside (0, 1).
    """
    shares = {"target_fpr": target_fpr, "target_misses": target_misses, "least_coverage": least_coverage}
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {share}")
    said = np.isfinite(llr)
    llr, labels = np.asarray(llr, np.float64)[said], np.asarray(labels)[said].astype(int)
    weight = balanced_weights(labels, *(None if x is None else np.asarray(x)[said] for x in (sample_weight, groups)))
    real = labels == 0
    fake_from = max(0.0, least_above(llr[real], weight[real], target_fpr))
    for part in [] if parts is None else np.unique(parts[said][real]):
        rows = real & (parts[said] == part)  # type: ignore[index]
        if rows.sum() * target_fpr >= FEWEST_ALARMS:
            fake_from = max(fake_from, least_above(llr[rows], weight[rows], 2 * target_fpr))
    fakes, fake_weight = -llr[~real], weight[~real]
    real_to = min(0.0, fake_from, -least_above(fakes, fake_weight, target_misses))
    decided = covered(llr, weight, fake_from, real_to)
    if decided < least_coverage:
        most = -least_above(fakes, fake_weight, most_misses)
        wanted = weighted_quantiles(llr, weight, np.array([least_coverage - weight[llr >= fake_from].sum()]))[0]
        real_to = max(real_to, min(wanted, most, fake_from))
    limits = probability_of(fake_from), probability_of(min(real_to, fake_from))
    return {
        "fake": limits[0],
        "real": limits[1],
        "false_positive_rate": float(2 * weight[real & (llr >= fake_from)].sum()),
        "miss_rate": float(2 * weight[~real & (llr <= real_to)].sum()),
        "found": float(2 * weight[~real & (llr >= fake_from)].sum()),
        "coverage": covered(llr, weight, fake_from, real_to),
    }


def least_above(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The least limit that at most this share of the weight reaches or exceeds."""
    order = np.argsort(-values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    within = int(np.searchsorted(reached, share + 1e-12, side="right"))  # so many highest values may reach the limit
    if within == len(values):
        return float(values[order[-1]])
    return float(np.nextafter(values[order[within]], np.inf))


def covered(llr: np.ndarray, weight: np.ndarray, fake_from: float, real_to: float) -> float:
    return float(weight[(llr >= fake_from) | (llr <= real_to)].sum())


def fit_disagreement(
    llr: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    disagreement: Float[np.ndarray, " faces"],
    sample_weight: np.ndarray | None = None,
    most_lost: float = 0.05,
) -> float:
    """From where on experts contradict one another too much for a verdict: 1 (never) unless silence there pays.

    It pays if among the faces with most disagreement (a share of `most_lost`) at least half as many answers again are
    wrong as among those that are as unsure but agree.

    Args:
        llr: of faces that the fit has not seen.
        labels: 1 for fake, 0 for real.
        disagreement: as `stream_detect.fusion.fusion.disagreement` gives it.
        sample_weight: how much each face counts.
        most_lost: share of the faces that may be left undecided for it.
    """
    known = np.isfinite(llr) & np.isfinite(disagreement)
    weight = np.ones(len(llr)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    llr, labels, doubt, weight = llr[known], np.asarray(labels)[known], disagreement[known], weight[known]
    limit = float(weighted_quantiles(doubt, weight, np.array([1 - most_lost]))[0])
    doubtful = doubt > limit
    if doubtful.sum() < FEWEST:
        return 1.0
    wrong = (llr > 0) != (labels == 1)
    expected = 1 / (1 + np.exp(np.abs(llr)))  # how often a calibrated llr of this size is wrong
    excess = (weight * wrong)[doubtful].sum() / max((weight * expected)[doubtful].sum(), 1e-12)
    rest = (weight * wrong)[~doubtful].sum() / max((weight * expected)[~doubtful].sum(), 1e-12)
    return limit if excess > 1.5 * rest else 1.0


def fit_quality_limits(
    measures: Float[np.ndarray, "faces measures"],
    llr: Float[np.ndarray, " faces"],
    labels: np.ndarray,
    *,
    least_auc: float = 0.65,
    most_lost: float = 0.03,
) -> dict[str, float]:
    """The fields of `QualityLimits` beyond which faces can't be told apart, or judging the rest is better without them.

    Faces are sorted into tenths by each measure; going from the clear ones to the poor ones, the limit is set where the
    AUC of a tenth falls below `least_auc`. Sharpness and compression never cost more than `most_lost` of the faces that
    are large enough.

    Args:
        measures: of `QUALITY_NAMES`, of faces that the fit has not seen.
        llr: of the same faces, judged whatever their quality; NaN is left out.
        labels: 1 for fake, 0 for real.
        least_auc: that a judgement is worth making for.
        most_lost: share of the large faces that each limit may cost.
    """
    said = np.isfinite(llr)
    measures, llr, is_fake = measures[said], llr[said], np.asarray(labels)[said] == 1
    column = {name: measures[:, k].astype(np.float64) for k, name in enumerate(QUALITY_NAMES)}
    plain, size = QualityLimits(), 2 ** column["log2_face_px"]
    limits = size_limit(size, llr, is_fake, least_auc)
    large = size >= max(CLEAR_FACE_PX, limits["min_face_px"])
    for name, field, sign in (
        ("sharpness", "sharpness", 1),
        ("flatness", "flatness", -1),
        ("blockiness", "blockiness", -1),
    ):
        values = sign * column[name]
        edges = np.quantile(values[large], np.linspace(0, 1, 11)[:-1]) if large.any() else np.array([-np.inf])
        worst = poorest_judged(values[large], llr[large], is_fake[large], edges, least_auc)
        cap = np.quantile(values[large], most_lost) if large.any() else -np.inf
        limit = sign * min(worst, cap)
        bound, clear = ("min_", "clear_") if sign > 0 else ("max_", "clear_")
        gap = abs(getattr(plain, f"{clear}{field}") - getattr(plain, f"{bound}{field}"))
        limits |= {f"{bound}{field}": float(limit), f"{clear}{field}": float(limit + sign * gap)}
    return {name: round(value, 4) for name, value in limits.items()}


def size_limit(size: np.ndarray, llr: np.ndarray, is_fake: np.ndarray, least_auc: float) -> dict[str, float]:
    """The smallest of `SIZES` from which on every step up can be told apart."""
    judged = poorest_judged(size, llr, is_fake, np.array(SIZES), least_auc)
    return {"min_face_px": float(judged), "clear_face_px": float(max(96.0, 2 * judged))}


def poorest_judged(
    values: np.ndarray, llr: np.ndarray, is_fake: np.ndarray, edges: np.ndarray, least_auc: float
) -> float:
    """The lowest edge from which on every part up to the next edge holds `least_auc`; parts with few faces are taken
    for what the next clearer one is."""
    lowest = float(edges[-1])
    for low, high in zip(edges[::-1], [np.inf, *edges[:0:-1]], strict=True):
        rows = (values >= low) & (values < high)
        if min((rows & is_fake).sum(), (rows & ~is_fake).sum()) >= FEWEST:
            if auc(llr[rows], is_fake[rows]) < least_auc:
                break
            lowest = float(low)
    return lowest


def risk_report(
    llr: Float[np.ndarray, " faces"], labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> dict[str, Any]:
    """What silence is worth: the risk at full and at 80 % coverage, and the area under the risk-coverage curve."""
    curve = risk_coverage(llr, labels, sample_weight)
    return {"risk_at_1": round(curve.at(1.0), 4), "risk_at_0.8": round(curve.at(0.8), 4), "aurc": round(curve.area, 4)}

"""One calibrated log likelihood ratio a face, from what the experts say and how good the picture is.

A linear head for every subset of the experts, so that a face which an expert can't judge, or a run with fewer experts,
gets weights that were fitted and calibrated for exactly those that spoke.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.experts.heads import balanced_weights, fit_logistic
from stream_detect.fusion.calibration import fit_platt

LOGIT_LIMIT = 10.0  # an expert's logit counts no further than this
QUALITY_LIMIT = 4.0  # nor a quality measure, in standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class FusionWeights:
    """One row of weights for each subset of the experts: row `r` is for those whose bit is set in `r + 1`.

    llr = sum_e max(weights_e + modulation_e . q, 0) * logit_e + quality_weights . q + bias, within +-limit,
    where q are the standardized quality measures. All arrays are float32.
    """

    experts: tuple[str, ...]  # columns of the logits, bit 0 first
    quality: tuple[str, ...]  # columns of the quality measures
    quality_mean: np.ndarray  # (quality,)
    quality_scale: np.ndarray  # (quality,), positive
    weights: np.ndarray  # (subsets, experts), 0 for those outside the subset
    modulation: np.ndarray  # (subsets, experts, quality): what quality adds to an expert's weight
    quality_weights: np.ndarray  # (subsets, quality)
    bias: np.ndarray  # (subsets,)
    limit: np.ndarray  # (1,): no llr goes beyond what the number of people that it was fitted on can support

    def __post_init__(self) -> None:
        subsets, experts, quality = 2 ** len(self.experts) - 1, len(self.experts), len(self.quality)
        expected = {
            "quality_mean": (quality,),
            "quality_scale": (quality,),
            "weights": (subsets, experts),
            "modulation": (subsets, experts, quality),
            "quality_weights": (subsets, quality),
            "bias": (subsets,),
            "limit": (1,),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"fusion {name} must be {shape}, got {found}")
        if not (self.quality_scale > 0).all() or not self.limit[0] > 0:
            raise ValueError("fusion quality_scale and limit must be positive")


def fuse(
    logits: Float[np.ndarray, "faces experts"], quality: Float[np.ndarray, "faces quality"], fusion: FusionWeights
) -> Float32[np.ndarray, " faces"]:
    """The calibrated log likelihood ratio of each face; its sigmoid is the probability of fake at a prior of 0.5.

    Args:
        logits: of the experts in the order of `fusion.experts`; one that is not finite is missing.
        quality: measures in the order of `fusion.quality`; one that is not finite counts as an average one.

    Returns:
        NaN for a face of which no expert says anything.
    """
    check_columns("logits", logits, fusion.experts)
    check_columns("quality", quality, fusion.quality)
    spoke = np.isfinite(logits)
    row = spoke @ (1 << np.arange(len(fusion.experts))) - 1  # -1 where nobody spoke
    q = standardize_quality(quality, fusion.quality_mean, fusion.quality_scale)
    trust = np.maximum(fusion.weights[row] + np.einsum("feq,fq->fe", fusion.modulation[row], q), 0)
    llr = (trust * clip_logits(logits)).sum(axis=1) + (fusion.quality_weights[row] * q).sum(axis=1) + fusion.bias[row]
    return np.where(row >= 0, np.clip(llr, -fusion.limit, fusion.limit), np.nan).astype(np.float32)


def fit_fusion(
    logits: Float[np.ndarray, "faces experts"],
    quality: Float[np.ndarray, "faces quality"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    experts: Sequence[str],
    quality_names: Sequence[str],
    l2: float = 1e-3,
    l2_quality: float = 1e-1,
    modulate: bool = False,
) -> FusionWeights:
    """Fit every subset's row by logistic regression at a prior of 0.5; no expert's weight is below 0.

    Args:
        logits: of faces that the experts' heads have not been fitted on (or out of fold); NaN where one is missing.
        quality: measures of the same faces.
        labels: 1 for fake, 0 for real.
        sample_weight: how much each face counts within its class.
        groups: whose face each is: every group of a class counts the same, and their number limits the llr.
        experts: names of the columns of `logits`.
        quality_names: names of the columns of `quality`.
        l2: penalty on the experts' weights.
        l2_quality: penalty on the weights of quality, and on what quality changes in the experts' weights. A large one
            keeps a score from depending on how the fakes at hand happened to be encoded.
        modulate: whether quality may change the weights of the experts, or only the offset.

    Raises:
        ValueError: if a class is missing, or for some subset of the experts.
    """
    check_columns("logits", logits, experts)
    check_columns("quality", quality, quality_names)
    labels = np.asarray(labels)
    named = None if groups is None else np.asarray(groups)
    mean, scale = quality_statistics(quality, balanced_weights(labels, sample_weight, named))
    q = standardize_quality(quality.astype(np.float64), mean, scale)
    subsets = 2 ** len(experts) - 1
    rows = FusionWeights(
        experts=tuple(experts),
        quality=tuple(quality_names),
        quality_mean=mean,
        quality_scale=scale,
        weights=np.zeros((subsets, len(experts)), np.float32),
        modulation=np.zeros((subsets, len(experts), len(quality_names)), np.float32),
        quality_weights=np.zeros((subsets, len(quality_names)), np.float32),
        bias=np.zeros(subsets, np.float32),
        limit=np.array([llr_limit(labels, named)], np.float32),
    )
    for row in range(subsets):
        members = subset(row, len(experts))
        usable = np.isfinite(logits[:, members]).all(axis=1)
        kept = [None if given is None else np.asarray(given)[usable] for given in (sample_weight, named)]
        try:
            weight = balanced_weights(labels[usable], *kept)
        except ValueError as exc:
            raise ValueError(f"fusion of {', '.join(experts[e] for e in members)}: {exc}") from exc
        _fit_row(rows, row, clip_logits(logits[usable]), q[usable], labels[usable], weight, (l2, l2_quality, modulate))
    return rows


def _fit_row(
    rows: FusionWeights,
    row: int,
    logits: np.ndarray,
    q: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    settings: tuple[float, float, bool],
) -> None:
    """Fit one subset's row in place: its logits, then quality, then (where wanted) the products of both."""
    l2, l2_quality, modulate = settings
    members, measures = subset(row, len(rows.experts)), q.shape[1]
    own = logits[:, members].astype(np.float64)
    products = own[:, :, None] * q[:, None, :] if modulate else np.zeros((len(q), 0, measures))
    design = np.concatenate([own, q, products.reshape(len(q), -1)], axis=1)
    penalty = np.full(design.shape[1], l2_quality)
    penalty[: len(members)] = l2
    lowest = np.full(design.shape[1], -np.inf)
    lowest[: len(members)] = 0
    found, bias = fit_logistic(design, labels, weight, penalty, lowest)
    own_weights, quality_weights, modulation = np.split(found, [len(members), len(members) + measures])
    rows.weights[row, members] = own_weights
    rows.quality_weights[row] = quality_weights
    rows.bias[row] = bias
    if modulate:
        rows.modulation[row, members] = modulation.reshape(len(members), measures)


def calibrate_fusion(
    fusion: FusionWeights,
    logits: Float[np.ndarray, "faces experts"],
    quality: Float[np.ndarray, "faces quality"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> FusionWeights:
    """The same fusion with each row's llr rescaled (Platt) on faces that the fit has not seen.

    Raises:
        ValueError: if one class is missing.
    """
    loose = replace(fusion, limit=np.full(1, 1e6, np.float32))
    scales, offsets = np.ones(len(fusion.bias), np.float32), np.zeros(len(fusion.bias), np.float32)
    for row in range(len(fusion.bias)):
        members = subset(row, len(fusion.experts))
        alone = np.full_like(logits, np.nan)
        alone[:, members] = logits[:, members]
        alone[~np.isfinite(alone[:, members]).all(axis=1)] = np.nan
        scales[row], offsets[row] = fit_platt(fuse(alone, quality, loose), labels, sample_weight)
    return replace(
        fusion,
        weights=fusion.weights * scales[:, None],
        modulation=fusion.modulation * scales[:, None, None],
        quality_weights=fusion.quality_weights * scales[:, None],
        bias=fusion.bias * scales + offsets,
    )


def subset(row: int, experts: int) -> list[int]:
    """The experts that row `row` is for."""
    return [expert for expert in range(experts) if (row + 1) >> expert & 1]


def clip_logits(logits: np.ndarray) -> np.ndarray:
    """Logits within their limit; a missing one counts nothing."""
    result: np.ndarray = np.clip(np.where(np.isfinite(logits), logits, 0), -LOGIT_LIMIT, LOGIT_LIMIT)
    return result


def standardize_quality(quality: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    z = (np.where(np.isfinite(quality), quality, mean) - mean) / scale
    result: np.ndarray = np.clip(z, -QUALITY_LIMIT, QUALITY_LIMIT)
    return result


def quality_statistics(quality: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each measure over the faces that have it; 1 if it never varies."""
    known = np.isfinite(quality)
    share = np.where(known, weight[:, None], 0)
    share /= np.maximum(share.sum(axis=0), 1e-12)
    values = np.where(known, quality, 0).astype(np.float64)
    mean = (share * values).sum(axis=0)
    scale = np.sqrt((share * (values - mean) ** 2).sum(axis=0))
    steady = scale <= 1e-6 * (1 + np.abs(mean))
    return mean.astype(np.float32), np.where(steady, 1, scale).astype(np.float32)


def llr_limit(labels: np.ndarray, groups: np.ndarray | None) -> float:
    """The log of the number of people (or faces, where nobody says whose they are) of the rarer class, at least 1."""
    counts = [
        len(np.unique(groups[labels == label])) if groups is not None else int((labels == label).sum())
        for label in (0, 1)
    ]
    return max(float(np.log(max(min(counts), 1))), 1.0)


def check_columns(what: str, array: np.ndarray, names: Sequence[str]) -> None:
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(f"{what} must be (faces, {len(names)}) for {', '.join(names)}; got {array.shape}")

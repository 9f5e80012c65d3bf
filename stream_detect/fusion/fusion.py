"""One calibrated log likelihood ratio a face, from what the experts say of each kind and how good the picture is.

First a linear head for every kind of forgery, then the kinds are joined (one of them is enough), then the result is
calibrated for the quality of the picture. There is a row of weights for every subset of the experts, so that a face
which an expert can't judge, or a run with fewer experts, gets weights that were fitted and calibrated for exactly
those that spoke.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.experts.heads import FORGED, even_prior, noisy_or

LOGIT_LIMIT = 10.0  # an expert's logit counts no further than this
QUALITY_LIMIT = 4.0  # nor a quality measure, in standard deviations
JOINTS = ("noisy_or", "max", "linear")
LOOSE = np.full(1, 1e6, np.float32)  # no limit


@dataclass(frozen=True, slots=True, eq=False)
class FusionWeights:
    """One row of weights for each subset of the experts: row `r` is for those whose bit is set in `r + 1`.

    llr_k = sum_e max(weights_ek + modulation_ek . q, 0) * logit_ek + quality_weights_k . q + bias_k for each kind k,
    where q are the standardized quality measures; joint = noisy_or(llr + prior), the largest or the sum of the kinds;
    llr = scale(s) * joint + offset(s), within +-limit, where s = band_axis . q says how good the picture is, and scale
    and offset are linear between the bands' knots. All arrays are float32.
    """

    experts: tuple[str, ...]  # columns of the logits, bit 0 first
    quality: tuple[str, ...]  # columns of the quality measures
    kinds: tuple[str, ...]  # of forgery, the last axis of the logits
    joint: str  # "noisy_or": any kind is enough; "max": the likeliest kind speaks; "linear": all evidence adds up
    quality_mean: np.ndarray  # (quality,)
    quality_scale: np.ndarray  # (quality,), positive
    weights: np.ndarray  # (subsets, experts, kinds), 0 for those outside the subset
    modulation: np.ndarray  # (subsets, experts, kinds, quality): what quality adds to an expert's weight
    quality_weights: np.ndarray  # (subsets, kinds, quality)
    bias: np.ndarray  # (subsets, kinds)
    prior: np.ndarray  # (kinds,) log odds of each kind beforehand
    band_axis: np.ndarray  # (quality,)
    band_knots: np.ndarray  # (bands,) rising
    band_scale: np.ndarray  # (subsets, bands), 0 or more
    band_offset: np.ndarray  # (subsets, bands)
    limit: np.ndarray  # (1,): no llr goes beyond what the number of people that it was fitted on can support

    def __post_init__(self) -> None:
        subsets, experts, quality = 2 ** len(self.experts) - 1, len(self.experts), len(self.quality)
        kinds, bands = len(self.kinds), self.band_knots.size
        expected = {
            "quality_mean": (quality,),
            "quality_scale": (quality,),
            "weights": (subsets, experts, kinds),
            "modulation": (subsets, experts, kinds, quality),
            "quality_weights": (subsets, kinds, quality),
            "bias": (subsets, kinds),
            "prior": (kinds,),
            "band_axis": (quality,),
            "band_knots": (bands,),
            "band_scale": (subsets, bands),
            "band_offset": (subsets, bands),
            "limit": (1,),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"fusion {name} must be {shape}, got {found}")
        if not (self.quality_scale > 0).all() or not self.limit[0] > 0:
            raise ValueError("fusion quality_scale and limit must be positive")
        if not kinds or not bands or not (np.diff(self.band_knots) > 0).all() or not (self.band_scale >= 0).all():
            raise ValueError("fusion needs kinds, rising band_knots, and band_scale of 0 or more")
        if self.joint not in JOINTS:
            raise ValueError(f"fusion joint must be one of {', '.join(JOINTS)}, got {self.joint!r}")


def fuse(
    logits: Float[np.ndarray, "faces experts *kinds"],
    quality: Float[np.ndarray, "faces quality"],
    fusion: FusionWeights,
) -> Float32[np.ndarray, " faces"]:
    """The calibrated log likelihood ratio of each face; its sigmoid is the probability of fake at a prior of 0.5.

    Args:
        logits: of the experts in the order of `fusion.experts`, the kinds in that of `fusion.kinds` (the last axis may
            be left out where there is but one); an expert with a logit that is not finite is missing.
        quality: measures in the order of `fusion.quality`; one that is not finite counts as an average one.

    Returns:
        NaN for a face of which no expert says anything.
    """
    return fuse_kinds(logits, quality, fusion)[0]


def fuse_kinds(
    logits: Float[np.ndarray, "faces experts *kinds"],
    quality: Float[np.ndarray, "faces quality"],
    fusion: FusionWeights,
) -> tuple[Float32[np.ndarray, " faces"], Float32[np.ndarray, "faces kinds"]]:
    """What `fuse` gives, and the log likelihood ratio of each kind against a real face: why it is suspected."""
    check_columns("quality", quality, fusion.quality)
    said = with_kinds(logits, fusion.experts, fusion.kinds)
    row = row_of(said)
    q = standardize_quality(quality, fusion.quality_mean, fusion.quality_scale)
    kinds = kind_evidence(said, q, row, fusion)
    llr = calibrated(joined(kinds, fusion), q @ fusion.band_axis, row, fusion)
    silent = row < 0
    llr, kinds = np.where(silent, np.nan, llr), np.where(silent[:, None], np.nan, kinds)
    return llr.astype(np.float32), kinds.astype(np.float32)


def kind_shares(kinds: Float[np.ndarray, "faces kinds"], fusion: FusionWeights) -> Float[np.ndarray, "faces kinds"]:
    """How likely each kind is if a face is forged in one way: shares that sum to 1."""
    odds = np.exp(kinds + fusion.prior - (kinds + fusion.prior).max(axis=1, keepdims=True))
    shares: np.ndarray = odds / odds.sum(axis=1, keepdims=True)
    return shares


def disagreement(logits: Float[np.ndarray, "faces experts *kinds"]) -> Float[np.ndarray, " faces"]:
    """How far the experts contradict one another, in [0, 1]: 0 if all point the same way, 1 if half of the evidence
    does and half doesn't. NaN for a face of which no expert says anything.
    """
    each = noisy_or(np.clip(logits if logits.ndim == 3 else logits[..., None], -LOGIT_LIMIT, LOGIT_LIMIT))
    total = np.nansum(np.abs(each), axis=1)
    with np.errstate(invalid="ignore"):
        agreed: np.ndarray = np.abs(np.nansum(each, axis=1)) / total
    return np.where(np.isfinite(each).any(axis=1), 1 - np.where(total > 0, agreed, 1), np.nan)


def with_kinds(
    logits: Float[np.ndarray, "faces experts *kinds"], experts: Sequence[str], kinds: Sequence[str]
) -> Float[np.ndarray, "faces experts {len(kinds)}"]:
    """Logits with an axis of kinds; those of an expert that is missing for one kind are NaN for all.

    Raises:
        ValueError: if they are of another shape.
    """
    given = logits[..., None] if logits.ndim == 2 else logits
    if given.shape[1:] != (len(experts), len(kinds)):
        raise ValueError(
            f"logits must be (faces, {len(experts)}, {len(kinds)}) for {', '.join(experts)} and {', '.join(kinds)}; "
            f"got {logits.shape}"
        )
    return np.where(np.isfinite(given).all(axis=2, keepdims=True), given, np.nan)


def row_of(said: Float[np.ndarray, "faces experts kinds"]) -> np.ndarray:
    """The row for the experts that spoke of each face; -1 where nobody did."""
    spoke = ~np.isnan(said[..., 0])
    row: np.ndarray = spoke @ (1 << np.arange(said.shape[1])) - 1
    return row


def kind_evidence(
    said: Float[np.ndarray, "faces experts kinds"],
    q: Float[np.ndarray, "faces quality"],
    row: np.ndarray,
    fusion: FusionWeights,
) -> Float[np.ndarray, "faces kinds"]:
    """The log likelihood ratio of each kind of forgery against a real face."""
    modulation = (fusion.modulation[row] @ q[:, None, :, None])[..., 0]  # (faces, experts, kinds)
    trust = np.maximum(fusion.weights[row] + modulation, 0)
    of_quality = (fusion.quality_weights[row] @ q[:, :, None])[..., 0]
    evidence: np.ndarray = (trust * clip_logits(said)).sum(axis=1) + of_quality + fusion.bias[row]
    return evidence


def joined(kinds: Float[np.ndarray, "faces kinds"], fusion: FusionWeights) -> Float[np.ndarray, " faces"]:
    """One number a face from the evidence for each kind, not calibrated yet."""
    if fusion.joint == "linear":
        total: np.ndarray = kinds.sum(axis=1)
        return total
    if fusion.joint == "max":
        largest: np.ndarray = kinds.max(axis=1)
        return largest
    return noisy_or(kinds, fusion.prior)


def calibrated(
    joint: Float[np.ndarray, " faces"], s: Float[np.ndarray, " faces"], row: np.ndarray, fusion: FusionWeights
) -> Float[np.ndarray, " faces"]:
    """The log likelihood ratio that a joint number means in pictures as good as these."""
    share = band_shares(s, fusion.band_knots)
    scale, offset = ((share * table[row]).sum(axis=1) for table in (fusion.band_scale, fusion.band_offset))
    llr: np.ndarray = np.clip(scale * joint + offset, -fusion.limit, fusion.limit)
    return llr


def band_shares(s: Float[np.ndarray, " faces"], knots: Float[np.ndarray, " bands"]) -> Float[np.ndarray, "faces bands"]:
    """How much each face belongs to each band of quality: linear between neighbouring knots, summing to 1."""
    if len(knots) == 1:
        return np.ones((len(s), 1))
    above = np.clip((s[:, None] - knots[:-1]) / np.diff(knots), 0, 1)  # (faces, bands - 1)
    edges = np.ones((len(s), 1)), np.zeros((len(s), 1))
    return -np.diff(np.concatenate([edges[0], above, edges[1]], axis=1), axis=1)


def joint_scores(
    fusion: FusionWeights,
    said: Float[np.ndarray, "faces experts kinds"],
    quality: Float[np.ndarray, "faces quality"],
    rows: Sequence[int] | None = None,
) -> Float[np.ndarray, "faces rows"]:
    """The joint number of each face by each row, not calibrated; NaN where an expert of the row is missing."""
    q = standardize_quality(quality, fusion.quality_mean, fusion.quality_scale)
    chosen = range(len(fusion.bias)) if rows is None else rows
    scores = np.full((len(said), len(chosen)), np.nan)
    for column, row in enumerate(chosen):
        there = np.isfinite(said[:, subset(row, len(fusion.experts)), 0]).all(axis=1)
        evidence = kind_evidence(said[there], q[there], np.full(int(there.sum()), row), fusion)
        scores[there, column] = joined(evidence, fusion)
    return scores


def empty_fusion(
    experts: tuple[str, ...], quality: tuple[str, ...], kinds: tuple[str, ...] = (FORGED,), joint: str = "noisy_or"
) -> FusionWeights:
    """A fusion of zeros, whose joint number is its llr."""
    subsets = 2 ** len(experts) - 1
    shapes = {
        "quality_mean": (len(quality),),
        "weights": (subsets, len(experts), len(kinds)),
        "modulation": (subsets, len(experts), len(kinds), len(quality)),
        "quality_weights": (subsets, len(kinds), len(quality)),
        "bias": (subsets, len(kinds)),
        "band_axis": (len(quality),),
        "band_knots": (1,),
        "band_offset": (subsets, 1),
    }
    return FusionWeights(
        experts=experts,
        quality=quality,
        kinds=kinds,
        joint=joint,
        quality_scale=np.ones(len(quality), np.float32),
        prior=even_prior(len(kinds)).astype(np.float32),
        band_scale=np.ones((subsets, 1), np.float32),
        limit=LOOSE,
        **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()},
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


def check_columns(what: str, array: np.ndarray, names: Sequence[str]) -> None:
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(f"{what} must be (faces, {len(names)}) for {', '.join(names)}; got {array.shape}")

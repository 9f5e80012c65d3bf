"""Fitting a fusion: the evidence for each kind by every subset of experts, then what it means in each quality."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from stream_detect.experts.heads import (
    FORGED,
    REAL,
    balanced_weights,
    check_kinds,
    fit_logistic,
    select,
    weighted_quantiles,
)
from stream_detect.fusion.calibration import Platt, fit_platt
from stream_detect.fusion.fusion import (
    LOGIT_LIMIT,
    FusionWeights,
    band_shares,
    check_columns,
    clip_logits,
    empty_fusion,
    joined,
    joint_scores,
    kind_evidence,
    standardize_quality,
    subset,
    with_kinds,
)


def fit_fusion(
    logits: Float[np.ndarray, "faces experts *kinds"],
    quality: Float[np.ndarray, "faces quality"],
    kind_of: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    experts: Sequence[str],
    quality_names: Sequence[str],
    kinds: Sequence[str] = (FORGED,),
    joint: str = "noisy_or",
    l2: float = 1e-3,
    l2_quality: float = 1e-1,
    modulate: bool | Sequence[str] = False,
    rows: Sequence[int] | None = None,
) -> FusionWeights:
    """Fit every subset's row by logistic regression at a prior of 0.5; no expert's weight is below 0.

    Each kind's forgeries are set against the real faces; then one scale and offset make the joint number a log
    likelihood ratio of all forgeries. A kind of which there is no forgery is never suspected.

    Args:
        logits: of faces that the experts' heads have not been fitted on (or out of fold); NaN where one is missing.
        quality: measures of the same faces.
        kind_of: "real" or one of `kinds`, a row; or 0 for real and 1 for fake, where there is only one kind.
        sample_weight: how much each face counts within its class.
        groups: whose face each is: every group of a class counts the same, and their number limits the llr.
        experts: names of the columns of `logits`.
        quality_names: names of the columns of `quality`.
        kinds: names of the last axis of `logits`.
        joint: "noisy_or", "max" or "linear": whether any kind is enough, or the evidence for all adds up. The linear
            one is fitted on real against forged, whatever the kind.
        l2: penalty on the experts' weights.
        l2_quality: penalty on the weights of quality, and on what quality changes in the experts' weights. A large one
            keeps a score from depending on how the fakes at hand happened to be encoded.
        modulate: whether quality may change the weights of the experts, or the measures that may.
        rows: the rows to fit; by default all. The others are left at 0.

    Raises:
        ValueError: if a class is missing, or for some subset of the experts.
    """
    check_columns("quality", quality, quality_names)
    said, made = with_kinds(logits, experts, kinds), named_kinds(kind_of, kinds)
    labels, named = (made != REAL).astype(int), None if groups is None else np.asarray(groups)
    mean, scale = quality_statistics(quality, balanced_weights(labels, sample_weight, named))
    q = standardize_quality(quality.astype(np.float64), mean, scale)
    wanted = list(quality_names) if modulate is True else list(modulate or ())
    fusion = empty_fusion(tuple(experts), tuple(quality_names), tuple(kinds), joint)
    fusion = replace(
        fusion, quality_mean=mean, quality_scale=scale, limit=np.array([llr_limit(labels, named)], np.float32)
    )
    penalties = (l2, l2_quality, [list(quality_names).index(name) for name in wanted])
    for row in range(len(fusion.bias)) if rows is None else rows:
        members = subset(row, len(experts))
        usable = np.isfinite(said[:, members, 0]).all(axis=1)
        try:
            given = (made[usable], select(sample_weight, usable), select(named, usable))
            fit_row(fusion, row, clip_logits(said[usable]), q[usable], given, penalties)
        except ValueError as exc:
            raise ValueError(f"fusion of {', '.join(experts[e] for e in members)}: {exc}") from exc
    return fusion


Given = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # kinds, weights and groups of some faces
Penalties = tuple[float, float, list[int]]  # on experts, on quality, and which measures change experts' weights


def fit_row(
    fusion: FusionWeights, row: int, said: np.ndarray, q: np.ndarray, given: Given, penalties: Penalties
) -> None:
    """Fit one subset's row in place: the kinds, then what their joint number means."""
    made, sample_weight, groups = given
    labels = (made != REAL).astype(int)
    weight = balanced_weights(labels, sample_weight, groups)
    if fusion.joint == "linear":
        fit_evidence(fusion, row, list(range(len(fusion.kinds))), said, q, labels, weight, penalties)
        return
    for k, kind in enumerate(fusion.kinds):
        some = np.flatnonzero((made == REAL) | (made == kind))
        if not (made == kind).any():
            fusion.bias[row, k] = -LOGIT_LIMIT
            continue
        own = balanced_weights(labels[some], select(sample_weight, some), select(groups, some))
        fit_evidence(fusion, row, [k], said[some], q[some], labels[some], own, penalties)
    if len(fusion.kinds) > 1:
        joint = joined(kind_evidence(said, q, np.full(len(q), row), fusion), fusion)
        platt = fit_platt(joint, labels, weight)
        fusion.band_scale[row], fusion.band_offset[row] = platt


def fit_evidence(
    fusion: FusionWeights,
    row: int,
    kinds: list[int],
    said: np.ndarray,
    q: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    penalties: Penalties,
) -> None:
    """Fit the weights of some kinds together in place: the logits, quality, and (where wanted) products of both."""
    l2, l2_quality, modulating = penalties
    members = subset(row, len(fusion.experts))
    own = said[:, members][:, :, kinds].reshape(len(q), -1).astype(np.float64)
    products = own[:, :, None] * q[:, None, modulating]
    design = np.concatenate([own, q, products.reshape(len(q), -1)], axis=1)
    penalty = np.full(design.shape[1], l2_quality)
    penalty[: own.shape[1]] = l2
    lowest = np.full(design.shape[1], -np.inf)
    lowest[: own.shape[1]] = 0
    found, bias = fit_logistic(design, labels, weight, penalty, lowest, tolerance=1e-9)
    own_weights, quality_weights, modulation = np.split(found, [own.shape[1], own.shape[1] + q.shape[1]])
    grid = np.ix_([row], members, kinds)
    fusion.weights[grid] = own_weights.reshape(1, len(members), len(kinds))
    fusion.modulation[np.ix_([row], members, kinds, modulating)] = modulation.reshape(
        1, len(members), len(kinds), len(modulating)
    )
    fusion.quality_weights[row, kinds] = quality_weights / len(kinds)
    fusion.bias[row, kinds] = bias / len(kinds)


def calibrate_fusion(
    fusion: FusionWeights,
    logits: Float[np.ndarray, "faces experts *kinds"],
    quality: Float[np.ndarray, "faces quality"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    bands: int = 1,
) -> FusionWeights:
    """The same fusion with each row's llr rescaled (Platt) on faces that the fit has not seen; see `fit_bands`.

    Raises:
        ValueError: if one class is missing.
    """
    said = with_kinds(logits, fusion.experts, fusion.kinds)
    return fit_bands(fusion, joint_scores(fusion, said, quality), quality, labels, sample_weight, groups, bands=bands)


def fit_bands(
    fusion: FusionWeights,
    joint: Float[np.ndarray, "faces subsets"],
    quality: Float[np.ndarray, "faces quality"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    bands: int = 3,
    pull: float = 10.0,
) -> FusionWeights:
    """The same fusion with the meaning of each row's joint number fitted anew, one for each band of quality.

    The bands lie along the direction of quality in which the joint number of all experts separates worse and worse.

    Args:
        fusion: whose scale and offset are replaced.
        joint: numbers as `joint_scores` gives them, of faces that their fit has not seen; NaN where there is none.
        quality: measures of the same faces.
        labels: 1 for fake, 0 for real.
        sample_weight: how much each face counts within its class.
        groups: whose face each is; every group of a class then counts the same.
        bands: how many knots of quality there are; with 1 quality has no say.
        pull: of each band to what holds for all of them, in people (or faces, where nobody says whose they are).

    Raises:
        ValueError: if one class is missing.
    """
    labels, given = np.asarray(labels).astype(int), (sample_weight, None if groups is None else np.asarray(groups))
    q = standardize_quality(quality.astype(np.float64), fusion.quality_mean, fusion.quality_scale)
    axis = np.zeros(len(fusion.quality)) if bands == 1 else quality_axis(joint[:, -1], q, labels, given)
    knots = band_knots(q @ axis, bands)
    share = band_shares(q @ axis, knots)
    scale, offset = (np.zeros((len(fusion.bias), len(knots)), np.float32) for _ in range(2))
    for row in range(len(fusion.bias)):
        known = np.isfinite(joint[:, row])
        weight = balanced_weights(labels[known], *(select(some, known) for some in given))
        l2 = pull / max(count_people(labels[known], select(given[1], known)), 1)
        scale[row], offset[row] = fit_banded_platt(joint[known, row], share[known], labels[known], weight, l2)
    return replace(
        fusion,
        band_axis=axis.astype(np.float32),
        band_knots=knots.astype(np.float32),
        band_scale=scale,
        band_offset=offset,
    )


def fit_banded_platt(
    joint: np.ndarray, share: np.ndarray, labels: np.ndarray, weight: np.ndarray, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scale (0 or more) and offset of each band; those of all bands together are what they are without evidence."""
    whole: Platt = fit_platt(joint, labels, weight)
    bands = share.shape[1]
    if bands == 1:
        return np.array([whole.scale]), np.array([whole.offset])
    llr = np.clip(whole(joint), -2 * LOGIT_LIMIT, 2 * LOGIT_LIMIT)
    design = np.concatenate([share * llr[:, None], share], axis=1)
    middle = np.repeat([1.0, 0.0], bands)
    lowest = np.repeat([0.0, -np.inf], bands)
    found, bias = fit_logistic(design, labels, weight, np.full(2 * bands, l2), lowest, middle, 1e-10)
    scale = found[:bands]
    return scale * whole.scale, scale * whole.offset + found[bands:] + bias


def quality_axis(
    joint: np.ndarray, q: np.ndarray, labels: np.ndarray, given: tuple[np.ndarray | None, np.ndarray | None]
) -> Float[np.ndarray, " quality"]:
    """The direction of quality along which faces are told apart better and better: a ridge regression of how far each
    joint number lies on its right side; of length such that faces spread by 1 along it, 0 if quality says nothing.
    """
    known = np.isfinite(joint)
    weight = balanced_weights(labels[known], *(select(some, known) for some in given))
    llr = fit_platt(joint[known], labels[known], weight)(joint[known])
    right = np.clip(np.where(labels[known] == 1, llr, -llr), -3, 3)
    centered = q[known] - weight @ q[known]
    gram = centered.T @ (weight[:, None] * centered) + 0.1 * np.eye(q.shape[1])
    axis = np.linalg.solve(gram, centered.T @ (weight * (right - weight @ right)))
    spread = np.sqrt(weight @ (centered @ axis) ** 2)
    return axis / spread if spread > 1e-6 else np.zeros_like(axis)


def band_knots(s: np.ndarray, bands: int) -> Float[np.ndarray, " bands"]:
    """The middles of equally large parts of the faces, at least a tenth apart."""
    wanted = (np.arange(bands) + 0.5) / bands
    least = 0.1 * np.arange(bands)
    rising: np.ndarray = np.maximum.accumulate(weighted_quantiles(s, np.ones(len(s)), wanted) - least) + least
    return rising


def named_kinds(kind_of: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Names of kinds; 0 and 1 are real and the only kind there is.

    Raises:
        ValueError: for anything else.
    """
    given = np.asarray(kind_of)
    if given.dtype.kind in "biuf":
        if len(kinds) != 1 or not np.isin(given, (0, 1)).all():
            raise ValueError(f"labels must be 0 (real) or 1 (fake) of one kind, got {given[:5]} for {', '.join(kinds)}")
        given = np.where(given == 1, kinds[0], REAL)
    return check_kinds(given, kinds)


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
    return max(float(np.log(max(count_people(labels, groups), 1))), 1.0)


def count_people(labels: np.ndarray, groups: np.ndarray | None) -> int:
    """How many people there are of the rarer class; faces, where nobody says whose they are."""
    sides = [np.flatnonzero(labels == label) for label in (0, 1)]
    return min(len(side) if groups is None else len(np.unique(groups[side])) for side in sides)

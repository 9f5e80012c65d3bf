"""Heads and fusion fitted anew near the ones that there are, and taken only where people not seen say that they help.

A fit on one user's footage knows nothing of what that footage lacks. Heads are therefore pulled to what they were,
kinds of forgery that are missing keep what the base knows of them, and whatever is not clearly better stays as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from stream_detect.experts.heads import (
    REAL,
    KindHeads,
    balanced_weights,
    expand,
    fit_logistic,
    standardize,
)
from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.fusion.fit import fit_bands, fit_fusion
from stream_detect.fusion.fusion import (
    FusionWeights,
    calibrated,
    disagreement,
    fuse,
    joint_scores,
    standardize_quality,
    with_kinds,
)
from stream_detect.training.folds import Folds, Footing, Predict, cross_predict, rows_of_interest
from stream_detect.training.metrics import auc
from stream_detect.types import KINDS

AS_IT_WAS = "as it was"  # the name of the candidate that changes nothing
HEAD_PULL = 1e-2  # penalty on how far a head's weights go from the base's
LEAST_GAIN = 0.01  # nats of log loss a face; less is not worth a change
SURE = 2.0  # standard errors over people by which a gain has to be above nothing


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Heads and a fusion, and what they say of people and families that they were not fitted on."""

    name: str
    heads: Mapping[str, KindHeads]
    given: Footing  # logits of these heads, out of fold where they were fitted anew
    fusion: FusionWeights
    llr: np.ndarray  # (faces,) out of fold


def as_it_is(heads: Mapping[str, KindHeads], fusion: FusionWeights, given: Footing) -> Candidate:
    return Candidate(AS_IT_WAS, heads, given, fusion, fuse(given.logits, given.quality, fusion).astype(np.float64))


def recalibrated(
    name: str, heads: Mapping[str, KindHeads], fusion: FusionWeights, given: Footing, folds: Folds
) -> Candidate:
    """The same fusion whose joint number is given its meaning anew, in bands of quality."""
    said = with_kinds(given.logits, fusion.experts, fusion.kinds)
    return banded(name, heads, fusion, given, joint_scores(fusion, said, given.quality), folds)


def missing_kinds(given: Footing, kinds: Sequence[str]) -> list[str]:
    """Kinds of forgery of which there is none here."""
    return [kind for kind in kinds if not (given.kind_of == kind).any()]


def refitted(
    name: str,
    heads: Mapping[str, KindHeads],
    base: FusionWeights,
    given: Footing,
    folds: Folds,
    way: Mapping[str, Any],
) -> Candidate:
    """A fusion of these rows; kinds of which they hold none keep the base's weights.

    Args:
        name: of the candidate.
        heads: that gave the logits.
        base: what is kept of kinds that are missing.
        given: rows to fit on.
        folds: of these rows.
        way: settings of `fit_fusion`.
    """
    missing = missing_kinds(given, base.kinds)
    names = {"experts": base.experts, "quality_names": base.quality, "kinds": base.kinds, **way}
    said, told = with_kinds(given.logits, base.experts, base.kinds), rows_of_interest(len(base.experts))

    def fitted(rows: np.ndarray, subsets: Sequence[int] | None) -> FusionWeights:
        some = given.rows(rows)
        fusion = fit_fusion(some.logits, some.quality, some.kind_of, some.weight, rows=subsets, **names)
        return with_kinds_of(base, in_measures_of(base, fusion), [*missing, *missing_kinds(some, base.kinds)])

    def fit(rows: np.ndarray) -> Predict:
        fusion = fitted(rows, told)
        return lambda others: joint_scores(fusion, said[others], given.quality[others], told)

    fusion = fitted(np.arange(len(said)), None)
    joint = joint_scores(fusion, said, given.quality)
    joint[:, told] = cross_predict(folds, fit)
    return banded(name, heads, fusion, given, joint, folds)


def in_measures_of(base: FusionWeights, fusion: FusionWeights) -> FusionWeights:
    """The same fusion for quality standardized as the base does it, and with the base's limit of the llr."""
    ratio = base.quality_scale / fusion.quality_scale
    shift = (base.quality_mean - fusion.quality_mean) / fusion.quality_scale
    return replace(
        fusion,
        quality_mean=base.quality_mean,
        quality_scale=base.quality_scale,
        weights=fusion.weights + fusion.modulation @ shift,
        modulation=fusion.modulation * ratio,
        quality_weights=fusion.quality_weights * ratio,
        bias=fusion.bias + fusion.quality_weights @ shift,
        limit=base.limit,
    )


def with_kinds_of(base: FusionWeights, fusion: FusionWeights, kinds: Sequence[str]) -> FusionWeights:
    """The same fusion with the base's evidence for some kinds; both standardize quality alike."""
    columns = [base.kinds.index(kind) for kind in dict.fromkeys(kinds)]
    changed = {}
    for name, axis in (("weights", 2), ("modulation", 2), ("quality_weights", 1), ("bias", 1)):
        ours, theirs = getattr(fusion, name).copy(), getattr(base, name)
        np.moveaxis(ours, axis, 0)[columns] = np.moveaxis(theirs, axis, 0)[columns]
        changed[name] = ours
    return replace(fusion, **changed)


def banded(
    name: str,
    heads: Mapping[str, KindHeads],
    fusion: FusionWeights,
    given: Footing,
    joint: Float[np.ndarray, "faces subsets"],
    folds: Folds,
) -> Candidate:
    """Bands of quality fitted on the joint numbers; what is said of a face is by bands that have not seen it."""

    def meant(rows: np.ndarray) -> FusionWeights:
        some = given.rows(rows)
        return fit_bands(
            fusion, joint[rows], some.quality, some.labels, some.weight, some.groups, bands=len(fusion.band_knots)
        )

    def fit(rows: np.ndarray) -> Predict:
        found = meant(rows)
        return lambda others: meaning(found, joint[others, -1], given.quality[others])

    found = meant(np.arange(len(joint)))
    llr = cross_predict(folds, fit)
    silent = np.isnan(llr)  # an expert said nothing: the fusion of the others
    llr[silent] = fuse(given.logits[silent], given.quality[silent], found)
    return Candidate(name, heads, given, found, llr)


def meaning(fusion: FusionWeights, joint: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """The log likelihood ratio of joint numbers of all experts."""
    q = standardize_quality(quality, fusion.quality_mean, fusion.quality_scale)
    return calibrated(joint, q @ fusion.band_axis, np.full(len(q), len(fusion.bias) - 1), fusion)


def refit_heads(
    base: KindHeads, features: Float[np.ndarray, "faces dim"], kind_of: np.ndarray, weight: np.ndarray
) -> KindHeads:
    """The base's heads fitted to these faces and pulled to what they were; kinds that are missing stay the same.

    Args:
        base: heads that standardize and bend features as before.
        features: of real and forged faces; rows that are not finite are left out.
        kind_of: "real" or a kind, a row.
        weight: how much each face counts within its kind.
    """
    usable = np.isfinite(features).all(axis=1)
    design = expand(standardize(features[usable], base.mean, base.scale), base.knots).astype(np.float32)
    kind_of, weight = kind_of[usable], weight[usable]
    weights, bias = base.weight.copy(), base.bias.copy()
    for k, kind in enumerate(base.kinds):
        rows = np.flatnonzero((kind_of == REAL) | (kind_of == kind))
        labels = (kind_of[rows] == kind).astype(int)
        if len(np.unique(labels)) < 2:
            continue
        share = balanced_weights(labels, weight[rows])
        pull = np.full(design.shape[1], HEAD_PULL)
        weights[:, k], bias[k] = fit_logistic(
            design[rows], labels, share, pull, center=base.weight[:, k], tolerance=1e-6
        )
    return replace(base, weight=weights.astype(np.float32), bias=bias.astype(np.float32))


def better_heads(
    heads: Mapping[str, KindHeads],
    features: Mapping[str, np.ndarray],
    given: Footing,
    folds: Folds,
    names: Sequence[str],
) -> tuple[dict[str, KindHeads], Footing]:
    """Of each of these experts the heads with the lower out-of-fold log loss, the base's or refitted ones.

    Args:
        heads: of all experts, in the order of the logits.
        features: of these experts, by name.
        given: rows with the logits of the base's heads.
        folds: of these rows.
        names: of the experts whose heads may change.

    Returns:
        The heads, and the rows with their logits: out of fold for those that changed.
    """
    chosen, logits = dict(heads), given.logits.copy()
    for column, name in enumerate(heads):
        if name not in names:
            continue
        found = cross_predict(folds, head_fit(heads[name], features[name], given))
        if kinds_loss(found, given) < kinds_loss(logits[:, column], given):
            chosen[name] = refit_heads(heads[name], features[name], given.kind_of, given.weight)
            logits[:, column] = found
    return chosen, replace(given, logits=logits)


def head_fit(base: KindHeads, features: np.ndarray, given: Footing) -> Any:
    def fit(rows: np.ndarray) -> Predict:
        heads = refit_heads(base, features[rows], given.kind_of[rows], given.weight[rows])
        return lambda others: heads(features[others])

    return fit


def kinds_loss(logits: Float[np.ndarray, "faces kinds"], given: Footing) -> float:
    """The mean log loss, in nats, of telling each kind that is there from real faces."""
    losses = []
    kinds = [kind for kind in dict.fromkeys(given.kind_of) if kind != REAL]
    for kind in kinds:
        column = KINDS.index(kind)
        rows = np.flatnonzero(((given.kind_of == REAL) | (given.kind_of == kind)) & np.isfinite(logits[:, column]))
        signs = np.where(given.kind_of[rows] == kind, 1, -1)
        weight = balanced_weights((signs > 0).astype(int), given.weight[rows], given.groups[rows])
        losses.append(weight @ np.logaddexp(0, -signs * logits[rows, column]))
    return float(np.mean(losses))


def is_clearly_better(new: np.ndarray, old: np.ndarray, given: Footing) -> bool:
    """Whether log likelihood ratios lower the log loss by more than chance: by `SURE` standard errors over people."""
    weight = balanced_weights(given.labels, given.weight, given.groups)
    signs = np.where(given.labels == 1, 1, -1)
    gain = weight * (np.logaddexp(0, -signs * old) - np.logaddexp(0, -signs * new))
    _, member = np.unique(given.groups, return_inverse=True)
    of_person = np.bincount(member, weights=gain)
    error = np.sqrt(len(of_person)) * of_person.std(ddof=1)
    return bool(gain.sum() > max(LEAST_GAIN, SURE * error))


def figures(candidate: Candidate, thresholds: Mapping[str, float]) -> dict[str, float]:
    """What a candidate is worth on rows that it was not fitted on, every person of a class counting the same.

    Returns:
        "auc"; "log_loss" in nats; "calibration_error"; "real_called_fake" and "forged_called_fake", shares of all faces
        of the class; "coverage", the share of faces that are called fake or real.
    """
    given, llr = candidate.given, candidate.llr
    weight = balanced_weights(given.labels, given.weight, given.groups)
    chance = 1 / (1 + np.exp(-llr))
    is_sure = disagreement(given.logits) <= thresholds["disagreement"]
    fake, real = is_sure & (chance >= thresholds["fake"]), is_sure & (chance <= thresholds["real"])
    is_fake = given.labels == 1
    signs = np.where(is_fake, 1, -1)
    return {
        "auc": auc(llr, is_fake),
        "log_loss": float(weight @ np.logaddexp(0, -signs * llr)),
        "calibration_error": expected_calibration_error(chance, given.labels, sample_weight=weight),
        "real_called_fake": float(2 * weight[fake & ~is_fake].sum()),
        "forged_called_fake": float(2 * weight[fake & is_fake].sum()),
        "coverage": float(weight[fake | real].sum()),
    }

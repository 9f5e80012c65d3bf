"""Folds over people and families of forgeries: what is said of either comes from a fit that saw neither."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from stream_detect.experts.heads import REAL, fit_kind_heads, noisy_or, select
from stream_detect.fusion.fit import fit_bands, fit_fusion, llr_limit
from stream_detect.fusion.fusion import (
    FusionWeights,
    calibrated,
    fuse,
    joint_scores,
    standardize_quality,
    subset,
    with_kinds,
)
from stream_detect.training.metrics import auc

Predict = Callable[[np.ndarray], np.ndarray]  # row numbers -> one row of numbers each


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Which part of the people and which part of the families each row belongs to."""

    person: np.ndarray  # (rows,) int from 0
    family: np.ndarray  # (rows,) int from 0; -1 for real faces, which belong to none

    @property
    def people(self) -> int:
        return int(self.person.max(initial=0)) + 1

    @property
    def families(self) -> int:
        return int(self.family.max(initial=0)) + 1


def make_folds(
    groups: Sequence[str] | np.ndarray, families: np.ndarray, kind_of: np.ndarray, people: int = 3, parts: int = 3
) -> Folds:
    """People dealt out by the hash of their names, families one after the other within each kind.

    Args:
        groups: whose face each row is.
        families: by which family each row was forged; anything for real faces.
        kind_of: "real" or the kind of forgery of each row.
        people: into how many parts the people go.
        parts: into how many parts the families go; families of one kind are spread over them, so that with two of a
            kind no part takes all of it away.

    Raises:
        ValueError: if there are fewer people than parts.
    """
    names = sorted(np.unique(np.asarray(groups).astype(str)), key=lambda name: (zlib.crc32(name.encode()), name))
    if len(names) < people:
        raise ValueError(f"expected at least {people} people to leave some of them out, got {len(names)}")
    of_person = {name: k % people for k, name in enumerate(names)}
    of_family: dict[str, int] = {}
    for kind in np.unique(kind_of[kind_of != REAL]):
        of_family |= {name: k % parts for k, name in enumerate(np.unique(families[kind_of == kind]))}
    person = np.array([of_person[str(group)] for group in groups])
    family = [-1 if kind == REAL else of_family[name] for kind, name in zip(kind_of, families, strict=True)]
    return Folds(person, np.array(family))


def cross_predict(folds: Folds, fit: Callable[[np.ndarray], Predict]) -> np.ndarray:
    """What fits say of the rows whose person and family they have not seen.

    Args:
        folds: of all rows.
        fit: learns from the rows of these numbers, and gives what predicts others.

    Returns:
        One row each. Of a real face the mean of the fits that have not seen the person, whatever family they lack.
    """
    total, counts = None, np.zeros(len(folds.person))
    for person in range(folds.people):
        for family in range(folds.families):
            predict = fit(np.flatnonzero((folds.person != person) & (folds.family != family)))
            rows = np.flatnonzero((folds.person == person) & ((folds.family == family) | (folds.family == -1)))
            if not len(rows):
                continue
            said = predict(rows)
            total = np.zeros((len(folds.person), *said.shape[1:])) if total is None else total
            total[rows] += said
            counts[rows] += 1
    if total is None:
        raise ValueError("expected rows to leave out, got none")
    return total / counts.reshape(-1, *[1] * (total.ndim - 1))


def cross_fit_heads(
    features: Float[np.ndarray, "faces dim"],
    kind_of: np.ndarray,
    folds: Folds,
    sample_weight: np.ndarray | None = None,
    **settings: Any,
) -> Float[np.ndarray, "faces kinds"]:
    """The kind logits of an expert by heads that saw neither the person nor the family; `settings` as `fit_kind_heads`.

    Raises:
        ValueError: if a kind is missing from a fold.
    """

    def fit(rows: np.ndarray) -> Predict:
        heads = fit_kind_heads(features[rows], kind_of[rows], select(sample_weight, rows), **settings)
        return lambda others: heads(features[others])

    return cross_predict(folds, fit)


@dataclass(frozen=True, slots=True, eq=False)
class Footing:
    """The rows on which a fusion stands, none of which the experts' networks or heads were fitted on."""

    logits: np.ndarray  # (faces, experts, kinds)
    quality: np.ndarray  # (faces, measures)
    kind_of: np.ndarray  # (faces,) "real" or a kind
    family: np.ndarray  # (faces,) of forgeries; anything for real faces
    groups: np.ndarray  # (faces,) whose face each is
    weight: np.ndarray  # (faces,) how much each counts within its class, whoever it is

    @property
    def labels(self) -> np.ndarray:
        """1 for fake, 0 for real."""
        labels: np.ndarray = (self.kind_of != REAL).astype(int)
        return labels

    def rows(self, rows: np.ndarray) -> "Footing":
        parts = (self.logits, self.quality, self.kind_of, self.family, self.groups, self.weight)
        return Footing(*(part[rows] for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fusion of all rows, and what fits without their person and family say of them."""

    fusion: FusionWeights
    joint: np.ndarray  # (faces, subsets): out of fold for the rows of `told`
    llr: np.ndarray  # (faces,) out of fold, by all experts, calibrated
    told: tuple[int, ...]  # rows of the fusion whose joint numbers are out of fold


def fit_with_folds(
    given: Footing,
    *,
    experts: Sequence[str],
    quality_names: Sequence[str],
    kinds: Sequence[str],
    bands: int = 3,
    people: int = 3,
    parts: int = 3,
    told: Sequence[int] | None = None,
    **settings: Any,
) -> Fitted:
    """The fusion of all rows, calibrated in each band of quality on what fits without a row's person and family say.

    Args:
        given: rows to fit on.
        experts: names of the columns of the logits.
        quality_names: names of the measures.
        kinds: names of the last axis of the logits.
        bands: of quality, each calibrated for itself.
        people: parts into which people are divided.
        parts: parts into which families are divided.
        told: rows of the fusion to make out of fold; by default each expert alone, all but one, and all. The others are
            calibrated on the fit of all rows.
        settings: of `fit_fusion`.
    """
    names: dict[str, Any] = {"experts": experts, "quality_names": quality_names, "kinds": kinds, **settings}
    chosen = tuple(rows_of_interest(len(experts)) if told is None else told)
    said = with_kinds(given.logits, experts, kinds)

    def fit(rows: np.ndarray) -> Predict:
        some = given.rows(rows)
        fusion = fit_fusion(some.logits, some.quality, some.kind_of, some.weight, rows=chosen, **names)
        return lambda others: joint_scores(fusion, said[others], given.quality[others], chosen)

    fusion = fit_fusion(given.logits, given.quality, given.kind_of, given.weight, **names)
    joint = joint_scores(fusion, said, given.quality)
    folds = make_folds(given.groups, given.family, given.kind_of, people, parts)
    joint[:, list(chosen)] = cross_predict(folds, fit)
    fusion = fit_bands(fusion, joint, given.quality, given.labels, given.weight, bands=bands)
    limit = np.array([llr_limit(given.labels, given.groups)], np.float32)
    fusion = replace(fusion, limit=limit)
    q = standardize_quality(given.quality, fusion.quality_mean, fusion.quality_scale)
    row = np.full(len(q), len(fusion.bias) - 1)
    llr = calibrated(joint[:, -1], q @ fusion.band_axis, row, fusion)
    missing = np.isnan(llr)  # an expert said nothing: the fusion of the others, which all rows were fitted on
    llr[missing] = fuse(given.logits[missing], given.quality[missing], fusion)
    return Fitted(fusion, joint, llr, chosen)


def rows_of_interest(experts: int) -> list[int]:
    """The rows of a fusion for each expert alone, for all but one, and for all."""
    everyone = 2**experts - 2
    singles = [2**k - 1 for k in range(experts)]
    return sorted({*singles, *(everyone - 2**k for k in range(experts) if experts > 1), everyone})


def compare_settings(
    given: Footing, options: Mapping[str, Mapping[str, Any]], **names: Any
) -> dict[str, dict[str, float]]:
    """Out-of-fold AUC and log loss (nats, at a prior of 0.5) of ways to fit: the one to take is the one that wins here.

    Args:
        given: rows to fit on.
        options: settings of `fit_with_folds` by the name that they are reported under, such as
            {"noisy-or": {"joint": "noisy_or"}, "linear": {"joint": "linear"}}.
        names: settings that all have.
    """
    everyone = 2 ** len(names["experts"]) - 2
    told = {}
    for name, option in options.items():
        fitted = fit_with_folds(given, **{"told": [everyone], **names, **option})
        told[name] = {"auc": auc(fitted.llr, given.labels == 1), "log_loss": log_loss(fitted.llr, given)}
    return told


def log_loss(llr: Float[np.ndarray, " faces"], given: Footing) -> float:
    """Mean of -log of the probability of what was so, in nats; real and forged faces weigh the same."""
    from stream_detect.experts.heads import balanced_weights

    weight = balanced_weights(given.labels, given.weight, given.groups)
    return float(weight @ np.logaddexp(0, -np.where(given.labels == 1, 1, -1) * llr))


def fusion_report(fitted: Fitted, given: Footing) -> dict[str, dict[str, float]]:
    """Out-of-fold AUC by family and of "all": of each expert, of it alone in the fusion, of all but it, and of all.

    An expert that is worth something has "without ..." clearly below "fused".
    """
    experts, everyone = fitted.fusion.experts, len(fitted.fusion.bias) - 1
    own = noisy_or(with_kinds(given.logits, experts, fitted.fusion.kinds))
    columns = {name: own[:, k] for k, name in enumerate(experts)}
    for row in fitted.told:
        members = subset(row, len(experts))
        if len(members) == 1 < len(experts):
            columns[f"{experts[members[0]]} alone"] = fitted.joint[:, row]
        elif len(members) == len(experts) - 1:
            (left_out,) = set(range(len(experts))) - set(members)
            columns[f"without {experts[left_out]}"] = fitted.joint[:, row]
    columns["fused"] = fitted.llr if everyone in fitted.told else fitted.joint[:, everyone]
    return {name: auc_by_family(scores, given) for name, scores in columns.items()}


def auc_by_family(scores: Float[np.ndarray, " faces"], given: Footing) -> dict[str, float]:
    """AUC of each family's forgeries, and of all, against all real faces; what was not said is left out."""
    is_fake, known = given.labels == 1, np.isfinite(scores)
    parts = {str(name): ~is_fake | (given.family == name) for name in np.unique(given.family[is_fake])}
    parts["all"] = np.ones(len(scores), bool)
    return {name: round(auc(scores[rows & known], is_fake[rows & known]), 4) for name, rows in parts.items()}

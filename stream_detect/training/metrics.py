"""Figures of a detector: AUC, average precision, equal error rate, bootstrap intervals."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

Scores = Float[np.ndarray, " files"]
Labels = Bool[np.ndarray, " files"]


def auc(scores: Scores, is_fake: Labels) -> float:
    """Area under the ROC curve: how often a fake scores above a real one, ties counting half; NaN without both."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    fakes, reals = int(is_fake.sum()), int((~is_fake).sum())
    if not fakes or not reals:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[is_fake].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def average_precision(scores: Scores, is_fake: Labels) -> float:
    """Area under precision over recall, by steps (tied scores taken together); NaN without fakes."""
    if not is_fake.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(is_fake[order])
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of each run of equal scores
    precision = found[last] / (last + 1)
    recall = np.r_[0, found[last]] / found[-1]
    return float((np.diff(recall) * precision).sum())


def roc(scores: Scores, is_fake: Labels) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from the strictest threshold to the loosest."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    true = np.r_[0, np.cumsum(is_fake[order])[last]] / max(int(is_fake.sum()), 1)
    false = np.r_[0, np.cumsum(~is_fake[order])[last]] / max(int((~is_fake).sum()), 1)
    return false, true


def equal_error_rate(scores: Scores, is_fake: Labels) -> float:
    """Where misses and false alarms are equally frequent (linear between thresholds)."""
    false, true = roc(scores, is_fake)
    gap = false - (1 - true)
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float(false[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false[after - 1] + share * (false[after] - false[after - 1]))


def true_positive_rate(scores: Scores, is_fake: Labels, at: float = 0.01) -> float:
    """The share of fakes found by the loosest threshold that calls at most `at` of the real ones fake."""
    false, true = roc(scores, is_fake)
    return float(true[np.flatnonzero(false <= at)[-1]])


def bootstrap(
    figure: Callable[[np.ndarray], float], groups: np.ndarray, is_fake: Labels, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 90 % interval of `figure(rows)` when people are drawn with replacement, real and forged ones apart.

    Returns:
        5 % and 95 % quantiles; NaN if the figure never exists.
    """
    rng = np.random.default_rng(seed)
    sides = [[np.flatnonzero((groups == g) & side) for g in np.unique(groups[side])] for side in (is_fake, ~is_fake)]
    values = []
    for _ in range(draws):
        rows = [people[k] for people in sides if people for k in rng.integers(len(people), size=len(people))]
        values.append(figure(np.concatenate(rows)))
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.05, 0.95])
    return float(low), float(high)

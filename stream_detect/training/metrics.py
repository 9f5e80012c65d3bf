"""Figures of a detector: AUC, average precision, equal error rate, what may be left undecided, intervals."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

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
    return interval(np.array(values))


def draw_people(
    groups: np.ndarray, is_fake: Labels, draws: int = 1000, seed: int = 0
) -> Int[np.ndarray, "draws files"]:
    """How often each file comes when people are drawn with replacement, real and forged ones apart.

    One drawing serves any number of figures, which so can be compared draw by draw.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(groups)), np.int64)
    for side in (is_fake, ~is_fake):
        people, member = np.unique(groups[side], return_inverse=True)
        if len(people):
            drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=draws)
            counts[:, side] = drawn[:, member]
    return counts


def auc_of_draws(
    scores: Scores, is_fake: Labels, counts: Int[np.ndarray, "draws files"]
) -> Float[np.ndarray, " draws"]:
    """The AUC of every drawing at once, ties counting half; NaN where one lacks a class."""
    order = np.argsort(scores, kind="stable")
    weight, fake = counts[:, order].astype(np.float64), is_fake[order]
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of each run of equal scores
    below = np.cumsum(weight * ~fake, axis=1)[:, last]  # reals up to and with each run
    fakes = np.diff(np.cumsum(weight * fake, axis=1)[:, last], prepend=0, axis=1)
    reals = np.diff(below, prepend=0, axis=1)
    pairs = fakes.sum(axis=1) * below[:, -1]
    won = (fakes * (below - reals / 2)).sum(axis=1)
    areas: np.ndarray = np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return areas


def mean_of_draws(
    values: Float[np.ndarray, " files"], counts: Int[np.ndarray, "draws files"]
) -> Float[np.ndarray, " draws"]:
    """The mean of `values` in every drawing; NaN for one that is empty."""
    total = counts.sum(axis=1)
    means: np.ndarray = np.divide(counts @ values, total, out=np.full(len(counts), np.nan), where=total > 0)
    return means


def interval(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The 90 % interval of a figure over its drawings: 5 % and 95 % quantiles of those that exist, else NaN."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.05, 0.95])
    return float(low), float(high)


def upper_bound(errors: int, trials: int, level: float = 0.95) -> float:
    """The largest rate that `errors` of `trials` independent ones leave possible, one-sided (Clopper & Pearson 1934).

    Without an error that is about 3 / trials, the rule of three; 1 without a trial.
    """
    from scipy.stats import beta

    return 1.0 if errors >= trials else float(beta.ppf(level, errors + 1, trials - errors))

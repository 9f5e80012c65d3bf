"""The linear heads that end every expert, one for each kind of forgery, and the logistic regression that fits them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.types import KINDS

FEATURE_LIMIT = 6.0  # standard deviations: no single feature counts for more than this
REAL = "real"  # the kind of a face that is not forged
FORGED = "forged"  # the one kind of a head that knows no others
KNOTS_FROM, KNOTS_TO = 0.02, 0.98  # quantiles of a feature between which its line may bend
NEWTON_COLUMNS = 80  # up to so many, second derivatives are worth their cost
CHUNK = 4096  # rows expanded at a time


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """Standardize, clip to `FEATURE_LIMIT`, weigh, add: one logit from a vector of features, positive for fake.

    All are float32; `mean`, `scale` (positive) and `weight` are (dim,), `bias` is (1,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.mean, self.scale, self.weight, self.bias)]
        if shapes[0] != shapes[1] or shapes[0] != shapes[2] or len(shapes[0]) != 1 or shapes[3] != (1,):
            raise ValueError(f"mean, scale and weight must be (dim,) and bias (1,), got {shapes}")
        if not (self.scale > 0).all():
            raise ValueError(f"scale must be positive, got {self.scale.min()}")

    @property
    def dim(self) -> int:
        return len(self.weight)

    def __call__(self, features: Float[np.ndarray, "faces dim"]) -> Float32[np.ndarray, " faces"]:
        """A logit a face; NaN for a face with a feature that is not finite."""
        if features.shape[1] != self.dim:
            raise ValueError(f"expected {self.dim} features a face, got {features.shape = }")
        usable = np.isfinite(features).all(axis=1)
        logits = standardize(np.where(usable[:, None], features, 0), self.mean, self.scale) @ self.weight + self.bias
        return np.where(usable, logits, np.nan).astype(np.float32)

    def as_kinds(self) -> "KindHeads":
        """The same head among those that know kinds: its only one is `FORGED`."""
        return KindHeads(
            (FORGED,), self.mean, self.scale, np.zeros((self.dim, 0), np.float32), self.weight[:, None], self.bias
        )


@dataclass(frozen=True, slots=True, eq=False)
class KindHeads:
    """One linear head for each kind of forgery: kind `k` gives the log odds of such a forgery against a real face.

    Features are standardized and clipped to `FEATURE_LIMIT`. With knots, each may bend at them: it also comes as one
    ramp between each two neighbouring knots, 0 below, 1 above, so that a logit is a piecewise linear function of it.
    All arrays are float32.
    """

    kinds: tuple[str, ...]
    mean: np.ndarray  # (dim,)
    scale: np.ndarray  # (dim,), positive
    knots: np.ndarray  # (dim, knots) rising, of the standardized features; (dim, 0) for plain lines
    weight: np.ndarray  # (columns, kinds): the features, then the ramps of the first one, of the second one, ...
    bias: np.ndarray  # (kinds,)

    def __post_init__(self) -> None:
        dim, kinds = len(self.mean), len(self.kinds)
        if self.mean.shape != (dim,) or self.scale.shape != (dim,):
            raise ValueError(f"mean and scale must be (dim,), got {self.mean.shape} and {self.scale.shape}")
        if self.knots.ndim != 2 or len(self.knots) != dim or self.knots.shape[1] == 1:
            raise ValueError(f"knots must be ({dim}, 0) or ({dim}, 2 or more), got {self.knots.shape}")
        if self.weight.shape != (columns_of(dim, self.knots.shape[1]), kinds) or self.bias.shape != (kinds,):
            expected = (columns_of(dim, self.knots.shape[1]), kinds)
            raise ValueError(
                f"weight and bias must be {expected} and ({kinds},), got {self.weight.shape} and {self.bias.shape}"
            )
        if not kinds or not (self.scale > 0).all() or not (np.diff(self.knots, axis=1) > 0).all():
            raise ValueError("expected at least one kind, a positive scale and rising knots")

    @property
    def dim(self) -> int:
        return len(self.mean)

    def __call__(self, features: Float[np.ndarray, "faces dim"]) -> Float32[np.ndarray, "faces kinds"]:
        """A logit a face and kind; NaN for a face with a feature that is not finite."""
        if features.shape[1] != self.dim:
            raise ValueError(f"expected {self.dim} features a face, got {features.shape = }")
        usable = np.isfinite(features).all(axis=1)
        z = standardize(np.where(usable[:, None], features, 0), self.mean, self.scale)
        logits = expand(z, self.knots) @ self.weight + self.bias
        return np.where(usable[:, None], logits, np.nan).astype(np.float32)


def columns_of(dim: int, knots: int) -> int:
    return dim * max(knots, 1)


def expand(z: Float[np.ndarray, "faces dim"], knots: Float[np.ndarray, "dim _"]) -> Float[np.ndarray, "faces _"]:
    """Standardized features, then each one's ramps from knot to knot."""
    if not knots.shape[1]:
        return z
    low, width = knots[:, :-1], np.diff(knots, axis=1)
    ramps = np.clip((z[:, :, None] - low) / width, 0, 1)  # (faces, dim, knots - 1)
    return np.concatenate([z, ramps.reshape(len(z), -1)], axis=1)


def plain_heads(
    weight: Float[np.ndarray, "kinds dim"], bias: Float[np.ndarray, " kinds"], kinds: Sequence[str]
) -> KindHeads:
    """A network's last layer as heads: nothing is standardized, and the limits are too wide to clip anything."""
    dim, wide = weight.shape[1], 1e3
    zeros, scale = np.zeros(dim, np.float32), np.full(dim, wide, np.float32)
    columns = (weight.T * wide).astype(np.float32)
    return KindHeads(tuple(kinds), zeros, scale, np.zeros((dim, 0), np.float32), columns, bias.astype(np.float32))


def noisy_or(
    logits: Float[np.ndarray, "*faces kinds"], prior: Float[np.ndarray, " kinds"] | None = None
) -> Float[np.ndarray, "*faces"]:
    """The log odds that at least one of several independent causes is there (Pearl 1988): 1 - prod(1 - p_k).

    Args:
        logits: log likelihood ratio of each cause.
        prior: log odds of each cause beforehand; by default all the same, such that logits of 0 give 0.
    """
    shift = even_prior(logits.shape[-1]) if prior is None else prior
    with np.errstate(divide="ignore", invalid="ignore"):  # log of 0, where no cause is left at all; NaN stays NaN
        nothing = np.logaddexp(0, logits + shift).sum(axis=-1)  # -log of the probability that no cause is there
        few, many = np.log(np.expm1(np.minimum(nothing, 1))), nothing + np.log(-np.expm1(-nothing))
    odds: np.ndarray = np.where(nothing > 1, many, few)
    return odds


def even_prior(kinds: int) -> Float[np.ndarray, " kinds"]:
    """The log odds of each of so many causes under which one at least is there half of the time."""
    return np.full(kinds, np.log(np.expm1(np.log(2) / kinds)))


def fit_head(
    features: Float[np.ndarray, "faces dim"],
    labels: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    l2: float = 1e-3,
) -> LinearHead:
    """Weighted logistic regression on standardized features, both classes weighing the same.

    Args:
        features: of real and forged faces; rows that are not finite are left out.
        labels: 1 for fake, 0 for real.
        sample_weight: how much each face counts within its class; all the same by default.
        groups: whose face each is; every group of a class then counts the same, however many faces it has.
        l2: strength of the penalty on the squared weights, against the mean loss of a face.

    Raises:
        ValueError: if one class is missing.
    """
    usable = np.isfinite(features).all(axis=1)
    features, labels = features[usable].astype(np.float64), np.asarray(labels)[usable]
    weight = balanced_weights(labels, select(sample_weight, usable), select(groups, usable))
    mean, scale = mean_and_scale(features, weight)
    design = standardize(features, mean, scale)
    coefficients, bias = fit_logistic(design, labels, weight, np.full(design.shape[1], l2))
    numbers = mean, scale, coefficients, np.array([bias])
    return LinearHead(*(array.astype(np.float32) for array in numbers))


def fit_kind_heads(
    features: Float[np.ndarray, "faces dim"],
    kind_of: np.ndarray,
    sample_weight: np.ndarray | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    l2: float = 1e-3,
    knots: int = 0,
) -> KindHeads:
    """A head for each kind: that kind's forgeries against real faces, both weighing the same; the others are left out.

    Args:
        features: of real and forged faces; rows that are not finite are left out.
        kind_of: names, "real" or one of `kinds`, a row.
        sample_weight: how much each face counts within its kind; all the same by default.
        groups: whose face each is; every group of a kind then counts the same, however many faces it has.
        kinds: of the heads.
        l2: strength of the penalty on the squared weights, against the mean loss of a face.
        knots: at how many of its own quantiles the line of each feature may bend; 0 for straight lines.

    Raises:
        ValueError: for another kind, or if real faces or those of a kind are missing.
    """
    kind_of = check_kinds(kind_of, kinds)
    usable = np.isfinite(features).all(axis=1)
    features, kind_of = np.asarray(features, np.float32)[usable], kind_of[usable]
    sample_weight, groups = select(sample_weight, usable), select(groups, usable)
    everyone = balanced_weights((kind_of != REAL).astype(int), sample_weight, groups)
    mean, scale = (array.astype(np.float32) for array in mean_and_scale(features, everyone))
    z = standardize(features, mean, scale)
    bends = find_knots(z, everyone, knots)
    design = np.concatenate([expand(z[k : k + CHUNK], bends) for k in range(0, len(z), CHUNK)])
    penalty = np.full(design.shape[1], l2)
    weights, biases = [], []
    for kind in kinds:
        rows = np.flatnonzero((kind_of == REAL) | (kind_of == kind))
        labels = (kind_of[rows] == kind).astype(int)
        try:
            weight = balanced_weights(labels, select(sample_weight, rows), select(groups, rows))
        except ValueError as exc:
            raise ValueError(f"{kind}: {exc}") from exc
        coefficients, bias = fit_logistic(design[rows], labels, weight, penalty, tolerance=1e-6)
        weights.append(coefficients)
        biases.append(bias)
    return KindHeads(
        tuple(kinds), mean, scale, bends, np.stack(weights, axis=1).astype(np.float32), np.array(biases, np.float32)
    )


def calibrate_heads(
    heads: KindHeads,
    logits: Float[np.ndarray, "faces kinds"],
    kind_of: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> KindHeads:
    """The same heads with each kind's logit rescaled (Platt) to what such logits turned out to mean.

    Args:
        heads: to calibrate.
        logits: that heads like these gave faces on which they were not fitted; NaN is left out.
        kind_of: "real" or one of the heads' kinds, a row.
        sample_weight: how much each face counts within its kind.

    Raises:
        ValueError: for another kind, or if real faces or those of a kind are missing.
    """
    from stream_detect.fusion.calibration import fit_platt

    kind_of = check_kinds(kind_of, heads.kinds)
    scales, offsets = np.ones(len(heads.kinds)), np.zeros(len(heads.kinds))
    for k, kind in enumerate(heads.kinds):
        rows = np.flatnonzero((kind_of == REAL) | (kind_of == kind))
        scales[k], offsets[k] = fit_platt(logits[rows, k], kind_of[rows] == kind, select(sample_weight, rows))
    bias = (heads.bias * scales + offsets).astype(np.float32)
    return replace(heads, weight=(heads.weight * scales).astype(np.float32), bias=bias)


def check_kinds(kind_of: Sequence[object] | np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """The kinds of some faces as an array of names.

    Raises:
        ValueError: if one is neither "real" nor among `kinds`.
    """
    names = np.asarray(kind_of).astype(str)
    if len(unknown := np.setdiff1d(names, [REAL, *kinds])):
        raise ValueError(f"expected kinds among {', '.join([REAL, *kinds])}, got {str(unknown[0])!r}")
    return names


def mean_and_scale(features: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each feature; 1 for one that hardly varies."""
    mean = weight @ features
    deviation: np.ndarray = np.sqrt(weight @ (features - mean) ** 2)
    return mean, np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)


def find_knots(z: np.ndarray, weight: np.ndarray, knots: int) -> Float32[np.ndarray, "dim _"]:
    """Evenly spread quantiles of each column, at least a hundredth of a deviation apart; none for `knots` of 0."""
    if not knots:
        return np.zeros((z.shape[1], 0), np.float32)
    wanted = np.linspace(KNOTS_FROM, KNOTS_TO, knots)
    found = np.stack([weighted_quantiles(column, weight, wanted) for column in z.T])
    least = 0.01 * np.arange(knots)
    rising: np.ndarray = np.maximum.accumulate(found - least, axis=1) + least
    return rising.astype(np.float32)


def weighted_quantiles(values: np.ndarray, weight: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values below which the wanted shares of the weight lie, linear in between."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - weight[order] / 2
    quantiles: np.ndarray = np.interp(wanted, below / weight.sum(), values[order])
    return quantiles


def standardize(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.clip((features - mean) / scale, -FEATURE_LIMIT, FEATURE_LIMIT)
    return result


def select(values: Sequence[object] | np.ndarray | None, usable: np.ndarray) -> np.ndarray | None:
    return None if values is None else np.asarray(values)[usable]


def balanced_weights(
    labels: np.ndarray, sample_weight: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Float[np.ndarray, " faces"]:
    """Weights that sum to 1/2 for each class (a prior of 0.5) and, within a class, to the same for each group.

    Raises:
        ValueError: if labels are not 0 and 1, one class is missing or has no weight, or a weight is negative.
    """
    weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 (real) or 1 (fake), got {np.unique(labels)[:5]}")
    if len(weight) != len(labels) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"expected {len(labels)} weights >= 0, got {len(weight)} from {weight.min(initial=0)}")
    if groups is not None:
        keys = np.array([f"{label}:{group}" for label, group in zip(labels, groups, strict=True)])
        _, member = np.unique(keys, return_inverse=True)
        totals = np.bincount(member, weights=weight)[member]
        weight = np.divide(weight, totals, out=np.zeros_like(weight), where=totals > 0)
    sums = np.array([weight[labels == 0].sum(), weight[labels == 1].sum()])
    if not (sums > 0).all():
        raise ValueError(f"expected real and fake faces, got weights of {sums[0]:g} real and {sums[1]:g} fake")
    result: np.ndarray = weight / (2 * sums[labels.astype(int)])
    return result


def fit_logistic(
    design: Float[np.ndarray, "rows columns"],
    labels: np.ndarray,
    weight: Float[np.ndarray, " rows"],
    l2: Float[np.ndarray, " columns"],
    lowest: Float[np.ndarray, " columns"] | None = None,
    center: Float[np.ndarray, " columns"] | None = None,
    tolerance: float = 1e-12,
) -> tuple[Float[np.ndarray, " columns"], float]:
    """Coefficients and bias of a logistic regression; only products are taken in the precision of `design`.

    Args:
        design: what is weighed.
        labels: 1 for fake, 0 for real.
        weight: of each row, summing to 1.
        l2: penalty on half the square of each coefficient's distance from its center; the bias bears none.
        lowest: the least that each coefficient may be, such as 0.
        center: what each coefficient is without evidence, and where the search begins; 0 by default.
        tolerance: the relative gain below which the search ends.
    """
    middle = np.zeros(design.shape[1]) if center is None else np.asarray(center, np.float64)
    floors = np.full(design.shape[1], -np.inf) if lowest is None else lowest
    problem = Logistic(design, np.where(np.asarray(labels) == 1, 1.0, -1.0), weight, l2, middle)
    start = np.append(np.maximum(middle, floors), 0.0)
    floors = np.append(floors, -np.inf)
    found = None
    if design.shape[1] <= NEWTON_COLUMNS:
        found = projected_newton(problem, start, floors, tolerance)
    if found is None:
        found = quasi_newton(problem, start, floors, tolerance)
    return found[:-1], float(found[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """The penalized mean logistic loss of coefficients and a bias, which is the last parameter."""

    design: np.ndarray  # (rows, columns)
    signs: np.ndarray  # (rows,) 1 for fake, -1 for real
    weight: np.ndarray  # (rows,)
    l2: np.ndarray  # (columns,)
    center: np.ndarray  # (columns,)

    def loss(self, parameters: np.ndarray) -> float:
        away = parameters[:-1] - self.center
        return float(self.weight @ np.logaddexp(0, -self.margins(parameters)) + 0.5 * self.l2 @ away**2)

    def loss_and_gradient(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        from scipy.special import expit  # type: ignore[import-untyped]

        margins, away = self.margins(parameters), parameters[:-1] - self.center
        pull = -self.weight * self.signs * expit(-margins)
        value = self.weight @ np.logaddexp(0, -margins) + 0.5 * self.l2 @ away**2
        slopes = self.design.T @ pull.astype(self.design.dtype) + self.l2 * away
        return float(value), np.append(slopes, pull.sum())

    def curvature(self, parameters: np.ndarray) -> np.ndarray:
        """The second derivatives, (columns + 1, columns + 1)."""
        from scipy.special import expit

        chance = expit(self.margins(parameters))
        bend = self.weight * chance * (1 - chance)
        leaning = bend @ self.design
        inner = self.design.T @ (bend[:, None] * self.design) + np.diag(self.l2)
        return np.block([[inner, leaning[:, None]], [leaning[None], np.array([[bend.sum()]])]])

    def margins(self, parameters: np.ndarray) -> np.ndarray:
        given = parameters[:-1].astype(self.design.dtype)
        margins: np.ndarray = self.signs * (self.design @ given + parameters[-1])
        return margins


def projected_newton(problem: Logistic, start: np.ndarray, floors: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Newton's steps within the floors (Bertsekas 1982), few where columns are few; None where a step leads nowhere."""
    parameters: np.ndarray = start
    for _ in range(100):
        value, slopes = problem.loss_and_gradient(parameters)
        free = (parameters > floors) | (slopes < 0)
        if np.abs(slopes[free]).max(initial=0) < 1e-7:
            return parameters
        bend = problem.curvature(parameters)[np.ix_(free, free)]
        step = np.zeros_like(parameters)
        step[free] = np.linalg.solve(bend + 1e-9 * np.eye(len(bend)), -slopes[free])
        for share in 0.5 ** np.arange(12):
            moved = np.maximum(parameters + share * step, floors)
            gain = value - problem.loss(moved)
            if gain >= -1e-4 * slopes @ (moved - parameters) > 0:
                break
        else:
            return None
        parameters = moved
        if gain < tolerance * max(abs(value), 1.0):
            return parameters
    return None


def quasi_newton(problem: Logistic, start: np.ndarray, floors: np.ndarray, tolerance: float) -> np.ndarray:
    """L-BFGS-B, for any number of columns."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    options = {"maxiter": 2000, "maxfun": 5000, "gtol": 1e-7, "ftol": tolerance}
    bounds = [(floor, np.inf) for floor in floors]
    found = minimize(problem.loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    parameters: np.ndarray = found.x
    return parameters

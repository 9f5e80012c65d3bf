"""The linear head that ends every expert, and the logistic regression that fits it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

FEATURE_LIMIT = 6.0  # standard deviations: no single feature counts for more than this


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
    mean = weight @ features
    deviation = np.sqrt(weight @ (features - mean) ** 2)
    scale = np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)
    design = standardize(features, mean, scale)
    coefficients, bias = fit_logistic(design, labels, weight, np.full(design.shape[1], l2))
    numbers = mean, scale, coefficients, np.array([bias])
    return LinearHead(*(array.astype(np.float32) for array in numbers))


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
) -> tuple[Float[np.ndarray, " columns"], float]:
    """Coefficients and bias of a logistic regression by L-BFGS-B, in float64.

    Args:
        design: what is weighed.
        labels: 1 for fake, 0 for real.
        weight: of each row, summing to 1.
        l2: penalty on half the square of each coefficient; the bias bears none.
        lowest: the least that each coefficient may be, such as 0.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]
    from scipy.special import expit  # type: ignore[import-untyped]

    signs = np.where(np.asarray(labels) == 1, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, bias = parameters[:-1], parameters[-1]
        margins = signs * (design @ coefficients + bias)
        pull = -weight * signs * expit(-margins)
        value = weight @ np.logaddexp(0, -margins) + 0.5 * l2 @ coefficients**2
        return float(value), np.append(design.T @ pull + l2 * coefficients, pull.sum())

    floors = np.full(design.shape[1], -np.inf) if lowest is None else lowest
    bounds = [(floor, np.inf) for floor in floors] + [(-np.inf, np.inf)]
    options = {"maxiter": 2000, "maxfun": 5000, "gtol": 1e-7, "ftol": 1e-12}
    found = minimize(loss, np.zeros(design.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x[:-1], float(found.x[-1])

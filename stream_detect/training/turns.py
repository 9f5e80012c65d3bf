"""Learn what turning forged looks like against what is normal for a face: the model in `stream_detect.temporal`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stream_detect.errors import ConfigError
from stream_detect.temporal.normal import CLEAR_QUALITY, KNOWN_AFTER_S, NOTHING, TurnModel, learned, log_odds
from stream_detect.training.budget import face_at
from stream_detect.training.traces import Trace

SETTLED_S = 0.1  # after the change; frames before that may still be real
LONGEST_GAP_S = 0.5
PENALTY = 1.0  # of the squared weights, against the mean loss times the number of rows


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Looks at faces whose normal is known."""

    features: np.ndarray  # (rows, 1 + experts): llr, then how each expert's log odds depart from the normal
    is_forged: np.ndarray  # (rows,) bool
    groups: np.ndarray  # (rows,) whose each is

    @property
    def weight(self) -> np.ndarray:
        """How much each counts: every person of a class the same, both classes the same; 1 on average."""
        weight = np.zeros(len(self.is_forged))
        for is_forged in (False, True):
            rows = np.flatnonzero(self.is_forged == is_forged)
            _, member, counts = np.unique(self.groups[rows], return_inverse=True, return_counts=True)
            weight[rows] = 1 / (len(counts) * counts[member])
        return weight * len(weight) / max(float(weight.sum()), 1e-9)


def fit_turn(real: Sequence[Trace], turning: Sequence[Trace]) -> TurnModel:
    """The model that tells a face that turned forged from one that goes on being itself.

    Args:
        real: traces of real clips.
        turning: traces of feeds in which a real face turns forged at `change_s`.

    Raises:
        ConfigError: if one of the classes is missing.
    """
    experts = next((one.experts for one in [*turning, *real] if one.experts), ())
    rows = rows_of([*real, *turning], experts)
    if not rows.is_forged.any() or rows.is_forged.all():
        raise ConfigError("expected feeds that show a real face for over a second and then a forged one, got none")
    weights = logistic(rows.features, rows.is_forged, rows.weight)
    of_change = {name: float(w) for name, w in zip(experts, weights[2:], strict=True)}
    return TurnModel(float(weights[0]), float(weights[1]), of_change)


def rows_of(traces: Sequence[Trace], experts: Sequence[str]) -> Rows:
    features, forged, groups = [], [], []
    for one in traces:
        for track in one.tracks:
            for look, is_forged in looks_of(one, track, experts):
                features.append(look)
                forged.append(is_forged)
                groups.append(one.group)
    return Rows(np.array(features).reshape(len(features), 1 + len(experts)), np.array(forged, bool), np.array(groups))


def looks_of(one: Trace, track: int, experts: Sequence[str]) -> Iterator[tuple[list[float], bool]]:
    """The llr and the departure of each expert, where all of them spoke; what is normal is learned while it is real."""
    normal, before_s = NOTHING, None
    for row in np.flatnonzero(one.track == track).tolist():
        pts_s, face = float(one.pts_s[row]), face_at(one, row)
        lasted_s = 0.0 if before_s is None else min(pts_s - before_s, LONGEST_GAP_S)
        before_s, logits = pts_s, log_odds(face.experts)
        if face.llr is None or face.quality < CLEAR_QUALITY or set(logits) < set(experts):
            continue
        is_forged = pts_s >= one.change_s
        if normal.seen_s >= KNOWN_AFTER_S and (not is_forged or pts_s >= one.change_s + SETTLED_S):
            yield [face.llr, *(logits[name] - normal.of[name] for name in experts)], is_forged
        if not is_forged:
            normal = learned(normal, logits, None, lasted_s)


def logistic(features: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(1 + features,): the intercept and the weights of a logistic regression, by Newton's method."""
    design = np.column_stack([np.ones(len(features)), features])
    penalty = PENALTY * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    found = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (weight * (labels - chance)) - penalty @ found
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(curve, slope)
        found += step
        if float(np.abs(step).max()) < 1e-8:
            break
    return found

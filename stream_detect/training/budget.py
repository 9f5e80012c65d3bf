"""Fit the levels of alerts to real footage, and say what that footage can and cannot show.

Footage is short and a budget of false alarms is small: ten minutes of real faces say nothing directly about one alarm
in ten hours. What is counted is how often each test's statistic rises above how much; its upper tail is fitted by an
exponential and prolonged (`stream_detect.temporal.thresholds.Tail`). `cross_checked` counts alarms on people whom the
fit has not seen, and `poisson_bound` says what the unique footage allows to be claimed, which is far less.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream_detect.config import DecisionSettings
from stream_detect.errors import ConfigError
from stream_detect.temporal import Decision, Levels, RuleState, Thresholds, judged_face, probability_of
from stream_detect.temporal.thresholds import Basis, Tail
from stream_detect.training.traces import Trace
from stream_detect.types import Alert, FaceVerdict, FrameVerdict

DRIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)  # llr, among which the sequential test's is chosen
REFERENCE_LLR = 2.5  # a forgery that shows by so much is to be noticed soonest: a probability of 0.92
BUDGET = 0.1  # false alarms an hour that drifts are chosen for
TAIL_SHARE = 0.2  # of the excursions, the highest, that the tail is fitted to
FEWEST_PEAKS, MOST_PEAKS = 10, 60
LEAST_SCALE = 0.02  # of a tail, in units of its statistic: footage that never moves says little about other footage
FOLDS = 5
FEWEST_PEOPLE = 5
NEVER = math.inf

Statistic = Callable[[RuleState], float]
STATISTICS: dict[str, Statistic] = {
    "sustained": lambda state: state.cusum.level,
    "turned": lambda state: state.turned.level,
    "spike": lambda state: state.means.step,
}


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest value of one excursion of a statistic."""

    value: float
    group: str


def fit_thresholds(
    traces: Sequence[Trace], base: Thresholds, settings: DecisionSettings | None = None, *, is_checked: bool = True
) -> Thresholds:
    """The levels for footage like this, in which every face is real.

    Args:
        traces: of real clips, as they are and after wires.
        base: what is kept: the model of turning forged, the shares of the rules, what isn't fitted here.
        settings: the decision that the levels are for.
        is_checked: whether alarms on people whom the fit hasn't seen are counted; else they stay 0.

    Raises:
        ConfigError: with fewer than five people, or no face that could be judged.
    """
    settings = settings or DecisionSettings()
    check(traces)
    hours = sum(one.seconds for one in traces) / 3600
    drift, sustained = best_drift(traces, hours, base, settings)
    fitted = replace(base, drift=drift, sustained=sustained)
    spike = fit_tail(peaks_of(traces, open_levels(fitted), settings, "spike"), hours)
    turned = fit_tail(peaks_of(traces, open_levels(fitted), settings, "turned"), hours)
    fitted = replace(fitted, spike=spike, turned=fitted.turned if base.turn is None else turned)
    alarms = cross_checked(traces, base, settings) if is_checked else 0
    return replace(fitted, basis=basis_of(traces, alarms, settings.false_alarms_per_hour))


def check(traces: Sequence[Trace]) -> None:
    """Raise ConfigError unless something can be learned from these."""
    people = {one.group for one in traces if np.isfinite(one.llr).any()}
    if not people:
        raise ConfigError("no face in the clips could be judged; expected clips with faces of 40 pixels or more")
    if len(people) < FEWEST_PEOPLE:
        raise ConfigError(
            f"too few people for alert levels: expected clips of {FEWEST_PEOPLE} people or more, got {len(people)}"
        )


def basis_of(traces: Sequence[Trace], alarms: int, budget: float) -> Basis:
    """What stands behind a fit: each clip counts once, however many wires it went through."""
    unique = {(one.group, one.clip): one.seconds for one in traces}
    minutes = sum(unique.values()) / 60
    hours = sum(one.seconds for one in traces) / 3600
    wires = max(1, len({one.wire for one in traces}))
    bound = poisson_bound(math.ceil(alarms / wires), minutes / 60)
    return Basis(round(minutes, 2), len({group for group, _ in unique}), round(hours, 3), alarms, budget, bound)


def poisson_bound(events: int, hours: float, confidence: float = 0.95) -> float:
    """No rate above this many an hour is compatible with so few events in so many hours (Garwood, Biometrika 1936)."""
    from scipy.special import gammaincinv  # type: ignore[import-untyped]

    return round(float(gammaincinv(events + 1, confidence)) / max(hours, 1e-9), 3)


def best_drift(
    traces: Sequence[Trace], hours: float, base: Thresholds, settings: DecisionSettings
) -> tuple[float, Tail]:
    """The drift with which a forgery of `REFERENCE_LLR` is noticed soonest within the budget, and the tail there."""
    choices = []
    for drift in DRIFTS:
        levels = open_levels(replace(base, drift=drift, turn=None))
        choices.append((drift, fit_tail(peaks_of(traces, levels, settings, "sustained"), hours)))
    return quickest(choices, base)


def quickest(choices: Sequence[tuple[float, Tail]], base: Thresholds) -> tuple[float, Tail]:
    """Of drifts and their tails, those with which a forgery of `REFERENCE_LLR` is noticed soonest."""

    def seconds(choice: tuple[float, Tail]) -> float:
        drift, tail = choice
        return tail.at(BUDGET * base.shares["sustained"] / 2) / (REFERENCE_LLR - drift)

    return min(choices, key=seconds)


def open_levels(thresholds: Thresholds) -> Levels:
    """Levels that are never reached: for watching what the statistics do."""
    return Levels(thresholds.drift, NEVER, NEVER, NEVER, thresholds.turn, NEVER)


def fit_tail(peaks: Sequence[Peak], hours: float) -> Tail:
    """The exponential tail of the highest excursions: level, how often it is exceeded, mean excess.

    It falls off no faster than the highest of them allows: one that is far above the others counts.
    """
    values = np.sort([peak.value for peak in peaks])[::-1]
    if len(values) < 2:
        return Tail(level=float(values[0]) if len(values) else LEAST_SCALE, per_hour=1 / hours, scale=LEAST_SCALE)
    count = int(np.clip(round(TAIL_SHARE * len(values)), FEWEST_PEAKS, MOST_PEAKS))
    count = min(count, len(values) - 1)
    level = max(float(values[count]), LEAST_SCALE)
    excess = values[:count] - level
    scale = max(float(excess.mean()), float(excess[0]) / math.log(count + 1), LEAST_SCALE)
    return Tail(level, count / hours, scale)


def peaks_of(traces: Sequence[Trace], levels: Levels, settings: DecisionSettings, name: str) -> list[Peak]:
    """The peak of every excursion above zero of a statistic, on every track."""
    found = []
    for one in traces:
        for track in one.tracks:
            states = states_of(one, track, levels, settings)
            found += [Peak(value, one.group) for value in excursions(STATISTICS[name](state) for state in states)]
    return found


def excursions(values: Iterator[float]) -> Iterator[float]:
    """The highest value of each stretch above zero."""
    for is_above, stretch in itertools.groupby(values, lambda value: value > 0):
        if is_above:
            yield max(stretch)


def states_of(one: Trace, track: int, levels: Levels, settings: DecisionSettings) -> Iterator[RuleState]:
    """What the rule remembers after each look at a track."""
    state = RuleState()
    for row in np.flatnonzero(one.track == track).tolist():
        state, _ = judged_face(state, float(one.pts_s[row]), face_at(one, row), settings, levels)
        yield state


def face_at(one: Trace, row: int) -> FaceVerdict:
    """A row of a trace as the detector said it."""
    llr = float(one.llr[row])
    logits = zip(one.experts, one.logits[row].tolist(), strict=True)
    said = {name: None if math.isnan(logit) else probability_of(logit) for name, logit in logits}
    x1, y1, x2, y2 = (float(side) for side in one.box[row])
    quality, track = float(one.quality[row]), int(one.track[row])
    known = None if math.isnan(llr) else llr
    return FaceVerdict(track, (x1, y1, x2, y2), None, known, None, "inconclusive", (), said, quality)


def alerts_of(one: Trace, thresholds: Thresholds, settings: DecisionSettings) -> list[Alert]:
    """The alert lines of a feed that shows this, with the times at which they would be told."""
    decision = Decision(one.clip, settings, levels=thresholds.levels(settings))
    lines: list[Alert] = []
    for pts_s, rows in itertools.groupby(range(len(one.pts_s)), key=lambda row: float(one.pts_s[row])):
        faces = tuple(face_at(one, row) for row in rows)
        _, said = decision.judged(FrameVerdict(one.clip, 0, pts_s, f"{pts_s:.3f}", None, faces))
        lines += said
    return lines


def raised_at(one: Trace, thresholds: Thresholds, settings: DecisionSettings) -> list[float]:
    """When alerts are raised in it, in seconds of the clip."""
    said = alerts_of(one, thresholds, settings)
    return [float(alert.seen_at) for alert in said if alert.event == "raised"]


def cross_checked(traces: Sequence[Trace], base: Thresholds, settings: DecisionSettings) -> int:
    """Alarms on people whom the levels were not fitted to, over folds that leave out a fifth of the people each."""
    people = sorted({one.group for one in traces})
    alarms = 0  # the levels' own budget is that of `settings`
    for fold in range(FOLDS):
        out = set(people[fold::FOLDS])
        kept = [one for one in traces if one.group not in out]
        if len({one.group for one in kept}) < FEWEST_PEOPLE:
            continue
        fitted = fit_thresholds(kept, base, settings, is_checked=False)
        alarms += sum(len(raised_at(one, fitted, settings)) for one in traces if one.group in out)
    return alarms

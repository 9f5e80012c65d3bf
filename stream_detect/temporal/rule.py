"""The rule of one track: a pure function from what was just seen of a face to the events that follow.

A rule is `step(state, pts_s, face, settings, levels) -> (state, events)`. It holds nothing itself.

`judged_face`, the one here, keeps a leaky integral of the calibrated log likelihood ratio, the running probability:
evidence is counted by time (`looks_per_s`), not by frame, so that the frame rate does not matter. Three tests decide
when an alert is raised, each at the level that its share of the false-alarm budget allows: a sequential one of the
score (`sequential`), a sequential one of the score against what is normal for this face (`normal`), and a jump within a
second (`spike`). An alert ends when neither the score nor its comparison with the normal speaks for a forgery any more.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from stream_detect.config import DecisionSettings
from stream_detect.temporal.normal import CLEAR_QUALITY, NOTHING, Normal, learned, log_odds
from stream_detect.temporal.sequential import Cusum, passed_over, taken
from stream_detect.temporal.spike import Means, averaged
from stream_detect.temporal.thresholds import Levels
from stream_detect.types import FaceVerdict
from stream_detect.types import Rule as RuleName

MOST_CUSUM = 2.0  # times the level of an alert: more is not remembered


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule remembers of one track. Times are pts in seconds; `score` is a running log likelihood ratio."""

    score: float = 0.0
    pts_s: float | None = None  # of the last observation
    cusum: Cusum = field(default_factory=Cusum)
    normal: Normal = NOTHING  # what the face usually shows; stands still while an alert is active
    turned: Cusum = field(default_factory=Cusum)  # the sequential test against that
    turned_score: float | None = None  # the running log likelihood ratio of having turned forged; None: not known
    means: Means = field(default_factory=Means)
    raised_s: float | None = None  # when the active alert was raised
    calm_s: float | None = None  # since when an active alert's score is low
    cleared_s: float | None = None  # when the last alert ended

    @property
    def probability(self) -> float:
        """The running probability that the track is forged, in (0, 1)."""
        return probability_of(self.score)

    @property
    def suspicion(self) -> float:
        """The highest of the probabilities: running, since the estimated change, and of having turned forged."""
        turned = 0.0 if self.turned_score is None else probability_of(self.turned_score)
        return max(self.probability, probability_of(self.cusum.mean), turned)

    @property
    def is_raised(self) -> bool:
        return self.raised_s is not None

    @property
    def change_s(self) -> float | None:
        """The estimated time of the last change: where the test that has come further left zero."""
        return max(self.turned, self.cusum, key=lambda test: test.level).started_s


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """An alert begins or ends at `pts_s`; `started_s` is the estimated time of the change."""

    kind: Literal["raised", "cleared"]
    pts_s: float
    started_s: float
    rule: RuleName = "sustained"


Rule = Callable[
    [RuleState, float, FaceVerdict | None, DecisionSettings, Levels],
    tuple[RuleState, tuple[RuleEvent, ...]],
]


def judged_face(
    state: RuleState, pts_s: float, face: FaceVerdict | None, settings: DecisionSettings, levels: Levels
) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    """One observation of a track.

    Args:
        state: what is remembered; `RuleState()` for a new track.
        pts_s: time of the frame. A jump back (a stream that began again) restarts the clock and keeps the score.
        face: what was said of it. None, or no `llr` (nothing could be judged), or too low a quality leaves the score as
            it is, and the time it lasted does not count.
        levels: at which an alert is raised.

    Returns:
        The new state and at most one event.
    """
    if state.pts_s is None or pts_s < state.pts_s:
        return _restarted(state, pts_s), ()
    if face is None or face.llr is None or math.isnan(face.llr) or face.quality < settings.min_quality:
        return _paused(state, pts_s), ()
    return _decided(_integrated(state, pts_s, face, face.llr, settings, levels), settings, levels)


def forgetting(state: RuleState) -> RuleState:
    """The state in another scene, or of a face that was lost and found: what is normal has to be learned anew."""
    if state.is_raised:
        return state
    return replace(state, normal=NOTHING, turned=Cusum(0.0, state.pts_s), turned_score=None, means=Means())


def _restarted(state: RuleState, pts_s: float) -> RuleState:
    return replace(
        state,
        pts_s=pts_s,
        cleared_s=None,
        cusum=replace(state.cusum, started_s=pts_s),
        turned=replace(state.turned, started_s=pts_s),
        raised_s=None if state.raised_s is None else pts_s,
        calm_s=None if state.calm_s is None else pts_s,
    )


def _paused(state: RuleState, pts_s: float) -> RuleState:
    lasted = pts_s - (state.pts_s or 0.0)
    calm_s = None if state.calm_s is None else state.calm_s + lasted
    cusum, turned = passed_over(state.cusum, pts_s), passed_over(state.turned, pts_s)
    return replace(state, pts_s=pts_s, calm_s=calm_s, cusum=cusum, turned=turned)


def _integrated(
    state: RuleState,
    pts_s: float,
    face: FaceVerdict,
    llr: float,
    settings: DecisionSettings,
    levels: Levels,
) -> RuleState:
    elapsed = pts_s - (state.pts_s or 0.0)
    spoken_for = min(elapsed, settings.longest_gap_s)
    clipped = limited(llr, settings.llr_limit)
    after = replace(
        state,
        score=_leaked(state.score, clipped, elapsed, spoken_for, settings),
        pts_s=pts_s,
        cusum=taken(state.cusum, pts_s, clipped, spoken_for, levels.drift, MOST_CUSUM * levels.raise_at),
        means=averaged(state.means, llr, spoken_for),
    )
    if levels.turn is None:
        return after
    if face.quality < CLEAR_QUALITY:
        return replace(after, turned=passed_over(after.turned, pts_s))
    return _compared(after, llr, face.experts, elapsed, settings, levels)


def _compared(
    state: RuleState,
    llr: float,
    experts: Mapping[str, float | None],
    elapsed: float,
    settings: DecisionSettings,
    levels: Levels,
) -> RuleState:
    """The look against what is normal for this face, which it then becomes a part of unless an alert is active."""
    assert levels.turn is not None
    assert state.pts_s is not None
    spoken_for = min(elapsed, settings.longest_gap_s)
    logits = log_odds(experts)
    against = levels.turn.llr(llr, state.normal, logits)
    departure = None if against is None else state.normal.departure(against)
    normal = state.normal if state.is_raised else learned(state.normal, logits, against, spoken_for)
    if against is None or departure is None:
        return replace(state, normal=normal, turned=passed_over(state.turned, state.pts_s))
    turned = taken(state.turned, state.pts_s, departure, spoken_for, 0.0, MOST_CUSUM * levels.turn_at)
    clipped = limited(against, settings.llr_limit)
    score = _leaked(state.turned_score or 0.0, clipped, elapsed, spoken_for, settings)
    return replace(state, normal=normal, turned=turned, turned_score=score)


def _leaked(score: float, llr: float, elapsed: float, spoken_for: float, settings: DecisionSettings) -> float:
    """The leaky integral, solved exactly for an llr that was constant since the last observation."""
    kept = math.exp(-elapsed / settings.window_s)
    gained = settings.looks_per_s * settings.window_s * (1 - math.exp(-spoken_for / settings.window_s)) * llr
    return limited(score * kept + gained, settings.score_limit)


def _decided(state: RuleState, settings: DecisionSettings, levels: Levels) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    if state.raised_s is None:
        return _perhaps_raised(state, settings, levels)
    return _perhaps_cleared(state, settings)


def _perhaps_raised(
    state: RuleState, settings: DecisionSettings, levels: Levels
) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    now = _now(state)
    if state.cleared_s is not None and now - state.cleared_s < settings.cooldown_s:
        return state, ()
    rule = _reached(state, settings, levels)
    if rule is None:
        return state, ()
    started_s = now if state.change_s is None else min(state.change_s, now)
    return replace(state, raised_s=now, calm_s=None), (RuleEvent("raised", now, started_s, rule),)


def _reached(state: RuleState, settings: DecisionSettings, levels: Levels) -> RuleName | None:
    """The rule whose level is reached, if one is."""
    has_turned = levels.turn is not None and state.turned.level >= levels.turn_at
    if "sustained" in settings.rules and (has_turned or state.cusum.level >= levels.raise_at):
        return "sustained"
    if "spike" in settings.rules and state.means.step >= levels.spike_at:
        return "spike"
    return None


def _perhaps_cleared(state: RuleState, settings: DecisionSettings) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    now = _now(state)
    turned = 0.0 if state.turned_score is None else probability_of(state.turned_score)
    if max(state.probability, turned) >= settings.clear_below:
        return replace(state, calm_s=None), ()
    calm_s = now if state.calm_s is None else state.calm_s
    if now - calm_s < settings.hold_s:
        return replace(state, calm_s=calm_s), ()
    cleared = replace(state, raised_s=None, calm_s=None, cleared_s=now, cusum=Cusum(0.0, now), turned=Cusum(0.0, now))
    return cleared, (RuleEvent("cleared", now, now if state.change_s is None else state.change_s),)


def limited(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _now(state: RuleState) -> float:
    return 0.0 if state.pts_s is None else state.pts_s


def probability_of(llr: float) -> float:
    """The probability at a prior of 0.5 that a log likelihood ratio stands for."""
    return 1 / (1 + math.exp(-llr)) if llr >= 0 else math.exp(llr) / (1 + math.exp(llr))

"""The rule of one track: a pure function from what was just seen of a face to the events that follow.

A rule is `step(state, pts_s, llr, quality, settings, levels) -> (state, events)`. It holds nothing itself.

`judged_face`, the one here, keeps three things of a track. A leaky integral of the calibrated log likelihood ratio is
its running probability: evidence is counted by time (`looks_per_s`), not by frame, so that the frame rate does not
matter. A sequential test (`sequential`) and a jump (`spike`) decide when an alert is raised, each at the level that its
share of the false-alarm budget allows. The running probability decides when an alert ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from stream_detect.config import DecisionSettings
from stream_detect.temporal.sequential import Cusum, passed_over, taken
from stream_detect.temporal.spike import Means, averaged
from stream_detect.temporal.thresholds import Levels
from stream_detect.types import Rule as RuleName

MOST_CUSUM = 2.0  # times the level of an alert: more is not remembered


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule remembers of one track. Times are pts in seconds; `score` is a running log likelihood ratio."""

    score: float = 0.0
    pts_s: float | None = None  # of the last observation
    cusum: Cusum = field(default_factory=Cusum)
    means: Means = field(default_factory=Means)
    raised_s: float | None = None  # when the active alert was raised
    calm_s: float | None = None  # since when an active alert's score is low
    cleared_s: float | None = None  # when the last alert ended

    @property
    def probability(self) -> float:
        """The running probability that the track is forged, in (0, 1)."""
        return probability_of(self.score)

    @property
    def probability_since_change(self) -> float:
        """The probability of the frames since the estimated change, on average; before it another face was seen."""
        return probability_of(self.cusum.mean)

    @property
    def is_raised(self) -> bool:
        return self.raised_s is not None

    @property
    def change_s(self) -> float | None:
        """The estimated time of the last change."""
        return self.cusum.started_s


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """An alert begins or ends at `pts_s`; `started_s` is the estimated time of the change."""

    kind: Literal["raised", "cleared"]
    pts_s: float
    started_s: float
    rule: RuleName = "sustained"


Rule = Callable[
    [RuleState, float, float | None, float, DecisionSettings, Levels],
    tuple[RuleState, tuple[RuleEvent, ...]],
]


def judged_face(
    state: RuleState, pts_s: float, llr: float | None, quality: float, settings: DecisionSettings, levels: Levels
) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    """One observation of a track.

    Args:
        state: what is remembered; `RuleState()` for a new track.
        pts_s: time of the frame. A jump back (a stream that began again) restarts the clock and keeps the score.
        llr: calibrated log likelihood ratio of the frame, positive for forged; None (nothing could be judged) leaves
            the score as it is, and the time it lasted does not count.
        quality: of the frame, in [0, 1].
        levels: at which an alert is raised.

    Returns:
        The new state and at most one event.
    """
    if state.pts_s is None or pts_s < state.pts_s:
        return _restarted(state, pts_s), ()
    if llr is None or math.isnan(llr) or quality < settings.min_quality:
        return _paused(state, pts_s), ()
    return _decided(_integrated(state, pts_s, llr, settings, levels), settings, levels)


def _restarted(state: RuleState, pts_s: float) -> RuleState:
    return replace(
        state,
        pts_s=pts_s,
        cleared_s=None,
        cusum=replace(state.cusum, started_s=pts_s),
        raised_s=None if state.raised_s is None else pts_s,
        calm_s=None if state.calm_s is None else pts_s,
    )


def _paused(state: RuleState, pts_s: float) -> RuleState:
    lasted = pts_s - (state.pts_s or 0.0)
    calm_s = None if state.calm_s is None else state.calm_s + lasted
    return replace(state, pts_s=pts_s, cusum=passed_over(state.cusum, pts_s), calm_s=calm_s)


def _integrated(state: RuleState, pts_s: float, llr: float, settings: DecisionSettings, levels: Levels) -> RuleState:
    """The leaky integral, solved exactly for an llr that was constant since the last observation, and both tests."""
    elapsed = pts_s - (state.pts_s or 0.0)
    spoken_for = min(elapsed, settings.longest_gap_s)
    clipped = max(-settings.llr_limit, min(settings.llr_limit, llr))
    kept = math.exp(-elapsed / settings.window_s)
    gained = settings.looks_per_s * settings.window_s * (1 - math.exp(-spoken_for / settings.window_s)) * clipped
    score = max(-settings.score_limit, min(settings.score_limit, state.score * kept + gained))
    most = MOST_CUSUM * levels.raise_at
    cusum = taken(state.cusum, pts_s, clipped, spoken_for, levels.drift, most)
    return replace(state, score=score, pts_s=pts_s, cusum=cusum, means=averaged(state.means, clipped, spoken_for))


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
    if "sustained" in settings.rules and state.cusum.level >= levels.raise_at:
        return "sustained"
    if "spike" in settings.rules and state.means.step >= levels.spike_at:
        return "spike"
    return None


def _perhaps_cleared(state: RuleState, settings: DecisionSettings) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    now = _now(state)
    if state.probability >= settings.clear_below:
        return replace(state, calm_s=None), ()
    calm_s = now if state.calm_s is None else state.calm_s
    if now - calm_s < settings.hold_s:
        return replace(state, calm_s=calm_s), ()
    cleared = replace(state, raised_s=None, calm_s=None, cleared_s=now, cusum=Cusum(0.0, now))
    return cleared, (RuleEvent("cleared", now, now if state.change_s is None else state.change_s),)


def _now(state: RuleState) -> float:
    return 0.0 if state.pts_s is None else state.pts_s


def probability_of(llr: float) -> float:
    """The probability at a prior of 0.5 that a log likelihood ratio stands for."""
    return 1 / (1 + math.exp(-llr)) if llr >= 0 else math.exp(llr) / (1 + math.exp(llr))

"""Rules: pure functions from what was just seen of a face to the events that follow.

A rule is `step(state, pts_s, llr, quality, settings) -> (state, events)`. It holds nothing itself, so another rule,
such as a sequential test with a false-alarm budget, replaces it without touching anything else.

The rule here, `sustained`, keeps a leaky integral of the calibrated log likelihood ratio: neighbouring frames show
nearly the same picture, so evidence is counted by time (`looks_per_s`), not by frame, and the frame rate does not
matter. The time of the change is where a CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) last left zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from stream_detect.config import DecisionSettings


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule remembers of one track. Times are pts in seconds; `score` is a running log likelihood ratio."""

    score: float = 0.0
    pts_s: float | None = None  # of the last observation
    cusum: float = 0.0
    change_s: float | None = None  # where the CUSUM last was at zero
    raised_s: float | None = None  # when the active alert was raised
    calm_s: float | None = None  # since when an active alert's score is low
    cleared_s: float | None = None  # when the last alert ended

    @property
    def probability(self) -> float:
        """The running probability that the track is forged, in (0, 1)."""
        return probability_of(self.score)

    @property
    def is_raised(self) -> bool:
        return self.raised_s is not None


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """An alert begins or ends at `pts_s`; `started_s` is the estimated time of the change."""

    kind: Literal["raised", "cleared"]
    pts_s: float
    started_s: float


Rule = Callable[
    [RuleState, float, float | None, float, DecisionSettings],
    tuple[RuleState, tuple[RuleEvent, ...]],
]


def sustained(
    state: RuleState, pts_s: float, llr: float | None, quality: float, settings: DecisionSettings
) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    """One observation of a track.

    Args:
        state: what is remembered; `RuleState()` for a new track.
        pts_s: time of the frame. A jump back (a stream that began again) restarts the clock and keeps the score.
        llr: calibrated log likelihood ratio of the frame, positive for forged; None (nothing could be judged) leaves
            the score as it is, and the time it lasted does not count.
        quality: of the frame, in [0, 1].

    Returns:
        The new state and at most one event.
    """
    if state.pts_s is None or pts_s < state.pts_s:
        return _restarted(state, pts_s), ()
    if llr is None or math.isnan(llr) or quality < settings.min_quality:
        return _paused(state, pts_s), ()
    return _decided(_integrated(state, pts_s, llr, settings), settings)


def _restarted(state: RuleState, pts_s: float) -> RuleState:
    moved = replace(state, pts_s=pts_s, change_s=pts_s, cleared_s=None)
    return replace(
        moved,
        raised_s=None if state.raised_s is None else pts_s,
        calm_s=None if state.calm_s is None else pts_s,
    )


def _paused(state: RuleState, pts_s: float) -> RuleState:
    lasted = pts_s - (state.pts_s or 0.0)
    is_quiet = state.cusum == 0.0
    return replace(
        state,
        pts_s=pts_s,
        change_s=pts_s if is_quiet else state.change_s,
        calm_s=None if state.calm_s is None else state.calm_s + lasted,
    )


def _integrated(state: RuleState, pts_s: float, llr: float, settings: DecisionSettings) -> RuleState:
    """The leaky integral, solved exactly for an llr that was constant since the last observation."""
    elapsed = pts_s - (state.pts_s or 0.0)
    spoken_for = min(elapsed, settings.longest_gap_s)
    clipped = max(-settings.llr_limit, min(settings.llr_limit, llr))
    kept = math.exp(-elapsed / settings.window_s)
    gained = settings.looks_per_s * settings.window_s * (1 - math.exp(-spoken_for / settings.window_s)) * clipped
    score = max(-settings.score_limit, min(settings.score_limit, state.score * kept + gained))
    cusum = max(0.0, state.cusum + settings.looks_per_s * spoken_for * (clipped - settings.drift))
    change_s = pts_s if cusum == 0.0 else _left_zero(state, pts_s, spoken_for)
    return replace(state, score=score, pts_s=pts_s, cusum=cusum, change_s=change_s)


def _left_zero(state: RuleState, pts_s: float, spoken_for: float) -> float:
    if state.cusum > 0.0 and state.change_s is not None:
        return state.change_s
    return pts_s - spoken_for


def _decided(state: RuleState, settings: DecisionSettings) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    if state.raised_s is None:
        return _perhaps_raised(state, settings)
    return _perhaps_cleared(state, settings)


def _perhaps_raised(state: RuleState, settings: DecisionSettings) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    now = _now(state)
    is_quiet = state.cleared_s is not None and now - state.cleared_s < settings.cooldown_s
    if is_quiet or state.probability < settings.raise_above:
        return state, ()
    started_s = now if state.change_s is None else state.change_s
    return replace(state, raised_s=now, calm_s=None), (RuleEvent("raised", now, started_s),)


def _perhaps_cleared(state: RuleState, settings: DecisionSettings) -> tuple[RuleState, tuple[RuleEvent, ...]]:
    now = _now(state)
    if state.probability >= settings.clear_below:
        return replace(state, calm_s=None), ()
    calm_s = now if state.calm_s is None else state.calm_s
    if now - calm_s < settings.hold_s:
        return replace(state, calm_s=calm_s), ()
    cleared = replace(state, raised_s=None, calm_s=None, cleared_s=now)
    return cleared, (RuleEvent("cleared", now, now if state.change_s is None else state.change_s),)


def _now(state: RuleState) -> float:
    return 0.0 if state.pts_s is None else state.pts_s


def probability_of(llr: float) -> float:
    """The probability at a prior of 0.5 that a log likelihood ratio stands for."""
    return 1 / (1 + math.exp(-llr)) if llr >= 0 else math.exp(llr) / (1 + math.exp(llr))

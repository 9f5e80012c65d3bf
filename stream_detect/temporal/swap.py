"""The rule `feed_swap`: the whole picture's fingerprint changes and stays so, as when another source is put on air.

A sequential test (CUSUM: Page, Biometrika 41, 1954) of how far the mean of the last second lies from the feed's own
running mean, in its own running spread (drawn towards the usual one while little was seen): the root mean square over
the features, as in Hotelling's statistic without the correlations, which a minute of one feed can't give. What is
suspicious is not learned; once the new state has lasted it becomes the normal one, and the alert is cleared.

A production that cuts from camera to camera changes as well. Its own history counts: a state that was normal before is
known again, and each change of the last ten minutes raises the level for the next one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from stream_detect.temporal.rule import RuleEvent

LOOKS_HZ = 2.0  # fingerprints a second
KNOWN_AFTER_S = 3.0  # of fingerprints, before which nobody knows what is normal for a feed
MEMORY_S = 60.0  # time constant of what is normal
SHORT_LOOKS = 2  # that are averaged, the newest ones
USUAL_SPREAD = 0.25  # of a feature in a feed that goes on, in natural logarithms of power, and how many looks that
USUAL_LOOKS = 10.0  # is worth against the feed's own
FAR = 3.0  # spreads; a distance that is less never adds up
MOST_FAR = 20.0  # one look counts for at most so much
STAYS_S = 6.0  # how long a new state has to last until it is the normal one
LONGEST_GAP_S = 1.5  # between fingerprints; after more the feed's normal is kept and the test begun anew
HISTORY_S = 600.0  # over which changes are counted
MOST_STATES = 8  # normal ones that are known again

Vector = Float[np.ndarray, " features"]


@dataclass(frozen=True, slots=True, eq=False)
class SwapState:
    """What is remembered of a feed. Times are pts in seconds; `level` is in spreads times seconds."""

    pts_s: float | None = None  # of the last fingerprint
    mean: Vector | None = None
    variance: Vector | None = None
    seen_s: float = 0.0  # evidence for these two
    recent: tuple[Vector, ...] = ()  # the newest fingerprints
    level: float = 0.0
    started_s: float | None = None  # where the level left zero
    new: tuple[Vector, ...] = field(default=())  # fingerprints since then
    raised_s: float | None = None
    changes_s: tuple[float, ...] = ()  # when the feed changed lately
    states: tuple[Vector, ...] = ()  # that were normal before


def feed_swap(
    state: SwapState, pts_s: float, fingerprint: Vector | None, raise_at: float
) -> tuple[SwapState, tuple[RuleEvent, ...]]:
    """One look at a feed.

    Args:
        state: `SwapState()` for a new feed.
        pts_s: time of the frame; a jump back begins anew.
        fingerprint: of the frame; None where there is none, which counts for nothing.
        raise_at: level at which an alert is raised, in spreads times seconds.

    Returns:
        The new state and at most one event.
    """
    if fingerprint is None:
        return state, ()
    if state.pts_s is None or pts_s < state.pts_s or state.mean is None:
        return SwapState(pts_s, fingerprint, np.zeros_like(fingerprint)), ()
    lasted_s = pts_s - state.pts_s
    if lasted_s > LONGEST_GAP_S:
        return replace(state, pts_s=pts_s, recent=(fingerprint,), level=0.0, started_s=None, new=()), ()
    recent = (*state.recent, fingerprint)[-SHORT_LOOKS:]
    state = replace(state, pts_s=pts_s, recent=recent)
    far = distance(state, np.mean(recent, axis=0)) - FAR if state.seen_s >= KNOWN_AFTER_S else -FAR
    if far <= 0.0 and state.level == 0.0 and state.raised_s is None:
        return learned(state, fingerprint, lasted_s), ()
    return suspected(state, fingerprint, far, lasted_s, raise_at)


def distance(state: SwapState, vector: Vector) -> float:
    """How far a fingerprint lies from the feed's normal, or from a state that was normal before, in spreads."""
    assert state.mean is not None
    assert state.variance is not None
    looks = LOOKS_HZ * min(state.seen_s, MEMORY_S)
    usual = USUAL_LOOKS * USUAL_SPREAD**2
    spread = np.sqrt((looks * state.variance + usual) / (looks + USUAL_LOOKS))
    return min(far_from(vector, mean, spread) for mean in (state.mean, *state.states))


def far_from(vector: Vector, mean: Vector, spread: Vector) -> float:
    """The root mean square of what lies between two fingerprints, in spreads."""
    return float(np.sqrt(np.mean(((vector - mean) / spread) ** 2)))


def learned(state: SwapState, fingerprint: Vector, lasted_s: float) -> SwapState:
    """The normal with one look more: plain means until `MEMORY_S` were seen, then ones that fade."""
    assert state.mean is not None
    assert state.variance is not None
    seen_s = state.seen_s + lasted_s
    gain = min(1.0, lasted_s / min(max(seen_s, 1e-9), MEMORY_S))
    off = fingerprint - state.mean
    variance = (1 - gain) * (state.variance + gain * off**2)
    return replace(state, mean=state.mean + gain * off, variance=variance, seen_s=seen_s)


def suspected(
    state: SwapState, fingerprint: Vector, far: float, lasted_s: float, raise_at: float
) -> tuple[SwapState, tuple[RuleEvent, ...]]:
    """A look while the picture is, or was a moment ago, not what is normal."""
    now = state.pts_s or 0.0
    level = max(0.0, state.level + min(far, MOST_FAR) * lasted_s)
    if level == 0.0:  # it is as it was
        events = () if state.raised_s is None else (RuleEvent("cleared", now, state.raised_s, "feed_swap"),)
        return replace(state, level=0.0, started_s=None, new=(), raised_s=None), events
    started_s = now - lasted_s if state.started_s is None else state.started_s
    state = replace(state, level=min(level, 2 * raise_at), started_s=started_s, new=(*state.new, fingerprint))
    if state.raised_s is None and level >= raise_at * (1 + len(lately(state))):
        raised = replace(state, raised_s=now, changes_s=(*lately(state), now))
        return raised, (RuleEvent("raised", now, started_s, "feed_swap"),)
    if now - started_s >= STAYS_S:
        return settled(state)
    return state, ()


def lately(state: SwapState) -> tuple[float, ...]:
    """The changes that still count."""
    now = state.pts_s or 0.0
    return tuple(at for at in state.changes_s if 0 <= now - at <= HISTORY_S)


def settled(state: SwapState) -> tuple[SwapState, tuple[RuleEvent, ...]]:
    """The new state is the normal one from now on; the old one would be known again."""
    assert state.mean is not None
    now, new = state.pts_s or 0.0, np.array(state.new)
    events = () if state.raised_s is None else (RuleEvent("cleared", now, state.raised_s, "feed_swap"),)
    changes = lately(state) if state.raised_s is not None else (*lately(state), now)
    normal = SwapState(
        pts_s=now,
        mean=new.mean(axis=0),
        variance=new.var(axis=0),
        seen_s=STAYS_S,
        recent=state.recent,
        changes_s=changes,
        states=(*state.states, state.mean)[-MOST_STATES:],
    )
    return normal, events


def levels_of(pts_s: Sequence[float], fingerprints: Sequence[Vector | None]) -> list[float]:
    """How the test's level went over a stream, were it never to raise an alert: for fitting."""
    state, levels = SwapState(), []
    for at, fingerprint in zip(pts_s, fingerprints, strict=True):
        state, _ = feed_swap(state, at, fingerprint, math.inf)
        levels.append(state.level)
    return levels

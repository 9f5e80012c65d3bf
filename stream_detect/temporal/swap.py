"""The rule `feed_swap`: the whole picture's fingerprint changes and stays so, as when another source is put on air.

Every tile of the picture is compared with what its place usually shows; the median over the places is what all of them
have in common: not what is to be seen, but what it went through. A sequential test (CUSUM: Page, Biometrika 41, 1954)
adds up how far that lies from zero in its own running spread (drawn towards the usual one while little was seen): the
root mean square over the features, as in Hotelling's statistic without the correlations, which a minute of one feed
can't give. What is suspicious is not learned; once the new state has lasted it becomes the normal one, and the alert is
cleared.

A production that cuts from camera to camera changes as well. Its own history counts: a state that was normal before is
known again, and each change of the last ten minutes raises the level for the next one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from stream_detect.temporal.rule import RuleEvent

LOOKS_HZ = 2.0  # fingerprints a second
KNOWN_AFTER_S = 3.0  # of fingerprints, before which nobody knows what is normal for a feed
MEMORY_S = 60.0  # time constant of what is normal
SHORT_LOOKS = 2  # that are averaged, the newest ones
USUAL_SPREAD = 0.1  # of a feature in a feed that goes on, in natural logarithms of power, and how many looks that
USUAL_LOOKS = 10.0  # is worth against the feed's own
FAR = 2.5  # spreads; a distance that is less never adds up
MOST_FAR = 20.0  # one look counts for at most so much
FEWEST_PLACES = 4  # that are known before and now
STAYS_S = 6.0  # how long a new state has to last until it is the normal one
LONGEST_GAP_S = 1.5  # between fingerprints; after more the feed's normal is kept and the test begun anew
HISTORY_S = 600.0  # over which changes are counted
MOST_STATES = 8  # normal ones that are known again

Prints = Float[np.ndarray, "places features"]
Vector = Float[np.ndarray, " features"]


@dataclass(frozen=True, slots=True, eq=False)
class SwapState:
    """What is remembered of a feed. Times are pts in seconds; `level` is in spreads times seconds."""

    pts_s: float | None = None  # of the last fingerprint
    usual: Prints | None = None  # at each place, NaN where nothing was seen yet
    variance: Vector | None = None  # of what the places have in common against that
    seen_s: float = 0.0  # evidence for these two
    recent: tuple[Prints, ...] = ()  # the newest fingerprints
    level: float = 0.0
    started_s: float | None = None  # where the level left zero
    new: tuple[Prints, ...] = ()  # fingerprints since then
    raised_s: float | None = None
    changes_s: tuple[float, ...] = ()  # when the feed changed lately
    states: tuple[Prints, ...] = ()  # that were normal before


def feed_swap(
    state: SwapState, pts_s: float, fingerprint: Prints | None, raise_at: float
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
    if state.pts_s is None or state.usual is None or pts_s < state.pts_s:
        return SwapState(pts_s, fingerprint, np.zeros(fingerprint.shape[1]), recent=(fingerprint,)), ()
    lasted_s = pts_s - state.pts_s
    if lasted_s > LONGEST_GAP_S:
        return replace(state, pts_s=pts_s, recent=(fingerprint,), level=0.0, started_s=None, new=()), ()
    usual, recent = state.usual, (*state.recent, fingerprint)[-SHORT_LOOKS:]
    state = replace(state, pts_s=pts_s, recent=recent)
    off = common(averaged(recent), usual)
    if off is None:
        return state, ()
    far = distance(state, off) - FAR if state.seen_s >= KNOWN_AFTER_S else -FAR
    if far <= 0.0 and state.level == 0.0 and state.raised_s is None:
        return learned(state, fingerprint, off, lasted_s), ()
    return suspected(state, fingerprint, far, lasted_s, raise_at)


def common(prints: Prints, usual: Prints) -> Vector | None:
    """What all places have in common against what they usually show; None where too few are known."""
    off = prints - usual
    off = off[np.isfinite(off).all(axis=1)]
    return np.median(off, axis=0) if len(off) >= FEWEST_PLACES else None


def averaged(prints: Sequence[Prints]) -> Prints:
    """The mean of fingerprints, at every place of those that know it."""
    together = np.array(prints)
    known = np.isfinite(together)
    total = np.where(known, together, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def distance(state: SwapState, off: Vector) -> float:
    """How far the picture lies from the feed's normal, or from a state that was normal before, in spreads."""
    assert state.variance is not None
    looks = LOOKS_HZ * min(state.seen_s, MEMORY_S)
    spread = np.sqrt((looks * state.variance + USUAL_LOOKS * USUAL_SPREAD**2) / (looks + USUAL_LOOKS))
    now = averaged(state.recent)
    known = [known for before in state.states if (known := common(now, before)) is not None]
    return min(float(np.sqrt(np.mean((one / spread) ** 2))) for one in (off, *known))


def learned(state: SwapState, fingerprint: Prints, off: Vector, lasted_s: float) -> SwapState:
    """The normal with one look more: plain means until `MEMORY_S` were seen, then ones that fade."""
    assert state.usual is not None
    assert state.variance is not None
    seen_s = state.seen_s + lasted_s
    gain = min(1.0, lasted_s / min(max(seen_s, 1e-9), MEMORY_S))
    moved = np.where(np.isfinite(state.usual), state.usual + gain * (fingerprint - state.usual), fingerprint)
    usual = np.where(np.isfinite(fingerprint), moved, state.usual)
    variance = state.variance + gain * (off**2 - state.variance)
    return replace(state, usual=usual, variance=variance, seen_s=seen_s)


def suspected(
    state: SwapState, fingerprint: Prints, far: float, lasted_s: float, raise_at: float
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
    return settled(state) if now - started_s >= STAYS_S else (state, ())


def lately(state: SwapState) -> tuple[float, ...]:
    """The changes that still count."""
    now = state.pts_s or 0.0
    return tuple(at for at in state.changes_s if 0 <= now - at <= HISTORY_S)


def settled(state: SwapState) -> tuple[SwapState, tuple[RuleEvent, ...]]:
    """The new state is the normal one from now on; the old one would be known again."""
    assert state.usual is not None
    now = state.pts_s or 0.0
    events = () if state.raised_s is None else (RuleEvent("cleared", now, state.raised_s, "feed_swap"),)
    changes = lately(state) if state.raised_s is not None else (*lately(state), now)
    normal = SwapState(
        pts_s=now,
        usual=averaged(state.new),
        variance=state.variance,
        seen_s=STAYS_S,
        recent=state.recent,
        changes_s=changes,
        states=(*state.states, state.usual)[-MOST_STATES:],
    )
    return normal, events


def levels_of(pts_s: Sequence[float], fingerprints: Sequence[Prints | None]) -> list[float]:
    """How the test's level went over a stream, were it never to raise an alert: for fitting."""
    state, levels = SwapState(), []
    for at, fingerprint in zip(pts_s, fingerprints, strict=True):
        state, _ = feed_swap(state, at, fingerprint, math.inf)
        levels.append(state.level)
    return levels

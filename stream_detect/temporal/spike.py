"""The rule `spike`: a face that looked real turns forged within a second, however short it lasts.

The statistic is the step between two exponentially weighted means of the log likelihood ratio, a quick one of the last
quarter second and a slow one of the last seconds (an EWMA chart: Roberts, Technometrics 1, 1959). The slow one hardly
follows what exceeds it by far, or a jump would hide itself. The step counts only while the quick mean itself speaks for
a forgery. The level comes from real footage, as that of the sequential test does.
"""

import math
from dataclasses import dataclass

FAST_S, SLOW_S = 0.25, 2.0  # time constants
KNOWN_AFTER_S = 1.0  # of evidence, before which nobody knows what is normal for a face
FAR = 1.5  # a look that exceeds the slow mean by more is learned
RELUCTANCE = 10.0  # times as slowly
LIMIT = 6.0  # one look's log likelihood ratio counts for at most this much, either way
LEAST_FAST = 1.5  # the quick mean must speak at least so much for a forgery: a probability of 0.82


@dataclass(frozen=True, slots=True)
class Means:
    """The two means of one track, in units of llr, and how long it was seen."""

    fast: float = 0.0
    slow: float = 0.0
    seen_s: float = 0.0

    @property
    def step(self) -> float:
        """How far the quick mean stands above the slow one; 0 where that tells nothing."""
        if self.seen_s < KNOWN_AFTER_S or self.fast < LEAST_FAST:
            return 0.0
        return max(0.0, self.fast - self.slow)


def averaged(means: Means, llr: float, lasted_s: float) -> Means:
    """One look: an llr that held for so many seconds."""
    llr = max(-LIMIT, min(LIMIT, llr))
    if means.seen_s == 0.0:
        return Means(llr, llr, max(lasted_s, 1e-9))
    slow_s = SLOW_S * (RELUCTANCE if llr > means.slow + FAR else 1.0)
    fast = llr + (means.fast - llr) * math.exp(-lasted_s / FAST_S)
    slow = llr + (means.slow - llr) * math.exp(-lasted_s / slow_s)
    return Means(fast, slow, means.seen_s + lasted_s)

"""What is normal for one face, and what a frame says against that.

People, cameras and codecs differ more from one another than a person's forgery differs from that person: seen against
its own recent past, a face that turns forged stands out where its score alone does not. Each track keeps a slow mean of
what every expert reported. How a frame departs from it is weighed by a linear model, learned from feeds in which a real
face turns into a forged one: a logistic regression between what a real face does in time and what turning forged does
(Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2009, section 4.4). The result is a log
likelihood ratio again, of having turned forged since against being the same real face.

Some faces move and change more than others: so that ratio is measured in the spread that it has in this track (drawn
towards a usual one while little was seen), and counts only as far as it lies more than `SPREADS` of them above its mean
and speaks for a forgery at all. What does is not learned as normal. A face that was forged from its first frame on is
normal to itself: there the score alone tells; so it does where the picture is poor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

KNOWN_AFTER_S = 1.0  # of evidence, before which nobody knows what is normal for a face
SPREAD_AFTER_S = 0.5  # of ratios, before which nobody knows how they spread
MEMORY_S = 10.0  # time constant of what is normal
SPREADS = 3.0  # so far above its mean a ratio counts as usual
USUAL_SPREAD = 0.7  # of a track's ratios, and how many looks that is worth against its own
USUAL_LOOKS = 4.0
LOOKS_PER_S = 2.0  # independent ones, by the correlation of ratios in time
LEARNED_SPREADS = 3.0  # what departs further is learned as if it departed so far
MOST_SPREADS = 12.0  # one look counts for at most so much
CLEAR_QUALITY = 0.8  # of a frame; poorer ones, such as of faces below 70 pixels, tell nothing of what is normal
LOGIT_LIMIT = 6.0  # one expert's log odds count for at most this much, either way


@dataclass(frozen=True, slots=True)
class TurnModel:
    """Log likelihood ratio = bias + of_llr * llr + sum of `of_change[expert]` * (its log odds - their mean so far)."""

    bias: float
    of_llr: float
    of_change: Mapping[str, float]  # expert -> weight

    def llr(self, llr: float, normal: "Normal", logits: Mapping[str, float]) -> float | None:
        """What a frame says against what was normal; None where that isn't known, or an expert says nothing."""
        if not normal.is_known or any(name not in logits or name not in normal.of for name in self.of_change):
            return None
        changed = sum(weight * (logits[name] - normal.of[name]) for name, weight in self.of_change.items())
        return self.bias + self.of_llr * llr + changed


@dataclass(frozen=True, slots=True)
class Normal:
    """What one track usually shows over the last seconds."""

    of: Mapping[str, float]  # expert -> mean log odds
    seen_s: float = 0.0  # evidence for that
    mean: float = 0.0  # of the ratios of `TurnModel`
    variance: float = 0.0  # of them
    compared_s: float = 0.0  # evidence for these two

    @property
    def is_known(self) -> bool:
        return self.seen_s >= KNOWN_AFTER_S

    @property
    def spread(self) -> float:
        """Standard deviation of the ratios, drawn towards the usual one."""
        looks = LOOKS_PER_S * min(self.compared_s, MEMORY_S)
        return math.sqrt((looks * self.variance + USUAL_LOOKS * USUAL_SPREAD**2) / (looks + USUAL_LOOKS))

    def departure(self, against: float) -> float | None:
        """By how many spreads a ratio exceeds what is usual here; None while that isn't known."""
        if self.compared_s < SPREAD_AFTER_S:
            return None
        usual = max(0.0, self.mean + SPREADS * self.spread)
        return max(-MOST_SPREADS, min(MOST_SPREADS, (against - usual) / self.spread))


NOTHING = Normal({})


def learned(normal: Normal, logits: Mapping[str, float], against: float | None, lasted_s: float) -> Normal:
    """One look more: plain means until `MEMORY_S` were seen, then ones that fade; what is suspicious is left out."""
    departure = None if against is None else normal.departure(against)
    if departure is not None and departure > 0:
        return normal
    seen_s, gain = _gain(normal.seen_s, lasted_s)
    known = {name: (before := normal.of.get(name, value)) + gain * (value - before) for name, value in logits.items()}
    after = replace(normal, of={**normal.of, **known}, seen_s=seen_s)
    return after if against is None else _with_ratio(after, against, lasted_s)


def _with_ratio(normal: Normal, against: float, lasted_s: float) -> Normal:
    compared_s, gain = _gain(normal.compared_s, lasted_s)
    off = 0.0 if normal.compared_s == 0 else against - normal.mean
    if normal.compared_s >= SPREAD_AFTER_S:
        most = LEARNED_SPREADS * normal.spread
        off = max(-most, min(most, off))
    mean = against if normal.compared_s == 0 else normal.mean + gain * off
    return replace(normal, mean=mean, variance=(1 - gain) * (normal.variance + gain * off**2), compared_s=compared_s)


def _gain(before_s: float, lasted_s: float) -> tuple[float, float]:
    """The evidence with this look, in seconds, and the look's weight in a mean over it."""
    after_s = max(before_s + lasted_s, 1e-9)
    return after_s, min(1.0, lasted_s / min(after_s, MEMORY_S))


def log_odds(experts: Mapping[str, float | None]) -> dict[str, float]:
    """What each expert reports as log odds, of those that say something."""
    return {name: _logit(p) for name, p in experts.items() if p is not None}


def _logit(probability: float) -> float:
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(LOGIT_LIMIT, probability - 0.5)
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, math.log(probability) - math.log1p(-probability)))

"""From single frames to decisions on a followed face and on a feed as a whole."""

from stream_detect.temporal.decision import Decision
from stream_detect.temporal.rule import Rule, RuleEvent, RuleState, judged_face, probability_of
from stream_detect.temporal.thresholds import Levels, Thresholds

__all__ = ["Decision", "Levels", "Rule", "RuleEvent", "RuleState", "Thresholds", "judged_face", "probability_of"]

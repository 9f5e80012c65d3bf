"""From single frames to decisions on a followed face."""

from stream_detect.temporal.decision import Decision
from stream_detect.temporal.rule import Rule, RuleEvent, RuleState, probability_of, sustained

__all__ = ["Decision", "Rule", "RuleEvent", "RuleState", "probability_of", "sustained"]

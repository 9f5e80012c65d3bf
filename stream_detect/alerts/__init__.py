"""Where frames, alerts and status lines go."""

from stream_detect.alerts.jsonl import JsonlSink
from stream_detect.alerts.sink import Line, Sink

__all__ = ["JsonlSink", "Line", "Sink"]

"""Statuses and alerts as log records, for a service whose output a machine reads."""

import logging
import time
from collections.abc import Callable
from typing import Any

from stream_detect.alerts.sink import Line
from stream_detect.alerts.troubles import Kind, News, Troubles
from stream_detect.alerts.words import alert_words
from stream_detect.types import Alert, FrameVerdict, Status, rounded

LEVELS: dict[Kind, int] = {
    "begins": logging.INFO,
    "trouble": logging.WARNING,
    "over": logging.WARNING,  # whoever reads that a feed was lost wants to read that it came back
    "final": logging.INFO,  # but a feed that failed is an error
}
feeds_log = logging.getLogger("stream_detect.feeds")
alerts_log = logging.getLogger("stream_detect.alerts")


class LogSink:
    """Logs each trouble of a feed once, with its count when it is over, and each alert; frames are not told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._troubles = Troubles(clock)

    def take(self, line: Line) -> None:
        if isinstance(line, Alert):
            level = logging.DEBUG if line.event == "updated" else logging.WARNING
            alerts_log.log(level, "%s", alert_words(line), extra=alert_fields(line))
        elif not isinstance(line, FrameVerdict) and (news := self._troubles.news(line)):
            level = logging.ERROR if line.state == "failed" else LEVELS[news.kind]
            feeds_log.log(level, "%s  %s", news.source, news.text, extra=status_fields(line, news))

    def close(self) -> None:
        """Nothing is left to be written: every record is told at once."""


def alert_fields(alert: Alert) -> dict[str, Any]:
    """What a machine reads of an alert beside its words."""
    return {
        "feed": alert.source,
        "event": alert.event,
        "alert": alert.id,
        "rule": alert.rule,
        "track": alert.track,
        "fake_probability": rounded(alert.fake_probability),
    }


def status_fields(status: Status, news: News) -> dict[str, Any]:
    """What a machine reads of a status beside its words; counts of frames at the end only."""
    fields: dict[str, Any] = {"feed": news.source, "state": news.state}
    if news.faults:
        fields["faults"] = news.faults
    if news.lasted_s is not None:
        fields["lasted_s"] = rounded(news.lasted_s, 1)
    if news.kind == "final":
        fields |= {"frames": status.frames, "analysed": status.analysed, "dropped": dict(status.dropped)}
    return fields

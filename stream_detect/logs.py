"""What the program says beside its lines: records of `stream_detect.*` on stderr, few, and without a secret in them."""

import copy
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from stream_detect.errors import UsageError
from stream_detect.redact import redact

LEVELS = ("debug", "info", "warning", "error")
OURS = "stream_detect"
OTHERS = ("uvicorn", "libav")  # whose warnings are ours to tell: the server's, and FFmpeg's at level debug
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # what could pass for a line of its own
ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
NOT_TOLD = ("color_message",)  # the same message once more, in colours


class Logging:
    """The handler of a run. Close it, or use it in a `with`: then everything is as it was before."""

    def __init__(self, handler: logging.Handler, level: str) -> None:
        self._handler = handler
        self._loggers = [logging.getLogger(name) for name in (OURS, *OTHERS)]
        self._before = [(logger.level, logger.propagate) for logger in self._loggers]
        for logger in self._loggers:
            logger.addHandler(handler)
            logger.setLevel("WARNING" if level == "info" and logger.name != OURS else level.upper())
            logger.propagate = False
        self._hears_ffmpeg = level == "debug"
        if self._hears_ffmpeg:
            _let_ffmpeg_speak(True)

    def __enter__(self) -> "Logging":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the handler away again; may be called twice."""
        for logger, (level, propagate) in zip(self._loggers, self._before, strict=True):
            logger.removeHandler(self._handler)
            logger.setLevel(level)
            logger.propagate = propagate
        self._loggers, self._before = [], []
        if self._hears_ffmpeg:
            self._hears_ffmpeg = False
            _let_ffmpeg_speak(False)


def configure(level: str = "warning", *, is_json: bool = False) -> Logging:
    """Tell records of at least `level` on stderr: a line of words each, or a JSON object each.

    At "debug" FFmpeg's own warnings are told, too. That is meant for finding a fault, not for every day: FFmpeg says
    the same of every frame.

    Raises:
        UsageError: for a level that does not exist.
    """
    if level not in LEVELS:
        raise UsageError(f"no log level {level!r}; expected one of {', '.join(LEVELS)}")
    handler = StderrHandler()
    handler.setFormatter(json_lines() if is_json else WordsFormatter())
    return Logging(handler, level)


def json_lines() -> logging.Formatter:
    """A formatter that makes one JSON object of a record: time, level, logger, message, and what came with it."""
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        json_ensure_ascii=False,
    )


class WordsFormatter(logging.Formatter):
    """Such as `2026-11-23T13:00:00Z WARNING cam1  reconnecting: nobody listens there`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at that moment, so that a live table can move out of the way."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # nobody reads it any more: no reason to stop watching
            print(self.format(redacted(record)), file=sys.stderr, flush=True)


def redacted(record: logging.LogRecord) -> logging.LogRecord:
    """A copy of a record in which no text holds a secret, and the message is one line."""
    told = copy.copy(record)
    told.msg, told.args = one_line(redact(message_of(record))), None
    if record.exc_info and record.exc_info[1] is not None:
        told.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    told.exc_info = None
    told.stack_info = record.stack_info and redact(record.stack_info)
    for name, value in vars(record).items():
        if name in NOT_TOLD:
            delattr(told, name)
        elif name not in ORDINARY:
            setattr(told, name, without_secrets(value))
    return told


def one_line(text: str) -> str:
    """`text` without what could pass for another line, or move a terminal's cursor."""
    return CONTROL.sub(" ", text)


def message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that don't fit their text: the text alone is better than nothing
        return str(record.msg)


def without_secrets(value: Any) -> Any:
    """`value` with every text in it redacted, however deep it lies."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(without_secrets(key)): without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [without_secrets(item) for item in value]
    return redact(str(value))


def _let_ffmpeg_speak(is_heard: bool) -> None:
    import av.logging

    av.logging.set_level(av.logging.WARNING if is_heard else None)

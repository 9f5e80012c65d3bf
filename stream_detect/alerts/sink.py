"""What every sink is: something that takes what `watch` gives and is closed at the end."""

from typing import Protocol, runtime_checkable

from stream_detect.types import Alert, FrameVerdict, Status

Line = FrameVerdict | Alert | Status


@runtime_checkable
class Sink(Protocol):
    """Takes lines in order; `close` may be called twice."""

    def take(self, line: Line) -> None: ...

    def close(self) -> None: ...

"""A reader with everything it says and gives, and ways to wait for it, for tests of live sources."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, SourceOptions, open_source
from stream_detect.types import Status

QUICK = SourceOptions(open_timeout_s=4.0, read_timeout_s=1.5)


class Following:
    """Follows a source and collects frames and statuses: `with Following(url) as feed: feed.wait_for_frames(5)`."""

    def __init__(self, text: str, options: SourceOptions = QUICK, *, newest_wins: bool = True) -> None:
        self.frames: list[Frame] = []
        self.statuses: list[Status] = []
        self.said_s: list[float] = []  # when, on the monotonic clock
        self.error: SourceError | None = None
        self.source = open_source(text, options=options)
        self._box = Mailbox[Frame](1 if newest_wins else 4, newest_wins=newest_wins)
        self.reader = Reader(self.source, self._box, self._hear)

    @property
    def states(self) -> list[str]:
        return [status.state for status in self.statuses]

    @property
    def said(self) -> str:
        return "\n".join(f"{status.state}: {status.reason}" for status in self.statuses)

    def wait_for_frames(self, num: int, timeout_s: float = 15.0) -> list[Frame]:
        """Wait for `num` further frames."""
        start = len(self.frames)
        self.wait_until(lambda: len(self.frames) >= start + num, timeout_s, f"{num} more frames")
        return self.frames[start:]

    def wait_for_state(self, state: str, timeout_s: float = 15.0) -> Status:
        """Wait for the next status of that state, counted from now."""
        start = len(self.statuses)
        self.wait_until(lambda: state in self.states[start:], timeout_s, f"state {state}")
        return next(status for status in self.statuses[start:] if status.state == state)

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float = 15.0, what: str = "it") -> None:
        until_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < until_s, f"waited {timeout_s} s for {what}; it said\n{self.said}"
            self._take()

    def drain(self, timeout_s: float = 15.0) -> None:
        """Take until the source is done."""
        self.wait_until(lambda: self._box.is_drained, timeout_s, "the end")

    def _hear(self, status: Status) -> None:
        self.said_s.append(time.monotonic())
        self.statuses.append(status)

    def _take(self) -> None:
        try:
            if (frame := self._box.take(0.05)) is not None:
                self.frames.append(frame)
        except SourceError as error:
            self.error = error

    def __enter__(self) -> "Following":
        self.reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        started_s = time.monotonic()
        self.reader.close()
        patience_s = self.source.options.read_timeout_s + 1.5
        assert time.monotonic() - started_s < patience_s, "close took too long"
        names = [thread.name for thread in threading.enumerate()]
        assert f"reader {self.source.name}" not in names, f"a thread is left over: {names}"

"""Reading the file of feeds again while a run goes on: on SIGHUP, in a thread of its own."""

import logging
import queue
import signal
import threading
from types import FrameType, TracebackType

from stream_detect.errors import StreamDetectError
from stream_detect.feeds_file import FeedsFile, FeedsInEffect

PATIENCE_S = 1.0  # how long a reading that goes on is waited for at the end
log = logging.getLogger("stream_detect.feeds_file")


class Reloads:
    """Reads a file of feeds again on every SIGHUP and puts it into effect. Close it, or use it in a `with`.

    Must be made in the main thread. Where there is no SIGHUP nothing asks for a reading.
    """

    def __init__(self, file: FeedsFile, in_effect: FeedsInEffect) -> None:
        self._file, self._in_effect = file, in_effect
        self._asked: queue.SimpleQueue[bool] = (
            queue.SimpleQueue()
        )  # into which a signal's handler may put at any moment
        self._thread = threading.Thread(target=self._follow, name="reload", daemon=True)
        self._thread.start()
        self._hangup = getattr(signal, "SIGHUP", None)
        self._before = signal.signal(self._hangup, self._ask) if self._hangup else None

    def __enter__(self) -> "Reloads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hear no more signals; may be called twice."""
        if self._hangup is not None:
            signal.signal(self._hangup, self._before)
            self._hangup = None
        self._asked.put(False)
        self._thread.join(PATIENCE_S)

    def apply(self) -> list[str]:
        """Put what the file says now into effect; what could not be, in words.

        Raises:
            StreamDetectError: if the file can't be read or meant: nothing has changed then.
        """
        return self._in_effect.apply(self._file.read())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked.put(True)

    def _follow(self) -> None:
        while self._asked.get():
            try:
                problems = self.apply()
            except StreamDetectError as error:
                log.error("%s; nothing has changed", error)
                continue
            for words in problems:
                log.warning("%s: %s", self._file.path, words)
            log.info("%s has been read again", self._file.path)

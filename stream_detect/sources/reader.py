"""A thread that follows a source for as long as it lives, reconnects when it breaks and feeds a mailbox."""

import logging
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import urlsplit

from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import Frame
from stream_detect.errors import DecoderDied, SourceEnded, SourceError, SourceTimeout, StreamDetectError
from stream_detect.mailbox import Mailbox, MailboxClosed
from stream_detect.redact import redact
from stream_detect.sources.address import Source
from stream_detect.sources.knock import door_of
from stream_detect.sources.opening import Connection, Opener, ThreadOpener, opener_for
from stream_detect.sources.pace import Pacer
from stream_detect.sources.retry import Backoff, Vigil, Watch, can_connect
from stream_detect.sources.ring import PacketRing
from stream_detect.types import State, Status

STEADY_S = 5.0  # a connection that gave frames for so long was a success: delays and retries start afresh
MARGIN_S = 1.0
BEGUN_ANEW = 3
LOG = logging.getLogger(__name__)
ABORT_AGAIN_S = 0.2
REMIND_EVERY_S = 10.0  # a source that stays lost is told of this often, however many attempts fail
CAUSES = ("stale", "late", "corrupt")


@dataclass(frozen=True)
class Counts:
    """How many frames were decoded; frames or packets dropped, by cause; connections lost or not made, by fault."""

    frames: int
    dropped: dict[str, int]
    reconnects: dict[str, int]


@dataclass(frozen=True)
class Told:
    """What was last said of a source, and when: so that it isn't said again at each attempt."""

    state: str
    kind: str
    at_s: float


class Reader:
    """Follows one source in a thread of its own; frames go to `frames`, what becomes of the source to `on_status`.

    Dropped frames are counted by cause: "stale" ones gave way to newer ones in the mailbox, "late" ones were not
    decoded because decoding fell behind the stream, "corrupt" packets could not be decoded.

    When the source is done the mailbox is closed, with the error if there was one. `on_status` is called in the
    reader's thread and must not wait. It hears when a source is lost, when what is wrong with it changes, and else
    seldom, never of each attempt. `close` may be called twice; the thread ends within the read time-out, or the open
    time-out where it is just connecting and that can't be broken off.
    """

    def __init__(
        self,
        source: Source,
        frames: Mailbox[Frame],
        on_status: Callable[[Status], None] = lambda status: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        opener: Opener | None = None,
    ) -> None:
        self.source = source
        self.error: Exception | None = None
        self.ring = PacketRing(source.ring_bytes, source.options.ring_s) if source.ring_bytes else None
        self._frames = frames
        self._on_status = on_status
        self._clock = clock
        self._num_frames = 0
        self._drops = Counter(dict.fromkeys(CAUSES, 0))
        self._reconnects: Counter[str] = Counter()
        self._opener = opener or opener_for(source)
        self._failures = 0  # in a row
        self._lived_s: float | None = None  # how long the last connection gave frames; None: it gave none
        self._stop = threading.Event()
        self._stream_clock = StreamClock(source.is_live)
        self._told = Told("", "", -math.inf)
        self._backoff = Backoff(clock=clock)
        self._door = door_of(source)
        self._watch = Watch(source, self._door, self._stop, clock)
        self._thread = threading.Thread(target=self._run, name=f"reader {source.name}", daemon=True)

    @property
    def counts(self) -> Counts:
        return Counts(self._num_frames, dict(self._drops), dict(self._reconnects))

    @property
    def pid(self) -> int | None:
        """Of the process that decodes, where it is one of its own and runs."""
        return self._opener.pid

    def start(self) -> "Reader":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it; what is in the mailbox can still be taken."""
        self._stop.set()
        self._frames.close()
        self._break_off()

    def close(self, timeout_s: float | None = None) -> None:
        """Stop, and wait for the thread: for so long, or for as long as a read may take."""
        self.stop()
        patience_s = self.source.options.read_timeout_s + MARGIN_S if timeout_s is None else timeout_s
        until_s = time.monotonic() + patience_s
        while self._thread.is_alive() and time.monotonic() < until_s:
            self._thread.join(min(ABORT_AGAIN_S, max(0.0, until_s - time.monotonic())))
            self._break_off()  # again: it may have begun to listen just after `stop`

    def _break_off(self) -> None:
        if self._thread.is_alive():
            self._opener.abort(for_good=True)
            if self.source.options.listen:
                _wake_listener(self.source)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the source to be done; returns whether it is."""
        if self._stop.is_set():
            self._break_off()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def __enter__(self) -> "Reader":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._say("connecting", self.source.address)
            self._finish("ended", self._follow(), None)
        except MailboxClosed:
            self._finish("ended", "stopped", None)
        except StreamDetectError as error:
            self._finish("failed", str(error), error)
        except Exception as error:  # a fault of ours: whoever takes from the mailbox is to hear of it
            self._finish("failed", f"a fault while reading: {type(error).__name__}", error)
        finally:
            self._opener.close()

    def _finish(self, state: State, reason: str, error: Exception | None) -> None:
        self.error = forgetful(error) if isinstance(error, SourceError) else error
        self._say(state, reason)
        self._frames.close(error)

    def _follow(self) -> str:
        """Read until the source is done; returns why it is.

        Raises:
            SourceError: if the source failed for good.
        """
        while not self._stop.is_set():
            try:
                words = self._read_once()
                if words is not None:
                    return words
                fault: SourceError = SourceEnded(f"{self.source.address}: the stream ended")
            except SourceError as error:
                fault = forgetful(error)
            if not self._stop.is_set():
                self._wait_to_retry(fault)
        return "stopped"

    def _read_once(self) -> str | None:
        """Read one connection to its end; returns why that end is a proper one, or None if it isn't."""
        self._lived_s, newest_wins = None, not self.source.every_frame
        with self._open(newest_wins) as feed:
            pacer = Pacer(self._stop, self._clock) if newest_wins and feed.comes_in_bursts else None
            live_s = told = None
            for frame in self._frames_of(feed):
                if live_s is None:
                    live_s = self._clock()
                if feed.decoding != told:
                    told = feed.decoding
                    self._say("live", ", ".join(filter(None, [f"{frame.width}x{frame.height}", told])))
                if pacer is not None:
                    pacer.wait(frame.pts_s)
                    frame = replace(frame, arrived_s=self._clock(), seen_at=datetime.now(UTC))  # when it was due
                if self._stop.is_set():
                    return "stopped"
                self._lived_s = self._clock() - live_s
                self._num_frames += 1
                self._drops["stale"] += self._frames.put(frame)
                del frame  # or it would be held while the next is waited for
            return (feed.warning or "the end") if feed.ends else None

    def _open(self, newest_wins: bool) -> Connection:
        """A new connection; an attempt that was begun while the server was away is begun anew when it is back.

        Raises:
            SourceError: if the last of at most `BEGUN_ANEW` attempts fails.
        """
        self._watch.tries()
        if self._door is None:
            return self._connect(newest_wins)
        for left in reversed(range(BEGUN_ANEW)):
            try:
                with Vigil(self._door, self._opener.abort, f"vigil {self.source.name}") as vigil:
                    connection = self._connect(newest_wins)
            except SourceError:
                if not vigil.has_aborted or not left or self._stop.is_set():
                    raise
            else:
                if not vigil.has_aborted or isinstance(self._opener, ThreadOpener):  # a thread can't be aborted
                    return connection
                connection.close()
        raise SourceTimeout(f"{self.source.address}: it was lost again while it was opened")

    def _connect(self, newest_wins: bool) -> Connection:
        with self._surviving():
            return self._opener.open(
                self.source,
                clock=self._stream_clock,
                ring=self.ring,
                drops=self._drops,
                first_index=self._num_frames,
                may_skip=newest_wins,
            )

    def _frames_of(self, connection: Connection) -> Iterator[Frame]:
        with self._surviving():
            yield from connection.frames()

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """A slip of ours in opening or decoding a live source is a fault of that connection, not the end of the source.

        Raises:
            DecoderDied: in place of anything that isn't meant to come.
        """
        try:
            yield
        except StreamDetectError:
            raise
        except Exception as error:
            if not self.source.is_live:
                raise
            slip = f"{self.source.address}: a fault while decoding: {type(error).__name__}"
            LOG.debug(slip, exc_info=error)
            raise DecoderDied(slip) from error

    def _wait_to_retry(self, fault: SourceError) -> None:
        """Say what went wrong and wait, longer if nobody is there.

        Raises:
            SourceError: `fault` or a later one, if there is to be no further attempt.
        """
        if self._lived_s is not None and self._lived_s >= STEADY_S:
            self._failures = 0
            self._backoff.reset()
        waited_for: SourceError | None = fault
        while waited_for is not None and not self._stop.is_set():
            fault = waited_for
            self._failures += 1
            self._reconnects[fault.fault] += 1
            if self._is_final():
                raise fault
            self._say_lost(fault)
            delay_s = 0.0 if self._waits_for_publisher(fault) else self._backoff.next_delay_s(fault)
            waited_for = self._watch.wait(delay_s, fault)
            self._lived_s = None

    def _say_lost(self, fault: SourceError) -> None:
        """Tell of a failure, if it is the first, of another kind than the last, or none was told of lately."""
        kind, now_s = re.sub(r"\d+\.\d+", "", str(fault)), self._clock()
        is_news = self._told.state != "reconnecting" or self._told.kind != kind
        if not is_news and now_s - self._told.at_s < REMIND_EVERY_S:
            return
        if self._lived_s is not None and isinstance(fault, SourceTimeout):
            self._say("stalled", str(fault))
        attempts = f" ({self._failures} attempts failed)" if self._failures > 1 else ""
        self._say("reconnecting", f"{fault}; trying again{attempts}")
        self._told = Told("reconnecting", kind, now_s)

    def _is_final(self) -> bool:
        """Whether no more attempts are to follow. A camera or screen that isn't there at first won't come by itself."""
        retries = self.source.options.retries
        if retries is not None:
            return self._failures > retries
        is_local = self.source.kind in ("webcam", "screen", "lavfi", "synthetic")
        return not self.source.is_live or (is_local and self._num_frames == 0)

    def _waits_for_publisher(self, fault: SourceError) -> bool:
        return self.source.options.listen and (self._lived_s is not None or isinstance(fault, SourceTimeout))

    def _say(self, state: State, reason: str) -> None:
        counts = self.counts
        self._told = Told(state, "", self._clock())
        reason = redact(reason, self.source.url)
        self._on_status(
            Status(self.source.name, state, reason, counts.frames, dropped=counts.dropped, reconnects=counts.reconnects)
        )


def forgetful(error: SourceError) -> SourceError:
    """The error without its traceback, which would keep a lost connection with its last frame, memory and files."""
    error.__cause__ = error.__context__ = None
    error.with_traceback(None)
    return error


def _wake_listener(source: Source) -> None:
    """Make FFmpeg stop waiting for a publisher by being one for a moment."""
    parts = urlsplit(source.url)
    can_connect((parts.hostname or "127.0.0.1", parts.port or 554))

"""When to try a lost source again: about once a second for ever, and at once when its server shows signs of life."""

import math
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from stream_detect.errors import SourceDenied, SourceError, SourceRefused, SourceTimeout
from stream_detect.sources.address import Source
from stream_detect.sources.faults import BUSY, UNREACHABLE
from stream_detect.sources.knock import Door, Place

EVERY_S = 0.6  # from a failed attempt to the next where a server is there; where it isn't, a knock costs less
AWAY_EVERY_S = 1.0  # knocking for so long in vain counts as one more failed attempt
JITTER = 0.15  # so that fifty feeds of one dead server don't come back in step
KNOCK_EVERY_S = 0.4
POLITE_AFTER_S = 60.0  # a login that was refused for so long is tried more and more seldom: cameras lock accounts
FIRST_POLITE_S, LONGEST_DELAY_S = 1.0, 30.0
UNSURE_S = 2.0  # how long silence is believed of a server that never answered a knock
AWAY_TRY_S, SILENT_TRY_S = 10.0, 60.0  # whatever knocks say, so often a source is tried in earnest
HANGS_AFTER_S = 1.0  # an attempt that takes longer is watched from beside
LEAVE_S = 0.1  # for the thread beside it to end
GRACE_S = 0.4  # an attempt that may be about to succeed is left so long before it is ended for a new one


class Backoff:
    """Delays until the next attempt: none at first, then the same each time, growing only where that is asked for."""

    def __init__(
        self, dice: Callable[[float, float], float] = random.uniform, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._dice = dice
        self._clock = clock
        self._failures = 0
        self._polite_s = 0.0
        self._denied_since_s: float | None = None

    def next_delay_s(self, fault: SourceError) -> float:
        """The delay after one more failure, which was `fault`."""
        self._failures += 1
        is_busy = fault.fault == BUSY
        if isinstance(fault, SourceDenied) and self._denied_since_s is None:
            self._denied_since_s = self._clock()
        if is_busy or (self._denied_since_s is not None and self._clock() - self._denied_since_s > POLITE_AFTER_S):
            self._polite_s = min(LONGEST_DELAY_S, max(FIRST_POLITE_S, 2 * self._polite_s))
            return min(LONGEST_DELAY_S, self._spread(self._polite_s))
        return 0.0 if self._failures == 1 else self._spread(EVERY_S)

    def reset(self) -> None:
        """The source works again."""
        self._failures = 0
        self._polite_s = 0.0
        self._denied_since_s = None

    def _spread(self, delay_s: float) -> float:
        return delay_s * self._dice(1 - JITTER, 1 + JITTER)


class Watch:
    """Waits for the next attempt while knocks show whether the server is there.

    Attempts are made only where one is, so that none hangs at a server that accepts and stays silent, and a hundred
    dead cameras cost next to nothing.
    """

    def __init__(
        self, source: Source, door: Door | None, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._door = door
        self._stop = stop
        self._clock = clock
        self._tried_s = -math.inf
        self._was_gone = False  # since the last attempt

    def tries(self) -> None:
        """An attempt begins."""
        self._tried_s, self._was_gone = self._clock(), False

    def wait(self, delay_s: float, fault: SourceError) -> SourceError | None:
        """Wait for `delay_s` after `fault`, less if the server was gone since and answers again.

        Returns None when it is time to try again, or the fault that knocking in vain found in place of an attempt.
        """
        if self._door is None or not is_gone(fault):
            self._stop.wait(delay_s)
            delay_s = 0.0
        if self._door is None:
            return None
        with self._door as door:
            return self._knock(door, delay_s, fault)

    def _knock(self, door: Door, delay_s: float, fault: SourceError) -> SourceError | None:
        started_s = self._clock()
        away_s = max(delay_s, AWAY_EVERY_S) if is_gone(fault) else 0.0
        while not self._stop.is_set():
            knocked_s = self._clock()
            sign = door.sign(KNOCK_EVERY_S, self._stop)
            waited_s = self._clock() - started_s
            if sign == "alive":
                self._stop.wait(0.0 if self._was_gone else delay_s - waited_s)
                return None
            self._was_gone = True
            if sign == "away" and waited_s >= away_s:
                return fault if is_gone(fault) and self._clock() - self._tried_s < AWAY_TRY_S else None
            if sign == "silent" and waited_s >= self._patience_s(door):
                return self._silence(door, waited_s)
            self._stop.wait(knocked_s + KNOCK_EVERY_S - self._clock())
        return None

    def _patience_s(self, door: Door) -> float:
        """How long silence goes on before it counts as a failed attempt, or is no longer believed."""
        return self._source.options.open_timeout_s if door.has_answered else UNSURE_S

    def _silence(self, door: Door, waited_s: float) -> SourceError | None:
        if door.has_answered and self._clock() - self._tried_s < SILENT_TRY_S:
            return SourceTimeout(f"{self._source.address}: nothing came for {waited_s:.1f} s")
        return None


class Vigil:
    """Watches over an attempt from beside, in a thread: ends it by `abort` if the server was gone and is back.

    The first attempt of all is watched at once, to learn whether the server answers knocks. `close` says that the
    attempt is over, and may be called twice; the thread ends by itself, and is not waited for beyond a moment: a name
    server that doesn't answer would hold up the first frames.
    """

    def __init__(self, door: Door, abort: Callable[[], None], name: str) -> None:
        self.has_aborted = False
        self._door = door.twin()
        self._abort = abort
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def close(self) -> None:
        with self._lock:
            self._done.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_S)

    def __enter__(self) -> "Vigil":
        with suppress(RuntimeError):  # there is no thread to be had: then it isn't watched
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        with self._door as door:
            was_gone = not door.has_answered and self._learn(door)
            pause_s = KNOCK_EVERY_S if was_gone else HANGS_AFTER_S
            while not self._done.wait(pause_s):
                knocked_s = time.monotonic()
                if door.sign(KNOCK_EVERY_S, self._done) != "alive":
                    was_gone = True
                elif was_gone and not self._done.wait(GRACE_S):
                    self._end_attempt()
                    return
                # one that stays silent is listened to all the time
                pause_s = knocked_s + KNOCK_EVERY_S - time.monotonic() if was_gone else HANGS_AFTER_S

    def _learn(self, door: Door) -> bool:
        """Knock once; whether nobody answered."""
        return door.sign(HANGS_AFTER_S, self._done) != "alive" and not self._done.is_set()

    def _end_attempt(self) -> None:
        with self._lock:  # or it would end what has just begun well
            if not self._done.is_set():
                self.has_aborted = True
                self._abort()


def is_gone(fault: SourceError) -> bool:
    """Whether a fault says that nobody was there: then the next sign of life is news."""
    return fault.fault in (SourceRefused.fault, SourceTimeout.fault, UNREACHABLE)


def can_connect(place: Place, timeout_s: float = 1.0) -> bool:
    """Whether something accepts TCP connections at (host, port)."""
    try:
        socket.create_connection(place, timeout_s).close()
    except OSError:
        return False
    return True

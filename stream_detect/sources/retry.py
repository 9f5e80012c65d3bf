"""When to try a lost source again: seldom in full, at once when it shows signs of life."""

import random
import socket
import threading
from collections.abc import Callable

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
JITTER = 0.2  # so that fifty feeds of one dead server don't come back in step
PROBE_EVERY_S = PROBE_TIMEOUT_S = 1.0

Place = tuple[str, int]


class Backoff:
    """Delays of 1, 2, 4 ... 30 seconds, each longer or shorter by up to a fifth."""

    def __init__(self, dice: Callable[[float, float], float] = random.uniform) -> None:
        self._dice = dice
        self.failures = 0

    def next_delay_s(self) -> float:
        """The delay after one more failure."""
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        return min(LONGEST_DELAY_S, delay_s * self._dice(1 - JITTER, 1 + JITTER))

    def reset(self) -> None:
        """The source works again."""
        self.failures = 0


class Watch:
    """Waits for the next attempt while a cheap TCP connection a second shows whether the server came back."""

    def __init__(self, place: Place | None, stop: threading.Event, clock: Callable[[], float]) -> None:
        self._place = place
        self._stop = stop
        self._clock = clock
        self.is_down = False  # whether the server was last seen not to answer

    def wait(self, delay_s: float) -> bool:
        """Wait for `delay_s`, less if the server was down and answers again; returns whether it did."""
        until_s = self._clock() + delay_s
        while (left_s := until_s - self._clock()) > 0 and not self._stop.wait(min(left_s, PROBE_EVERY_S)):
            was_down, self.is_down = self.is_down, self._place is not None and not can_connect(self._place)
            if was_down and self._place is not None and not self.is_down:
                return True
        return False


def can_connect(place: Place, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether something accepts TCP connections at (host, port)."""
    try:
        socket.create_connection(place, timeout_s).close()
    except OSError:
        return False
    return True

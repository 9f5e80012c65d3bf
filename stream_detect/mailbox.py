"""The only place where threads meet: a small bounded box in which the newest wins, or in which the writer waits."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxClosed(Exception):
    """Something was put into a mailbox that nobody reads any more."""


class Mailbox(Generic[T]):
    """At most `capacity` items between one writing and one reading thread, in order.

    Live feeds use `newest_wins`: a full box lets its oldest item go and `put` never waits. Files don't: `put` waits
    until there is room. `bell` is set at each put and close, so that one thread can wait for many mailboxes.
    """

    def __init__(self, capacity: int = 1, *, newest_wins: bool = False, bell: threading.Event | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"a mailbox holds at least 1 item, got capacity={capacity}")
        self.capacity = capacity
        self.newest_wins = newest_wins
        self._bell = bell
        self._items: deque[tuple[T, float]] = deque()  # each with when it was put
        self._changed = threading.Condition()
        self._is_closed = False
        self._error: BaseException | None = None
        self.waited_s = 0.0  # how long the item last taken had been in the box, in seconds; for who takes

    def put(self, item: T, timeout_s: float | None = None) -> int:
        """Add an item; returns how many older ones had to go for it (0 unless `newest_wins`).

        Raises:
            MailboxClosed: if the box is closed, also while waiting for room.
            TimeoutError: if there was no room within `timeout_s` seconds (None: wait for ever).
        """
        with self._changed:
            if not self.newest_wins and not self._changed.wait_for(self._can_put, timeout_s):
                raise TimeoutError(f"the mailbox was still full after {timeout_s} s")
            if self._is_closed:
                raise MailboxClosed("the mailbox is closed")
            displaced = max(0, len(self._items) + 1 - self.capacity)
            for _ in range(displaced):
                self._items.popleft()
            self._items.append((item, time.monotonic()))
            self._ring()
        return displaced

    def take(self, timeout_s: float | None = 0.0) -> T | None:
        """The oldest item, waiting up to `timeout_s` seconds for one (None: for ever); None if none came.

        Raises:
            BaseException: the error that the box was closed with, once, when all items have been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed, timeout_s)
            if self._items:
                item, put_s = self._items.popleft()
                self.waited_s = time.monotonic() - put_s
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def peek(self) -> T | None:
        """What `take` would give now, which stays in the box; None if nothing is there."""
        with self._changed:
            return self._items[0][0] if self._items else None

    def close(self, error: BaseException | None = None) -> None:
        """No more items; those inside can still be taken, then `error` is raised. The first call decides."""
        with self._changed:
            if not self._is_closed:
                self._is_closed = True
                self._error = error
            self._ring()

    @property
    def is_closed(self) -> bool:
        with self._changed:
            return self._is_closed

    @property
    def is_drained(self) -> bool:
        """Whether nothing, no error either, will ever come out of the box again."""
        with self._changed:
            return self._is_closed and not self._items and self._error is None

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def _can_put(self) -> bool:
        return self._is_closed or len(self._items) < self.capacity

    def _ring(self) -> None:
        self._changed.notify_all()
        if self._bell is not None:
            self._bell.set()


def wait_for_any(bell: threading.Event, timeout_s: float) -> bool:
    """Wait until the shared bell rings, then silence it; look into every mailbox afterwards.

    Returns whether it rang. Clearing before looking means that no put goes unnoticed.
    """
    rang = bell.wait(timeout_s)
    bell.clear()
    return rang

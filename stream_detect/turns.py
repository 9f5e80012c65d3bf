"""Whose frames are judged next, and how many together, so that no verdict is older than the budget allows.

Work is planned by what a frame cost lately, from being taken to being told: a slow consumer counts like a slow
detector. Feeds that were served longest ago come first; what does not fit waits, and gives way to newer frames.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Protocol, TypeVar, runtime_checkable

SHARE_OF_WORK = 0.6  # of the budget may pass from taking a frame to telling its verdict; older frames are stale
PLANNED_SHARE = 0.7  # of the budget is planned with; the rest is for what takes longer than it did
MARGIN = 1.25  # a single frame may take so many times what is planned for it
LEAST_WAIT_SHARE = 0.2  # of the budget a frame may wait, however late its decoder gives it
FIRST_GUESS_S = 0.05  # what a frame is taken to cost before one was judged
LONGEST_S = 1.0  # one frame never counts for more: somebody looked into a debugger, or a machine slept
WEIGHT = 0.2  # of the newest turn in the running cost
STRAYS = 2.0  # so many mean deviations above the running mean is what a frame is planned to cost
DELAY_WINDOW_S = 2.0


@runtime_checkable
class Served(Protocol):
    """A feed that takes its turn."""

    served_s: float  # when a frame of it was last judged, on the monotonic clock


S = TypeVar("S", bound=Served)


def in_turn(feeds: Iterable[S]) -> list[S]:
    """The feeds, those first whose last turn was longest ago."""
    return sorted(feeds, key=lambda feed: feed.served_s)


class Effort:
    """What judging and telling one frame costs, in seconds: its running mean and how far it strays from that."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._strays_s = 0.0

    def spent(self, frames: int, seconds: float) -> None:
        """A turn with so many judged frames took so long."""
        if frames < 1:
            return
        each_s = min(seconds / frames, LONGEST_S)
        if self._mean_s is None:
            self._mean_s = each_s
            return
        self._strays_s += WEIGHT * (abs(each_s - self._mean_s) - self._strays_s)
        self._mean_s += WEIGHT * (each_s - self._mean_s)

    @property
    def frame_s(self) -> float:
        """What the next frame is planned to cost, in seconds."""
        return FIRST_GUESS_S if self._mean_s is None else self._mean_s + STRAYS * self._strays_s


class UsualDelay:
    """The least delay of a feed's frames from arrival to being decoded, over the last few seconds.

    A decoder that puts frames in order gives each of them late, at five frames a second by more than any budget. That
    is not overload, and no reason to drop them all.
    """

    def __init__(self) -> None:
        self._windows: deque[float] = deque(maxlen=2)  # the least of each whole window, in seconds
        self._least_s = math.inf
        self._began_s: float | None = None

    def seen(self, delay_s: float, now_s: float) -> None:
        if self._began_s is None:
            self._began_s = now_s
        if now_s - self._began_s >= DELAY_WINDOW_S:
            self._windows.append(self._least_s)
            self._least_s, self._began_s = math.inf, now_s
        self._least_s = min(self._least_s, delay_s)

    @property
    def seconds(self) -> float:
        """0 as long as not enough was seen."""
        return max(0.0, min(self._windows)) if self._windows else 0.0


class Turn:
    """One batch while it is put together.

    Args:
        budget_s: how old a live frame may be when its verdict is told, in seconds.
        frame_s: what one frame is planned to cost.
        now_s: when the turn begins.
        is_shared: whether live feeds wait while it lasts; then frames of files don't make it any longer than it may
            be for a live frame that comes just when it begins.
    """

    def __init__(self, budget_s: float, frame_s: float, now_s: float, is_shared: bool) -> None:
        self._budget_s = budget_s
        self._frame_s = frame_s
        self._end_s = now_s + budget_s * PLANNED_SHARE / 2 if is_shared else math.inf
        self.frames = 0

    def is_stale(self, arrived_s: float, now_s: float, usual_delay_s: float = 0.0) -> bool:
        """Whether a live frame is too old to spend work on; `usual_delay_s` is what its decoder always takes."""
        work_s = min(MARGIN * self._frame_s, SHARE_OF_WORK * self._budget_s)
        may_wait_s = max(self._budget_s - work_s, usual_delay_s + LEAST_WAIT_SHARE * self._budget_s)
        return now_s - arrived_s > may_wait_s

    def fits(self, now_s: float, arrived_s: float | None = None, usual_delay_s: float = 0.0) -> bool:
        """Whether one more frame can be told in time, and those taken before as well; the first one always fits.

        Args:
            now_s: on the monotonic clock.
            arrived_s: of a live frame; None for one that may wait.
            usual_delay_s: what its decoder always takes.
        """
        if self.frames == 0:
            return True
        done_s = now_s + (self.frames + 1) * self._frame_s
        return done_s <= min(self._end_s, self._due_s(arrived_s, usual_delay_s))

    def take(self, arrived_s: float | None = None, usual_delay_s: float = 0.0) -> None:
        """One more frame is in the batch."""
        is_first, self.frames = self.frames == 0, self.frames + 1
        due_s = self._due_s(arrived_s, usual_delay_s)
        self._end_s = due_s if is_first and math.isfinite(due_s) else min(self._end_s, due_s)

    def _due_s(self, arrived_s: float | None, usual_delay_s: float) -> float:
        if arrived_s is None:
            return math.inf
        return arrived_s + max(PLANNED_SHARE * self._budget_s, usual_delay_s + LEAST_WAIT_SHARE * self._budget_s)

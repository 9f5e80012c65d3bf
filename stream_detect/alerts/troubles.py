"""Which statuses deserve a line: each trouble of a source once, with its count when it is over."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from stream_detect.types import State, Status

REMIND_S = 600.0  # a trouble that lasts is told again so often, in seconds
MANY = 5  # so many troubles of a source within `REMIND_S` are told one by one
LASTING_S = 60.0  # of a source that had more than that, a trouble is told once it has lasted so long, in seconds

Kind = Literal["begins", "trouble", "over", "final"]


@dataclass(frozen=True, slots=True)
class News:
    """One line about a source that is worth telling."""

    kind: Kind
    source: str
    state: State
    text: str  # after the source's name, such as "live: came back after 41 s (36 refused, 1 silent)"
    faults: dict[str, int] = field(default_factory=dict)  # since the trouble began, by fault
    lasted_s: float | None = None  # so far


@dataclass(slots=True)
class Trouble:
    """What is going on with a source that is not live."""

    began_s: float
    told: set[str] = field(default_factory=set)  # faults, and states, that a line was given out for
    told_s: float = 0.0


@dataclass(slots=True)
class History:
    """What was told of a source so far."""

    connecting: str | None = None
    calm: Counter[str] = field(default_factory=Counter)  # its faults when it was last well
    trouble: Trouble | None = None
    begun_s: deque[float] = field(default_factory=lambda: deque(maxlen=256))  # when its last troubles began
    often_s: float | None = None  # when it was said that it has troubles often


class Troubles:
    """Makes few lines out of many statuses. A source that keeps failing is told every ten minutes, not each time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._histories: dict[str, History] = {}

    def news(self, status: Status) -> News | None:
        """What is to be told of a status; None if it is told already, or says that all is well as before."""
        history = self._histories.setdefault(status.source, History())
        if status.state in ("ended", "failed"):
            del self._histories[status.source]
            return self._news("final", status, history, words_of(status))
        if status.state == "live":
            return self._well(history, status)
        if status.state == "connecting":
            return self._connecting(history, status)
        return self._unwell(history, status)

    def _connecting(self, history: History, status: Status) -> News | None:
        if history.trouble is not None or history.connecting == status.reason:
            return None
        history.connecting = status.reason
        return self._news("begins", status, history, words_of(status))

    def _well(self, history: History, status: Status) -> News | None:
        trouble, history.trouble = history.trouble, None
        news = None
        if trouble is not None and trouble.told:
            faults = Counter(status.reconnects) - history.calm
            lasted_s = self._clock() - trouble.began_s
            text = f"live: came back after {time_words(lasted_s)}{faults_words(faults)}"
            news = News("over", status.source, status.state, text, dict(faults), lasted_s)
        elif trouble is None and status.reason:
            news = self._news("begins", status, history, words_of(status))
        history.calm = Counter(status.reconnects)
        return news

    def _unwell(self, history: History, status: Status) -> News | None:
        now_s = self._clock()
        trouble = history.trouble
        if trouble is None:
            trouble = history.trouble = Trouble(now_s)
            history.begun_s.append(now_s)
        recent = sum(now_s - begun_s < REMIND_S for begun_s in history.begun_s)
        if recent > MANY and now_s - trouble.began_s < LASTING_S:
            return self._often(history, status, recent)
        faults = set(Counter(status.reconnects) - history.calm)
        new = (faults or {status.state}) - trouble.told
        if not new and now_s - trouble.told_s < REMIND_S:
            return None
        trouble.told |= faults | {status.state}
        trouble.told_s = now_s
        lasted_s = now_s - trouble.began_s
        since = f" (for {time_words(lasted_s)})" if lasted_s >= LASTING_S else ""
        return self._news("trouble", status, history, words_of(status) + since, lasted_s)

    def _often(self, history: History, status: Status, recent: int) -> News | None:
        """A line about a source that comes and goes, at most every `REMIND_S` seconds."""
        now_s = self._clock()
        if history.often_s is not None and now_s - history.often_s < REMIND_S:
            return None
        history.often_s = now_s
        text = f"{words_of(status)}; it happened {recent} times in {time_words(REMIND_S)} and is told less often now"
        return self._news("trouble", status, history, text)

    def _news(self, kind: Kind, status: Status, history: History, text: str, lasted_s: float | None = None) -> News:
        faults = dict(Counter(status.reconnects) - history.calm)
        return News(kind, status.source, status.state, text, faults, lasted_s)


def words_of(status: Status) -> str:
    return f"{status.state}: {status.reason}" if status.reason else status.state


def faults_words(faults: Counter[str]) -> str:
    """Such as ` (36 refused, 1 silent)`."""
    listed = ", ".join(f"{number} {fault}" for fault, number in faults.most_common())
    return f" ({listed})" if listed else ""


def time_words(seconds: float) -> str:
    """Such as `0.4 s`, `41 s`, `12 min` or `3.2 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

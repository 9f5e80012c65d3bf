"""Where a source is demuxed and decoded: in the thread that reads it, or in a worker process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import Frame
from stream_detect.sources.address import Source
from stream_detect.sources.feed import Feed
from stream_detect.sources.ring import PacketRing


@runtime_checkable
class Connection(AbstractContextManager["Connection"], Protocol):
    """One connection to a source, as `feed.Feed` gives it; `close` may be called twice."""

    @property
    def ends(self) -> bool: ...

    @property
    def comes_in_bursts(self) -> bool: ...

    @property
    def warning(self) -> str: ...

    @property
    def decoding(self) -> str: ...

    def frames(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


@runtime_checkable
class Opener(Protocol):
    """Opens a source again and again. What it holds in between ends with `close`, which may be called twice."""

    @property
    def pid(self) -> int | None:
        """Of the process that decodes, where it is one of its own and runs."""

    def open(
        self,
        source: Source,
        *,
        clock: StreamClock,
        ring: PacketRing | None,
        drops: Counter[str],
        first_index: int,
        may_skip: bool,
    ) -> Connection:
        """A new connection, as `feed.Feed` opens it.

        Raises:
            SourceError: if it can't be opened.
        """

    def abort(self, *, for_good: bool = False) -> None:
        """End an `open` or a read that hangs, from another thread: it raises soon. Nothing where that can't be done.

        With `for_good` any later one ends as well, also one that is just about to begin.
        """

    def close(self) -> None: ...


class ThreadOpener:
    """Opens in the calling thread."""

    pid: int | None = None

    def open(
        self,
        source: Source,
        *,
        clock: StreamClock,
        ring: PacketRing | None,
        drops: Counter[str],
        first_index: int,
        may_skip: bool,
    ) -> Connection:
        return Feed(source, clock=clock, ring=ring, drops=drops, first_index=first_index, may_skip=may_skip)

    def abort(self, *, for_good: bool = False) -> None:
        pass

    def close(self) -> None:
        pass


def opener_for(source: Source) -> Opener:
    """How this source is opened."""
    if not source.is_isolated:
        return ThreadOpener()
    from stream_detect.sources.worker.remote import WorkerOpener

    return WorkerOpener()

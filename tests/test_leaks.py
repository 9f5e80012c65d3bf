"""A thousand lost connections leave nothing behind: no memory, no thread, no descriptor, no process."""

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, SourceOptions, open_source, retry
from tests.servers import RtspServer
from tests.servers.proxy import FaultProxy

FEEDS = 4
RECONNECTS = 1000
WARM_UP = 400  # until the allocators, the rings and every thread's buffers have their size
MOST_GROWTH_MIB = 5.0
PATIENCE_S = 10.0
SAMPLES = 10  # of the memory, in a second: a connection being made or closed holds a few MiB more


@dataclass(slots=True)
class Lost:
    """A feed whose connection is reset as soon as it has given a frame."""

    proxy: FaultProxy
    frames: Mailbox[Frame]
    reader: Reader
    reconnects: int = 0

    def lose(self, times: int) -> None:
        for _ in range(times):
            lost = self.num_lost
            self.wait_for_frame_since(time.monotonic())
            self.proxy.suffer("reset")
            self.proxy.heal()
            until_s = time.monotonic() + PATIENCE_S
            while self.num_lost == lost and time.monotonic() < until_s:
                self.frames.take(0.01)
            self.reconnects += self.num_lost > lost

    def wait_for_frame_since(self, start_s: float) -> None:
        while time.monotonic() - start_s < PATIENCE_S:
            frame = self.frames.take(0.5)
            if frame is not None and frame.arrived_s > start_s:
                return

    @property
    def num_lost(self) -> int:
        return sum(self.reader.counts.reconnects.values())


@pytest.mark.services
def test_a_thousand_reconnects_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "EVERY_S", 0.0)
    before = held()
    assert growth_mib() <= MOST_GROWTH_MIB
    assert held() == before


def growth_mib() -> float:
    """How much more memory is held after `RECONNECTS` than after the first `WARM_UP`."""
    with RtspServer(fps=100, gop=4, width=160, height=120) as server, feeds_of(server) as feeds:
        lose_together(feeds, WARM_UP // FEEDS)
        start_mib = memory_mib(feeds)
        lose_together(feeds, RECONNECTS // FEEDS)
        mib = memory_mib(feeds) - start_mib
        assert [feed.reconnects for feed in feeds] == [(WARM_UP + RECONNECTS) // FEEDS] * FEEDS
    print(f"{mib:.1f} MiB more after {RECONNECTS} further reconnects")
    return mib


@contextmanager
def feeds_of(server: RtspServer) -> Iterator[list[Lost]]:
    with ExitStack() as stack:
        feeds = []
        for _ in range(FEEDS):
            proxy = stack.enter_context(FaultProxy(server.port))
            options = SourceOptions(ring_bytes=1 << 16)  # soon full
            frames = Mailbox[Frame](1, newest_wins=True)
            reader = Reader(open_source(proxy.url(server.url), options=options), frames)
            feeds.append(Lost(proxy, frames, stack.enter_context(reader)))
        yield feeds


def lose_together(feeds: list[Lost], times: int) -> None:
    threads = [threading.Thread(target=feed.lose, args=(times,)) for feed in feeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def memory_mib(feeds: list[Lost]) -> float:
    """The least, in a second in which every feed gives frames, of what the processes hold: the same state each time."""
    for feed in feeds:
        feed.wait_for_frame_since(time.monotonic())
    samples = []
    for _ in range(SAMPLES):
        samples.append(memory_now_mib())
        time.sleep(1.0 / SAMPLES)
    return min(samples)


def memory_now_mib() -> float:
    """Of this process, and what the processes that decode have for themselves."""
    gc.collect()
    own = psutil.Process()
    workers = [one for one in own.children(recursive=True) if "stream_detect.sources.worker" in one.cmdline()]
    return (own.memory_info().rss + sum(one.memory_full_info().uss for one in workers)) / 2**20


def held() -> tuple[int, int, int]:
    """Threads, descriptors and processes that this one has."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))

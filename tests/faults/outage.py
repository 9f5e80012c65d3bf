"""A feed that suffers a fault: how soon it was said, how soon frames came again, and what was left behind."""

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from stream_detect.sources import SourceOptions
from tests.sources.following import Following

DETECTED_S, BACK_S = 3.0, 2.0  # what is promised
BUSY_S = 1.0  # and what a machine with other work to do may add
TROUBLE = {"stalled", "reconnecting"}
LEFT_PATIENCE_S = 6.0


def options(isolation: str = "process", **more: object) -> SourceOptions:
    """As `watch` has them by default."""
    return SourceOptions(isolation=isolation, **more)  # type: ignore[arg-type]


def live(feed: Following) -> float:
    """Wait until the feed gives frames as it should; returns the moment."""
    feed.wait_for_frames(5)
    feed.wait_until(lambda: feed.states[-1] == "live", what="live")
    return time.monotonic()


def detected_after(feed: Following, since_s: float) -> float:
    """Wait until trouble that began at `since_s` is said; returns how long that took."""

    def said() -> list[float]:
        pairs = zip(feed.said_s, feed.states, strict=False)
        return [at_s for at_s, state in pairs if at_s >= since_s and state in TROUBLE]

    feed.wait_until(said, DETECTED_S + BUSY_S, "a status that says so")
    return said()[0] - since_s


def back_after(feed: Following, since_s: float) -> float:
    """Wait for the first undamaged frame that arrived after `since_s`; returns how long that took."""

    def come() -> list[float]:
        return [frame.arrived_s for frame in feed.frames if frame.arrived_s > since_s and not frame.is_corrupt]

    feed.wait_until(come, 15.0, "a new frame")
    took_s = come()[0] - since_s
    assert took_s < BACK_S + BUSY_S, f"back after {took_s:.1f} s; it said\n{feed.said}"
    return took_s


def suffer(
    feed: Following, start: Callable[[], object], end: Callable[[], object], for_s: float
) -> tuple[float, float]:
    """Let a live feed suffer until that was said and `for_s` are over; returns when it was said, when frames came."""
    live(feed)
    started_s = time.monotonic()
    start()
    detected_s = detected_after(feed, started_s)
    feed.wait_until(lambda: time.monotonic() > started_s + for_s)
    end()
    back_s = back_after(feed, time.monotonic())
    goes_on(feed)
    return detected_s, back_s


def tell(detected_s: float | None, back_s: float) -> None:
    """For pytest -rP: what was measured."""
    said = "" if detected_s is None else f"said after {detected_s:.2f} s, "
    print(f"{said}back after {back_s:.2f} s")


def goes_on(feed: Following) -> None:
    """Frames keep coming, in order, on one clock, and the last word is that the feed is live."""
    live(feed)
    assert all(later.index > earlier.index for earlier, later in zip(feed.frames, feed.frames[1:], strict=False))
    assert all(later.pts_s > earlier.pts_s for earlier, later in zip(feed.frames, feed.frames[1:], strict=False))
    counts = feed.reader.counts
    assert counts.frames >= len(feed.frames)
    assert sum(counts.reconnects.values()) >= 1


def held() -> Counter[str]:
    """What this process holds: threads by name, open files and sockets by kind, child processes."""
    found = Counter(f"thread {thread.name}" for thread in threading.enumerate())
    for file in Path("/proc/self/fd").iterdir():
        try:
            found[f"file {os.readlink(file).split(':')[0]}"] += 1
        except OSError:  # that of the listing itself
            continue
    found.update(f"process {child.pid}" for child in psutil.Process().children(recursive=True))
    return found


def assert_nothing_more_than(before: Counter[str]) -> None:
    """Nothing is held that wasn't; what is on its way out has some seconds for it."""
    gc.collect()  # a `Following` keeps every frame, and is in a cycle with its reader
    until_s = time.monotonic() + LEFT_PATIENCE_S
    while more := held() - before:
        assert time.monotonic() < until_s, f"left behind: {dict(more)}"
        time.sleep(0.1)

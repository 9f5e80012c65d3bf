"""What the reader does and says when connections fail: with an opener whose failures are known beforehand."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.errors import DecoderDied, SourceDenied, SourceEnded, SourceTimeout
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, SourceOptions, open_source, reader, retry
from stream_detect.types import Status
from tests.servers import FaultProxy
from tests.servers.strange import MuteRtsp, serve

Step = Exception | int  # fails to open so, or gives so many frames and ends


def frame(index: int) -> Frame:
    rgb = np.zeros((4, 4, 3), np.uint8)
    return Frame((rgb,), "rgb", source="cam", index=index, pts_s=index / 25, arrived_s=time.monotonic())


class Short:
    """A connection that gives some frames and ends."""

    ends = comes_in_bursts = False
    warning = decoding = ""

    def __init__(self, first: int, num: int) -> None:
        self._first, self._num = first, num

    def frames(self) -> Iterator[Frame]:
        yield from (frame(self._first + number) for number in range(self._num))

    def close(self) -> None:
        return

    def __enter__(self) -> "Short":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Scripted:
    """Opens by a script; `hangs` waits in `open` until `abort`. Its last step is repeated for ever."""

    pid = None

    def __init__(self, *script: Step | str) -> None:
        self.script = list(script)
        self.opened_s: list[float] = []
        self.is_closed = False
        self._aborted = threading.Event()

    def open(self, source, *, clock, ring, drops, first_index, may_skip) -> Short:
        self.opened_s.append(time.monotonic())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == "hangs":
            self._aborted.clear()
            assert self._aborted.wait(10.0), "nobody ended the attempt"
            raise DecoderDied("aborted")
        if isinstance(step, Exception):
            raise step
        return Short(first_index, step)

    def abort(self, *, for_good: bool = False) -> None:
        self._aborted.set()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time between attempts."""
    monkeypatch.setattr(retry, "EVERY_S", 0.01)


class Followed:
    """A reader of a made-up camera without a door to knock at, and what it said."""

    def __init__(self, opener: Scripted, *, url: str = "", **options: int) -> None:
        self.statuses: list[Status] = []
        asked = SourceOptions(input_format=None if url else "lavfi", **options)
        source = open_source(url or "testsrc2", name="cam", options=asked)
        self.reader = Reader(source, Mailbox[Frame](1, newest_wins=True), self.statuses.append, opener=opener)

    @property
    def said(self) -> list[str]:
        return [status.state for status in self.statuses]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < until_s, self.statuses
            time.sleep(0.005)

    def __enter__(self) -> "Followed":
        self.reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.close()


def test_each_lost_connection_and_failed_attempt_is_counted_by_fault(quick: None):
    opener = Scripted(3, SourceDenied("no"), SourceDenied("no"), 2, SourceTimeout("nothing"), 5, SourceEnded("over"))
    with Followed(opener) as followed:
        followed.wait_until(lambda: followed.reader.counts.reconnects.get("ended", 0) >= 4)
        reconnects = Counter(followed.reader.counts.reconnects)
        assert (reconnects["denied"], reconnects["silent"]) == (2, 1)
        assert followed.reader.counts.frames == 10
    assert opener.is_closed


def test_the_same_trouble_is_told_once_however_many_attempts_fail(quick: None):
    opener = Scripted(3, SourceTimeout("cam: nothing came for 1.2 s"), SourceTimeout("cam: nothing came for 3.4 s"))
    with Followed(opener) as followed:
        followed.wait_until(lambda: len(opener.opened_s) > 30)
        assert followed.said == ["connecting", "live", "reconnecting", "reconnecting"]  # ended, then silent
        assert "ended" in followed.statuses[2].reason
        assert "nothing came" in followed.statuses[3].reason


def test_a_trouble_that_lasts_is_told_again_with_its_attempts(quick: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "REMIND_EVERY_S", 0.3)
    with Followed(Scripted(1, SourceDenied("cam: not allowed"))) as followed:
        followed.wait_until(lambda: len(followed.said) >= 6)
        last = followed.statuses[-1]
        assert "attempts failed" in last.reason
        assert last.reconnects["denied"] > 10


def test_another_trouble_is_told_at_once(quick: None):
    opener = Scripted(1, SourceDenied("cam: a"), SourceDenied("cam: a"), SourceDenied("cam: b"), SourceDenied("cam: a"))
    with Followed(opener) as followed:
        followed.wait_until(lambda: len(opener.opened_s) > 8)
        reasons = [status.reason.split(";")[0] for status in followed.statuses[3:]]
        assert reasons == ["cam: a", "cam: b", "cam: a"]


def test_the_first_retry_is_at_once_and_the_others_follow_at_a_pace():
    opener = Scripted(3, SourceDenied("no"))
    with Followed(opener) as followed:
        followed.wait_until(lambda: len(opener.opened_s) >= 4)
    first_s, second_s, third_s, fourth_s = opener.opened_s[:4]
    assert second_s - first_s < 0.3
    assert 0.4 < third_s - second_s < 1.5
    assert 0.4 < fourth_s - third_s < 1.5


def test_retries_are_counted_from_the_last_steady_connection(quick: None):
    with Followed(Scripted(1, SourceDenied("no")), retries=3) as followed:
        assert followed.reader.join(5.0)
        assert followed.said[-1] == "failed"
        assert isinstance(followed.reader.error, SourceDenied)
        assert sum(followed.reader.counts.reconnects.values()) == 4


def test_an_attempt_that_hangs_is_ended_by_close():
    opener = Scripted("hangs")
    with Followed(opener) as followed:
        followed.wait_until(lambda: bool(opener.opened_s))
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 1
    assert followed.said == ["connecting", "ended"]
    assert opener.is_closed


def test_a_thousand_reconnects_leave_no_thread(quick: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "EVERY_S", 0.0)
    before = threading.active_count()
    opener = Scripted(1)
    with Followed(opener) as followed:
        followed.wait_until(lambda: len(opener.opened_s) > 1000)
        assert threading.active_count() <= before + 1
    assert threading.active_count() == before


def test_a_slip_of_ours_does_not_end_a_live_source(quick: None):
    opener = Scripted(1, ZeroDivisionError("s3cret"), 1)
    with Followed(opener) as followed:
        followed.wait_until(lambda: followed.reader.counts.frames >= 3)
        assert followed.reader.counts.reconnects["decoder"] == 1
        assert "a fault while decoding: ZeroDivisionError" in "".join(said.reason for said in followed.statuses)
        assert "s3cret" not in str(followed.statuses)


def test_an_attempt_that_was_aborted_is_begun_anew_at_once():
    opener = Scripted("hangs", "hangs", 3)
    with serve(MuteRtsp) as port, FaultProxy(port) as proxy:
        proxy.suffer("silent")
        with Followed(opener, url=f"rtsp://127.0.0.1:{proxy.port}/live") as followed:
            for num in (1, 2):
                followed.wait_until(lambda num=num: len(opener.opened_s) == num)
                time.sleep(1.5)
                proxy.heal()
                followed.wait_until(lambda num=num: len(opener.opened_s) > num)
                if num == 1:
                    proxy.suffer("silent")
            followed.wait_until(lambda: "live" in followed.said)
            assert followed.said[:2] == ["connecting", "live"]

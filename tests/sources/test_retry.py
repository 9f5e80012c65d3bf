"""A lost source is tried again at once, then about once a second for ever; a server that comes back is noticed."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from stream_detect.errors import SourceDenied, SourceEnded, SourceError, SourceRefused, SourceTimeout
from stream_detect.sources import SourceOptions, open_source, retry
from stream_detect.sources.faults import BUSY
from stream_detect.sources.knock import Door, door_of
from stream_detect.sources.retry import Backoff, Vigil, Watch, can_connect
from tests.servers import FaultProxy, free_port, mjpeg_server, silent_server
from tests.servers.strange import MuteRtsp, serve

NEVER = threading.Event()


def even(low: float, high: float) -> float:
    return 1.0


def busy() -> SourceError:
    fault = SourceDenied("come less often")
    fault.fault = BUSY
    return fault


def door_to(port: int, scheme: str = "rtsp") -> Door:
    door = door_of(open_source(f"{scheme}://127.0.0.1:{port}/live"))
    assert door is not None
    return door


def watch_of(port: int, *, open_timeout_s: float = 10.0) -> tuple[Watch, Door]:
    source = open_source(f"rtsp://127.0.0.1:{port}/live", options=SourceOptions(open_timeout_s=open_timeout_s))
    door = door_to(port)
    return Watch(source, door, NEVER), door


def test_the_first_retry_is_at_once_and_the_next_ones_at_the_same_pace():
    backoff = Backoff(even)
    assert [backoff.next_delay_s(SourceEnded()) for _ in range(100)] == [0.0] + [retry.EVERY_S] * 99
    backoff.reset()
    assert backoff.next_delay_s(SourceEnded()) == 0.0


def test_a_refused_login_is_tried_more_seldom_after_a_minute():
    now_s = [0.0]
    backoff = Backoff(even, lambda: now_s[0])
    assert [backoff.next_delay_s(SourceDenied()) for _ in range(3)] == [0.0, retry.EVERY_S, retry.EVERY_S]
    now_s[0] = 61.0
    assert [backoff.next_delay_s(SourceDenied()) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_server_that_asks_us_to_come_less_often_is_heard_at_once():
    backoff = Backoff(even)
    assert [backoff.next_delay_s(busy()) for _ in range(3)] == [1, 2, 4]


def test_delays_are_spread():
    backoff = Backoff()
    backoff.next_delay_s(SourceEnded())
    delays = {backoff.next_delay_s(SourceEnded()) for _ in range(50)}
    assert len(delays) > 10
    assert all(0.5 <= delay_s <= 0.7 for delay_s in delays)


def test_a_port_that_accepts_is_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert can_connect(server.getsockname())
    assert not can_connect(("127.0.0.1", free_port()))


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Before a server that speaks RTSP."""
    with serve(MuteRtsp) as port, FaultProxy(port) as proxy:
        yield proxy


def test_a_knock_is_answered_by_a_server_that_works(proxy: FaultProxy):
    with door_to(proxy.port) as door:
        assert door.sign(1.0, NEVER) == "alive"
        assert door.has_answered


def test_a_camera_over_http_answers_a_knock():
    with mjpeg_server([]) as address, door_to(int(address.split(":")[2].split("/")[0]), "http") as door:
        assert door.sign(1.0, NEVER) == "alive"


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_a_knock_at_a_silent_server_is_not_answered(scheme: str):
    with silent_server() as port, door_to(port, scheme) as door:
        assert door.sign(0.2, NEVER) == "silent"
        assert not door.has_answered


@pytest.mark.parametrize(
    ("fault", "sign"), [("refused", "away"), ("cut", "away"), ("garbage", "away"), ("hang", "silent")]
)
def test_what_a_knock_tells_of_a_fault(proxy: FaultProxy, fault: str, sign: str):
    proxy.suffer(fault)
    with door_to(proxy.port) as door:
        assert door.sign(0.2, NEVER) == sign


def test_a_knock_at_a_host_that_drops_everything_ends(proxy: FaultProxy):
    proxy.suffer("black_hole")
    started_s = time.monotonic()
    with door_to(proxy.port) as door:
        assert door.sign(0.2, NEVER) == "silent"
    assert time.monotonic() - started_s < 2


def test_a_knock_that_is_reset_at_once_holds_no_socket(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as unconnected:  # as one is that was reset since
        monkeypatch.setattr(socket, "create_connection", lambda place, timeout_s: unconnected)
        assert door_to(free_port()).sign(0.2, NEVER) == "away"
        assert unconnected.fileno() == -1


def test_a_name_that_no_host_can_have_is_away():
    assert Door(("a..b", 1)).sign(0.1, NEVER) == "away"


def test_only_places_that_can_be_knocked_at_have_a_door(monkeypatch: pytest.MonkeyPatch):
    assert door_of(open_source("synthetic")) is None
    assert door_of(open_source("rtsp://127.0.0.1/a", options=SourceOptions(listen=True))) is None
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert door_of(open_source("http://127.0.0.1/a")) is None


@pytest.mark.parametrize("fault", ["refused", "hang", "black_hole"])
def test_a_server_that_comes_back_ends_the_wait(proxy: FaultProxy, fault: str):
    watch, door = watch_of(proxy.port)
    door.sign(1.0, NEVER)
    watch.tries()
    proxy.suffer(fault)
    timer = threading.Timer(0.7, proxy.heal)
    timer.start()
    started_s = time.monotonic()
    assert watch.wait(20.0, SourceTimeout()) is None
    assert 0.5 < time.monotonic() - started_s < 3
    timer.join()


def test_a_server_that_was_never_away_does_not_end_the_wait(proxy: FaultProxy):
    watch, _ = watch_of(proxy.port)
    for fault in (SourceTimeout(), SourceEnded()):
        started_s = time.monotonic()
        assert watch.wait(0.5, fault) is None
        assert time.monotonic() - started_s >= 0.5


def test_knocking_in_vain_counts_as_failed_attempts(monkeypatch: pytest.MonkeyPatch):
    watch, _ = watch_of(free_port())
    watch.tries()
    fault = SourceRefused("nobody listens there")
    assert watch.wait(0.1, fault) is fault
    monkeypatch.setattr(retry, "AWAY_TRY_S", 0.5)
    assert watch.wait(0.1, fault) is None  # whatever knocks say, it is tried in earnest now and then


def test_a_server_that_is_gone_now_is_tried_once_for_the_reason():
    watch, _ = watch_of(free_port())
    watch.tries()
    started_s = time.monotonic()
    assert watch.wait(0.0, SourceEnded()) is None
    assert time.monotonic() - started_s < 0.5


def test_silence_is_a_fault_of_a_server_that_used_to_answer(proxy: FaultProxy):
    watch, door = watch_of(proxy.port, open_timeout_s=0.6)
    door.sign(1.0, NEVER)
    watch.tries()
    proxy.suffer("hang")
    fault = watch.wait(0.0, SourceTimeout())
    assert isinstance(fault, SourceTimeout)
    assert "nothing came for" in str(fault)


def test_silence_means_little_of_a_server_that_never_answered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "UNSURE_S", 0.3)
    with silent_server() as port:
        watch, _ = watch_of(port)
        watch.tries()
        assert watch.wait(0.0, SourceTimeout()) is None


def test_a_stop_ends_the_wait():
    stop = threading.Event()
    with silent_server() as port:
        source = open_source(f"rtsp://127.0.0.1:{port}/live")
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        started_s = time.monotonic()
        assert Watch(source, door_of(source), stop).wait(20.0, SourceTimeout()) is None
        assert Watch(source, None, stop).wait(20.0, SourceTimeout()) is None
        assert time.monotonic() - started_s < 2
        timer.join()


def test_an_attempt_that_hangs_is_ended_when_its_server_is_back(proxy: FaultProxy):
    aborted = threading.Event()
    proxy.suffer("silent")
    with Vigil(door_to(proxy.port), aborted.set, "vigil") as vigil:
        time.sleep(1.2)
        assert not aborted.is_set()
        proxy.heal()
        assert aborted.wait(2.0)
        assert vigil.has_aborted
    vigil.close()


def test_an_attempt_at_a_server_that_answers_may_take_its_time(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "HANGS_AFTER_S", 0.1)
    with Vigil(door_to(proxy.port), lambda: None, "vigil") as vigil:
        time.sleep(1.0)
    vigil.close()
    vigil.close()
    assert not vigil.has_aborted


def test_an_attempt_that_is_over_is_not_ended(proxy: FaultProxy):
    proxy.suffer("silent")
    with Vigil(door_to(proxy.port), lambda: None, "vigil") as vigil:
        time.sleep(0.2)
    proxy.heal()
    time.sleep(1.0)
    assert not vigil.has_aborted
    assert "vigil" not in {thread.name for thread in threading.enumerate()}


def test_a_knock_asks_no_name_server_for_where_it_was_before(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *about: asked.append(host) or look_up(host, *about))
    source = open_source(f"rtsp://localhost:{proxy.port}/live")
    with door_of(source) as door:
        assert [door.sign(1.0, NEVER) for _ in range(3)] == ["alive"] * 3
        assert door.twin().has_answered
    assert asked.count("localhost") == 1
    proxy.suffer("refused")
    assert [door.sign(1.0, NEVER) for _ in range(2)] == ["away"] * 2
    assert asked.count("localhost") == 2  # it may have moved

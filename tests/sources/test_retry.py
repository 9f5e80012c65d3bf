"""Back-off grows and has an end, and a server that comes back is noticed at once."""

import socket
import threading
import time

from stream_detect.sources.retry import LONGEST_DELAY_S, Backoff, Watch, can_connect
from tests.servers.ports import free_port


def test_delays_double_up_to_half_a_minute():
    backoff = Backoff(dice=lambda low, high: 1.0)
    assert [backoff.next_delay_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next_delay_s() == 1


def test_delays_are_spread():
    delays = {Backoff().next_delay_s() for _ in range(50)}
    assert len(delays) > 10
    assert all(0.8 <= delay_s <= 1.2 for delay_s in delays)
    high = Backoff(dice=lambda low, high: high)
    assert max(high.next_delay_s() for _ in range(20)) <= LONGEST_DELAY_S


def test_a_port_that_accepts_is_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert can_connect(server.getsockname())
    assert not can_connect(("127.0.0.1", free_port()))


def test_a_server_that_comes_back_ends_the_wait():
    port = free_port()
    watch = Watch(("127.0.0.1", port), threading.Event(), time.monotonic)
    watch.is_down = True
    servers: list[socket.socket] = []
    timer = threading.Timer(0.5, lambda: servers.append(socket.create_server(("127.0.0.1", port))))
    timer.start()
    started_s = time.monotonic()
    assert watch.wait(20.0)
    assert time.monotonic() - started_s < 5
    timer.join()
    servers[0].close()


def test_a_server_that_was_never_away_does_not_end_the_wait():
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = Watch(server.getsockname(), threading.Event(), time.monotonic)
        started_s = time.monotonic()
        assert not watch.wait(1.5)
        assert time.monotonic() - started_s >= 1.5


def test_a_stop_ends_the_wait():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    started_s = time.monotonic()
    assert not Watch(None, stop, time.monotonic).wait(20.0)
    assert time.monotonic() - started_s < 2

"""Every fault of a network or a server, on a real RTSP stream: said within 3 s, over 2 s after the source's return."""

import gc
import os
import signal
import time

import pytest

from stream_detect.decode.frame import Frame
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, open_source
from tests.faults.outage import back_after, detected_after, goes_on, held, live, options, suffer, tell
from tests.servers import FAULTS, FaultProxy, RtspServer, free_port
from tests.sources.following import Following

pytestmark = pytest.mark.services
AT_ONCE = ("hang_session", "reset", "end")  # the server itself is there all along
HARDEST = ("silent", "hang", "black_hole", "reset")  # tried where a thread reads, too


@pytest.mark.parametrize(
    ("fault", "isolation"), [(fault, "process") for fault in FAULTS] + [(fault, "thread") for fault in HARDEST]
)
def test_a_fault_of_the_network(proxy: FaultProxy, server: RtspServer, fault: str, isolation: str):
    with Following(proxy.url(server.url), options(isolation)) as feed:
        if fault in AT_ONCE:
            started_s = live(feed)
            proxy.suffer(fault)
            detected_s = detected_after(feed, started_s)
            back_s = back_after(feed, started_s + detected_s)
            goes_on(feed)
        else:
            detected_s, back_s = suffer(feed, lambda: proxy.suffer(fault), proxy.heal, 1.5)
        assert "decoder" not in feed.reader.counts.reconnects
    tell(detected_s, back_s)


@pytest.mark.parametrize("fault", ["silent", "black_hole", "garbage"])
def test_a_source_that_has_a_fault_from_the_start(proxy: FaultProxy, server: RtspServer, fault: str):
    proxy.suffer(fault)
    with Following(proxy.url(server.url), options()) as feed:
        time.sleep(2.2)
        assert not feed.frames
        proxy.heal()
        tell(None, back_after(feed, time.monotonic()))


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_a_server_that_is_stopped_and_goes_on(proxy: FaultProxy, server: RtspServer, isolation: str):
    with Following(server.url, options(isolation)) as feed:
        try:
            detected_s, back_s = suffer(feed, server.pause, server.go_on, 3.5)
        finally:
            server.go_on()
    tell(detected_s, back_s)


def test_a_server_that_is_killed_and_started_again(nothing_left: None):
    with RtspServer() as server, Following(server.url, options()) as feed:
        detected_s, back_s = suffer(feed, server.kill, server.start, 1.5)
        assert "refused" in feed.said
    tell(detected_s, back_s)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [("login user:other", "login user:right", "401"), ("absent", "present", "404")],
    ids=["401", "404"],
)
def test_a_server_that_refuses_for_a_while(nothing_left: None, start: str, end: str, words: str):
    with RtspServer(login="user:right") as server, Following(server.url, options()) as feed:
        detected_s, back_s = suffer(feed, lambda: server.tell(start), lambda: server.tell(end), 1.5)
        assert words in feed.said
        assert "right" not in feed.said
    tell(detected_s, back_s)


def test_a_codec_that_changes(nothing_left: None):
    with RtspServer() as server, Following(server.url, options()) as feed:
        live(feed)
        started_s = time.monotonic()
        server.tell("codec h265")
        tell(detected_after(feed, started_s), back_after(feed, time.monotonic()))
        goes_on(feed)


def test_a_picture_size_that_changes_needs_no_new_connection(nothing_left: None):
    with RtspServer() as server, Following(server.url, options()) as feed:
        live(feed)
        started_s = time.monotonic()
        server.tell("size 640x480")
        feed.wait_until(lambda: feed.frames[-1].width == 640, 3.0, "the new size")
        tell(None, feed.frames[-1].arrived_s - started_s)
        feed.wait_for_frames(5)
        assert (feed.frames[-1].height, feed.frames[-1].width) == (480, 640)
        assert sum(feed.reader.counts.reconnects.values()) == 0


def test_a_decoder_that_is_killed(proxy: FaultProxy, server: RtspServer):
    with Following(server.url, options()) as feed:
        live(feed)
        pid, started_s = feed.reader.pid, time.monotonic()
        assert pid not in (None, os.getpid())
        os.kill(pid, signal.SIGKILL)
        tell(detected_after(feed, started_s), back_after(feed, started_s))
        goes_on(feed)
        assert feed.reader.pid != pid
        assert feed.reader.counts.reconnects["decoder"] == 1


def test_a_decoder_that_hangs(proxy: FaultProxy, server: RtspServer):
    with Following(server.url, options()) as feed:
        live(feed)
        started_s = time.monotonic()
        os.kill(feed.reader.pid, signal.SIGSTOP)
        detected_s = detected_after(feed, started_s)
        tell(detected_s, back_after(feed, started_s + detected_s))
        goes_on(feed)


def test_a_source_that_stays_away_is_not_told_of_at_each_attempt(nothing_left: None):
    with Following(f"rtsp://127.0.0.1:{free_port()}/live", options()) as feed:
        feed.wait_until(lambda: feed.reader.counts.reconnects.get("refused", 0) >= 4, 10.0, "four attempts")
        assert feed.states == ["connecting", "reconnecting"]


def test_a_lost_connection_is_let_go_of_at_once(proxy: FaultProxy, server: RtspServer):
    """Its memory and files, without waiting for Python to look for cycles."""
    box = Mailbox[Frame](1, newest_wins=True)
    source = open_source(proxy.url(server.url), options=options())
    gc.disable()
    try:
        with Reader(source, box) as reader:
            while (lost := sum(reader.counts.reconnects.values())) < 4:
                wait_for_frame(box)
                proxy.suffer("reset")
                while sum(reader.counts.reconnects.values()) == lost:
                    time.sleep(0.01)
            wait_for_frame(box)
            assert held()["file /memfd"] <= 2
    finally:
        gc.enable()


def wait_for_frame(box: Mailbox[Frame]) -> None:
    """One that came after the last was taken, and is let go of."""
    while box.take(0.0) is not None:
        pass
    assert box.take(10.0) is not None

"""Streams whose time stamps jump and whose packets are cut or missing, as a real server's RTP brings them."""

import re
import time
from collections.abc import Callable

import pytest

from tests.faults.outage import BACK_S, BUSY_S, back_after, detected_after, goes_on, live, options, tell
from tests.servers import FaultProxy, RtspServer
from tests.servers.rtp import CYCLE, Tamper, hevc_unit, shifted, stamp_of, truncated
from tests.sources.following import Following

pytestmark = pytest.mark.services
TICKS_S = 90_000


def ahead(seconds: float) -> Callable[[bytes], bytes]:
    return lambda packet: shifted(packet, round(seconds * TICKS_S))


def forwards() -> Tamper:
    """An hour later from one packet to the next."""
    return ahead(3600)


def backwards() -> Tamper:
    """Half a minute earlier from one packet to the next."""
    return ahead(-30)


def about_to_wrap() -> Tamper:
    """The 32 bits of the stamps run over a second later."""
    first: list[int] = []

    def tamper(packet: bytes) -> bytes:
        first.append(stamp_of(packet))
        return shifted(packet, CYCLE - TICKS_S - first[0])

    return tamper


@pytest.mark.parametrize("jump", [forwards, backwards, about_to_wrap])
def test_a_clock_that_jumps(proxy: FaultProxy, server: RtspServer, jump: Callable[[], Tamper]):
    with Following(proxy.url(server.url), options()) as feed:
        live(feed)
        jumped_s, before_s = time.monotonic(), feed.frames[-1].pts_s
        proxy.tamper = jump()
        feed.wait_until(lambda: feed.frames[-1].arrived_s > jumped_s + 2.0, 6.0, "frames after the jump")
        proxy.tamper = ahead(0)  # and back again
        feed.wait_until(lambda: feed.frames[-1].arrived_s > jumped_s + 3.5, 6.0, "frames after the jump back")
        passed_s = feed.frames[-1].arrived_s - jumped_s
        assert abs(feed.frames[-1].pts_s - before_s - passed_s) < 1.5  # time goes on as it passes
        assert all(b.pts_s > a.pts_s for a, b in zip(feed.frames, feed.frames[1:], strict=False))
        gaps_s = [b.arrived_s - a.arrived_s for a, b in zip(feed.frames, feed.frames[1:], strict=False)]
        assert max(gaps_s) < BACK_S + BUSY_S


def test_pictures_that_are_cut_off_are_never_shown_as_whole(proxy: FaultProxy, server: RtspServer):
    with Following(proxy.url(server.url), options()) as feed:
        live(feed)
        started_s = time.monotonic()
        proxy.tamper = truncated
        feed.wait_until(lambda: time.monotonic() > started_s + 3.0)
        damaged = [frame for frame in feed.frames if started_s + 0.3 < frame.arrived_s < started_s + 3.0]
        assert all(frame.is_corrupt for frame in damaged)
        assert feed.states[-1] in ("stalled", "reconnecting") or damaged or feed.reader.counts.dropped["corrupt"]
        proxy.tamper = ahead(0)
        tell(None, back_after(feed, time.monotonic()))
        live(feed)


def without_pps(packet: bytes) -> bytes | None:
    return None if hevc_unit(packet) == 34 else packet


def test_hevc_whose_parameters_are_missing(nothing_left: None):
    with (
        RtspServer(codec="h265") as server,
        FaultProxy(server.port, is_rtsp=True) as proxy,
        Following(proxy.url(server.url), options()) as feed,
    ):
        live(feed)
        started_s = time.monotonic()
        proxy.tamper = without_pps
        proxy.describe = lambda sdp: re.sub(r"; ?sprop-pps=[^;\r\n]*", "", sdp)
        proxy.suffer("reset")  # the next connection never hears of them
        detected_s = detected_after(feed, started_s)
        feed.wait_until(lambda: time.monotonic() > started_s + 3.0)
        assert not [frame for frame in feed.frames if frame.arrived_s > started_s + 0.5 and not frame.is_corrupt]
        proxy.tamper, proxy.describe = ahead(0), str
        tell(detected_s, back_after(feed, time.monotonic()))
        goes_on(feed)

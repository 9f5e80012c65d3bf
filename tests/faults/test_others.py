"""While one feed suffers every fault in turn, another one is watched as if nothing were the matter."""

import threading
import time
from collections import defaultdict

import numpy as np
import pytest

from stream_detect.pipeline import watch
from stream_detect.sources import open_source
from stream_detect.types import FrameVerdict, Status
from tests.doubles import ScriptedDetector
from tests.faults.outage import options
from tests.servers import FAULTS, FaultProxy, RtspServer

pytestmark = pytest.mark.services
CALM_S, FAULT_S = 3.0, 1.0
MORE_MS = 30.0  # that p95 may rise by: the feed comes back, decodes and is opened on the same two cores


class Ages:
    """Hears how old each frame was when its verdict was told; may be asked from another thread."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = defaultdict(list)

    def stage(self, feed: str, stage: str, seconds: float) -> None:
        return

    def batch(self, frames: int, seconds: float) -> None:
        return

    def age(self, feed: str, seconds: float) -> None:
        self.of[feed].append(seconds)


def p95_ms(ages: list[float]) -> float:
    return float(np.percentile(ages, 95)) * 1000


def test_other_feeds_go_on_undisturbed(server: RtspServer, proxy: FaultProxy):
    ages, stop, marks = Ages(), threading.Event(), []

    def script() -> None:
        while len(ages.of["well"]) < 10 or len(ages.of["ill"]) < 10:
            time.sleep(0.05)
        time.sleep(CALM_S)
        marks.append(len(ages.of["well"]))
        for fault in FAULTS:
            proxy.suffer(fault)
            time.sleep(FAULT_S)
            proxy.heal()
            time.sleep(FAULT_S)
        marks.append(len(ages.of["well"]))
        stop.set()

    with RtspServer() as other:
        sources = [
            open_source(proxy.url(server.url), name="ill", options=options()),
            open_source(other.url, name="well", options=options()),
        ]
        thread = threading.Thread(target=script)
        thread.start()
        lines = list(watch(sources, ScriptedDetector(), stop=stop, observer=ages))
        thread.join()
    calm, during = ages.of["well"][5 : marks[0]], ages.of["well"][marks[0] : marks[1]]
    print(f"p95 {p95_ms(calm):.1f} ms calm, {p95_ms(during):.1f} ms during faults ({len(during)} frames)")
    assert p95_ms(during) < p95_ms(calm) + MORE_MS
    assert len(during) > 0.9 * 25 * 2 * FAULT_S * len(FAULTS)
    told = [line.state for line in lines if isinstance(line, Status) and line.source == "well"]
    assert {"stalled", "reconnecting"}.isdisjoint(told)
    ill = [line for line in lines if isinstance(line, Status) and line.source == "ill"]
    assert [line.state for line in ill].count("live") > len(FAULTS) // 2
    assert sum(isinstance(line, FrameVerdict) and line.source == "ill" for line in lines) > 100

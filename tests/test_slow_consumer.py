"""Minutes of a consumer that gets to a third of the frames: what it gets stays young."""

import math
import threading
import time

import numpy as np
import pytest

from benchmarks.common import slope_per_minute
from stream_detect.pipeline import watch
from stream_detect.types import FrameVerdict
from tests.doubles import SlowDetector

WARM_UP_S = 3.0
RATE_HZ = 30  # of the synthetic source
BUDGET_MS = 250.0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [120.0, pytest.param(600.0, marks=pytest.mark.slow)])
def test_frames_stay_young_where_only_a_third_can_be_judged(seconds: float):
    told: list[tuple[float, float]] = []
    start_s = time.monotonic()
    for line in watch("synthetic", SlowDetector(3 / RATE_HZ), duration_s=seconds, stop=threading.Event()):
        if isinstance(line, FrameVerdict) and line.latency_ms is not None:
            told.append((time.monotonic() - start_s, line.latency_ms))
    at_s, ages_ms = np.array([row for row in told if row[0] > WARM_UP_S]).T
    growth_ms = slope_per_minute(at_s, ages_ms) * seconds / 60
    print(f"{len(ages_ms) / seconds:.1f} frames/s, age p99 {np.percentile(ages_ms, 99):.0f} ms, {growth_ms:+.1f} ms")
    assert 0.15 * RATE_HZ * seconds < len(ages_ms) < 0.45 * RATE_HZ * seconds
    assert np.percentile(ages_ms, 99) <= BUDGET_MS
    assert math.fabs(growth_ms) < 25.0

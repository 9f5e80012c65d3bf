"""Minutes of a live 720p feed: frames don't age, memory doesn't grow. Run by make test-slow."""

import os
import statistics

import psutil
import pytest

from tests import clips
from tests.cli.program import Running
from tests.servers import RtspServer
from tests.servers.rtsp import write_pictures

SOAK_S = float(os.environ.get("STREAM_DETECT_SOAK_S", "300"))
WARM_UP_S = 20.0


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.timeout(SOAK_S + 300)
def test_frames_do_not_age_and_memory_does_not_grow(tmp_path, weights_folder):
    pictures = write_pictures(tmp_path, clips.talking_head(25, 720, 1280, 220))
    resident_mb, frames = [], []
    with (
        RtspServer(pictures=pictures, kbps=3000) as server,
        Running("watch", server.url, "--duration", SOAK_S, "--jsonl", "-", "--weights", weights_folder) as program,
    ):
        process = psutil.Process(program.process.pid)
        for line in program.following(SOAK_S + 120):
            if line["type"] == "frame" and line["pts_s"] > WARM_UP_S:
                frames.append(line)
                if len(frames) % 100 == 1:
                    resident_mb.append(process.memory_info().rss / 2**20)
        assert program.end() == 0
    ages_ms = [line["latency_ms"] for line in frames]
    half = len(ages_ms) // 2
    early, late = statistics.median(ages_ms[:half]), statistics.median(ages_ms[half:])
    fps = (len(frames) - 1) / (frames[-1]["pts_s"] - frames[0]["pts_s"])
    print(f"{fps:.1f} analysed fps, median age {early:.0f} ms then {late:.0f} ms, memory {resident_mb} MB")
    assert late < 1.5 * early + 20
    assert resident_mb[-1] < resident_mb[0] + 30

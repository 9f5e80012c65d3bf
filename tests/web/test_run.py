"""The application on a real run: feeds are added and removed through the file, and no other one notices."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from stream_detect.config import read_config
from stream_detect.feeds_file import FeedsFile, FeedsInEffect
from stream_detect.metrics import Metrics
from stream_detect.pipeline import Watching
from stream_detect.web import serving
from tests.doubles import ScriptedDetector
from tests.web.asking import ask

FILE = """\
# the cameras of the house
[[feed]]
url = "synthetic"
name = "hall"  # the oldest one
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "feeds.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture
def port(path) -> Iterator[int]:
    file, metrics, stop = FeedsFile(path), Metrics(), threading.Event()
    feeds = read_config(path).feeds
    with Watching(feeds, ScriptedDetector(), observer=metrics, stays=True) as watching:
        loop = threading.Thread(target=lambda: [metrics.take(line) for line in watching.lines(stop)])
        loop.start()
        in_effect = FeedsInEffect(watching, feeds)
        with serving(
            0,
            watching.feeds,
            metrics=metrics,
            feeds_file=file,
            apply=lambda: in_effect.apply(file.read()),
            last_turn_s=watching.last_turn_s,
        ) as server:
            yield server.port
        stop.set()
        loop.join(10)


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_a_feed_comes_and_goes_and_the_other_one_goes_on(port, path):
    assert eventually(lambda: ask(port, "/readyz").status == 200)
    assert ask(port, "/feeds", "POST", {"url": "synthetic", "name": "yard", "analyse_hz": 5}).status == 201
    assert eventually(lambda: ask(port, "/feeds/yard").json["analysed"] > 0)
    assert 'stream_detect_frame_age_seconds_count{feed="yard"}' in ask(port, "/metrics").text
    before = ask(port, "/feeds/hall").json
    assert ask(port, "/feeds/yard", "DELETE").status == 200
    assert eventually(lambda: ask(port, "/feeds/yard").status == 404)
    assert eventually(lambda: "yard" not in ask(port, "/metrics").text)
    assert path.read_text(encoding="utf-8").strip() == FILE.strip()
    assert eventually(lambda: ask(port, "/feeds/hall").json["analysed"] > before["analysed"])
    after = ask(port, "/feeds/hall").json
    assert (after["state"], after["reconnects"]) == ("live", {})
    assert ask(port, "/healthz").status == 200


def test_stages_ages_and_batches_are_measured(port):
    def told() -> str:
        return ask(port, "/metrics").text

    assert eventually(lambda: 'stream_detect_analysed_total{feed="hall"}' in told())
    stages = ("decode", "wait", "faces", "judge", "tell")
    assert eventually(
        lambda: all(f'latency_seconds_count{{feed="hall",stage="{stage}"}}' in told() for stage in stages)
    )
    assert eventually(lambda: "stream_detect_batch_frames_count 0.0" not in told())
    assert 'stream_detect_verdict_latency_seconds_count{feed="hall",since="' in told()

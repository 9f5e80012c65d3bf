"""Evidence where it is needed: of a real feed in time, on a disk that is full, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_detect.config import DecisionSettings, EvidenceSettings
from stream_detect.evidence.ledger import ListLedger
from stream_detect.evidence.recorder import EvidenceRecorder
from stream_detect.evidence.verify import verify
from stream_detect.pipeline import watch
from stream_detect.store import open_store
from stream_detect.types import Alert
from tests.clips import talking_head, write_clip
from tests.doubles import ScriptedDetector
from tests.servers import RtspServer

DECISION = DecisionSettings(drift=0.5, raise_at=1.0)
BESIDE = 2.0  # seconds before and after an alert
SLACK_S = 4.0  # beyond what is promised, on a machine that does other things as well


@pytest.mark.services
def test_of_a_live_feed_pictures_and_clip_come_in_time(tmp_path):
    root, ledger = tmp_path / "evidence", ListLedger()
    detector = ScriptedDetector(lambda pts_s: 3.0 if pts_s >= 4.0 else -3.0, DECISION)
    settings = EvidenceSettings(before_s=BESIDE, after_s=BESIDE)
    raised_at = pictures_at = clip_at = None
    recorder = EvidenceRecorder(root, settings, detector=detector, ledger=ledger)
    with RtspServer(fps=25, gop=25, width=320, height=240) as server, recorder:
        for line in watch(server.url, detector, witness=recorder, duration_s=30.0):
            now_s = time.monotonic()
            if isinstance(line, Alert) and line.event == "raised":
                raised_at, folder = now_s, root / line.evidence
            if raised_at and pictures_at is None and (folder / "report.html").exists():
                pictures_at = now_s
            if isinstance(line, Alert) and line.clip:
                clip_at = now_s
                break
    assert pictures_at - raised_at < 2.0 + SLACK_S
    assert clip_at - raised_at < BESIDE + 2.0 + SLACK_S
    about = json.loads((folder / "manifest.json").read_text())["about"]
    assert about["clip"]["kind"] == "remuxed"
    assert about["clip"]["end_s"] - about["clip"]["start_s"] >= 2 * BESIDE - 0.5
    assert verify(root, ledger.entries()).word == "consistent"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, where one can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)  # a lock is held until the process ends


def test_a_disk_that_fills_up_costs_clips_and_no_alert(small_disk, tmp_path, caplog):
    (small_disk / "ballast").write_bytes(b"x" * 1_800_000)
    clip = tmp_path / "speech.mp4"
    write_clip(clip, talking_head(12 * 25, height=240, width=320, face_px=90), fps=25, options={"g": "25"})
    detector = ScriptedDetector(lambda pts_s: 3.0 if 3.0 <= pts_s < 6.0 else -3.0, DECISION)
    with (
        open_store(tmp_path / "store.db") as store,
        EvidenceRecorder(small_disk / "e", EvidenceSettings(), detector=detector, ledger=store.ledger) as recorder,
    ):
        lines = list(watch(str(clip), detector, witness=recorder, every_frame=True, keep_packets=True))
        for line in lines:
            store.take(line)
    with open_store(tmp_path / "store.db") as store:
        (alert,) = store.alerts()
    assert alert.state == "cleared"
    assert recorder.counts["failed"] >= 1
    assert sum("evidence can't be kept" in record.getMessage() for record in caplog.records) == 1


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from stream_detect.config import DecisionSettings, EvidenceSettings
from stream_detect.evidence.recorder import EvidenceRecorder
from stream_detect.pipeline import watch
from stream_detect.store import open_store
from tests.doubles import ScriptedDetector

decision = DecisionSettings(drift=0.5, raise_at=1.0)
detector = ScriptedDetector(lambda pts_s: 3.0 if int(pts_s) % 6 >= 3 else -3.0, decision)
with open_store(sys.argv[2]) as store:
    asked = EvidenceSettings(before_s=1.0, after_s=1.0)
    with EvidenceRecorder(Path(sys.argv[1]), asked, detector=detector, ledger=store.ledger) as recorder:
        print("begun", flush=True)
        for line in watch(sys.argv[3], detector, witness=recorder, every_frame=True, keep_packets=True):
            store.take(line)
"""


def test_a_run_that_is_killed_leaves_nothing_that_verifies_wrongly(tmp_path):
    clip = tmp_path / "long.mp4"
    write_clip(clip, talking_head(60 * 25, height=120, width=160, face_px=60), fps=25, options={"g": "25"})
    program = KILLED.format(root=str(Path(__file__).parents[2]))
    root, store = tmp_path / "evidence", tmp_path / "store.db"
    for round_ in range(4):
        child = subprocess.Popen([sys.executable, "-c", program, root, store, clip], stdout=subprocess.PIPE, text=True)
        with child.stdout:
            assert child.stdout.readline() == "begun\n"
            time.sleep(0.15 + 0.35 * round_)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    with open_store(store) as kept:
        with EvidenceRecorder(root, EvidenceSettings(), detector=None, ledger=kept.ledger):
            pass
        report = verify(root, kept.ledger.entries())
        assert report.word == "consistent"
        assert {alert.evidence for alert in kept.alerts()} <= {entry.folder for entry in kept.ledger.entries()} | {None}

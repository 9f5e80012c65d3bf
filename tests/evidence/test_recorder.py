"""Evidence as `watch` keeps it: original packets, pictures and scores in time, sealed, and never in the alert's way."""

import csv
import json
import logging
import threading
import time
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from stream_detect.config import DecisionSettings, EvidenceSettings
from stream_detect.errors import OutputError
from stream_detect.evidence import recorder as recording
from stream_detect.evidence.ledger import ListLedger
from stream_detect.evidence.recorder import EvidenceRecorder, slug
from stream_detect.evidence.verify import verify
from stream_detect.pipeline import watch
from stream_detect.types import Alert
from tests.clips import talking_head, write_clip
from tests.doubles import ScriptedDetector

CHANGE_S = 4.0
DECISION = DecisionSettings(drift=0.5, raise_at=1.0)
FPS = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "speech.mp4"
    write_clip(path, talking_head(12 * FPS, height=120, width=160, face_px=60), fps=FPS, options={"g": "25"})
    return path


def detector():
    return ScriptedDetector(lambda pts_s: 3.0 if CHANGE_S <= pts_s < 9.0 else -3.0, DECISION)


def run(root, source, ledger=None, settings=None, key=None, **changes):
    """The lines of a watch that keeps evidence."""
    ledger = ledger or ListLedger()
    asked = settings or EvidenceSettings(before_s=2.0, after_s=2.0)
    with EvidenceRecorder(root, asked, detector=detector(), ledger=ledger, key=key) as recorder:
        options = {"keep_packets": True, "detect_every": 1, **changes}
        lines = list(watch(str(source), detector(), witness=recorder, every_frame=True, **options))
    return lines, recorder


def alerts_of(lines):
    return [line for line in lines if isinstance(line, Alert)]


@pytest.fixture(scope="module")
def kept(clip, tmp_path_factory):
    """A run over the clip: its root, lines, ledger and the alert's folder."""
    root, ledger = tmp_path_factory.mktemp("kept") / "evidence", ListLedger()
    lines, _ = run(root, clip, ledger)
    alerts = alerts_of(lines)
    return root, alerts, ledger, root / alerts[0].evidence


def test_every_line_of_the_alert_names_its_evidence_and_one_its_clip(kept):
    root, alerts, _, folder = kept
    assert alerts[0].event == "raised"
    assert {alert.evidence for alert in alerts} == {alerts[0].evidence}
    (told,) = [alert for alert in alerts if alert.clip is not None]
    assert told.event == "updated"
    assert (root / told.clip).is_file()
    assert folder.name.endswith(alerts[0].id)


def test_the_chain_is_consistent(kept):
    root, _, ledger, _ = kept
    report = verify(root, ledger.entries())
    assert report.word == "consistent"
    assert len(ledger.entries()) == 1


def test_the_clip_holds_the_original_packets_from_a_key_frame_on(kept, clip):
    _, alerts, _, folder = kept
    with av.open(str(clip)) as original, av.open(str(folder / "clip.mp4")) as cut:
        originals = [bytes(packet) for packet in original.demux(video=0) if packet.size]
        packets = [packet for packet in cut.demux(video=0) if packet.size]
    assert packets[0].is_keyframe
    start = originals.index(bytes(packets[0]))
    assert [bytes(packet) for packet in packets] == originals[start : start + len(packets)]
    raised_s = alerts[0].started_s + alerts[0].time_to_alert_s
    assert start / FPS <= raised_s - 2.0
    assert len(packets) >= 4.0 * FPS - 2


def test_the_manifest_says_what_it_is_of(kept):
    _, alerts, _, folder = kept
    about = json.loads((folder / "manifest.json").read_text())["about"]
    assert about["clip"]["kind"] == "remuxed"
    assert about["feed"] == "speech.mp4"
    assert about["alert"]["id"] == alerts[0].id
    assert about["software"].startswith("stream-detect ")


def test_the_frames_that_decided_are_whole_and_from_after_the_change(kept):
    _, _, _, folder = kept
    frames = sorted(folder.glob("frame-*.png"))
    assert frames
    assert cv2.imread(str(frames[0])).shape == (120, 160, 3)
    assert "Frame at 4." in (folder / "report.html").read_text()


def test_scores_are_those_around_the_alert(kept):
    _, alerts, _, folder = kept
    raised_s = alerts[0].started_s + alerts[0].time_to_alert_s
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    times = [float(row["pts_s"]) for row in rows]
    assert min(times) == pytest.approx(raised_s - 2.0, abs=0.1)
    assert max(times) == pytest.approx(raised_s + 2.0, abs=0.1)
    assert {"mesonet", "fake_probability", "verdict"} <= set(rows[0])


def test_a_source_without_packets_has_an_encoded_clip_and_says_so(tmp_path, clip):
    lines, _ = run(tmp_path / "evidence", clip, keep_packets=False)
    (told,) = [alert for alert in alerts_of(lines) if alert.clip is not None]
    about = json.loads((tmp_path / "evidence" / told.evidence / "manifest.json").read_text())["about"]
    assert about["clip"]["kind"] == "encoded"
    assert "no packets" in about["clip"]["why"]
    with av.open(str(tmp_path / "evidence" / told.clip)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 20


def test_hidden_faces_are_hidden_everywhere(tmp_path, clip):
    settings = EvidenceSettings(before_s=2.0, after_s=2.0, privacy="blur")
    lines, _ = run(tmp_path / "evidence", clip, settings=settings)
    (told,) = [alert for alert in alerts_of(lines) if alert.clip is not None]
    folder = tmp_path / "evidence" / told.evidence
    about = json.loads((folder / "manifest.json").read_text())["about"]
    assert (about["clip"]["kind"], about["privacy"]) == ("blurred", "blur")
    assert not (folder / "face.png").exists()
    assert not list(folder.glob("attention-*.png")) + list(folder.glob("residual.png"))
    middle = cv2.imread(str(folder / "frame-1.png"))[46:74, 60:100]
    with av.open(str(folder / "clip.mp4")) as container:
        pictures = [frame.to_ndarray(format="bgr24")[46:74, 60:100] for frame in container.decode(video=0)]
    assert max(fine_detail(one) for one in [middle, *pictures]) < 3.0


def fine_detail(rgb):
    return float(np.abs(cv2.Laplacian(rgb.astype(np.float32), cv2.CV_32F)).mean())


def test_signed_evidence_is_authentic(tmp_path, clip):
    from stream_detect.evidence.signing import make_key, read_signing_key

    public = make_key(tmp_path / "key.pem")
    ledger = ListLedger()
    run(tmp_path / "evidence", clip, ledger, key=read_signing_key(tmp_path / "key.pem"))
    assert verify(tmp_path / "evidence", ledger.entries(), public).word == "authentic"


def test_a_folder_that_can_not_be_written_fails_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="evidence can't be kept there"):
        EvidenceRecorder(tmp_path / "file", EvidenceSettings(), detector=None, ledger=ListLedger())


def test_a_disk_that_is_full_costs_the_evidence_and_not_the_alert(tmp_path, clip, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "write_pictures", full)
    monkeypatch.setattr(recording.clips, "write_remuxed", full)
    monkeypatch.setattr(recording, "write_scores", full)
    with caplog.at_level(logging.WARNING):
        lines, recorder = run(tmp_path / "evidence", clip)
    assert [alert.event for alert in alerts_of(lines) if alert.event != "updated"] == ["raised", "cleared"]
    assert recorder.counts["failed"] >= 2
    assert sum("evidence can't be kept" in record.getMessage() for record in caplog.records) == 1


def test_the_alert_goes_on_without_a_folder_where_none_can_be_made(tmp_path, clip):
    root = tmp_path / "evidence"
    root.mkdir()
    (root / "speech.mp4").write_text("in the way")
    lines, _ = run(root, clip)
    alerts = alerts_of(lines)
    assert alerts[0].event == "raised"
    assert {alert.evidence for alert in alerts} == {None}


def test_what_a_killed_run_left_open_is_sealed_at_the_next_start(tmp_path, clip):
    root, ledger = tmp_path / "evidence", ListLedger()
    left = root / "cam1" / "20261122T130000Z-abc"
    left.mkdir(parents=True)
    (left / "frame-1.png").write_bytes(b"half")
    run(root, clip, ledger)
    assert ledger.entries()[0].folder == "cam1/20261122T130000Z-abc"
    assert verify(root, ledger.entries()).word == "consistent"


def test_the_loop_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(recording, "write_pictures", lambda *args, **kwargs: release.wait(20))
    ledger = ListLedger()
    with EvidenceRecorder(tmp_path / "e", EvidenceSettings(), detector=None, ledger=ledger) as recorder:
        frame, verdict = seen()
        recorder.saw(frame, verdict, None)
        began_s = time.monotonic()
        told = recorder.noted(raised(), None)
        assert time.monotonic() - began_s < 1.0
        assert told.evidence is not None
        release.set()


def seen():
    from stream_detect.decode.frame import Frame
    from stream_detect.types import FaceVerdict, FrameVerdict

    face = FaceVerdict(7, (10.0, 10.0, 40.0, 40.0), 0.9, 2.0, 0.9, "fake", (), {"mesonet": 0.9}, 1.0)
    frame = Frame.from_rgb(np.full((64, 64, 3), 90, np.uint8), source="cam1", pts_s=1.0)
    return frame, FrameVerdict("cam1", 0, 1.0, "2026-11-22T13:00:00.000Z", 1.0, (face,))


def raised():
    return Alert("raised", "0123456789ab", "cam1", 7, "sustained", "2026-11-22T13:00:00.000Z", 0.5, None, 0.9)


def test_an_alert_of_a_feed_that_was_never_seen_has_no_evidence(tmp_path):
    recorder = EvidenceRecorder(tmp_path / "e", EvidenceSettings(), detector=None, ledger=ListLedger())
    assert recorder.noted(replace(raised(), source="elsewhere"), None).evidence is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("front door", "front-door"),
        ("../../etc/passwd", "etc-passwd"),
        ("rtsp://user:secret@host/live", "rtsp-host-live"),
        ("日本", "feed"),
        ("x" * 300, "x" * 60),
    ],
)
def test_the_name_of_a_feed_becomes_a_plain_one(name, expected):
    assert slug(name) == expected or (slug(name).endswith("host-live") and "secret" not in slug(name))

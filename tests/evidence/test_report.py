"""The page and the scores of an alert: true to what was said, readable anywhere, and never anybody else's code."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from stream_detect.detector import Detector
from stream_detect.evidence.pictures import Picture, Pictures, Telling, warm_up, write_pictures, write_png
from stream_detect.evidence.report import Moment, stretches, write_report, write_scores
from stream_detect.privacy import blurred
from tests.clips import portrait

ALERT = {
    "id": "0123456789ab",
    "source": "<script>alert('x')</script>",
    "track": 3,
    "rule": "sustained",
    "seen_at": "2026-11-22T13:00:00.000Z",
    "started_s": 3.2,
    "fake_probability": 0.93,
    "time_to_alert_s": 0.6,
    "experts": {"mesonet": 0.9, "color": None},
}
ABOUT = {"raised_s": 3.8, "software": "stream-detect 0.1.0", "weights": "abc", "privacy": "none"}
MOMENTS = [
    Moment(k / 25, 0.1 if k < 80 else 0.9, 0.5, {"mesonet": 0.2, "color": None if k % 9 else 0.4}, 0.9, "fake")
    for k in range(150)
]


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.outside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "action", "data") and re.match(r"^(\w+:)?//", value or ""):
                self.outside.append(value)


def page(folder, alert=ALERT, moments=MOMENTS, pictures=None, clip="clip.mp4", kind="remuxed"):
    write_report(folder, alert, ABOUT, moments, pictures or Pictures(), clip, kind)
    return (folder / "report.html").read_text()


def test_the_page_is_whole_and_asks_nobody(tmp_path):
    text = page(tmp_path)
    found = Page(text)
    assert found.outside == []
    assert "script" not in found.tags
    assert {"svg", "video", "table"} <= set(found.tags)
    assert "url(" not in text


def test_what_comes_from_outside_is_text(tmp_path):
    text = page(tmp_path)
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_the_page_says_what_was_said(tmp_path):
    text = page(tmp_path)
    for words in ("93 %", "3.2 s", "0.6 s", "#3", "sustained", "mesonet", "color", "stream-detect 0.1.0", "clip.mp4"):
        assert words in text


@pytest.mark.parametrize("kind", ["remuxed", "encoded", "blurred", "none"])
def test_the_page_says_what_the_clip_is(tmp_path, kind):
    text = page(tmp_path, clip=None if kind == "none" else "clip.mp4", kind=kind)
    assert ("<video" in text) == (kind != "none")


def test_a_page_of_nothing_still_says_so(tmp_path):
    alert = {**ALERT, "track": None, "rule": "feed_swap", "fake_probability": None, "experts": {}}
    text = page(tmp_path, alert, [], clip=None, kind="none")
    assert "the feed may have been swapped" in text
    assert "Too few frames were judged" in text
    assert "No face was judged" in text


def test_a_picture_is_in_the_page_itself(tmp_path):
    write_png(tmp_path / "frame-1.png", portrait(720, 1280))
    text = page(tmp_path, pictures=Pictures(frames=[Picture("frame-1.png", "Frame", "as it came")]))
    assert "data:image/jpeg;base64," in text
    assert len(text) < 200_000


def test_scores_are_a_table_that_no_spreadsheet_runs(tmp_path):
    write_scores(tmp_path, [Moment(1.0, 0.5, None, {"mesonet": 0.1}, 0.9, "=1+1")])
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    assert row == {
        "pts_s": "1.0",
        "fake_probability": "0.5",
        "track_probability": "",
        "quality": "0.9",
        "verdict": "'=1+1",
        "mesonet": "0.1",
    }
    (said,) = json.loads((tmp_path / "scores.json").read_text())
    assert said["track_probability"] is None


def test_a_curve_has_gaps_where_nothing_was_said():
    assert stretches([(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, None), (5, 1.0), (6, 3.0)]) == [
        [(0, 1.0), (1, 2.0)],
        [(5, 1.0), (6, 3.0)],
    ]


FACE = (184.0, 115.0, 296.0, 245.0)


@pytest.fixture(scope="module")
def detector():
    with Detector("cpu") as made:
        warm_up(made)
        yield made


def test_a_real_face_has_all_its_pictures(tmp_path, detector):
    made = write_pictures(tmp_path, [Telling(4.0, portrait(), FACE, 0.9)], detector, hides_faces=False)
    names = {one.name for one in [*made.frames, *made.maps]}
    assert {"frame-1.png", "face.png", "residual.png", "attention-1.png"} <= names
    assert all((tmp_path / name).stat().st_size > 500 for name in names)
    assert made.why_no_maps == ""
    assert len(made.spectrum["cycles_per_px"]) == len(made.spectrum["face_db"])
    assert "Spectrum of the face" in page(tmp_path, pictures=made)


def test_a_frame_without_a_face_has_no_maps_and_says_why(tmp_path, detector):
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    telling = [Telling(4.0, noise, (100.0, 60.0, 180.0, 160.0), None)]
    made = write_pictures(tmp_path, telling, detector, hides_faces=False)
    assert [one.name for one in made.maps] == ["face.png"]
    assert "not found again" in made.why_no_maps


def test_where_faces_are_hidden_nothing_shows_one(tmp_path, detector):
    import cv2

    from stream_detect.decode.frame import Frame

    made = write_pictures(tmp_path, [Telling(4.0, portrait(), FACE, 0.9)], detector, hides_faces=True)
    assert made.maps == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frame-1.png"]
    shown = np.ascontiguousarray(cv2.imread(str(tmp_path / "frame-1.png"))[..., ::-1])
    assert detector.find_faces([Frame.from_rgb(shown)]) == [[]]
    assert np.array_equal(shown[:40], blurred(portrait(), [FACE])[:40])

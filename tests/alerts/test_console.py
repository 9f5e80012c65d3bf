"""What a person sees: words that can be read anywhere, and a table on a terminal."""

import io
import threading

import pytest
from rich.console import Console

from stream_detect.alerts.console import LiveConsole, PlainConsole, open_console
from stream_detect.alerts.words import face_words
from stream_detect.errors import ReaderGone
from stream_detect.stats import FeedStats
from stream_detect.types import Alert, FaceVerdict, FrameVerdict, Status

FACE = FaceVerdict(3, (0.0, 0.0, 9.0, 9.0), 0.931, 2.6, 0.88, "fake", (), {"mesonet": 0.9}, 1.0, "a1")
SMALL = FaceVerdict(4, (0.0, 0.0, 9.0, 9.0), None, None, None, "inconclusive", ("small_face",), {}, 0.1)
RUN = [
    Status("cam [1]", "connecting", "rtsp://cam/live"),
    Status("cam [1]", "live", "1280x720"),
    FrameVerdict("cam [1]", 0, 0.0, "t", 21.4, (FACE, SMALL)),
    Alert("raised", "a1", "cam [1]", 3, "sustained", "t", 3.2, None, 0.91, {}, 0.6),
    Alert("updated", "a1", "cam [1]", 3, "sustained", "t", 3.2, None, 0.95, {}, 0.6),
    FrameVerdict("cam [1]", 1, 0.1, "t", 20.0, (), reasons=("frozen",)),
    Alert("cleared", "a1", "cam [1]", 3, "sustained", "t", 3.2, 9.5, 0.2, {}, 0.6),
    Status("cam [1]", "ended", "the end", 120, 118, {"stale": 2, "corrupt": 0}),
]


def test_plain_lines_tell_changes_alerts_and_a_summary():
    stream = io.StringIO()
    console = PlainConsole(stream)
    for line in RUN:
        console.take(line)
    console.close()
    console.close()
    assert stream.getvalue().splitlines() == [
        "cam [1]  connecting: rtsp://cam/live",
        "cam [1]  live: 1280x720",
        "ALERT raised  cam [1] track 3: probability of a forgery 0.91, since 3.2 s, noticed after 0.6 s",
        "ALERT cleared  cam [1] track 3: it lasted until 9.5 s",
        "cam [1]  ended: the end",
        "cam [1]  120 frames, 118 analysed (2 stale), 1 alert, highest running probability 0.88",
    ]


def test_an_outage_is_two_lines_however_many_attempts_it_takes():
    stream = io.StringIO()
    console = PlainConsole(stream)
    console.take(Status("cam", "live", "640x480"))
    for attempt in range(1, 40):
        reason = f"nobody listens; {attempt} attempts failed"
        console.take(Status("cam", "reconnecting", reason, reconnects={"refused": attempt}))
    console.take(Status("cam", "live", "640x480", reconnects={"refused": 39}))
    assert stream.getvalue().splitlines() == [
        "cam  live: 640x480",
        "cam  reconnecting: nobody listens; 1 attempts failed",
        "cam  live: came back after 0.0 s (39 refused)",
    ]


def test_words_of_others_can_not_pass_for_lines_of_ours():
    stream = io.StringIO()
    PlainConsole(stream).take(Status("cam\nx", "failed", "no\x1b[2Jway"))
    assert stream.getvalue() == "cam x  failed: no [2Jway\n"


def test_the_table_stays_with_the_summary_below():
    stream = io.StringIO()
    console = LiveConsole(Console(file=stream, force_terminal=True, width=120, height=40, color_system=None))
    for line in RUN[:4]:
        console.take(line)
    console.close()
    console.close()
    shown = stream.getvalue()
    for words in ("cam [1]", "21", "#3 fake 0.93 (running 0.88)", "#4 inconclusive small_face", "ALERT raised"):
        assert words in shown
    assert shown.rstrip().endswith("cam [1]  0 frames, 0 analysed, 1 alert, highest running probability 0.88")


def test_the_table_moves_while_no_line_comes():
    asked = threading.Event()

    def feeds() -> list[FeedStats]:
        asked.set()
        return [FeedStats("cam", "rtsp://cam", "rtsp", True, "live", "", 1.0, 1234, 1200)]

    stream = io.StringIO()
    console = LiveConsole(Console(file=stream, force_terminal=True, width=120, height=40))
    console.follow(feeds)
    assert asked.wait(5)
    console.close()
    assert "cam" in stream.getvalue()


def test_a_log_that_tells_everything_needs_no_plain_lines(capsys):
    console = open_console(is_stdout_taken=False, is_logged=True)
    for line in RUN:
        console.take(line)
    console.close()
    assert capsys.readouterr().out == ""


def test_a_face_in_words():
    assert face_words(SMALL) == "#4 inconclusive small_face"


def test_without_a_terminal_lines_are_plain(capsys):
    console = open_console(is_stdout_taken=True)
    assert isinstance(console, PlainConsole)
    console.take(RUN[0])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "cam [1]  connecting: rtsp://cam/live\n")


def test_a_reader_that_left_ends_it():
    class Closed(io.StringIO):
        name = "<stdout>"

        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(ReaderGone):
        PlainConsole(Closed()).take(RUN[0])

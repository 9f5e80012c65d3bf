"""What a person sees: words that can be read anywhere, and a table on a terminal."""

import io

import pytest
from rich.console import Console

from stream_detect.alerts.console import LiveConsole, PlainConsole, face_words, open_console
from stream_detect.errors import ReaderGone
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


def test_the_table_shows_faces_states_and_alerts_in_words():
    stream = io.StringIO()
    console = LiveConsole(Console(file=stream, force_terminal=True, width=120, color_system=None))
    for line in RUN[:4]:
        console.take(line)
    console.close()
    console.close()
    shown = stream.getvalue()
    for words in (
        "cam [1]",
        "live",
        "21 ms",
        "#3 fake 0.93 (running 0.88)",
        "#4 inconclusive small_face",
        "ALERT raised",
    ):
        assert words in shown


def test_many_faces_are_counted():
    stream = io.StringIO()
    console = LiveConsole(Console(file=stream, force_terminal=True, width=120))
    console.take(FrameVerdict("cam", 0, 0.0, "t", 1.0, (FACE,) * 9))
    console.close()
    assert "and 3 more" in stream.getvalue()


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

"""The live table: every figure of a feed in eighty columns, and what matters first where room is short."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from stream_detect.alerts.table import NARROW, draw
from stream_detect.alerts.views import Views
from stream_detect.alerts.words import causes_words, short
from stream_detect.stats import FeedStats
from stream_detect.types import Alert, FaceVerdict, FrameVerdict, Status

CAM = FeedStats(
    "cam",
    "rtsp://cam",
    "rtsp",
    True,
    "live",
    "",
    725.0,
    frames=120_345,
    analysed=60_000,
    dropped={"stale": 345, "profile": 60_000, "corrupt": 0},
    reconnects={"silent": 12},
    in_hz=25.2,
    analysed_hz=12.4,
    faces=2,
    age_s=0.034,
    last_frame_s=0.04,
    alerts=3,
)
FAKE = FaceVerdict(3, (0.0, 0.0, 9.0, 9.0), 0.931, 2.6, 0.88, "fake", (), {}, 1.0, "a1")
SMALL = FaceVerdict(4, (0.0, 0.0, 9.0, 9.0), None, None, None, "inconclusive", ("small_face",), {}, 0.1)


def drawn(views: Views, feeds: list[FeedStats], width: int = NARROW, height: int | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(draw(views, feeds, 0.0, width, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def seen(source: str, *faces: FaceVerdict) -> FrameVerdict:
    return FrameVerdict(source, 0, 0.0, "t", 21.4, faces)


def test_every_figure_of_a_feed_is_in_its_row():
    views = Views()
    for latency_ms in (*[20.0] * 19, 90.0):
        views.take(FrameVerdict("cam", 0, 0.0, "t", latency_ms, ()))
    heading, row = drawn(views, [CAM], width=120)
    assert heading.split() == ["feed", "state", "fps", "age", "ms", "p50/p95", "dropped", "lost", "faces", "alerts"]
    assert row.split() == ["cam", "live", "25/12", "34", "20/90", "60k", "profile,", "345", "stale", "12", "2", "3"]


def test_without_figures_of_the_run_its_lines_are_enough():
    views = Views()
    views.take(Status("cam", "live", "", 100, 90, {"stale": 10}, reconnects={"ended": 1}))
    views.take(seen("cam", FAKE, SMALL))
    _, row, faces = drawn(views, [])
    assert row.split() == ["cam", "live", "0.0", "21", "21/21", "10", "stale", "1", "2"]
    assert faces == "cam  #3 fake 0.93 (running 0.88)  #4 inconclusive small_face"


def test_a_feed_that_is_not_live_has_no_old_figures_but_a_reason():
    views = Views()
    views.take(seen("cam", FAKE))
    lost = replace(CAM, state="reconnecting", reason="nobody listens there", last_frame_s=725.0, in_hz=0, analysed_hz=0)
    _, row, why = drawn(views, [lost])
    assert row.split() == ["cam", "reconnecting", "0/0", "12", "min", "60k", "profile,…", "12", "3"]
    assert why == "cam  reconnecting for 12 min: nobody listens there"


@pytest.mark.parametrize("width", [NARROW, 100, 200])
@pytest.mark.parametrize("height", [12, 24, 60])
def test_dozens_of_feeds_fit(width, height):
    views = Views()
    feeds = []
    for number in range(60):
        state = "stalled" if number % 7 == 3 else "live"
        reason = "no frame came for 2.5 s, and the address is long: " + "x" * 200 if state == "stalled" else ""
        feeds.append(replace(CAM, name=f"10.0.0.{number}:554/Streaming/Channels/101", state=state, reason=reason))
        views.take(seen(feeds[-1].name, FAKE, SMALL, *[SMALL] * 9))
        views.take(Alert("raised", "a1", feeds[-1].name, 3, "sustained", "t", 3.2, None, 0.91, {}, 0.6))
    lines = drawn(views, feeds, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_where_room_is_short_trouble_and_alerts_come_first():
    feeds = [replace(CAM, name=f"cam{number}") for number in range(40)]
    feeds[30] = replace(CAM, name="lost", state="reconnecting", reason="refused")
    feeds[35] = replace(CAM, name="forged", active_alerts=1)
    lines = drawn(Views(), feeds, height=10)
    assert [line.split()[0] for line in lines[1:3]] == ["forged", "lost"]
    assert "and 35 more: 35 live" in lines


def test_where_room_is_short_the_likeliest_forgeries_are_told():
    views = Views()
    feeds = [replace(CAM, name=f"cam{number}") for number in range(6)]
    for feed in feeds:
        views.take(seen(feed.name, FAKE if feed.name == "cam5" else SMALL))
    assert drawn(views, feeds, height=11)[7].startswith("cam5  #3 fake")


def test_many_faces_are_counted():
    views = Views()
    views.take(seen("cam", *(FAKE,) * 9))
    assert drawn(views, [CAM], width=300)[-1].endswith("and 3 more")


def test_a_frame_that_was_not_judged_says_why():
    views = Views()
    views.take(FrameVerdict("cam", 0, 0.0, "t", 21.4, (), reasons=("corrupt",)))
    assert drawn(views, [CAM])[-1] == "cam  corrupt"


def test_names_and_reasons_are_shown_as_they_are_and_move_no_cursor():
    odd = replace(CAM, name="[red]a[/red]\x1b[2J\n", state="stalled", reason="b\nc\x9b2J")
    _, row, why = drawn(Views(), [odd], width=100)
    assert row.startswith("[red]a[/red] [2J")
    assert why.endswith(": b c 2J")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (1234, "1.2k"), (9_960, "10k"), (60_000, "60k"), (5_600_000, "5.6M")]
)
def test_numbers_are_short(number, words):
    assert short(number) == words


def test_causes_in_words_the_largest_first():
    assert causes_words({"stale": 3, "late": 0, "profile": 2000}) == "2.0k profile, 3 stale"
    assert causes_words({}) == ""


def test_a_feed_that_ended_needs_no_line_of_its_own():
    lines = drawn(Views(), [replace(CAM, state="ended", reason="the end")])
    assert len(lines) == 2
    assert lines[1].split()[:2] == ["cam", "ended"]

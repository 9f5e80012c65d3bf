"""The sink of log records: what is logged, at which level, and what a machine reads of it."""

import logging

import pytest

from stream_detect.alerts.log import LogSink
from stream_detect.types import Alert, FrameVerdict, Status


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "stream_detect")
    return caplog


def test_an_outage_is_two_records_however_many_attempts_it_takes(told):
    sink = LogSink(clock=iter(range(1000)).__next__)
    for line in [Status("cam", "live", "640x480")] + [
        Status("cam", "reconnecting", f"refused; attempt {n}", reconnects={"refused": n}) for n in range(1, 40)
    ]:
        sink.take(line)
    sink.take(Status("cam", "live", "", reconnects={"refused": 39}))
    assert [(record.levelname, record.name) for record in told.records] == [
        ("INFO", "stream_detect.feeds"),
        ("WARNING", "stream_detect.feeds"),
        ("WARNING", "stream_detect.feeds"),
    ]
    assert "came back" in told.records[2].getMessage()
    assert (told.records[2].feed, told.records[2].state, told.records[2].faults) == ("cam", "live", {"refused": 39})


def test_a_failed_source_is_an_error_with_its_counts(told):
    LogSink().take(Status("cam", "failed", "unreadable", 10, 8, {"stale": 2}))
    (record,) = told.records
    assert (record.levelname, record.frames, record.analysed, record.dropped) == ("ERROR", 10, 8, {"stale": 2})


def test_alerts_are_warnings_and_their_updates_for_debugging(told):
    sink = LogSink()
    for event in ("raised", "updated", "cleared"):
        sink.take(Alert(event, "a1", "cam", 3, "sustained", "t", 3.2, 9.0, 0.91, {}, 0.6))
    assert [record.levelname for record in told.records] == ["WARNING", "DEBUG", "WARNING"]
    assert (told.records[0].feed, told.records[0].alert, told.records[0].event, told.records[0].fake_probability) == (
        "cam",
        "a1",
        "raised",
        0.91,
    )


def test_frames_are_not_logged(told):
    sink = LogSink()
    sink.take(FrameVerdict("cam", 0, 0.0, "t", 1.0, ()))
    sink.close()
    sink.close()
    assert not told.records

"""Logs: quiet, whole, in one line each, and never with a secret in them."""

import json
import logging
from datetime import datetime

import pytest

from stream_detect import logs
from stream_detect.errors import UsageError

log = logging.getLogger("stream_detect.of_a_test")
SECRET = "rtsp://admin:hunter22@cam/live?token=abcdef99"


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_record_is_a_line_of_words_with_its_time_in_utc(capsys):
    with logs.configure():
        log.warning("%s is %s", "cam1", "lost")
    (line,) = shown(capsys)
    moment, words = line.split(" ", 1)
    assert words == "WARNING cam1 is lost"
    assert datetime.fromisoformat(moment).utcoffset().total_seconds() == 0


def test_a_record_is_a_json_object_with_what_came_with_it(capsys):
    with logs.configure(is_json=True):
        log.error("cam1 failed", extra={"feed": "cam1", "faults": {"refused": 2}, "lasted_s": 1.5, "pid": None})
    (line,) = shown(capsys)
    told = json.loads(line)
    assert datetime.fromisoformat(told.pop("time")).utcoffset().total_seconds() == 0
    assert told == {
        "level": "ERROR",
        "logger": "stream_detect.of_a_test",
        "message": "cam1 failed",
        "feed": "cam1",
        "faults": {"refused": 2},
        "lasted_s": 1.5,
        "pid": None,
    }


def test_only_warnings_are_told_unless_asked(capsys):
    with logs.configure():
        log.info("nothing special")
    with logs.configure("info"):
        log.info("something special")
    assert [line.split(" ", 1)[1] for line in shown(capsys)] == ["INFO something special"]


def test_of_the_server_only_warnings_are_told(capsys):
    with logs.configure("info", is_json=True):
        logging.getLogger("uvicorn.error").info("Started server process")
        logging.getLogger("uvicorn.error").warning("Invalid request", extra={"color_message": "[red]Invalid request"})
    (line,) = shown(capsys)
    assert json.loads(line)["message"] == "Invalid request"
    assert "[red]" not in line


def test_after_closing_all_is_as_before(capsys):
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in ours()]
    told = logs.configure("debug")
    told.close()
    told.close()
    assert [(logger.level, logger.propagate, list(logger.handlers)) for logger in ours()] == before
    assert not shown(capsys)


def ours() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in (logs.OURS, *logs.OTHERS)]


def test_an_unknown_level_fails():
    with pytest.raises(UsageError, match="no log level 'loud'; expected one of debug, info, warning, error"):
        logs.configure("loud")


@pytest.mark.parametrize("is_json", [False, True])
def test_no_part_of_a_record_tells_a_secret(capsys, is_json):
    with logs.configure(is_json=is_json):
        try:
            raise OSError(f"no route to {SECRET}")
        except OSError:
            log.exception(
                "can't open %s", SECRET, extra={"address": SECRET, "all": [{"of": (SECRET,)}]}, stack_info=True
            )
        log.warning("%d feeds", SECRET)  # arguments that do not fit their text
    said = capsys.readouterr().err
    assert "can't open rtsp://***@cam/live" in said
    assert "OSError: no route to rtsp://***@cam/live" in said
    assert "hunter22" not in said
    assert "abcdef99" not in said


def test_a_message_can_not_pass_for_two_lines(capsys):
    with logs.configure():
        log.warning("cam\n2026-01-01T00:00:00Z ERROR all is lost\x1b[2J\u2028x")
    (line,) = shown(capsys)
    assert line.endswith("WARNING cam 2026-01-01T00:00:00Z ERROR all is lost [2J x")


def test_a_closed_stderr_ends_nothing(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    with logs.configure():
        log.warning("nobody hears it")


def test_ffmpeg_speaks_at_debug_alone(capsys):
    import av.logging

    with logs.configure("info"):
        assert av.logging.get_level() is None
    with logs.configure("debug"):
        assert av.logging.get_level() == av.logging.WARNING
        logging.getLogger("libav.rtsp").warning("method DESCRIBE failed: %s", SECRET)
    assert av.logging.get_level() is None
    assert any("DESCRIBE failed: rtsp://***@cam" in line for line in shown(capsys))

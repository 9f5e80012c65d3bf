"""JSON lines: whole, at once, and a clear word where they can't go."""

import json

import pytest

from stream_detect.alerts import JsonlSink
from stream_detect.errors import OutputError
from stream_detect.types import Status


def test_every_line_is_there_at_once(tmp_path):
    path = tmp_path / "lines.jsonl"
    with JsonlSink(path) as sink:
        sink.take(Status("cam1", "live"))
        assert json.loads(path.read_text()) == Status("cam1", "live").to_json()


def test_a_file_is_begun_anew_or_continued(tmp_path):
    path = tmp_path / "lines.jsonl"
    for append, expected in ((False, 1), (True, 2), (False, 1)):
        with JsonlSink(path, append=append) as sink:
            sink.take(Status("cam1", "live"))
        assert len(path.read_text().splitlines()) == expected


def test_a_torn_line_spoils_none_that_follows(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"type": "stat')
    for _ in range(2):
        with JsonlSink(path, append=True) as sink:
            sink.take(Status("cam1", "live"))
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"type": "stat'
    assert [json.loads(line) for line in whole] == [Status("cam1", "live").to_json()] * 2


def test_a_folder_that_does_not_exist_fails(tmp_path):
    with pytest.raises(OutputError, match=r"its folder does not exist.*choose another path"):
        JsonlSink(tmp_path / "nowhere" / "lines.jsonl")


def test_a_folder_instead_of_a_file_fails(tmp_path):
    with pytest.raises(OutputError, match="can't be written"):
        JsonlSink(tmp_path)


def test_stdout_stays_open(capsys):
    sink = JsonlSink("-")
    sink.take(Status("cam1", "ended"))
    sink.close()
    sink.close()
    print("more")
    assert capsys.readouterr().out.splitlines()[1:] == ["more"]


def test_close_twice(tmp_path):
    sink = JsonlSink(tmp_path / "lines.jsonl")
    sink.close()
    sink.close()

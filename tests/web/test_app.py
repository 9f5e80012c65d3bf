"""The application: what is asked of it, and what it edits."""

from dataclasses import replace

import pytest

from stream_detect.errors import ConfigError, OutputError
from stream_detect.types import FrameVerdict
from tests.web.asking import ask


def test_metrics_are_told(played, port):
    played.metrics.take(FrameVerdict("cam", 0, 0.0, "t", 30.0, ()))
    answer = ask(port, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'stream_detect_frames_total{feed="cam"} 100.0' in answer.text
    assert "stream_detect_loop_idle_seconds 0.1" in answer.text
    assert 'stream_detect_verdict_latency_seconds_count{feed="cam",since="arrival"} 1.0' in answer.text


def test_health_is_whether_the_loop_goes_round(played, port):
    assert ask(port, "/healthz").status == 200
    assert ask(port, "/healthz").json == {"status": "alive", "last_turn_s": 0.1}
    played.idle_s = 60.0
    assert ask(port, "/healthz").status == 503
    assert ask(port, "/healthz").json["status"] == "hangs"


def test_ready_is_when_a_feed_is_live(played, port):
    assert ask(port, "/readyz").status == 200
    assert ask(port, "/readyz").json == {"status": "ready", "reasons": []}
    del played.feeds[0]
    answer = ask(port, "/readyz")
    assert answer.status == 503
    assert answer.json["reasons"] == ["no feed is live", "door/left: reconnecting (nobody listens there)"]
    played.feeds.clear()
    assert ask(port, "/readyz").json["reasons"] == ["there are no feeds"]


def test_not_ready_while_something_is_prepared_or_hangs(played, port):
    played.waits_for = "the detector is being loaded"
    played.idle_s = 60.0
    answer = ask(port, "/readyz")
    assert answer.status == 503
    assert answer.json["reasons"] == ["the detector is being loaded", "the loop hangs: it went round 60 s ago"]


def test_of_many_feeds_that_are_not_live_a_few_are_named(played, port):
    played.feeds[:] = [played.feeds[1]] * 30
    assert ask(port, "/readyz").json["reasons"][-1] == "and 22 more"


def test_feeds_are_listed_with_their_figures(port):
    cam, door = ask(port, "/feeds").json["feeds"]
    assert (cam["name"], cam["state"], cam["frames"], cam["dropped"]) == ("cam", "live", 100, {"stale": 20})
    assert (door["name"], door["reason"], door["reconnects"]) == ("door/left", "nobody listens there", {"refused": 3})


def test_one_feed_is_told_with_what_the_file_says_of_it(port):
    told = ask(port, "/feeds/cam").json
    assert told["analysed"] == 80
    assert told["settings"] == {"url": "rtsp://***@cam/live", "name": "cam"}


@pytest.mark.parametrize("path", ["/feeds/door/left", "/feeds/door%2Fleft"])
def test_a_name_may_hold_a_slash(port, path):
    assert ask(port, path).json["name"] == "door/left"


def test_a_feed_that_there_is_not(port):
    answer = ask(port, "/feeds/camm")
    assert answer.status == 404
    assert answer.json == {"error": "no feed 'camm'; did you mean 'cam'?"}


def test_a_feed_is_added_changed_and_removed_through_the_file(played, port):
    added = ask(port, "/feeds", "POST", {"url": "rtsp://yard/live", "name": "yard/#2", "analyse_hz": 5})
    assert (added.status, added.headers["location"]) == (201, "/feeds/yard%2F%232")
    assert added.json == {
        "name": "yard/#2",
        "settings": {"url": "rtsp://yard/live", "name": "yard/#2", "analyse_hz": 5.0},
    }
    changed = ask(port, added.headers["location"], "PATCH", {"analyse_hz": None, "transport": "udp"})
    assert changed.status == 200
    assert changed.json["settings"] == {"url": "rtsp://yard/live", "name": "yard/#2", "transport": "udp"}
    removed = ask(port, added.headers["location"], "DELETE")
    assert removed.json == {"name": "yard/#2", "removed": True}
    assert list(played.file.tables) == ["cam"]
    assert len(played.applied_in) == 3


def test_edits_are_put_into_effect_in_a_thread_of_the_server(played, port):
    ask(port, "/feeds/cam", "DELETE")
    (name,) = played.applied_in
    assert name not in ("MainThread", "web")


def test_what_could_not_be_put_into_effect_is_said(played, port):
    played.problems = ["yard: no such host"]
    answer = ask(port, "/feeds", "POST", {"url": "rtsp://yard/live", "name": "yard"})
    assert answer.status == 201
    assert answer.json["problems"] == ["yard: no such host"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"url": "rtsp://yard/live", "nam": "yard"}, "unknown key 'nam'; did you mean 'name'?"),
        ({"name": "yard"}, "url is missing"),
        ({"url": "rtsp://yard/live", "name": "cam"}, "there is a feed 'cam' already"),
        ({"url": "rtsp://yard/live", "analyse_hz": -1}, "analyse_hz must be more than 0"),
    ],
)
def test_a_feed_that_can_not_be_meant_changes_nothing(played, port, body, words):
    answer = ask(port, "/feeds", "POST", body)
    assert answer.status == 400
    assert words in answer.json["error"]
    assert list(played.file.tables) == ["cam"]
    assert not played.applied_in


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_changing_a_feed_that_there_is_not(played, port, method):
    answer = ask(port, "/feeds/nowhere", method, {} if method == "PATCH" else None)
    assert answer.status == 404
    assert not played.applied_in


def test_without_a_file_feeds_can_be_seen_and_not_changed(played):
    with played.served(has_file=False) as server:
        assert ask(server.port, "/feeds/cam").status == 200
        answer = ask(server.port, "/feeds/cam", "DELETE")
    assert answer.status == 409
    assert "start it with --config FILE.toml" in answer.json["error"]


def test_no_answer_tells_a_secret(played, port):
    url = "rtsp://admin:hunter 22/@x@cam/live?token=abcdef99"
    in_words = f"no way to {url.replace(' ', '%20')}"
    played.problems = [in_words]
    played.feeds[0] = replace(played.feeds[0], address=url, state="stalled", reason=in_words)
    said = [
        ask(port, "/feeds", "POST", {"url": url, "name": "yard"}),
        ask(port, "/feeds", "POST", {"url": url, "name": ["wrong"]}),
        ask(port, "/feeds", "POST", {"url": [url], "name": "wrong"}),
        ask(port, "/feeds/yard", "PATCH", {"url": url}),
        ask(port, "/feeds/yard"),
        ask(port, "/feeds/cam"),
        ask(port, "/feeds"),
        ask(port, "/readyz"),
        ask(port, "/metrics"),
        ask(port, "/feeds/yard", "DELETE"),
    ]
    for answer in said:
        assert "hunter" not in answer.text
        assert "abcdef99" not in answer.text


def test_a_path_that_there_is_not_and_a_wrong_method(port):
    assert ask(port, "/nowhere").json == {"error": "GET /nowhere: Not Found"}
    answer = ask(port, "/metrics", "DELETE")
    assert (answer.status, "GET" in answer.headers["allow"]) == (405, True)


@pytest.mark.parametrize("kind", [PermissionError, OutputError])
def test_a_file_that_can_not_be_written_is_said(played, port, monkeypatch, kind):
    def add(table):
        raise kind(13, "Permission denied", "/etc/feeds.toml")

    monkeypatch.setattr(played.file, "add", add)
    answer = ask(port, "/feeds", "POST", {"url": "rtsp://yard/live"})
    assert answer.status == 500
    assert "Permission denied" in answer.json["error"]


@pytest.mark.parametrize("url", ["rtsp://evil.example/${file:/etc/shadow}", "rtsp://${CAM_PASSWORD}@evil.example"])
@pytest.mark.parametrize(("path", "method"), [("/feeds", "POST"), ("/feeds/cam", "PATCH")])
def test_nobody_can_have_secrets_of_the_program_sent_somewhere(played, port, url, path, method):
    answer = ask(port, path, method, {"url": url})
    assert answer.status == 400
    assert "write them into the file by hand" in answer.json["error"]
    assert list(played.file.tables) == ["cam"]


def test_a_file_that_is_being_edited_by_hand_keeps_no_figures_back(played, port, monkeypatch):
    def read():
        raise ConfigError("feeds.toml: not a TOML file")

    monkeypatch.setattr(played.file, "read", read)
    told = ask(port, "/feeds/cam").json
    assert (told["frames"], told["problems"]) == (100, ["feeds.toml: not a TOML file"])


def test_a_feed_of_the_file_that_could_not_be_watched(played, port):
    played.file.tables["yard"] = {"url": "rtsp://yard/live", "name": "yard"}
    told = ask(port, "/feeds/yard").json
    assert (told["state"], told["settings"]["url"]) == ("not watched", "rtsp://yard/live")

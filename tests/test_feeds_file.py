"""The file of feeds: edits keep what a person wrote, happen at once or not at all, and reach a run by name."""

import os
import stat
import threading

import pytest

from stream_detect.config import Config, Feed
from stream_detect.errors import ConfigError, OutputError, SourceError, UnknownFeed, UsageError
from stream_detect.feeds_file import FeedsFile, FeedsInEffect

TEXT = """\
# our cameras
[watch]
retries = 3  # then give up

# the one at the door
[[feed]]
name = "door"    # as the guards call it
url = "rtsp://guard:${DOOR_PASSWORD}@door/live"

[feed.decision]
raise_at = 0.8

[decision]
hold_s = 1.0

[[feed]]
url = "rtsp://lobby/live"
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("DOOR_PASSWORD", "hunter22")
    monkeypatch.setattr("stream_detect.redact._hidden", set())
    path = tmp_path / "feeds.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def names(path):
    return [feed.name for feed in FeedsFile(path).read().feeds]


def test_every_feed_read_has_its_name(path):
    assert names(path) == ["door", "lobby/live"]


def test_a_feed_added_is_the_last_one_and_comments_stay(path):
    added = FeedsFile(path).add({"url": "http://hall/v.m3u8", "ignore": [[0, 0, 0.5, 0.25]], "retries": None})
    assert added == Feed("http://hall/v.m3u8", "hall/v.m3u8", ignore=((0.0, 0.0, 0.5, 0.25),))
    assert names(path) == ["door", "lobby/live", "hall/v.m3u8"]
    assert [line for line in TEXT.splitlines() if line not in path.read_text(encoding="utf-8").splitlines()] == []


def test_a_feed_is_changed_in_its_place(path):
    changed = FeedsFile(path).change("door", {"analyse_hz": 4, "decision": {"hold_s": 5.0}})
    assert (changed.analyse_hz, changed.decision) == (4.0, {"hold_s": 5.0})
    assert names(path) == ["door", "lobby/live"]
    assert "# as the guards call it" in path.read_text(encoding="utf-8")
    assert FeedsFile(path).change("door", {"analyse_hz": None, "decision": None}).decision == {}
    assert "analyse_hz" not in path.read_text(encoding="utf-8")


def test_a_feed_that_its_address_named_keeps_its_name_under_another_address(path):
    assert FeedsFile(path).change("lobby/live", {"url": "rtsp://lobby2/live"}).name == "lobby/live"


def test_a_feed_can_be_called_otherwise(path):
    FeedsFile(path).change("door", {"name": "front door"})
    assert names(path) == ["front door", "lobby/live"]


def test_a_feed_removed_is_gone_and_the_last_one_too(path):
    file = FeedsFile(path)
    file.remove("door")
    assert names(path) == ["lobby/live"]
    file.remove("lobby/live")
    assert names(path) == []
    assert "# our cameras" in path.read_text(encoding="utf-8")
    file.add({"url": "webcam"})
    assert names(path) == ["webcam"]


def test_feeds_on_one_line_can_be_edited_too(path):
    path.write_text('feed = [{url = "webcam"}, {url = "screen"}]\n')
    file = FeedsFile(path)
    file.add({"url": "synthetic", "decision": {"hold_s": 1.0}})
    file.remove("screen")
    assert names(path) == ["webcam", "synthetic"]


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (lambda file: file.add({"url": "a", "urll": "b"}), ConfigError, "unknown key 'urll'; did you mean 'url'"),
        (lambda file: file.add({"url": "a", "name": "door"}), ConfigError, r"\[\[feed\]\] 1 is called 'door' too"),
        (lambda file: file.add({"name": "door 2"}), ConfigError, "url is missing"),
        (lambda file: file.add({"url": "gopher://a:b@c/d"}), ConfigError, "gopher://[*]{3}@c/d: unknown scheme"),
        (lambda file: file.add({"url": "rtsp://a:${NOWHERE}@c/d"}), ConfigError, "set NOWHERE"),
        (lambda file: file.change("dor", {}), UnknownFeed, "no feed 'dor'; there are door, lobby/live"),
        (lambda file: file.change("door", {"decision": {"hold": 1}}), ConfigError, "did you mean 'hold_s'"),
        (lambda file: file.change("door", {"name": "lobby/live"}), ConfigError, "is called 'lobby/live' too"),
        (lambda file: file.change("door", {"url": None}), ConfigError, "url is missing"),
        (lambda file: file.remove("hall"), UnknownFeed, "no feed 'hall'"),
    ],
)
def test_an_edit_that_cannot_be_meant_fails_and_changes_nothing(path, edit, error, words):
    with pytest.raises(error, match=words):
        edit(FeedsFile(path))
    assert path.read_text(encoding="utf-8") == TEXT
    assert os.listdir(path.parent) == [path.name]


def test_a_file_is_replaced_with_its_mode_and_behind_its_link(path, tmp_path):
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    FeedsFile(link).remove("door")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names(path) == ["lobby/live"]


def test_a_file_that_cannot_be_replaced_fails_and_stays(path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="can't be replaced"):
        FeedsFile(path).remove("door")
    assert path.read_text(encoding="utf-8") == TEXT
    assert os.listdir(path.parent) == [path.name]


def test_several_threads_edit_one_after_the_other(path):
    file = FeedsFile(path)
    added = [threading.Thread(target=file.add, args=({"url": f"rtsp://cam{number}/x"},)) for number in range(8)]
    for thread in added:
        thread.start()
    for thread in added:
        thread.join()
    assert set(names(path)) == {"door", "lobby/live", *(f"cam{number}/x" for number in range(8))}


class Told:
    """Stands in for a run: what it was asked to do."""

    def __init__(self):
        self.orders = []

    def add(self, feed):
        if feed.url.startswith("gopher"):
            raise SourceError(f"{feed.url}: unknown scheme")
        self.orders.append(("add", feed.name))

    def change(self, feed):
        self.orders.append(("change", feed.name))

    def remove(self, name):
        self.orders.append(("remove", name))
        raise UsageError(f"{name}: there is no feed of that name")


def test_a_run_is_told_the_difference_alone():
    run = Told()
    door, lobby = Feed("rtsp://door/live", "door"), Feed("rtsp://lobby/live")
    in_effect = FeedsInEffect(run, [door, lobby])
    assert in_effect.apply(Config((door, lobby))) == []
    assert run.orders == []
    changed = Feed("rtsp://lobby/live", analyse_hz=2.0)
    assert in_effect.apply(Config((Feed("webcam", "hall"), changed))) == []
    assert run.orders == [("add", "hall"), ("change", "lobby/live"), ("remove", "door")]
    assert in_effect.apply(Config((Feed("webcam", "hall"), changed))) == []
    assert len(run.orders) == 3


def test_a_bad_feed_is_told_and_tried_again_and_keeps_no_other_back():
    run = Told()
    in_effect = FeedsInEffect(run)
    config = Config((Feed("gopher://user:hunter22@cam/live", "old"), Feed("webcam", "hall")))
    for _ in range(2):
        (words,) = in_effect.apply(config)
        assert words == "old: gopher://***@cam/live: unknown scheme"
    assert run.orders == [("add", "hall")]


def test_another_password_in_the_same_file_is_a_change(tmp_path, monkeypatch):
    monkeypatch.setattr("stream_detect.redact._hidden", set())
    secret = tmp_path / "password"
    secret.write_text("first-one\n")
    run, feed = Told(), Feed(f"rtsp://guard:${{file:{secret}}}@door/live", "door")
    in_effect = FeedsInEffect(run, [feed])
    assert in_effect.apply(Config((feed,))) == []
    secret.write_text("second-one\n")
    assert in_effect.apply(Config((feed,))) == []
    assert run.orders == [("change", "door")]


def test_settings_of_the_run_wait_for_its_next_start():
    in_effect = FeedsInEffect(Told(), [], Config())
    (words,) = in_effect.apply(Config(watch={"retries": 3}))
    assert "started again" in words
    assert in_effect.apply(Config(watch={"retries": 3})) == []

"""What people type becomes a source, or one clear error without a secret in it."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_detect.errors import SourceError, UsageError
from stream_detect.sources import SourceOptions, open_source
from stream_detect.sources.address import escape_login


@pytest.mark.parametrize(
    ("text", "kind", "is_live"),
    [("clip.mp4", "file", False), ("file:///tmp/a%20b.mp4", "file", False), ("rtsp://cam/live", "network", True),
     ("rtsps://cam/live", "network", True), ("http://cam/video.mjpg", "network", True), ("rtmp://h/a", "network", True),
     ("https://h/live.m3u8?token=abc", "network", True), ("webcam", "webcam", True), ("webcam:1", "webcam", True),
     ("screen", "screen", True), ("screen:640x480+10+20", "screen", True), ("synthetic", "synthetic", True)],
)  # fmt: skip
def test_each_way_to_name_a_source(text: str, kind: str, is_live: bool):
    source = open_source(text)
    assert (source.kind, source.is_live) == (kind, is_live)
    assert source.every_frame is not is_live


@pytest.mark.parametrize(
    "text",
    ["rtps://admin:secret@cam/live", "ftp://admin:secret@h/x", "rtsp://", "rtsp:///path", "http://admin:secret@:80/x",
     "rtsp://admin:secret@h:99999/x", "rtsp://admin:secret@ho st/x", "screen:0x0+1+1", "screen:big", ""],
)  # fmt: skip
def test_what_cannot_be_meant_fails_without_its_secret(text: str):
    with pytest.raises(SourceError) as caught:
        open_source(text)
    assert "secret" not in str(caught.value)


def test_a_source_does_not_show_its_secrets():
    source = open_source("rtsp://admin:s3cret@cam:8554/live?token=abcdef")
    assert "s3cret" in source.url
    for shown in (repr(source), source.name, source.address):
        assert "s3cret" not in shown
        assert "abcdef" not in shown
    assert source.name == "cam:8554/live"
    assert source.host_port == ("cam", 8554)
    assert open_source("rtsp://cam/live").host_port == ("cam", 554)
    assert open_source("rtsp://cam/live", name="door").name == "door"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_a_login_reaches_ffmpeg_whatever_its_characters(password: str):
    assume(not re.match(r"\d+[/?#]", password))  # user:12/3@cam reads as the host "user", port 12
    parts = urlsplit(escape_login(f"rtsp://user:{password}@cam:554/live"))
    assert parts.hostname == "cam"
    assert unquote(parts.password or "") in (password, unquote(password))


@pytest.mark.parametrize(
    "url", ["http://h:80/@user/x", "http://h/x?mail=a@b.c", "rtsp://cam/live", "http://[::1]:8/@x"]
)
def test_an_address_without_a_login_stays(url: str):
    assert escape_login(url) == url


def test_a_file_may_only_reach_files():
    assert open_source("list.m3u8").ffmpeg_options["protocol_whitelist"] == "file,crypto,data"


def test_the_transport_is_asked_for():
    assert open_source("rtsp://h/x").ffmpeg_options["rtsp_transport"] == "tcp"
    assert open_source("rtsp://h/x", options=SourceOptions(transport="udp")).ffmpeg_options["rtsp_transport"] == "udp"


@pytest.mark.parametrize("wrong", [{"rate_hz": -1}, {"read_timeout_s": 0}, {"retries": -1}, {"ring_bytes": -5}])
def test_impossible_options_fail(wrong: dict):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SourceOptions(**wrong)


def test_only_rtsp_and_rtmp_wait_for_a_publisher():
    with pytest.raises(SourceError, match="publisher"):
        open_source("http://127.0.0.1/x", options=SourceOptions(listen=True))

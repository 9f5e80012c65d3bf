"""Nothing secret crosses the boundary, whatever characters it has."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.redact import hide, redact, safe_name

AWKWARD = string.ascii_letters + string.digits + "/@#?:&=%;,!$'()*+[]~-._"
secrets = st.text(AWKWARD, min_size=1, max_size=24).map(lambda text: f"S3{text}T9")
hosts = st.sampled_from(["cam", "cam.local:8554", "127.0.0.1", "[::1]:554"])
schemes = st.sampled_from(["rtsp", "rtsps", "http", "https", "rtmp", "RTSP"])
around = st.sampled_from(
    ["{}", "[Errno 5] Input/output error: '{}'", "{}: failed, trying {} again", "opening {}\nagain"]
)


@given(schemes, st.text(string.ascii_letters, min_size=1), secrets, hosts, around)
def test_a_password_never_shows(scheme: str, user: str, password: str, host: str, text: str):
    url = f"{scheme}://{user}:{password}@{host}/live"
    assert password not in redact(text.replace("{}", url))
    assert password not in redact(text.replace("{}", url), url)
    assert password not in safe_name(url)


@given(schemes, st.sampled_from(["token", "api_key", "password", "X-Amz-Signature", "sig", "auth", "secret", "Pwd"]))
def test_a_query_secret_never_shows(scheme: str, key: str):
    url = f"{scheme}://host/path?view=1&{key}=S3cr3t/+==&size=2"
    hidden = redact(f"could not open {url}")
    assert "S3cr3t" not in hidden
    assert "view=1" in hidden
    assert "size=2" in hidden or scheme == "rtmp"  # where a stream key may follow a query, too
    assert "S3cr3t" not in safe_name(url)


@given(secrets, st.sampled_from(["token", "key", "sig"]), hosts)
def test_a_query_secret_with_awkward_characters_never_shows(secret: str, key: str, host: str):
    url = f"http://{host}/v.m3u8?{key}={secret.replace('&', '')}"
    assert secret.replace("&", "") not in redact(url)


@given(st.text(AWKWARD + " \t", min_size=4).map(lambda text: f"S3{text}T9"))
def test_a_known_address_is_hidden_with_spaces_in_it_too(password: str):
    url = f"rtsp://admin:{password}@cam/live"
    assert password not in redact(f"failed: {url}: again {password}", url)


@given(st.text())
def test_any_text_can_be_redacted_twice(text: str):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:p/a@s#w?:d@cam:554/x", "rtsp://***@cam:554/x"),
        ("http://host/video.mjpg", "http://host/video.mjpg"),
        ("'http://h/v.m3u8?token=abc&x=1'", "'http://h/v.m3u8?token=***&x=1'"),
        ("admin:secret@cam/live", "***@cam/live"),
        ("Authorization: Basic YWRtaW46c2VjcmV0", "Authorization: ***"),
        (r"C:\clips\a@b.mp4", r"C:\clips\a@b.mp4"),
        ("rtmp://live.host/app/S3cr3t", "rtmp://live.host/app/***"),
        ("'rtmps://u:p@live.host:443/app/in/S3cr3t?x=1': refused", "'rtmps://***@live.host:443/app/***': refused"),
        ("rtmp://live.host/app?vhost=x/S3cr3t", "rtmp://live.host/app?vhost=x/***"),
        ("rtmp://live.host/app", "rtmp://live.host/app"),
        ("http://cam/video.cgi?user=admin&pwd=x&channel=1", "http://cam/video.cgi?user=***&pwd=***&channel=1"),
        ("http://cam/v?u=admin&p=x&res=1", "http://cam/v?u=***&p=***&res=1"),
        ("http://cam/v?x=0123456789abcdefABCDEF&size=2", "http://cam/v?x=***&size=2"),
        ("no address here", "no address here"),
    ],
)
def test_what_is_not_secret_stays(text: str, expected: str):
    assert redact(text) == expected


def test_a_user_s_name_is_hidden_beside_its_address():
    url = "rtsp://gatekeeper:secret@cam/live"
    assert redact(f"{url}: 401 for gatekeeper, not for gatekeepers", url).endswith("401 for ***, not for gatekeepers")


def test_a_stream_key_is_hidden_beside_its_address_too():
    url = "rtmp://live.host/app/S3cr3tKey"
    assert "S3cr3tKey" not in redact("the server knows no stream S3cr3tKey", url)
    assert safe_name(url) == "live.host/app"


def test_a_secret_from_elsewhere_is_hidden_wherever_it_stands(monkeypatch):
    monkeypatch.setattr("stream_detect.redact._hidden", set())
    hide("gr\u00fcn/blau 7")
    hide("rtsp://admin:w0rd+w0rd@cam/live")
    assert redact("of gr\u00fcn/blau 7 or gr%C3%BCn%2Fblau%207: no") == "of *** or ***: no"
    assert "w0rd+w0rd" not in redact("the answer to w0rd+w0rd")


def test_a_name_is_short_and_plain():
    assert safe_name("rtsp://admin:secret@cam:554/live/1?token=abc") == "cam:554/live/1"

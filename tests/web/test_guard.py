"""Who may ask: programs of this machine, not the pages of others that a browser here has open."""

import asyncio
import http.client
import json

import pytest

from stream_detect.web import answers
from stream_detect.web.guard import Guard
from tests.web.asking import JSON, ask

BODY = {"url": "rtsp://yard/live", "name": "yard"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}"])
def test_this_machine_may_ask(port, host):
    assert ask(port, "/healthz", headers={"Host": host.format(port=port)}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1"]
)
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/feeds", "/nowhere"])
def test_a_foreign_name_of_this_machine_is_refused(port, host, path):
    answer = ask(port, path, headers={"Host": host.format(port=port)})
    assert answer.status in (400, 421)
    assert "cam" not in answer.text


def test_two_hosts_are_one_too_many(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/feeds", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1.evil.example"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_page_is_refused(played, port, origin, method):
    body = BODY if method == "POST" else None
    assert ask(port, "/feeds", method, body, {"Origin": origin}).status == 403
    assert "yard" not in played.file.tables


def test_a_page_of_another_site_may_link_here_and_not_change_anything(port):
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert ask(port, "/feeds", headers=foreign).status == 200
    assert ask(port, "/feeds/cam", "DELETE", headers=foreign).status == 403


def test_a_page_of_our_own_may_change(port):
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Sec-Fetch-Site": "same-origin"}
    assert ask(port, "/feeds", "POST", BODY, own).status == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken(port, content_type):
    answer = ask(port, "/feeds", "POST", BODY, {"Content-Type": content_type})
    assert answer.status == 415
    assert "Content-Type: application/json" in answer.json["error"]


@pytest.mark.parametrize("body", ["", "{", "[]", '"text"', "[" * 50_000, b"\xff\xfe", '{"url": NaN'])
def test_a_body_that_is_no_object_is_refused(port, body):
    answer = ask(port, "/feeds", "POST", body, JSON)
    assert answer.status == 400
    assert "the body is not" in answer.json["error"]


def test_a_long_body_is_not_read_to_its_end(port):
    answer = ask(port, "/feeds", "POST", json.dumps({"url": "x" * answers.LONGEST_BODY}))
    assert answer.status == 413


def test_a_body_that_does_not_come_is_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(answers, "BODY_WITHIN_S", 0.1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/feeds")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:1"}, True),
        ({"host": "127.0.0.1:1", "origin": "http://127.0.0.1:1"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1:1", "origin": "http://evil.example"}, False),
        ({"host": "127.0.0.1:1", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_websocket_is_guarded_as_well(headers, passes):
    sent, reached = [], []

    async def app(scope, receive, send):
        reached.append(scope["type"])

    async def send(message):
        sent.append(message["type"])

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app)({"type": "websocket", "path": "/", "headers": pairs}, None, send))
    assert (reached, sent) == ((["websocket"], []) if passes else ([], ["websocket.close"]))

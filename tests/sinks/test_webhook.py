"""Alerts by HTTP: signed, once each, in order, and without a secret in any text."""

import hashlib
import hmac
import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.sinks import open_sinks
from stream_detect.sinks.outbox import Message, Outbox, Pauses, Refused
from stream_detect.sinks.webhook import Webhook, seconds_in
from stream_detect.types import Alert
from tests.servers.ports import free_port
from tests.sinks.receiver import receiving, until

ALERT = Alert("raised", "a1", "door", 7, "sustained", "2026-03-01T12:00:00.000Z", 3.0, None, 0.93)
MESSAGE = Message("a1-raised-1", ALERT.to_json(), "2026-03-01T12:00:00.000Z")
QUICK = Pauses(0.01, 0.05)
DOCS = Path(__file__).parents[2] / "docs" / "sinks.md"


def hook(url: str, **changes) -> SinkSettings:
    return SinkSettings("webhook", url, **changes)


def delivered(settings: SinkSettings, message: Message = MESSAGE) -> None:
    webhook = Webhook(settings)
    try:
        webhook.deliver(message)
    finally:
        webhook.close()


def test_alerts_arrive_in_order_and_once_each(tmp_path):
    with receiving() as receiver:
        settings = hook(receiver.url)
        outbox = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
        for number in range(20):
            outbox.take(replace(ALERT, id=f"a{number}"))
        until(lambda: outbox.figures().delivered == 20)
        outbox.close()
    assert [json.loads(body)["id"] for _, _, body, _ in receiver.posts] == [f"a{number}" for number in range(20)]
    assert receiver.keys == [f"a{number}-raised-{number + 1}" for number in range(20)]


def test_a_receiver_that_was_down_over_two_runs_gets_everything_in_order(tmp_path):
    port = free_port()
    settings = hook(f"http://127.0.0.1:{port}/hook")
    first = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
    for number in range(5):
        first.take(replace(ALERT, id=f"a{number}"))
    until(lambda: first.figures().pending == 5 and first.figures().failed > 1)
    first.close()
    second = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
    second.take(replace(ALERT, id="a5"))
    until(lambda: second.figures().failed > 1)
    with receiving(port=port) as receiver:
        until(lambda: second.figures().delivered == 6)
        second.close()
    assert receiver.keys == [f"a{number}-raised-{number + 1}" for number in range(6)]


def test_a_signature_is_the_hmac_of_time_and_body():
    with receiving() as receiver:
        delivered(hook(receiver.url, secret="the secret"))
    _, headers, body, _ = receiver.posts[0]
    signed = headers["X-Stream-Detect-Timestamp"].encode() + b"." + body
    assert headers["X-Stream-Detect-Signature"] == "v1=" + hmac.digest(b"the secret", signed, hashlib.sha256).hex()
    assert json.loads(body) == ALERT.to_json()


def test_the_documented_snippet_verifies_a_signature_and_finds_a_changed_body():
    snippet = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(snippet[1], names)
    with receiving() as receiver:
        delivered(hook(receiver.url, secret="the secret"))
    _, headers, body, _ = receiver.posts[0]
    assert names["is_genuine"]("the secret", headers, body)
    assert not names["is_genuine"]("the secret", headers, body.replace(b"door", b"gate"))
    assert not names["is_genuine"]("another", headers, body)
    assert not names["is_genuine"]("the secret", headers, body, oldest_s=-1.0)


def test_without_a_secret_nothing_is_signed():
    with receiving() as receiver:
        delivered(hook(receiver.url))
    assert "X-Stream-Detect-Signature" not in receiver.posts[0][1]


def test_the_bytes_and_the_key_are_the_same_at_each_try(tmp_path):
    with receiving((503, {}), (429, {}), (408, {})) as receiver:
        settings = hook(receiver.url)
        outbox = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
        outbox.take(ALERT)
        until(lambda: outbox.figures().delivered == 1)
        outbox.close()
    assert outbox.figures().failed == 3
    assert len({(headers["Idempotency-Key"], body) for _, headers, body, _ in receiver.posts}) == 1


def test_a_retry_comes_no_sooner_than_the_receiver_asked(tmp_path):
    with receiving((503, {"Retry-After": "1"})) as receiver:
        settings = hook(receiver.url)
        outbox = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
        outbox.take(ALERT)
        until(lambda: outbox.figures().delivered == 1)
        outbox.close()
    assert receiver.posts[1][3] - receiver.posts[0][3] >= 1.0


def test_retry_after_may_be_seconds_or_a_date_and_nonsense_counts_for_nothing():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < seconds_in(in_a_minute) <= 60
    assert (seconds_in("2"), seconds_in("-1"), seconds_in("soon"), seconds_in("nan")) == (2.0, 0.0, None, None)


def test_what_is_refused_for_good_is_set_aside_and_the_next_one_sent(tmp_path, caplog):
    with receiving((400, {}), (400, {}), (400, {})) as receiver:
        settings = hook(receiver.url, name="room")
        outbox = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
        outbox.take(ALERT)
        outbox.take(replace(ALERT, id="a2"))
        until(lambda: outbox.figures().delivered == 1)
        outbox.close()
    assert receiver.keys == ["a1-raised-1"] * 3 + ["a2-raised-2"]
    aside = json.loads((tmp_path / "room.refused.jsonl").read_text())
    assert (aside["key"], aside["reason"], aside["line"]) == (
        "a1-raised-1",
        "127.0.0.1 answered 400",
        ALERT.to_json(),
    )
    assert sum("are refused" in record.getMessage() for record in caplog.records) == 1


def test_a_redirect_is_not_followed():
    with receiving() as other, receiving((302, {"Location": other.url})) as receiver:
        with pytest.raises(Refused, match="answered 302") as refused:
            delivered(hook(receiver.url))
        assert other.posts == []
    assert refused.value.permanent


def test_a_server_that_hangs_ends_in_a_time_out_that_is_tried_again():
    with receiving(hangs=True) as receiver, pytest.raises(Refused, match="did not answer in time") as refused:
        delivered(hook(receiver.url, timeout_s=0.2))
    assert not refused.value.permanent


def test_alerts_are_taken_while_the_server_hangs(tmp_path):
    with receiving(hangs=True) as receiver:
        settings = hook(receiver.url)
        outbox = Outbox(settings, Webhook(settings), tmp_path, pauses=QUICK)
        for number in range(200):
            outbox.take(replace(ALERT, id=f"a{number}"))
        until(lambda: len(receiver.posts) == 1)
        assert outbox.figures().pending == 200
        receiver.hangs.set()
        until(lambda: outbox.figures().delivered == 200)
        outbox.close()


def test_no_text_shows_the_token_of_an_address_or_a_header(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("HOOK_LOGIN", "header-secret-4711")
    caplog.set_level(logging.DEBUG)
    with receiving((500, {}), (400, {}), (400, {}), (400, {})) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/services/T0000/B0000/pathsecret?token=querysecret99"
        settings = hook(url, headers={"Authorization": "Bearer ${HOOK_LOGIN}"}, secret="signing-secret")
        (outbox,) = open_sinks([settings], tmp_path)
        outbox._pauses = QUICK
        outbox.take(ALERT)
        until(lambda: outbox.figures().refused == 1)
        outbox.close()
    assert receiver.posts[0][1]["Authorization"] == "Bearer header-secret-4711"
    told = caplog.text + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "answered 400" in told
    for secret in ("pathsecret", "querysecret99", "header-secret-4711", "signing-secret"):
        assert secret not in told


def test_slack_gets_text_and_blocks_in_which_no_name_is_a_link():
    line = replace(ALERT, source="<!channel> & <http://x|y>").to_json()
    with receiving() as receiver:
        delivered(hook(receiver.url, template="slack"), Message("a1-raised-1", line, "2026-03-01T12:00:00.000Z"))
    body = json.loads(receiver.posts[0][2])
    assert body["text"] == "Alert raised: &lt;!channel&gt; &amp; &lt;http://x|y&gt;, track 7"
    assert [block["type"] for block in body["blocks"]] == ["section", "section"]
    assert "Probability of a forgery: 0.93" in body["blocks"][1]["text"]["text"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/path", "expected an address such as https://host/path"),
        ("host/path", "expected an address such as https://host/path"),
        ("https://", "expected an address such as https://host/path"),
        ("https://host:99999999/x", "expected an address such as https://host/path"),
        ("https://[host/x", "expected an address such as https://host/path"),
        ("https://host:port/x", "expected an address such as https://host/path"),
        ("https://me:my-password@host:port/x", r"webhook https://\*\*\*@host:port/x: expected an address"),
        ("https://host/${NO_SUCH_VARIABLE}", "there is no such variable"),
    ],
)
def test_an_address_that_can_never_work_is_refused_at_once(url, words):
    with pytest.raises(ConfigError, match=words):
        Webhook(hook(url))


def test_a_missing_secret_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="there is no such variable"):
        Webhook(hook("https://host/", secret="${NO_SUCH_VARIABLE}"))
    with pytest.raises(ConfigError, match="expected a text that is not empty"):
        Webhook(hook("https://host/", secret=""))


@pytest.mark.parametrize(("name", "value"), [("X Y", "1"), ("X-Y", "1\r\nZ: 2"), ("X-Y", "ü")])
def test_a_header_that_can_not_be_sent_is_refused_at_once(name, value):
    with pytest.raises(ConfigError, match="webhook headers"):
        Webhook(hook("https://host/", headers={name: value}))


def test_two_sinks_of_one_name_are_refused(tmp_path):
    settings = [hook("https://host/a"), hook("https://host/b")]
    with pytest.raises(ConfigError, match=r"\[\[sink\]\] 2: \[\[sink\]\] 1 is called 'webhook host' too"):
        open_sinks(settings, tmp_path)

"""Alerts by HTTP POST: signed, with an idempotency key, to one address and no other."""

import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.redact import hide, redact
from stream_detect.secrets import filled
from stream_detect.sinks.outbox import Message, Refused
from stream_detect.types import rounded

RETRIED = frozenset({408, 425, 429})  # and 500 to 599
ANSWER_BYTES = 1 << 16  # of an answer that are read, so that the connection can be used again
SHORTEST_HIDDEN_PATH = 12  # characters; in shorter ones nobody puts a token
RULES = {"sustained": "forged for a while", "spike": "a jump within a second", "feed_swap": "the picture was swapped"}


class Webhook:
    """Posts one message after the other over a connection that is kept.

    Raises:
        ConfigError: at once, if the address or a header can't be meant, or a secret can't be had.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self._url = address_of(settings.url or "")
        self._secret = secret_of(settings)
        self._headers = headers_of(settings.headers)
        self._is_slack = settings.template == "slack"
        self._timeout_s = settings.timeout_s
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()  # a house's own authority, beside the public ones
        self._transport = httpx.HTTPTransport(
            verify=context, trust_env=False
        )  # no redirects, cookies, log of addresses

    def deliver(self, message: Message) -> None:
        """Post the message; returns when the receiver answered 2xx.

        Raises:
            Refused: if it did not.
        """
        body = slack_body(message.line) if self._is_slack else json_body(message.line)
        try:
            code, retry_after = self._post(body, self._signed(body) | {"Idempotency-Key": message.key})
        except httpx.HTTPError as error:
            raise Refused(f"{self._url.host}: {words_of(error)}") from None  # whose text may hold the address
        if not 200 <= code < 300:
            is_permanent = code not in RETRIED and not 500 <= code < 600
            raise Refused(
                f"{self._url.host} answered {code}", permanent=is_permanent, retry_after_s=seconds_in(retry_after)
            )

    def abort(self) -> None:
        """A request that runs ends by its time-out."""

    def close(self) -> None:
        self._transport.close()

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str | None]:
        until_s = time.monotonic() + self._timeout_s
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        request = httpx.Request(
            "POST", self._url, headers=self._headers | headers, content=body, extensions={"timeout": timeouts}
        )
        response = self._transport.handle_request(request)
        try:
            with suppress(httpx.HTTPError):  # the answer's first line says all that matters
                drain(response, until_s)
        finally:
            response.close()
        return response.status_code, response.headers.get("Retry-After")

    def _signed(self, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        headers = {"X-Stream-Detect-Timestamp": timestamp}
        return headers | (
            {"X-Stream-Detect-Signature": signature(self._secret, timestamp, body)} if self._secret else {}
        )


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256 of "<timestamp>.<body>", in hexadecimal digits."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def json_body(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode()


def slack_body(line: Mapping[str, Any]) -> bytes:
    """The alert as Slack, Mattermost and the like show it; what a feed is called can't become a link or a mention."""
    where = str(line["source"]) + ("" if line.get("track") is None else f", track {line['track']}")
    title = f"Alert {line['event']}: {where}"
    said = [f"{RULES.get(line['rule'], line['rule'])}, seen at {line['seen_at']}"]
    if line.get("fake_probability") is not None:
        said.append(f"Probability of a forgery: {rounded(float(line['fake_probability']))}")
    said += [f"{name.capitalize()}: {line[name]}" for name in ("evidence", "clip") if line.get(name)]
    sections = [f"*{escaped(title)}*", escaped("\n".join(said))]
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}} for text in sections]
    return json.dumps({"text": escaped(title), "blocks": blocks}, separators=(",", ":")).encode()


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def drain(response: httpx.Response, until_s: float) -> None:
    """Read a short answer to its end; a long or slow one is left, and its connection with it."""
    num_bytes = 0
    for part in response.iter_raw():
        num_bytes += len(part)
        if num_bytes > ANSWER_BYTES or time.monotonic() > until_s:
            return


def address_of(text: str) -> httpx.URL:
    """The address with its secrets, which `redact` hides from now on.

    Raises:
        ConfigError: if it can't be one of a webhook.
    """
    whole = filled(text)
    try:
        url = httpx.URL(whole)
        is_meant = url.scheme in ("http", "https") and is_host(url.host) and 0 < (url.port or 443) < 1 << 16
    except httpx.InvalidURL:  # whose text may hold a password
        is_meant = False
    if not is_meant:
        raise ConfigError(f"webhook {redact(whole, whole)}: expected an address such as https://host/path")
    hide(whole)
    path = url.raw_path.decode()
    if len(path) >= SHORTEST_HIDDEN_PATH:
        hide(path)  # Slack's and its like hold the token in it
    return url


def is_host(text: str) -> bool:
    """Whether it may be one: what can't be is escaped by then."""
    return bool(text) and "%" not in text


def secret_of(settings: SinkSettings) -> str | None:
    """The secret to sign with, hidden from now on.

    Raises:
        ConfigError: if it can't be had.
    """
    if settings.secret is None:
        return None
    secret = filled(settings.secret)
    if not secret:
        raise ConfigError("webhook secret: expected a text that is not empty; leave the key out to send unsigned")
    hide(secret)
    return secret


def headers_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Headers of every request, the configured ones first; their values are hidden from now on.

    Raises:
        ConfigError: if one can't be sent.
    """
    headers = {"User-Agent": "stream-detect", "Content-Type": "application/json"}
    for name, value in settings.items():
        text = filled(str(value))
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise ConfigError(f"webhook headers: {name!r} is no name of a header")
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(f"webhook headers: {name}: expected one line of ASCII")
        if name.lower() not in ("content-type", "user-agent", "accept"):
            hide(text)
        headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()} | {name: text}
    return headers


def words_of(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def seconds_in(retry_after: str | None) -> float | None:
    """How long a receiver wants to be left alone, in seconds; None if it does not say, or nothing that can be meant."""
    if retry_after is None:
        return None
    with suppress(ValueError, OverflowError):
        seconds = float(retry_after)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(retry_after)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None

"""Alerts for an MQTT broker, and what every feed does at the moment for whoever asks later.

`TOPIC/FEED/alert`   the JSON line of each alert, in order
`TOPIC/FEED/state`   retained: the feed's state, its reason and its active alerts
`TOPIC/online`       retained: true; false after the end, and when the connection is lost (the last will)

What a topic can't hold is written as in a URL in the name of a feed: `door/1` is `door%2F1`.
"""

import json
import logging
import re
import sys
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stream_detect.alerts.sink import Line
from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.redact import redact
from stream_detect.secrets import filled
from stream_detect.sinks.outbox import Message, Refused
from stream_detect.types import Alert, Status

PORTS = {"mqtt": 1883, "mqtts": 8883}
EXPECTED = "expected mqtt://host, mqtts://host or mqtt://user:password@host:port"
KEEPALIVE_S = 20  # a broker that says nothing for longer is taken for lost
LONGEST_PAUSE_S = 30  # between two tries to connect
AT_LEAST_ONCE = 1
UNSAFE = re.compile(r"[%/+#\x00-\x1f\x7f]")
log = logging.getLogger("stream_detect.sinks")


@dataclass(slots=True)
class FeedNow:
    """What a feed does at the moment."""

    state: str = "connecting"
    reason: str = ""
    active: dict[str, str] = field(default_factory=dict)  # rules by the id of their alert

    def hear(self, line: Alert | Status) -> None:
        if isinstance(line, Status):
            self.state, self.reason = line.state, line.reason
        elif line.event == "cleared":
            self.active.pop(line.id, None)
        elif line.event == "raised":
            self.active[line.id] = line.rule

    def to_json(self, source: str) -> dict[str, Any]:
        alerts = [{"id": id, "rule": rule} for id, rule in self.active.items()]
        return {"source": source, "state": self.state, "reason": self.reason, "active_alerts": alerts}


class Mqtt:
    """Delivers to one broker, by a connection that is kept and made again when it breaks.

    Raises:
        ConfigError: at once, if the address or the topic can't be meant, or a secret in it can't be had.
    """

    def __init__(self, settings: SinkSettings) -> None:
        whole = filled(settings.url or "")
        address = address_of(whole)
        self.place = f"{address.hostname}:{address.port or PORTS[address.scheme]}"
        self._addresses = (settings.url or "", whole)
        self._topic = checked_topic(settings.topic)
        self._timeout_s = settings.timeout_s
        self._feeds: dict[str, FeedNow] = {}
        self._states = threading.Lock()  # around the feeds, so that the last state told is the last one heard
        self._changed = threading.Condition()
        self._is_up = self._is_told = self._is_closed = False
        self._trouble = ""  # why there is no connection; empty before the first try has ended
        self._in_flight: tuple[str, int] | None = None  # key and number of what was sent and not acknowledged
        self._acknowledged: set[int] = set()
        self._client = self._connecting(address)

    def deliver(self, message: Message) -> None:
        """Publish the line; returns when the broker has acknowledged it.

        Raises:
            Refused: if there is no connection, or no acknowledgement came in time.
        """
        self._await_connection()
        if self._in_flight is None or self._in_flight[0] != message.key:
            self._publish(message)
        self._await_acknowledgement()

    def status(self, line: Line) -> None:
        """A line that comes by: what it changes of a feed's state is told at once, or after the next connection."""
        if not isinstance(line, Alert | Status):
            return
        with self._states:
            self._feeds.setdefault(line.source, FeedNow()).hear(line)
            if self._is_up:
                self._tell(line.source)

    def abort(self) -> None:
        """End the waiting of `deliver`; from any thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say goodbye to the broker; may be called twice."""
        self.abort()
        if self._is_up:
            self._client.publish(f"{self._topic}/online", "false", retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _connecting(self, address: SplitResult) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        if address.username is not None:
            client.username_pw_set(unquote(address.username), unquote(address.password or ""))
        if address.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"{self._topic}/online", "false", qos=AT_LEAST_ONCE, retain=True)
        client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        client.connect_async(address.hostname or "", address.port or PORTS[address.scheme], KEEPALIVE_S)
        client.loop_start()
        return client

    def _await_connection(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_up or self._trouble or self._is_closed, self._timeout_s)
            if not self._is_up:
                raise Refused(self._trouble or f"{self.place} did not answer within {self._timeout_s:g} s")

    def _publish(self, message: Message) -> None:
        topic = f"{self._topic}/{level(str(message.line['source']))}/alert"
        self._acknowledged = set()
        text = json.dumps(message.line, ensure_ascii=False)
        self._in_flight = (message.key, self._client.publish(topic, text, qos=AT_LEAST_ONCE).mid)

    def _await_acknowledgement(self) -> None:
        """Paho sends again what was in flight when a connection broke; the next try waits for the same one."""
        _, number = self._in_flight or ("", 0)
        with self._changed:
            self._changed.wait_for(
                lambda: number in self._acknowledged or not self._is_up or self._is_closed, self._timeout_s
            )
            if number not in self._acknowledged:
                raise Refused(self._trouble or f"{self.place} acknowledged nothing within {self._timeout_s:g} s")
        self._in_flight = None

    def _tell(self, source: str) -> None:
        text = json.dumps(self._feeds[source].to_json(source), ensure_ascii=False)
        self._client.publish(f"{self._topic}/{level(source)}/state", text, retain=True)

    def _on_connect(
        self,
        client: paho.Client,
        data: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            return self._has_trouble(f"{self.place} refuses the connection ({reason}); check user and password")
        client.publish(f"{self._topic}/online", "true", retain=True)
        with self._states:
            self._is_up = True
            for source in self._feeds:
                self._tell(source)
        self._is_told = False
        self._has_changed("")

    def _on_connect_fail(self, client: paho.Client, data: Any) -> None:
        self._has_trouble(f"{self.place} can't be reached ({sys.exc_info()[1]})")  # paho calls it where it caught that

    def _on_disconnect(
        self,
        client: paho.Client,
        data: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._is_up:
            self._has_trouble(f"the connection to {self.place} broke off ({reason})")

    def _on_publish(
        self, client: paho.Client, data: Any, number: int, reason: ReasonCode, properties: Properties
    ) -> None:
        with self._changed:
            self._acknowledged.add(number)
            self._changed.notify_all()

    def _has_trouble(self, words: str) -> None:
        self._is_up = False
        if not self._is_told and not self._is_closed:
            log.warning("mqtt: %s; it is tried again", redact(words, *self._addresses))
            self._is_told = True
        self._has_changed(words)

    def _has_changed(self, trouble: str) -> None:
        with self._changed:
            self._trouble = redact(trouble, *self._addresses)
            self._changed.notify_all()


def address_of(url: str) -> SplitResult:
    """The parts of a broker's address.

    Raises:
        ConfigError: if it is none.
    """
    try:
        address = urlsplit(url)
        is_meant = address.scheme in PORTS and bool(address.hostname) and address.port != 0
    except ValueError:
        is_meant = False
    if not is_meant or address.path.strip("/") or address.query or address.fragment:
        raise ConfigError(f"{redact(url, url)}: not the address of an MQTT broker; {EXPECTED}")
    return address


def checked_topic(topic: str) -> str:
    """A topic that others can stand below.

    Raises:
        ConfigError: if it holds a wildcard, or begins or ends with a slash.
    """
    if not topic or re.search(r"[+#\x00-\x1f\x7f]|^[/$]|/$", topic):
        raise ConfigError(f"topic {topic!r}: expected one without + and #, such as stream-detect or site/cameras")
    return topic


def level(name: str) -> str:
    """A name as one level of a topic."""
    return UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", name)

"""Alerts and states by a real broker: order, outages, retained topics, the last will, wrong addresses and logins."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.sinks.mqtt import Mqtt
from stream_detect.sinks.outbox import Message, Outbox, Pauses, Refused
from stream_detect.types import Alert, Status
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.services
QUICK = Pauses(0.05, 0.2)
ALERT = Alert(
    event="raised",
    id="a-1",
    source="door",
    track=3,
    rule="sustained",
    seen_at="2026-03-01T12:00:00Z",
    started_s=4.0,
    ended_s=None,
    fake_probability=0.9,
)


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        yield broker


class Subscriber:
    """Hears topics of a broker, by a session that outlives a broken connection; use it in a `with`."""

    def __init__(self, broker: Mosquitto, topics: str = "stream-detect/#", login: str = "") -> None:
        self.heard: list[tuple[str, str, bool]] = []  # topic, text, whether it was retained
        self.subscriptions = 0
        self._topics = topics
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        if login:
            self._client.username_pw_set(*login.split(":"))
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *about: client.subscribe(self._topics, qos=1)
        self._client.on_subscribe = lambda *about: self._is_subscribed()
        self._client.on_message = lambda client, data, message: self._hear(message)
        self._client.connect("127.0.0.1", broker.port)

    def _is_subscribed(self) -> None:
        self.subscriptions += 1

    def _hear(self, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload.decode(), message.retain))

    def alerts(self) -> list[tuple[str, str]]:
        """Id and event of every alert heard, in order."""
        lines = [json.loads(text) for topic, text, _ in self.heard if topic.endswith("/alert")]
        return [(line["id"], line["event"]) for line in lines]

    def last(self, topic: str) -> str:
        """What was said last there; empty before."""
        return next((text for at, text, _ in reversed(self.heard) if at == topic), "")

    def state(self, feed: str) -> dict[str, object]:
        return json.loads(self.last(f"stream-detect/{feed}/state") or "{}")

    def __enter__(self) -> "Subscriber":
        self._client.loop_start()
        until(lambda: self.subscriptions)
        return self

    def __exit__(self, *about: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def settings(url: str, **others) -> SinkSettings:
    return SinkSettings(kind="mqtt", url=url, **others)


def message(alert: Alert, number: int = 1) -> Message:
    return Message(key=f"{alert.id}-{alert.event}-{number}", line=alert.to_json(), made_at="2026-03-01T12:00:00Z")


def until(condition, timeout_s=20.0):
    """Wait for a condition."""
    until_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until_s, "it did not come to it"
        time.sleep(0.02)
    return found


class closing:
    """A sink that is closed at the end of a `with`, whatever happens."""

    def __init__(self, sink):
        self.sink = sink

    def __enter__(self):
        return self.sink

    def __exit__(self, *about):
        self.sink.close()


def test_alerts_come_in_order_and_once_each_though_the_broker_is_killed(broker, tmp_path):
    alerts = [replace(ALERT, id=f"a-{number}") for number in range(30)]
    with FaultProxy(broker.port) as proxy, Subscriber(broker) as subscriber:
        given = settings(proxy.url(broker.url))
        with closing(Outbox(given, Mqtt(given), tmp_path, pauses=QUICK)) as outbox:
            for alert in alerts[:10]:
                outbox.take(alert)
            until(lambda: len(subscriber.alerts()) == outbox.figures().delivered == 10)
            proxy.suffer("refused")  # until the subscriber is back
            broker.kill()
            for alert in alerts[10:20]:
                outbox.take(alert)
            until(lambda: outbox.figures().failed > 1)
            assert outbox.figures().pending == 10
            broker.start()
            until(lambda: subscriber.subscriptions == 2)
            proxy.heal()
            for alert in alerts[20:]:
                outbox.take(alert)
            until(lambda: outbox.figures().delivered == 30)
    assert subscriber.alerts() == [(alert.id, "raised") for alert in alerts]


def test_none_is_lost_when_the_broker_is_started_anew_in_the_midst(broker, tmp_path):
    given = settings(broker.url)
    alerts = [replace(ALERT, id=f"a-{number}") for number in range(200)]
    with Subscriber(broker) as subscriber, closing(Outbox(given, Mqtt(given), tmp_path, pauses=QUICK)) as outbox:
        for alert in alerts:
            outbox.take(alert)
        until(lambda: subscriber.alerts())
        broker.stop()
        assert outbox.figures().delivered < 200
        broker.start()
        until(lambda: outbox.figures().delivered == 200)
        until(lambda: subscriber.alerts()[-1] == ("a-199", "raised"))
    first = list(dict.fromkeys(subscriber.alerts()))  # a broker may bring one again that it was not thanked for
    assert first == [(alert.id, "raised") for alert in alerts]


def test_the_line_is_the_one_of_the_file(broker):
    with Subscriber(broker) as subscriber, closing(Mqtt(settings(broker.url, topic="site/cameras"))) as mqtt:
        subscriber._client.subscribe("site/#", qos=1)
        mqtt.deliver(message(replace(ALERT, source="Tür")))
        (heard,) = until(lambda: [text for topic, text, _ in subscriber.heard if topic == "site/cameras/Tür/alert"])
    assert json.loads(heard) == replace(ALERT, source="Tür").to_json()


def test_the_name_of_a_feed_stays_one_level_and_no_wildcard(broker):
    source = "10.0.0.1:554/live+#%2F\x00"
    with Subscriber(broker) as subscriber, closing(Mqtt(settings(broker.url))) as mqtt:
        mqtt.deliver(message(replace(ALERT, source=source)))
        until(lambda: subscriber.alerts())
    topics = {topic for topic, _, _ in subscriber.heard if topic.endswith("/alert")}
    assert topics == {"stream-detect/10.0.0.1:554%2Flive%2B%23%252F%00/alert"}


def test_who_comes_late_finds_the_state_of_every_feed(broker):
    with closing(Mqtt(settings(broker.url))) as mqtt:
        mqtt.status(Status("door", "connecting"))
        mqtt.status(Status("door", "live"))
        mqtt.status(ALERT)
        mqtt.status(replace(ALERT, id="a-2", rule="spike"))
        mqtt.status(replace(ALERT, event="cleared"))
        mqtt.status(Status("gate", "failed", "wrong password"))
        mqtt.deliver(message(ALERT))
        with Subscriber(broker) as subscriber:
            until(lambda: subscriber.state("gate") and subscriber.state("door"))
            assert all(is_retained for _, _, is_retained in subscriber.heard)
            until(lambda: subscriber.last("stream-detect/online") == "true")
            active = [{"id": "a-2", "rule": "spike"}]
            assert subscriber.state("door") == {
                "source": "door",
                "state": "live",
                "reason": "",
                "active_alerts": active,
            }
            assert subscriber.state("gate") == {
                "source": "gate",
                "state": "failed",
                "reason": "wrong password",
                "active_alerts": [],
            }
            assert subscriber.alerts() == []


def test_states_that_changed_during_an_outage_are_told_after_it(broker):
    with Subscriber(broker) as subscriber, closing(Mqtt(settings(broker.url))) as mqtt:
        mqtt.status(Status("door", "live"))
        until(lambda: subscriber.state("door").get("state") == "live")
        broker.kill()
        until(lambda: mqtt._trouble)
        mqtt.status(Status("door", "stalled"))
        mqtt.status(Status("door", "reconnecting", "nothing came"))
        broker.start()
        until(lambda: subscriber.state("door").get("state") == "reconnecting")
    assert "stalled" not in [json.loads(text)["state"] for topic, text, _ in subscriber.heard if "state" in topic]


def test_the_end_of_a_run_is_told(broker):
    with Subscriber(broker) as subscriber:
        with closing(Mqtt(settings(broker.url))):
            until(lambda: subscriber.last("stream-detect/online") == "true")
        until(lambda: subscriber.last("stream-detect/online") == "false")


RUN_FOR_EVER = """
import sys, time
from stream_detect.config import SinkSettings
from stream_detect.sinks.mqtt import Mqtt
mqtt = Mqtt(SinkSettings(kind="mqtt", url=sys.argv[1]))
time.sleep(600)
"""


def test_the_broker_tells_of_a_run_that_was_killed(broker):
    process = subprocess.Popen([sys.executable, "-c", RUN_FOR_EVER, broker.url])
    try:
        with Subscriber(broker) as subscriber:
            until(lambda: subscriber.last("stream-detect/online") == "true")
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: subscriber.last("stream-detect/online") == "false")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("login", ["camera:hunter2-wrong", ""])
def test_a_wrong_login_is_told_once_and_without_the_password(tmp_path, login, caplog):
    with Mosquitto(tmp_path / "broker", login="camera:secret-word") as broker:
        url = broker.url_with(login) if login else f"mqtt://127.0.0.1:{broker.port}"
        with closing(Mqtt(settings(url))) as mqtt:
            for number in range(3):
                with pytest.raises(Refused, match=r"refuses the connection \(Not authorized\); check user") as refused:
                    mqtt.deliver(message(ALERT, number))
            assert not refused.value.permanent
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert "refuses the connection" in warnings[0]
        assert "hunter2" not in caplog.text + str(refused.value)


def test_a_login_comes_from_the_environment_and_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKER_LOGIN", "p@ss/w:rd#1")
    with (
        Mosquitto(tmp_path / "broker", login="camera:p@ss/w:rd#1") as broker,
        closing(Mqtt(settings(broker.url_with("camera:${BROKER_LOGIN}")))) as mqtt,
    ):
        mqtt.deliver(message(ALERT))


def test_a_broker_that_is_not_there_is_told_and_found_when_it_comes(tmp_path, caplog):
    port = free_port()
    with closing(Mqtt(settings(f"mqtt://127.0.0.1:{port}"))) as mqtt:
        with pytest.raises(Refused, match=rf"127.0.0.1:{port} can't be reached \(.*refused") as refused:
            mqtt.deliver(message(ALERT))
        assert not refused.value.permanent
        with Mosquitto(tmp_path / "broker", port=port) as broker, Subscriber(broker) as subscriber:
            until(lambda: mqtt._is_up)
            mqtt.deliver(message(ALERT))
            until(lambda: subscriber.alerts() == [("a-1", "raised")])
    assert caplog.text.count("can't be reached") == 1


def test_a_broker_that_answers_nothing_is_refused_in_time(broker):
    with closing(Mqtt(settings(broker.url, timeout_s=0.3))) as mqtt:
        mqtt.deliver(message(ALERT, 1))
        with Subscriber(broker) as subscriber:
            broker.pause()
            with pytest.raises(Refused, match=r"acknowledged nothing within 0.3 s"):
                mqtt.deliver(message(replace(ALERT, id="a-2")))
            broker.go_on()
            until(lambda: subscriber.alerts())
            mqtt.deliver(message(replace(ALERT, id="a-2")))
            mqtt.deliver(message(replace(ALERT, id="a-3")))
            until(lambda: len(subscriber.alerts()) == 2)
    assert subscriber.alerts() == [("a-2", "raised"), ("a-3", "raised")]


@pytest.mark.parametrize(
    "url",
    ["http://host", "mqtt://", "mqtt://host:99999", "mqtt://host/path", "mqtt://user:secret-word@host?x=1", "host"],
)
def test_an_address_that_is_none_of_a_broker_is_told_at_once(url):
    with pytest.raises(ConfigError, match="not the address of an MQTT broker; expected mqtt://host") as error:
        Mqtt(settings(url))
    assert "secret-word" not in str(error.value)


@pytest.mark.parametrize("topic", ["", "a/#", "+", "/a", "a/", "$SYS"])
def test_a_topic_that_nothing_can_be_said_below_is_told_at_once(topic):
    with pytest.raises(ConfigError, match=r"topic .*: expected one without"):
        Mqtt(settings("mqtt://127.0.0.1:1", topic=topic))

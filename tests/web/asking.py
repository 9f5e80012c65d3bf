"""Asks a server of ours as a browser, curl or Prometheus would, byte by byte."""

import http.client
import json
from dataclasses import dataclass
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.text)


def ask(port: int, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """The answer to one request; a body that is no text is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
    own = JSON if body is not None else {}
    try:
        connection.request(method, path, sent, {**own, **(headers or {})})
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read().decode())
    finally:
        connection.close()

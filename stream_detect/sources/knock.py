"""Whether a server is up, without being its client: a knock at its door that only a server that works answers."""

import os
import selectors
import socket
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

from stream_detect.sources.address import Source

CONNECT_S = 0.6  # for the connection; a host that needs longer is tried all the same, more seldom
HELD_S = 10.0  # a knock without an answer is given up after so long
SLICE_S = 0.05  # how late the end of waiting may be noticed

Place = tuple[str, int]
Sign = Literal["away", "silent", "alive"]  # no connection, or broken off; nothing said; answered


@dataclass
class Known:
    """What knocks have found out about a server."""

    has_answered: bool = False  # ever: silence means nothing of a server that doesn't know the question
    address: Place | None = None  # where a knock connected last: the next needs no name server, which may be gone, too


class Door(AbstractContextManager["Door"]):
    """Knocks at the place of a source and listens; one thread at a time.

    RTSP and HTTP are asked for OPTIONS, RTMP for a handshake; any answer in the protocol is a sign of life, also that
    a login is missing. Of TLS a connection is enough. A question that wasn't answered stays open beside each new one:
    a process that is stopped answers old ones when it goes on, a network that lost them only new ones.
    """

    def __init__(self, place: Place, question: bytes = b"", answer: bytes = b"", known: Known | None = None) -> None:
        self._known = known or Known()
        self._place = place
        self._question = question
        self._answer = answer
        self._asked: list[tuple[float, socket.socket]] = []  # oldest first, at most two

    @property
    def has_answered(self) -> bool:
        """Whether a knock was ever answered, here or at a twin."""
        return self._known.has_answered

    def twin(self) -> "Door":
        """Another door to the same place, for another thread; what one learns both know."""
        return Door(self._place, self._question, self._answer, self._known)

    def sign(self, wait_s: float, done: threading.Event) -> Sign:
        """Knock; wait up to `wait_s` for an answer to this or an earlier knock, less when `done` is set."""
        try:
            self._knock()
        except TimeoutError:
            pass
        except (OSError, UnicodeError):  # the latter for a host name that can't be one
            self.close()
            return "away"
        if not self._question and self._asked:
            return self._alive()
        return self._listen(wait_s, done)

    def close(self) -> None:
        while self._asked:
            self._asked.pop()[1].close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _knock(self) -> None:
        place, self._known.address = self._known.address or self._place, None
        connection = socket.create_connection(place, CONNECT_S)
        try:
            self._known.address = connection.getpeername()[:2]
            connection.setblocking(False)
            connection.send(self._question)
        except OSError:
            connection.close()
            raise
        now_s = time.monotonic()
        is_old = bool(self._asked) and now_s - self._asked[0][0] > HELD_S
        if len(self._asked) > 1:
            self._asked.pop(0 if is_old else 1)[1].close()
        self._asked.append((now_s, connection))

    def _listen(self, wait_s: float, done: threading.Event) -> Sign:
        until_s, had_any = time.monotonic() + wait_s, bool(self._asked)
        while self._asked:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or done.is_set():
                return "silent"
            for one in self._ready(min(left_s, SLICE_S)):
                if self._is_answer(one):
                    return self._alive()
                self._asked = [asked for asked in self._asked if asked[1] is not one]
                one.close()
        return "away" if had_any else "silent"

    def _alive(self) -> Sign:
        self.close()
        self._known.has_answered = True
        return "alive"

    def _ready(self, wait_s: float) -> list[socket.socket]:
        with selectors.DefaultSelector() as selector:
            for _, one in self._asked:
                selector.register(one, selectors.EVENT_READ, one)
            return [key.data for key, _ in selector.select(wait_s)]

    def _is_answer(self, connection: socket.socket) -> bool:
        try:
            came = connection.recv(len(self._answer))
        except OSError:
            return False
        return bool(came) and self._answer.startswith(came)


def door_of(source: Source) -> Door | None:
    """Where to knock for a source; None where there is no such place, or where a proxy stands before it."""
    place, scheme = source.host_port, urlsplit(source.url).scheme
    if place is None or (scheme.startswith("http") and os.environ.get("http_proxy")):
        return None
    if scheme == "rtsp":
        return Door(place, b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"RTSP/")
    if scheme == "http":
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        asked = f"OPTIONS * HTTP/1.1\r\nHost: {host}:{place[1]}\r\nConnection: close\r\n\r\n"
        return Door(place, asked.encode("ascii", "replace"), b"HTTP/")
    if scheme == "rtmp":
        return Door(place, b"\x03" + bytes(8) + os.urandom(1528), b"\x03")
    return Door(place)

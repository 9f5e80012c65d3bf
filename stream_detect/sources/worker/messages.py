"""What a worker and its main process tell each other through a socket: a kind, a length and the bytes.

What comes from a worker is read with care: `struct` and JSON only, since a bad stream may have taken the worker over.
"""

import json
import math
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any

from stream_detect.decode.frame import Matrix

HEAD = struct.Struct("<cI")
LONGEST = 64 << 20  # bytes of one message; a coded picture is far smaller
READ_BYTES = 1 << 18
MOST_FILES = 4  # that wait for their message

OPEN, CLOSE = b"o", b"c"  # to a worker
OPENED, FAILED, ENDED, SLOTS, FRAME, PACKET, TEMPLATE, BEAT = b"O", b"F", b"E", b"S", b"f", b"p", b"t", b"b"

# generation and number of a slot, pts_s, arrived_s, captured_s, seen_at, matrix, flags, dropped late and corrupt
FRAME_BODY = struct.Struct("<IBddddBBII")
# pts, dts (or NO_STAMP), duration, time base, is_keyframe, pts_s; then the data
PACKET_BODY = struct.Struct("<qqqIIBd")
# what it does, for how long in seconds, packets dropped late and corrupt
BEAT_BODY = struct.Struct("<cdII")
NO_STAMP = -(1 << 63)
MATRICES: tuple[Matrix, ...] = ("bt601", "bt709", "bt2020")  # told by number
IS_CORRUPT, IS_FULL_RANGE = 1, 2
IDLE, OPENING, READING, DECODING, TELLING = b"i", b"o", b"r", b"d", b"t"


class Gone(Exception):
    """The other side has closed its end, or sends what can't be meant."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `files` are file descriptors that came along, owned by whoever takes it."""

    kind: bytes
    body: bytes
    files: tuple[int, ...] = ()

    def close(self) -> None:
        """Let go of its files."""
        for file in self.files:
            os.close(file)

    def json(self) -> dict[str, Any]:
        """The body as JSON.

        Raises:
            Gone: if it is none.
        """
        try:
            said = json.loads(self.body)
        except ValueError as error:
            raise Gone("what came is no JSON") from error
        if not isinstance(said, dict):
            raise Gone("what came is no JSON object")
        return said


class Line:
    """One end of a socket between a worker and its main process. Any thread may send, one may take."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._came = bytearray()
        self._files: list[int] = []
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, kind: bytes, *parts: bytes | bytearray | memoryview, files: tuple[int, ...] = ()) -> None:
        """Send one message, waiting for as long as the other side does not read.

        Raises:
            Gone: if it has gone.
        """
        body = b"".join(parts)
        with self._sending:
            try:
                if files:
                    head = HEAD.pack(kind, len(body)) + body
                    sent = socket.send_fds(self._end, [head], list(files))
                    self._end.sendall(head[sent:])
                else:
                    self._end.sendall(HEAD.pack(kind, len(body)) + body)
            except OSError as error:
                raise Gone("the other side has gone") from error

    def send_json(self, kind: bytes, files: tuple[int, ...] = (), **said: Any) -> None:
        self.send(kind, json.dumps(said).encode(), files=files)

    def take(self, timeout_s: float | None) -> Message | None:
        """The next message, waiting up to `timeout_s` seconds (None: for ever); None if none came.

        Raises:
            Gone: if the other side has gone, or what it sends can't be meant.
        """
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s  # also for one that comes bit by bit
        while (message := self._whole()) is None:
            left_s = max(0.0, until_s - time.monotonic())
            if not self._poll.poll(None if timeout_s is None else round(1000 * left_s)):
                return None
            self._read()
        return message

    def _whole(self) -> Message | None:
        if len(self._came) < HEAD.size:
            return None
        kind, length = HEAD.unpack_from(self._came)
        if length > LONGEST:
            raise Gone(f"a message of {length} bytes")
        if len(self._came) < HEAD.size + length:
            return None
        body = bytes(memoryview(self._came)[HEAD.size : HEAD.size + length])
        del self._came[: HEAD.size + length]
        files: tuple[int, ...] = ()
        if kind == SLOTS:
            files, self._files = tuple(self._files), []
        return Message(kind, body, files)

    def _read(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._end, READ_BYTES, 4)
        except OSError as error:
            raise Gone("the other side has gone") from error
        for file in files:
            os.set_inheritable(file, False)
        self._files += files
        if len(self._files) > MOST_FILES:
            raise Gone("more files than any message has")
        if not data:
            raise Gone("the other side has gone")
        self._came += data

    def close(self) -> None:
        """May be called twice."""
        for file in self._files:
            os.close(file)
        self._files = []
        self._end.close()

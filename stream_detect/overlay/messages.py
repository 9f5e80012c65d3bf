"""What the loop's process and the one that sends pictures tell each other: whole messages through a socket.

The first byte says what it is. Pictures lie in memory that both share; a message names the slot. What comes from the
main process is pickled, what comes back is JSON.
"""

import json
import os
import pickle
import select
import socket
from dataclasses import dataclass
from typing import Any

from stream_detect.decode.frame import Layout, Matrix
from stream_detect.types import FrameVerdict

ORDER, MEMORY, PICTURE = b"o", b"m", b"p"  # to the one that sends
LONGEST = 256 << 10  # bytes of one message
STATES = ("starting", "connecting", "live", "lost")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent where. The target holds secrets: it is told through the socket alone."""

    target: str
    hides_faces: bool
    gpu: int | None  # whose encoder is tried first


@dataclass(frozen=True, slots=True)
class Memory:
    """A new piece of shared memory, whose file comes along."""

    generation: int
    shapes: tuple[tuple[int, ...], ...]
    slots: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame in a slot and what was said of it."""

    generation: int
    slot: int
    layout: Layout
    matrix: Matrix
    is_full_range: bool
    verdict: FrameVerdict


def give(end: socket.socket, kind: bytes, what: object, files: tuple[int, ...] = ()) -> bool:
    """Send one message without ever waiting; whether it went."""
    body = kind + pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    try:
        if files:
            return socket.send_fds(end, [body], list(files), socket.MSG_DONTWAIT) > 0
        return end.send(body, socket.MSG_DONTWAIT) > 0
    except OSError:  # nobody reads, or it is too long
        return False


def taken(end: socket.socket) -> tuple[bytes, Any, list[int]] | None:
    """The next message and the files that came along; None when the other end is closed."""
    body, files, _, _ = socket.recv_fds(end, LONGEST, 1)
    for file in files:
        os.set_inheritable(file, False)
    return (body[:1], pickle.loads(body[1:]), files) if body else None


def tell(end: socket.socket, **said: Any) -> None:
    """Say how things stand; nothing where nobody reads it."""
    try:
        end.send(json.dumps(said).encode(), socket.MSG_DONTWAIT)
    except OSError:
        return


def heard(end: socket.socket, timeout_s: float) -> dict[str, Any] | None:
    """What the process that sends says; None if nothing came in time.

    Raises:
        EOFError: if it has ended, or says what can't be meant.
    """
    if not select.select([end], [], [], timeout_s)[0]:
        return None
    try:
        said = json.loads(end.recv(LONGEST))
    except (OSError, ValueError) as error:
        raise EOFError("it has ended") from error
    if not isinstance(said, dict):
        raise EOFError("it says what can't be meant")
    return said

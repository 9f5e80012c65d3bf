"""Messages that wait for their sink: in a file while there is room on the disk, in memory otherwise.

A spool is a file of JSON lines with growing numbers, and a small one with the number that was delivered last. As the
numbers say what is done, the lines may stand in any order, twice, or end torn: none is skipped for it.
"""

import fcntl
import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from stream_detect.errors import OutputError

OWNER_ONLY = 0o600
REWRITTEN_BYTES = 1 << 16  # of delivered lines at least, before a file is written anew without them
WRITTEN_AT_ONCE = 1000  # messages from memory, when a disk has room again
log = logging.getLogger("stream_detect.sinks")


@dataclass(frozen=True, slots=True)
class Message:
    """A line of an alert on its way; its key stays the same however often it is tried, in later runs as well."""

    key: str  # "<alert id>-<event>-<sequence>"
    line: dict[str, Any]
    made_at: str  # when it was taken, RFC 3339 in UTC


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait; of more the oldest is dropped."""

    messages: int = 100_000
    num_bytes: int = 256 << 20


@dataclass(slots=True)
class Waiting:
    """Where one message is: at a place in the file, or here, as text."""

    sequence: int
    num_bytes: int
    offset: int | None
    text: bytes = b""


class Spool:
    """The messages of one sink, oldest first. Without a path they are in memory alone.

    Raises:
        OutputError: at once, if the file can't be read or written, or another process sends what is in it.
    """

    def __init__(self, path: Path | None, limits: Limits | None = None) -> None:
        self.path = path
        self.dropped = 0
        self._limits = limits or Limits()
        self._lock = Lock()
        self._waiting: deque[Waiting] = deque()
        self._unwritten: deque[Waiting] = deque()  # those of them that a full disk did not take
        self._num_bytes = 0  # of all that wait
        self._sequence = 0  # of the newest
        self._size = 0  # of the file, in bytes
        self._is_full = self._is_dropping = False
        self._file = self._held = -1
        if path is not None:
            self._open(path)

    @property
    def pending(self) -> int:
        return len(self._waiting)

    @property
    def in_memory(self) -> int:
        """How many would be lost if the process ended now."""
        return len(self._waiting if self.path is None else self._unwritten)

    def add(self, line: dict[str, Any], made_at: str) -> None:
        """Keep a line until it is done; when this returns, it is on the disk if there is room.

        Raises:
            ValueError: for a line that is no JSON.
        """
        with self._lock:
            about = {"sequence": self._sequence + 1, "made_at": made_at, "line": line}
            text = json.dumps(about, separators=(",", ":"), allow_nan=False).encode() + b"\n"
            self._sequence += 1
            self._append(Waiting(self._sequence, len(text), None, text))
            if self._file >= 0:
                self._unwritten.append(self._waiting[-1])
                self._write()
            self._drop()

    def first(self) -> Message | None:
        """The oldest message; None if there is none."""
        with self._lock:
            while self._waiting:
                message = message_of(self._text(self._waiting[0]))
                if message is not None:
                    return message
                self._remove_first()  # its place in the file was damaged meanwhile
                self.dropped += 1
            return None

    def done(self, message: Message) -> None:
        """Forget a message, and all before it."""
        sequence = number_of(message)
        with self._lock:
            if not self._waiting or self._waiting[0].sequence > sequence:
                self.dropped -= 1  # it was, while it was on its way
            while self._waiting and self._waiting[0].sequence <= sequence:
                self._remove_first()
            if not self._waiting:
                self._is_dropping = False
            if self._file >= 0:
                with suppress(OSError):  # it is sent once more then, with the same key
                    os.close(replaced(done_path(self._place()), f"{sequence}\n".encode()))
                    self._tidy()

    def set_aside(self, message: Message, reason: str) -> Path | None:
        """Keep a message that nobody takes for a person to look at; None if it can't be kept."""
        if self.path is None:
            return None
        path = self.path.with_name(f"{self.path.stem}.refused.jsonl")
        about = {"key": message.key, "made_at": message.made_at, "reason": reason, "line": message.line}
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
            try:
                size = os.fstat(file).st_size
                if size > self._limits.num_bytes:
                    return None
                append(file, json.dumps(about, separators=(",", ":")).encode() + b"\n", size)
            finally:
                os.close(file)
        except OSError:
            return None
        return path

    def close(self) -> None:
        """What waits in the file stays there; may be called twice."""
        with self._lock:
            for file in (self._file, self._held):
                if file >= 0:
                    os.close(file)
            self._file = self._held = -1

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, OWNER_ONLY)
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
            fsync_folder(path.parent)
            self._read(path)
        except BlockingIOError as error:
            self.close()
            raise OutputError(f"{path}: another process sends what is in it; give this one another folder") from error
        except OSError as error:
            self.close()
            raise OutputError(
                f"{path}: alerts can't be kept there ({error.strerror or error}); choose another folder"
            ) from error

    def _read(self, path: Path) -> None:
        """Find what an earlier run left."""
        self._sequence = done_before(path)
        found = {one.sequence: one for one in self._lines(path) if one.sequence > self._sequence}
        for sequence, one in sorted(found.items()):
            self._append(one)
            self._sequence = sequence
        self._drop()

    def _lines(self, path: Path) -> Iterator[Waiting]:
        with path.open("rb") as file:
            for text in file:
                message = message_of(text)
                if message is not None:
                    yield Waiting(number_of(message), len(text), self._size)
                self._size += len(text)

    def _place(self) -> Path:
        assert self.path is not None
        return self.path

    def _text(self, one: Waiting) -> bytes:
        if one.offset is None:
            return one.text
        with suppress(OSError):
            return os.pread(self._file, one.num_bytes, one.offset)
        return b""

    def _append(self, one: Waiting) -> None:
        self._waiting.append(one)
        self._num_bytes += one.num_bytes

    def _remove_first(self) -> None:
        one = self._waiting.popleft()
        self._num_bytes -= one.num_bytes
        if self._unwritten and self._unwritten[0] is one:
            self._unwritten.popleft()

    def _write(self) -> None:
        """Bring what is in memory into the file; if there is no room, it stays in memory."""
        try:
            while self._unwritten:
                self._write_some([*islice(self._unwritten, WRITTEN_AT_ONCE)])
        except OSError as error:
            if not self._is_full:
                log.warning("%s: can't be written (%s); alerts wait in memory", self.path, error.strerror or error)
            self._is_full = True
            return
        if self._is_full:
            log.warning("%s: can be written again", self.path)
        self._is_full = False

    def _write_some(self, ones: list[Waiting]) -> None:
        self._size = append(self._file, b"".join(one.text for one in ones), self._size)
        offset = self._size - sum(one.num_bytes for one in ones)
        for one in ones:
            self._unwritten.popleft()
            one.offset, one.text = offset, b""
            offset += one.num_bytes

    def _drop(self) -> None:
        """Drop the oldest of too many."""
        before = self.dropped
        while len(self._waiting) > self._limits.messages or self._num_bytes > self._limits.num_bytes:
            self._remove_first()
            self.dropped += 1
        if self.dropped == before:
            return
        if not self._is_dropping:
            log.error("%s: too many alerts wait; the oldest are dropped from now on", self.path or "no spool")
        self._is_dropping = True
        with suppress(OSError):
            self._tidy()

    def _tidy(self) -> None:
        """Take what is done out of the file, once that is worth the writing.

        Raises:
            OSError: if it can't be written; then the old file stays.
        """
        if self._file < 0:
            return
        if not self._waiting:
            os.ftruncate(self._file, 0)
            self._size = 0
            return
        live = self._num_bytes - sum(one.num_bytes for one in self._unwritten)
        if self._size - live > max(REWRITTEN_BYTES, live // 4):
            self._rewrite(self._place())

    def _rewrite(self, path: Path) -> None:
        kept = [one for one in self._waiting if one.offset is not None]
        whole = b"".join(self._text(one).ljust(one.num_bytes) for one in kept)
        file = replaced(path, whole)
        os.close(self._file)
        self._file, self._size = file, len(whole)
        offset = 0
        for one in kept:
            one.offset = offset
            offset += one.num_bytes


def done_path(path: Path) -> Path:
    return path.with_suffix(".done")


def done_before(path: Path) -> int:
    """The number that was delivered last; 0 if that is not known: what is there is sent once more then."""
    try:
        return int(done_path(path).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def append(file: int, lines: bytes, size: int) -> int:
    """Write whole lines at the end of a file of so many bytes and onto the disk, or nothing; the new size.

    Raises:
        OSError: if they can't be written.
    """
    is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    try:
        write_all(file, (b"\n" if is_torn else b"") + lines)
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise
    return size + is_torn + len(lines)


def write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def replaced(path: Path, whole: bytes) -> int:
    """A file with other contents in one step, whatever happens meanwhile; open for reading and appending.

    Raises:
        OSError: if it can't be written; then the old one stays.
    """
    new = path.with_name(f"{path.name}.new")
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, OWNER_ONLY)
    try:
        write_all(file, whole)
        os.fsync(file)
        os.replace(new, path)
    except OSError:
        os.close(file)
        with suppress(OSError):
            new.unlink()
        raise
    with suppress(OSError):
        fsync_folder(path.parent)
    return file


def fsync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def number_of(message: Message) -> int:
    return int(message.key.rpartition("-")[2])


def message_of(text: bytes) -> Message | None:
    """The message that a line of a spool holds; None if it is damaged."""
    try:
        about = json.loads(text)
        line, sequence, made_at = about["line"], about["sequence"], about["made_at"]
        key = f"{line['id']}-{line['event']}-{sequence}"
    except (ValueError, KeyError, TypeError):
        return None
    is_whole = isinstance(line, dict) and isinstance(made_at, str) and type(sequence) is int and sequence > 0
    return Message(key, line, made_at) if is_whole else None

"""Where alerts wait while the database does not answer: a file of JSON lines, on the disk line by line.

Several processes may share one. Who has taken its lines into the database removes the file, unless something came to
it in between.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_detect.errors import OutputError

LOCK_S = 0.25  # how long another process's turn is waited for, in seconds
OWNER_ONLY = 0o600
log = logging.getLogger("stream_detect.store")


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of an alert with what makes it one of its kind: `sequence` grows, whatever the clock says."""

    sequence: int
    taken_at: str
    line: dict[str, Any]

    def to_text(self) -> str:
        about = {"sequence": self.sequence, "taken_at": self.taken_at, "line": self.line}
        return json.dumps(about, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal held when it was read."""

    notes: tuple[Noted, ...]
    unreadable: tuple[bytes, ...]  # lines that a lost power or another hand left
    inode: int
    num_bytes: int


class Journal:
    """The journal at a path. There is a file only while something waits in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_empty(self) -> bool:
        return not self.path.exists()

    def add(self, notes: Sequence[Noted]) -> None:
        """Append lines; they are on the disk when this returns.

        Raises:
            OutputError: if they can't be written; then none of them is.
        """
        lines = "".join(f"{noted.to_text()}\n" for noted in notes).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as file:
                append(file, lines)
        except OSError as error:
            raise OutputError(f"{self.path}: can't be written ({error.strerror or error})") from error

    def read(self) -> Contents | None:
        """What waits in it; None if there is nothing.

        Raises:
            OutputError: if it can't be read.
        """
        try:
            with self.path.open("rb") as file:
                inode, whole = os.fstat(file.fileno()).st_ino, file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{self.path}: can't be read ({error.strerror})") from error
        parsed = [(line, noted_of(line)) for line in whole.splitlines() if line.strip()]
        notes = tuple(noted for _, noted in parsed if noted is not None)
        unreadable = tuple(line for line, noted in parsed if noted is None)
        return Contents(notes, unreadable, inode, len(whole))

    def remove(self, taken: Contents) -> bool:
        """Remove the file, if it still holds just what was taken; unreadable lines are set aside.

        Raises:
            OutputError: if it can't be done.
        """
        try:
            with self._locked(create=False) as file:
                about = os.fstat(file)
                if (about.st_ino, about.st_size) != (taken.inode, taken.num_bytes):
                    return False
                self.set_aside(taken.unreadable)
                self.path.unlink()
        except FileNotFoundError:
            return True  # another process was quicker
        except OSError as error:
            raise OutputError(f"{self.path}: can't be removed ({error.strerror or error})") from error
        return True

    def set_aside(self, lines: Sequence[bytes]) -> None:
        """Keep lines that no database takes, for a person to look at.

        Raises:
            OSError: if they can't be written.
        """
        if not lines:
            return
        path = self.path.with_name(f"{self.path.name}.unreadable")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
        try:
            append(file, b"".join(line + b"\n" for line in lines))
        finally:
            os.close(file)
        log.error("%d lines of alerts can't be read and lie in %s", len(lines), path)

    @contextmanager
    def _locked(self, create: bool = True) -> Iterator[int]:
        """The file, which nobody else writes or removes meanwhile.

        Raises:
            OSError: if it can't be had within `LOCK_S`.
        """
        until_s = time.monotonic() + LOCK_S
        while True:
            file = self._opened(create)
            try:
                lock(file, until_s)
                if inode_at(self.path) == os.fstat(file).st_ino:
                    yield file
                    return
            finally:
                os.close(file)

    def _opened(self, create: bool) -> int:
        """The file; a new one is in its folder for good, even if the power goes."""
        is_new = create and not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), OWNER_ONLY)
        if is_new:
            with suppress(OSError):
                keep_folder(self.path.parent)
        return file


def append(file: int, lines: bytes) -> None:
    """Write whole lines at the end of a file and onto the disk, or nothing.

    Raises:
        OSError: if they can't be written.
    """
    size = os.fstat(file).st_size
    is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    try:
        write_all(file, (b"\n" if is_torn else b"") + lines)
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def lock(file: int, until_s: float) -> None:
    """Raises TimeoutError, an OSError, if another process holds the file for too long."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise TimeoutError("another process holds it") from None
            time.sleep(0.005)


def inode_at(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def keep_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def noted_of(line: bytes) -> Noted | None:
    """The line that a journal's line holds; None if it is none."""
    try:
        about = json.loads(line)
        alert, sequence, taken_at = about["line"], about["sequence"], about["taken_at"]
    except (ValueError, KeyError, TypeError):
        return None
    needed = ("event", "id", "source", "rule", "seen_at")
    is_whole = isinstance(alert, dict) and all(isinstance(alert.get(name), str) for name in needed)
    return Noted(sequence, taken_at, alert) if is_whole and isinstance(sequence, int) else None

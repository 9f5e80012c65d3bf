"""One process at a time seals or removes evidence in a folder; and who records there is known to the others."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_detect.errors import OutputError

LOCK = ".chain.lock"  # held while an entry is added or removed
RECORDERS = ".recorders.lock"  # shared by all processes that record, for as long as they live
PATIENCE_S = 30.0  # how long another process may hold the chain
LOOK_S = 0.02

_recording: dict[Path, int] = {}  # folders that this process records into, with the file that says so


@contextmanager
def alone_in(root: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the chain of a folder.

    Raises:
        OutputError: if the folder can't be written, or another process holds the chain all the time.
    """
    file = opened(root / LOCK)
    try:
        wait_for(file, root, patience_s)
        yield
    finally:
        os.close(file)


def wait_for(file: int, root: Path, patience_s: float) -> None:
    until_s = time.monotonic() + patience_s
    while not locked(file, fcntl.LOCK_EX):
        if time.monotonic() > until_s:
            raise OutputError(
                f"{root}: another process holds the evidence for more than {patience_s:g} s; is it stuck?"
            )
        time.sleep(LOOK_S)


def locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def only_recorder(root: Path) -> bool:
    """Whether no other process records into a folder. From now on this one counts as one that does.

    Raises:
        OutputError: if the folder can't be written.
    """
    place = root.resolve()
    if place not in _recording:
        _recording[place] = opened(place / RECORDERS)
    is_only = locked(_recording[place], fcntl.LOCK_EX)
    fcntl.flock(_recording[place], fcntl.LOCK_SH)  # others hold it alone for a moment only
    return is_only


def opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputError(f"{path.parent}: evidence can't be kept there ({error.strerror})") from error

"""Removal of old evidence: whole folders, the oldest first, each with a tombstone in the chain."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream_detect.errors import OutputError
from stream_detect.evidence.ledger import Entry, Ledger
from stream_detect.evidence.locks import alone_in
from stream_detect.evidence.manifest import (
    MANIFEST,
    OF_THE_SEAL,
    check_folder,
    folders_in,
    moment_of,
    sync_folder,
    translated,
    utc_text,
    write_durably,
)
from stream_detect.evidence.removed import REMOVED, line_of, without_unfinished

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Kept:
    """A sealed folder that is there, and how large it is."""

    entry: Entry
    bytes: int


def retire(
    root: Path, ledger: Ledger, keep_days: float | None, keep_gib: float | None, now: datetime | None = None
) -> list[Entry]:
    """Remove sealed folders that are too old, then the oldest until the rest fits. Gives their tombstones.

    A folder is buried before it is deleted; what a crash leaves of it is deleted next time. Folders that are not sealed
    count as evidence that takes room, but are never removed. Nor are those that are gone already: no tombstone shall
    explain what somebody else took.

    Args:
        keep_days: older ones go; None: none is too old.
        keep_gib: how much may lie under `root`; None: without limit.

    Raises:
        OutputError: if the root or the ledger can't be written, or a folder can't be removed; what could be, is.
    """
    moment = now or datetime.now(UTC)
    with alone_in(root), translated(root):
        entries = ledger.entries()
        buried = [entry for entry in entries if entry.removed_at is not None]
        lines = finished_lines(root, entries)
        listed = set(lines)
        left_over = [entry for entry in buried if line_of(entry) in listed]
        due = list(due_of(root, entries, keep_days, keep_gib, moment))
        if due:
            write_durably(root / REMOVED, b"".join(lines) + b"".join(line_of(entry) for entry in due))
        for entry in due:
            ledger.bury(entry.folder, str(entry.removed_at), str(entry.removed_why))
        delete(root, [*left_over, *due])
    return due


def finished_lines(root: Path, entries: Sequence[Entry]) -> list[bytes]:
    """The lines of removed.jsonl, after those were taken out that a crash kept from the ledger."""
    path = root / REMOVED
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"  # damaged by others: what follows has to begin a line
    finished = without_unfinished(lines, entries)
    if finished != lines:
        write_durably(path, b"".join(finished))
    return finished


def due_of(
    root: Path, entries: Sequence[Entry], keep_days: float | None, keep_gib: float | None, now: datetime
) -> Iterator[Entry]:
    """The tombstones of what is to go, the oldest first."""
    kept = [Kept(entry, size_of(root / entry.folder)) for entry in entries if is_there(root, entry)]
    others = folders_in(root, {one.entry.folder for one in kept})
    total = sum(one.bytes for one in kept) + sum(size_of(root / folder) for folder in others)
    for one in kept:
        why = why_removed(one.entry, total, keep_days, keep_gib, now)
        if why is not None:
            total -= one.bytes
            yield replace(one.entry, removed_at=utc_text(now), removed_why=why)


def why_removed(entry: Entry, total: int, keep_days: float | None, keep_gib: float | None, now: datetime) -> str | None:
    """Why an entry is to go, or None if it may stay. A time of it that is none is no reason."""
    if keep_days is not None and is_older(entry.sealed_at, now - timedelta(days=keep_days)):
        return f"older than {keep_days:g} days"
    if keep_gib is not None and total > keep_gib * GIB:
        return f"more than {keep_gib:g} GiB of evidence"
    return None


def is_older(sealed_at: str, than: datetime) -> bool:
    try:
        return moment_of(sealed_at) < than
    except (ValueError, TypeError):
        return False


def is_there(root: Path, entry: Entry) -> bool:
    """Whether an entry has a folder below the root, with its manifest, that may be removed."""
    return entry.removed_at is None and is_below(entry.folder) and (root / entry.folder / MANIFEST).is_file()


def is_below(folder: str) -> bool:
    """Whether a folder of the ledger lies in the evidence, and nowhere else."""
    try:
        check_folder(folder)
    except (ValueError, TypeError):
        return False
    return True


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder; what goes away meanwhile counts as nothing."""
    return sum(size_of_file(path) for path in folder.rglob("*"))


def size_of_file(path: Path) -> int:
    try:
        return 0 if path.is_dir() else path.lstat().st_size
    except OSError:
        return 0


def delete(root: Path, buried: Sequence[Entry]) -> None:
    """Delete the folders of tombstones, as far as they are there.

    Raises:
        OutputError: for the first that can't be deleted, after the others.
    """
    failed: OSError | None = None
    for entry in buried:
        folder = root / entry.folder
        try:
            if is_below(entry.folder) and folder.is_dir():
                delete_folder(folder)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise OutputError(f"{failed.filename}: old evidence can't be removed ({failed.strerror})") from failed


def delete_folder(folder: Path) -> None:
    """Delete a folder, its manifest last: what a crash leaves can be told from what others put there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in OF_THE_SEAL:
            path.unlink()
    for name in reversed(OF_THE_SEAL):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
    sync_folder(folder.parent)

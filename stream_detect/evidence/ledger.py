"""The order in which evidence was sealed: each entry holds the hash of a manifest, and that names the one before."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed folder of evidence; after it was removed by retention its entry stays, as a tombstone."""

    position: int  # in the chain, from 0, without gaps
    folder: str  # within the folder of evidence, with / between its parts
    manifest_sha256: str  # of the bytes of its manifest.json, in hexadecimal
    previous: str | None  # manifest_sha256 of the entry before; None for the first
    sealed_at: str  # UTC, as every line writes it
    removed_at: str | None = None
    removed_why: str | None = None


@runtime_checkable
class Ledger(Protocol):
    """Where the entries are kept: apart from the evidence itself."""

    def entries(self) -> list[Entry]:
        """All of them, in order, tombstones too."""

    def append(self, entry: Entry) -> None:
        """Add the next entry; it is on the disk when this returns.

        Raises:
            ValueError: if it does not follow the last one (position, previous), such as when two processes seal.
            OutputError: if it can't be written.
        """

    def bury(self, folder: str, removed_at: str, why: str) -> None:
        """Mark an entry's folder as removed.

        Raises:
            ValueError: if there is no such entry.
            OutputError: if it can't be written.
        """


class ListLedger:
    """Entries in memory, for tests."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def entries(self) -> list[Entry]:
        return list(self._entries)

    def append(self, entry: Entry) -> None:
        check_follows(self._entries[-1] if self._entries else None, entry)
        self._entries.append(entry)

    def bury(self, folder: str, removed_at: str, why: str) -> None:
        at = next((k for k, entry in enumerate(self._entries) if entry.folder == folder), None)
        if at is None:
            raise ValueError(f"{folder}: no such entry in the ledger")
        self._entries[at] = replace(self._entries[at], removed_at=removed_at, removed_why=why)


def check_follows(last: Entry | None, entry: Entry) -> None:
    """Raise ValueError unless an entry comes right after the last one (None: it is the first)."""
    expected = (0, None) if last is None else (last.position + 1, last.manifest_sha256)
    if (entry.position, entry.previous) != expected:
        raise ValueError(f"expected the entry after {expected}, got {(entry.position, entry.previous)}")

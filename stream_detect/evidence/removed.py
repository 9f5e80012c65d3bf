"""removed.jsonl: what retention took away, one tombstone a line, beside the evidence; the ledger says the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from stream_detect.evidence.ledger import Entry

REMOVED = "removed.jsonl"


def line_of(entry: Entry) -> bytes:
    """A tombstone as it is written."""
    return json.dumps(asdict(entry), sort_keys=True).encode("ascii") + b"\n"


def entry_of(line: bytes) -> Entry:
    """The tombstone that a line is.

    Raises:
        ValueError: if it is none, byte for byte.
    """
    try:
        entry = Entry(**json.loads(line))
    except (TypeError, RecursionError) as error:
        raise ValueError("not a tombstone") from error
    if line_of(entry) != line or entry.removed_at is None or not all(map(is_plain, asdict(entry).values())):
        raise ValueError("not a tombstone")
    return entry


def is_plain(value: object) -> bool:
    return value is None or type(value) in (str, int)


def entry_or_none(line: bytes) -> Entry | None:
    """The same; None for a line that is none."""
    try:
        return entry_of(line)
    except ValueError:
        return None


def without_unfinished(lines: Sequence[bytes], entries: Sequence[Entry]) -> list[bytes]:
    """The lines but those of entries that the ledger still has as kept: a crash came before they were buried."""
    kept = {entry.folder for entry in entries if entry.removed_at is None}
    return [line for line in lines if (entry := entry_or_none(line)) is None or entry.folder not in kept]

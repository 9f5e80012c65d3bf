"""The chain of evidence in a store: apart from the evidence, and safe against two that seal at once."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Select, select, update
from sqlalchemy.exc import IntegrityError

from stream_detect.evidence.ledger import Entry, check_follows
from stream_detect.store.database import Database
from stream_detect.store.tables import evidence_entries

in_order = select(evidence_entries).order_by(evidence_entries.c.position)


class StoreLedger:
    """The entries of a store, one chain for all who write into it; from any thread or process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self) -> list[Entry]:
        """All of them, in order, tombstones too.

        Raises:
            OutputError: if the database does not answer.
        """
        with self._database.reading() as connection:
            return entries_of(connection, in_order)

    def append(self, entry: Entry) -> None:
        """Add the next entry; it is on the disk when this returns.

        Raises:
            ValueError: if it does not follow the last one (position, previous), such as when two processes seal.
            OutputError: if it can't be written.
        """
        try:
            with self._database.writing() as connection:
                last = entries_of(
                    connection, in_order.order_by(None).order_by(evidence_entries.c.position.desc()).limit(1)
                )
                check_follows(last[0] if last else None, entry)
                connection.execute(evidence_entries.insert().values(asdict(entry)))
        except IntegrityError as error:
            raise ValueError(f"{entry.folder}: its entry is in the ledger, or another one came first") from error

    def bury(self, folder: str, removed_at: str, why: str) -> None:
        """Mark an entry's folder as removed.

        Raises:
            ValueError: if there is no such entry.
            OutputError: if it can't be written.
        """
        removed = {"removed_at": removed_at, "removed_why": why}
        with self._database.writing() as connection:
            done = connection.execute(
                update(evidence_entries).where(evidence_entries.c.folder == folder).values(removed)
            )
        if not done.rowcount:
            raise ValueError(f"{folder}: no such entry in the ledger")


def entries_of(connection: Connection, query: Select[Any]) -> list[Entry]:
    return [Entry(**dict(row)) for row in connection.execute(query).mappings()]

"""The store itself: a sink for lines, and what can be asked of it."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Select

from stream_detect.alerts.sink import Line
from stream_detect.config import StoreSettings
from stream_detect.errors import OutputError, UsageError
from stream_detect.redact import redact
from stream_detect.store import reading
from stream_detect.store.database import Database
from stream_detect.store.journal import Journal, Noted
from stream_detect.store.ledger import StoreLedger
from stream_detect.store.place import place_of
from stream_detect.store.reading import moment_text
from stream_detect.store.records import MARK_KINDS, FeedState, Mark, SecondScores, StoredAlert, StoredEvent
from stream_detect.store.seconds import Seconds
from stream_detect.store.tables import marks
from stream_detect.store.writer import Writer
from stream_detect.types import Alert, FrameVerdict, Status

LONGEST_NOTE = 10_000  # characters
log = logging.getLogger("stream_detect.store")


class Store:
    """A sink that keeps what it takes, and answers questions from any thread. Close it, or use it in a `with`.

    An alert is on the disk when `take` returns: in the database if that answers within a quarter of a second, else in
    a journal beside it, from where it is taken in as soon as the database answers again. Scores and states follow
    within a second or two.
    """

    def __init__(self, database: Database, journal: Journal, settings: StoreSettings) -> None:
        self.place = str(database.place)  # without secrets
        self.ledger = StoreLedger(database)
        self._settings = settings
        self._database = database
        self._writer = Writer(database, journal, settings.keep_days)
        self._seconds = Seconds()
        self._states: dict[str, tuple[str, str, str]] = {}  # run, state and reason that a feed was last written with
        self._sequence = 0
        self._lock = threading.Lock()  # around the sequence
        self._is_closed = False
        if not journal.is_empty:
            self._take_in()

    @property
    def is_down(self) -> bool:
        """Whether the database did not answer when it was last written to."""
        return self._writer.is_down

    @property
    def failures(self) -> Mapping[str, int]:
        """What went wrong so far.

        outages: how often the database stopped answering. journaled: lines of alerts that went to the journal.
        taken_in: those that came back from it. kept_in_memory: how often the journal could not be written either.
        refused: lines and rows that the database will not have. lost_alerts, lost_rows: what there was no room for.
        """
        return dict(self._writer.counts)

    @property
    def waiting(self) -> int:
        """Lines of alerts that are nowhere but in memory."""
        return self._writer.waiting

    def take(self, line: Line) -> None:
        """Keep a line; of frames the scores of every second. Never raises for a database that doesn't answer."""
        if isinstance(line, FrameVerdict):
            if self._settings.scores and (over := self._seconds.add(line)) is not None:
                self._put_scores(over)
        elif isinstance(line, Alert):
            self._writer.put(self._noted(line))
        else:
            self._take_status(line)

    def close(self) -> None:
        """Write what is left and let go of the database; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for over in self._seconds.end_all():
            self._put_scores(over)
        self._writer.close()
        self._database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def alerts(
        self,
        feed: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        rule: str | None = None,
        state: str | None = None,
        mark: str | None = None,
        limit: int | None = None,
    ) -> list[StoredAlert]:
        """Alerts from the newest to the oldest, of a feed, raised in [since, until), by a rule, in a state or mark.

        Args:
            state: raised or cleared.
            mark: acknowledged, false_alarm, or open (neither of them, or reopened since).
            since, until: without a zone they are UTC.

        Raises:
            UsageError: for a mark that there is not.
            OutputError: if the database does not answer.
        """
        query = reading.alerts_query(feed, since, until, rule, state, mark, limit)
        return [reading.alert_of(row) for row in self._rows(query)]

    def alert(self, id: str) -> StoredAlert | None:
        """The alert of this id; None if there is none."""
        rows = self._rows(reading.alert_query(id))
        return reading.alert_of(rows[0]) if rows else None

    def find(self, id: str) -> StoredAlert:
        """The one alert whose id begins so.

        Raises:
            UsageError: if there is none, or several.
        """
        found = [reading.alert_of(row) for row in self._rows(reading.alerts_beginning(id, limit=3))]
        exact = [alert for alert in found if alert.id == id]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if not found:
            raise UsageError(f"{id}: there is no such alert in {self.place}; stream-detect alerts list names them")
        raise UsageError(f"{id}: several alerts begin so ({', '.join(alert.id for alert in found)}); write more of it")

    def events(self, id: str) -> list[StoredEvent]:
        """Every line of an alert, in order."""
        return [reading.event_of(row) for row in self._rows(reading.events_query(id))]

    def marks(self, id: str) -> list[Mark]:
        """What was said of an alert, in order."""
        return [reading.mark_of(row) for row in self._rows(reading.marks_query(id))]

    def scores(self, feed: str, since: datetime | None = None, until: datetime | None = None) -> list[SecondScores]:
        """The seconds of a feed in [since, until) in which there was a face, in order."""
        return [reading.second_of(row) for row in self._rows(reading.scores_query(feed, since, until))]

    def states(
        self,
        feed: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[FeedState]:
        """States that feeds came to in [since, until), in order; with a limit the newest of them."""
        rows = self._rows(reading.states_query(feed, since, until, limit))
        return [reading.feed_state_of(row) for row in reversed(rows)]

    def mark(self, id: str, kind: str, note: str = "", by: str | None = None) -> Mark:
        """Say something of an alert. It is added to what was said before, nothing is replaced.

        Args:
            kind: acknowledged, false_alarm, note, or reopened (which takes back the first two).
            by: who says so.

        Raises:
            UsageError: if there is no such alert or kind, or a note is empty or too long.
            OutputError: if it can't be written.
        """
        if kind not in MARK_KINDS:
            raise UsageError(f"mark {kind!r}: expected one of {', '.join(MARK_KINDS)}")
        if len(note) > LONGEST_NOTE or (kind == "note" and not note.strip()):
            raise UsageError(f"a note: expected 1 to {LONGEST_NOTE} characters, got {len(note)}")
        if self.alert(id) is None:
            raise UsageError(f"{id}: there is no such alert in {self.place}")
        said = Mark(id, kind, plain(note), by and plain(by), moment_text(datetime.now(UTC)))
        with self._database.writing() as connection:
            connection.execute(marks.insert().values({name: getattr(said, name) for name in Mark.__slots__}))
        return said

    def _take_in(self) -> None:
        """What an earlier run left in the journal; where that does not work now it is tried again while writing."""
        try:
            self._writer.take_in()
        except OutputError as error:
            log.warning("%s; alerts wait in a journal beside it", error)

    def _rows(self, query: Select[tuple[object, ...]]) -> list[dict[str, object]]:
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _noted(self, alert: Alert) -> Noted:
        """An alert with a number that is larger than all before, even where the clock was set back."""
        with self._lock:
            self._sequence = max(self._sequence + 1, time.time_ns())
            return Noted(self._sequence, moment_text(datetime.now(UTC)), writable(alert.to_json()))

    def _put_scores(self, second: SecondScores) -> None:
        self._writer.put_row(replace(second, feed=plain(second.feed)))

    def _take_status(self, status: Status) -> None:
        """Write a state once, however often it is told; it also ends the second of its feed."""
        if (over := self._seconds.end(status.source)) is not None:
            self._put_scores(over)
        about = (status.run, status.state, status.reason)
        if self._states.get(status.source) != about:
            self._states[status.source] = about
            self._writer.put_row(feed_state_of(status))


def writable(line: dict[str, Any]) -> dict[str, Any]:
    """A line whose texts any database holds."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in line.items()}


def plain(text: str) -> str:
    """A text without what UTF-8 can't say (of a file whose name is none), and without the NUL that ends texts."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def feed_state_of(status: Status) -> FeedState:
    return FeedState(
        plain(status.source),
        status.run,
        moment_text(datetime.now(UTC)),
        status.state,
        plain(redact(status.reason)),
        status.frames,
        status.analysed,
        dict(status.dropped),
        dict(status.reconnects),
    )


def open_store(where: str | Path, settings: StoreSettings | None = None, *, create: bool = True) -> Store:
    """The store at a path or a URL; its tables are made, or brought to the newest version.

    Args:
        where: the path of an SQLite file, or postgresql://user@host/name; ${NAME} and ${file:PATH} are filled in.
        create: whether to make one where there is none.

    Raises:
        OutputError: if it can't be opened, is damaged, of a newer version, or not a store. Nothing is changed then.
        ConfigError: if `where` names no database that we can use.
    """
    place = place_of(where)
    database = Database(place, create=create)
    try:
        return Store(database, Journal(place.journal), settings or StoreSettings())
    except BaseException:
        database.close()
        raise

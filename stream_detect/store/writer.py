"""The one thread that writes lines into a database, and what becomes of them while that does not answer.

    take(alert) -> this thread -> database             it answers: the alert is on the disk when `put` returns
                \\-> journal                            it does not: the alert is on the disk, beside the database
                    \\-> memory                         nor does the disk: it is kept for as long as the program runs

What waits in the journal and in memory is taken in, in order, as soon as the database answers again. Scores and states
are written once a second; of them the oldest go where too many wait.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import DataError, IntegrityError

from stream_detect.errors import OutputError
from stream_detect.store.database import Database
from stream_detect.store.journal import Journal, Noted
from stream_detect.store.reading import moment_text
from stream_detect.store.records import FeedState, SecondScores
from stream_detect.store.writing import (
    end_runs,
    forget_scores,
    forget_states,
    write_alert,
    write_scores,
    write_states,
)

ANSWER_S = 0.25  # how long the loop waits for an alert to be committed, in seconds
BEAT_S = 1.0  # how often scores are written, and a database that does not answer is tried again
SWEEP_S = 3600.0  # how often what is too old is removed
END_S = 3.0  # how long the end waits for the database
GROUP = 200  # lines of alerts in one transaction
WAITING_ALERTS = 10_000  # in memory, while neither the database nor the disk takes them
WAITING_ROWS = 50_000  # seconds and states
log = logging.getLogger("stream_detect.store")


@dataclass(slots=True, eq=False)
class Order:
    """An alert that somebody waits for."""

    noted: Noted
    settled: threading.Event = field(default_factory=threading.Event)
    is_committed: bool = False


class Writer:
    """Writes alerts at once and everything else in turns; close it. `put` and `put_row` are for any thread."""

    def __init__(self, database: Database, journal: Journal, keep_days: float | None = None) -> None:
        self.counts: Counter[str] = Counter()  # what went wrong, in words of `Store.failures`
        self._database = database
        self._journal = journal
        self._keep_days = keep_days
        self._changed = threading.Condition()
        self._orders: deque[Order] = deque()
        self._memory: deque[Noted] = deque()
        self._rows: deque[SecondScores | FeedState] = deque()
        self._runs: dict[str, None] = {}
        self._down_since_s: float | None = None
        self._is_closing = False
        self._swept_s = -SWEEP_S
        self._thread: threading.Thread | None = None

    @property
    def is_down(self) -> bool:
        """Whether the database did not answer when it was last asked."""
        return self._down_since_s is not None

    @property
    def waiting(self) -> int:
        """Alerts that are in memory alone."""
        return len(self._memory)

    def put(self, noted: Noted) -> None:
        """Make an alert safe: in the database if that answers soon, else in the journal, else in memory."""
        order = Order(noted)
        with self._changed:
            self._start()
            self._runs[noted.line.get("run") or ""] = None
            if not self.is_down:
                self._orders.append(order)
                self._changed.notify()
        if not self.is_down and order.settled.wait(ANSWER_S) and order.is_committed:
            return
        with self._changed:
            if order.is_committed:
                return
            if not self.is_down:
                self._begin_outage(f"it did not answer within {ANSWER_S:g} s")
            self._keep(noted)

    def put_row(self, row: SecondScores | FeedState) -> None:
        """Have the scores of a second or a state written soon; never waits."""
        with self._changed:
            self._start()
            if isinstance(row, FeedState):
                self._runs[row.run] = None
            self._rows.append(row)
            if len(self._rows) > WAITING_ROWS:
                self._rows.popleft()
                self.counts["lost_rows"] += 1

    def take_in(self) -> None:
        """Bring what waits in the journal and in memory into the database.

        Raises:
            OutputError: if that does not work; then it waits on.
        """
        while (contents := self._journal.read()) is not None:
            self._commit(contents.notes)
            if not self._journal.remove(contents):
                continue
            self.counts["taken_in"] += len(contents.notes)
        memory = tuple(self._memory)
        self._commit(memory)
        taken = {noted.sequence for noted in memory}
        with self._changed:
            while self._memory and self._memory[0].sequence in taken:
                self._memory.popleft()

    def close(self) -> None:
        """Write what is left, and stop; may be called twice. What the database does not take stays in the journal."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join(END_S)
        with self._changed:
            self._spill()
            if self._memory:
                log.error("%s: %d alerts could not be written anywhere", self._database.place, len(self._memory))

    def _start(self) -> None:
        if self._thread is None and not self._is_closing:
            self._thread = threading.Thread(target=self._run, name="store", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        beat_s = time.monotonic() + BEAT_S
        while not self._is_closing:
            with self._changed:
                wait_s = 0.0 if self._is_sweeping() else max(0.0, beat_s - time.monotonic())
                self._changed.wait_for(lambda: self._orders or self._is_closing, wait_s)
            self._guarded(self._obey)
            if not self._orders:
                self._guarded(self._sweep)
            if time.monotonic() >= beat_s:
                beat_s = time.monotonic() + BEAT_S
                self._guarded(self._beat)
        self._guarded(self._obey)
        self._guarded(self._beat)
        self._guarded(self._end)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a piece of work; whatever keeps the database from it is an outage."""
        try:
            work()
        except OutputError as error:
            with self._changed:
                self._begin_outage(str(error))

    def _obey(self) -> None:
        """Commit the alerts that somebody waits for."""
        with self._changed:
            orders = list(self._orders)
        if not orders:
            return
        self._commit([order.noted for order in orders])
        with self._changed:
            for order in orders:
                order.is_committed = True
                self._settle(order)

    def _settle(self, order: Order) -> None:
        if order in self._orders:
            self._orders.remove(order)
        order.settled.set()

    def _beat(self) -> None:
        """Scores, states, and what waits elsewhere; a success ends an outage."""
        if not self._journal.is_empty or self._memory:
            self.take_in()
        self._write_rows()
        with self._changed:
            if self.is_down and self._journal.is_empty and not self._memory:
                self._end_outage()

    def _write_rows(self) -> None:
        """Write the scores and states that wait; while the database is down also to see whether it answers."""
        with self._changed:
            rows = list(self._rows)
        if rows or self.is_down:
            try:
                self._write_group_of_rows(rows)
            except (IntegrityError, DataError) as error:  # not worth stopping for
                self.counts["refused"] += len(rows)
                log.error("%s: scores or states were refused (%s)", self._database.place, error.orig)
        with self._changed:
            for row in rows:
                if self._rows and self._rows[0] is row:
                    self._rows.popleft()

    def _write_group_of_rows(self, rows: Sequence[SecondScores | FeedState]) -> None:
        with self._database.writing() as connection:
            write_states(connection, [row for row in rows if isinstance(row, FeedState)])
            write_scores(connection, [row for row in rows if isinstance(row, SecondScores)])

    def _commit(self, notes: Sequence[Noted]) -> None:
        """Write lines of alerts; one that no database takes is set aside, so that it doesn't hold up the others.

        Raises:
            OutputError: if the database does not answer.
        """
        for begin in range(0, len(notes), GROUP):
            group = notes[begin : begin + GROUP]
            try:
                self._write(group)
            except (IntegrityError, DataError):
                for noted in group:
                    self._write_or_set_aside(noted)

    def _write(self, group: Sequence[Noted]) -> None:
        with self._database.writing() as connection:
            for noted in group:
                write_alert(connection, noted)

    def _write_or_set_aside(self, noted: Noted) -> None:
        try:
            self._write([noted])
        except (IntegrityError, DataError) as error:
            self.counts["refused"] += 1
            log.error("%s: a line of alert %s was refused (%s)", self._database.place, noted.line["id"], error.orig)
            with suppress(OSError):
                self._journal.set_aside([noted.to_text().encode()])

    def _keep(self, noted: Noted) -> None:
        """Make an alert safe without the database; the lock is held."""
        self._memory.append(noted)
        self._spill()
        if len(self._memory) > WAITING_ALERTS:
            self._memory.popleft()
            self.counts["lost_alerts"] += 1

    def _spill(self) -> None:
        """Bring what is in memory to the journal if the disk takes it; the lock is held."""
        if not self._memory:
            return
        try:
            self._journal.add(tuple(self._memory))
        except OutputError as error:
            self.counts["kept_in_memory"] += 1
            log.log(logging.WARNING if len(self._memory) == 1 else logging.DEBUG, "%s; alerts stay in memory", error)
        else:
            self.counts["journaled"] += len(self._memory)
            self._memory.clear()

    def _begin_outage(self, why: str) -> None:
        """From now on alerts go to the journal; the lock is held."""
        for order in list(self._orders):
            self._settle(order)
        if self._down_since_s is None:
            self._down_since_s = time.monotonic()
            self.counts["outages"] += 1
            log.warning("%s; alerts wait in %s", why_of(why, self._database), self._journal.path)

    def _end_outage(self) -> None:
        lasted_s = time.monotonic() - (self._down_since_s or 0.0)
        self._down_since_s = None
        log.warning("%s: the database answers again after %.0f s; nothing is lost", self._database.place, lasted_s)

    def _is_sweeping(self) -> bool:
        is_due = time.monotonic() - self._swept_s >= SWEEP_S
        return self._keep_days is not None and is_due and not self.is_down

    def _sweep(self) -> None:
        """Remove a little of what is too old, if it is time for that."""
        if not self._is_sweeping():
            return
        before = datetime.now(UTC) - timedelta(days=self._keep_days or 0.0)
        with self._database.writing() as connection:
            is_more = forget_scores(connection, int(before.timestamp()))
            if not is_more:
                forget_states(connection, moment_text(before))
        if not is_more:
            self._swept_s = time.monotonic()

    def _end(self) -> None:
        with self._changed:
            names = list(self._runs)
        if names and not self.is_down:
            with self._database.writing() as connection:
                end_runs(connection, names, moment_text(datetime.now(UTC)))


def why_of(why: str, database: Database) -> str:
    """The reason of an outage with the place it is about, once."""
    place = str(database.place)
    return why if why.startswith(place) else f"{place}: {why}"

"""What is written in a transaction: lines of alerts, scores, states, and what retention removes."""

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from sqlalchemy import Connection, Executable, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.schema import Table

from stream_detect.store.journal import Noted
from stream_detect.store.records import FeedState, SecondScores
from stream_detect.store.tables import alert_events, alerts, feed_states, runs, scores

FORGOTTEN_AT_ONCE_S = 6 * 3600  # of scores of a feed: a transaction of a few hundredths of a second
NEWEST = ("track", "fake_probability", "experts", "started_s")  # what the newest line says
KEPT = ("ended_s", "time_to_alert_s", "evidence", "clip")  # what a line without it doesn't take back


def write_alert(connection: Connection, noted: Noted) -> None:
    """Take in one line of an alert, once: a line that is there already changes nothing."""
    line, dialect = noted.line, connection.dialect.name
    begin_run(connection, line.get("run") or "", line["seen_at"])
    row = connection.execute(select(alerts).where(alerts.c.id == line["id"])).mappings().one_or_none()
    before = None if row is None else dict(row)
    after = state_after(before, noted)
    if before is None:
        connection.execute(insert_into(dialect, alerts).values(after).on_conflict_do_nothing(index_elements=["id"]))
    event = {"alert": line["id"], "event": line["event"], "sequence": noted.sequence}
    whole = {**event, "taken_at": noted.taken_at, "line": line}
    added = connection.execute(
        insert_into(dialect, alert_events).values(whole).on_conflict_do_nothing(index_elements=list(event))
    )
    if before is not None and added.rowcount:
        connection.execute(update(alerts).where(alerts.c.id == line["id"]).values(after))


def state_after(before: Mapping[str, Any] | None, noted: Noted) -> dict[str, Any]:
    """The row of an alert after one more of its lines, in whatever order they come; cleared is for good."""
    line = noted.line
    known = before or {"sequence": -1, "state": "raised", "raised_at": line["seen_at"], "updated_at": line["seen_at"]}
    is_newest = noted.sequence > known["sequence"]
    newest = {name: line.get(name) if is_newest else known[name] for name in NEWEST}
    kept = {name: known.get(name) if line.get(name) is None or not is_newest else line[name] for name in KEPT}
    kept |= {name: line.get(name) for name in KEPT if kept[name] is None}
    is_cleared = line["event"] == "cleared"
    probabilities = [p for p in (known.get("highest"), line.get("fake_probability")) if p is not None]
    return {
        **newest,
        **kept,
        "experts": newest["experts"] or {},
        "id": line["id"],
        "run": line.get("run") or "",
        "feed": line["source"],
        "rule": line["rule"],
        "state": "cleared" if is_cleared else known["state"],
        "raised_at": line["seen_at"] if line["event"] == "raised" else known["raised_at"],
        "updated_at": max(line["seen_at"], known["updated_at"]),
        "cleared_at": line["seen_at"] if is_cleared else known.get("cleared_at"),
        "highest": max(probabilities, default=None),
        "sequence": max(noted.sequence, known["sequence"]),
    }


def begin_run(connection: Connection, run: str, at: str) -> None:
    row = {"run": run, "began_at": at, "version": our_version()}
    connection.execute(
        insert_into(connection.dialect.name, runs).values(row).on_conflict_do_nothing(index_elements=["run"])
    )


@functools.cache
def our_version() -> str:
    return version("stream-detect")


def insert_into(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that may say what is to be done where the row is there already."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def end_runs(connection: Connection, names: Sequence[str], at: str) -> None:
    connection.execute(update(runs).where(runs.c.run.in_(names)).values(ended_at=at))


def write_scores(connection: Connection, seconds: Sequence[SecondScores]) -> None:
    """Add the scores of seconds; what comes later of the same second is counted in."""
    if seconds:
        rows = [{name: getattr(second, name) for name in SecondScores.__slots__} for second in seconds]
        connection.execute(adding(connection.dialect.name), rows)


def adding(dialect: str) -> Executable:
    """The statement that adds the scores of a second, or counts them in where the second is there already."""
    insert = insert_into(dialect, scores)
    new, old = insert.excluded, scores.c
    judged = old.judged + new.judged
    total = coalesced(old.mean_probability) * old.judged + coalesced(new.mean_probability) * new.judged
    return insert.on_conflict_do_update(
        index_elements=["feed", "second"],
        set_={
            "faces": larger(dialect, old.faces, new.faces),
            "judged": judged,
            "mean_probability": total / func.nullif(judged, 0),
            "max_probability": larger(dialect, old.max_probability, new.max_probability),
            "max_track_probability": larger(dialect, old.max_track_probability, new.max_track_probability),
        },
    )


def coalesced(value: Any) -> Any:
    return func.coalesce(value, 0.0)


def larger(dialect: str, one: Any, other: Any) -> Any:
    """The larger of two columns, either of which may be NULL."""
    greatest = func.max if dialect == "sqlite" else func.greatest
    return greatest(func.coalesce(one, other), func.coalesce(other, one))


def write_states(connection: Connection, states: Sequence[FeedState]) -> None:
    for state in states:
        begin_run(connection, state.run, state.at)
        connection.execute(feed_states.insert().values({name: getattr(state, name) for name in FeedState.__slots__}))


def forget_scores(connection: Connection, before: int) -> bool:
    """Remove some hours of scores of one feed that are older than the second `before`; whether there were any."""
    feed = connection.scalar(select(func.min(scores.c.feed)))
    while feed is not None:
        first = connection.scalar(select(func.min(scores.c.second)).where(scores.c.feed == feed))
        if first is not None and first < before:
            until = min(before, first + FORGOTTEN_AT_ONCE_S)
            connection.execute(delete(scores).where(scores.c.feed == feed, scores.c.second < until))
            return True
        feed = connection.scalar(select(func.min(scores.c.feed)).where(scores.c.feed > feed))
    return False


def forget_states(connection: Connection, before: str) -> None:
    connection.execute(delete(feed_states).where(feed_states.c.at < before))

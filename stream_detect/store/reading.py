"""What a store is asked: alerts by feed, time, rule, state and mark; their lines and marks; scores and states."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, select

from stream_detect.errors import UsageError
from stream_detect.store.records import (
    FeedState,
    Mark,
    Marked,
    SecondScores,
    StoredAlert,
    StoredEvent,
)
from stream_detect.store.tables import alert_events, alerts, feed_states, marks, scores

last_mark = (
    select(marks.c.kind)
    .where(marks.c.alert == alerts.c.id, marks.c.kind != "note")
    .order_by(marks.c.position.desc())
    .limit(1)
    .scalar_subquery()
)
known_alerts = select(alerts, last_mark.label("marked"))


def alerts_query(
    feed: str | None,
    since: datetime | None,
    until: datetime | None,
    rule: str | None,
    state: str | None,
    mark: str | None,
    limit: int | None,
) -> Select[Any]:
    """Alerts from the newest to the oldest; each condition that is not None narrows them down.

    Raises:
        UsageError: for a state or mark that there is not.
    """
    query = known_alerts.order_by(alerts.c.position.desc()).limit(limit)
    if state not in (None, "raised", "cleared"):
        raise UsageError(f"state {state!r}: expected raised or cleared")
    for column, value in ((alerts.c.feed, feed), (alerts.c.rule, rule), (alerts.c.state, state)):
        query = query if value is None else query.where(column == value)
    if since is not None:
        query = query.where(alerts.c.raised_at >= moment_text(since))
    if until is not None:
        query = query.where(alerts.c.raised_at < moment_text(until))
    return query if mark is None else query.where(func.coalesce(last_mark, "reopened") == condition_of(mark))


def condition_of(mark: str) -> str:
    """Raises UsageError for a mark that there is not."""
    conditions = {"open": "reopened", "acknowledged": "acknowledged", "false_alarm": "false_alarm"}
    if mark not in conditions:
        raise UsageError(f"mark {mark!r}: expected one of {', '.join(conditions)}")
    return conditions[mark]


def alerts_beginning(text: str, limit: int) -> Select[Any]:
    return known_alerts.where(alerts.c.id.startswith(text, autoescape=True)).order_by(alerts.c.id).limit(limit)


def alert_query(id: str) -> Select[Any]:
    return known_alerts.where(alerts.c.id == id)


def events_query(id: str) -> Select[Any]:
    return select(alert_events).where(alert_events.c.alert == id).order_by(alert_events.c.sequence)


def marks_query(id: str) -> Select[Any]:
    return select(marks).where(marks.c.alert == id).order_by(marks.c.position)


def scores_query(feed: str, since: datetime | None, until: datetime | None) -> Select[Any]:
    query = select(scores).where(scores.c.feed == feed).order_by(scores.c.second)
    if since is not None:
        query = query.where(scores.c.second >= int(in_utc(since).timestamp()))
    return query if until is None else query.where(scores.c.second < in_utc(until).timestamp())


def states_query(feed: str | None, since: datetime | None, until: datetime | None, limit: int | None) -> Select[Any]:
    """States of feeds from the oldest to the newest; with a limit the newest of them."""
    newest = select(feed_states).order_by(feed_states.c.position.desc()).limit(limit)
    if feed is not None:
        newest = newest.where(feed_states.c.feed == feed)
    if since is not None:
        newest = newest.where(feed_states.c.at >= moment_text(since))
    return newest if until is None else newest.where(feed_states.c.at < moment_text(until))


def alert_of(row: Mapping[str, Any]) -> StoredAlert:
    marked: Marked = row["marked"] if row["marked"] in ("acknowledged", "false_alarm") else "open"
    kept = {name: row[name] for name in StoredAlert.__slots__ if name != "marked"}
    return StoredAlert(**kept, marked=marked)


def event_of(row: Mapping[str, Any]) -> StoredEvent:
    return StoredEvent(**{name: row[name] for name in StoredEvent.__slots__})


def mark_of(row: Mapping[str, Any]) -> Mark:
    return Mark(**{name: row[name] for name in Mark.__slots__})


def second_of(row: Mapping[str, Any]) -> SecondScores:
    return SecondScores(**{name: row[name] for name in SecondScores.__slots__})


def feed_state_of(row: Mapping[str, Any]) -> FeedState:
    return FeedState(**{name: row[name] for name in FeedState.__slots__})


def in_utc(moment: datetime) -> datetime:
    """A moment with its zone; one without is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def moment_text(moment: datetime) -> str:
    """A moment as every line writes it: 2026-11-22T13:00:00.123Z."""
    return in_utc(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")

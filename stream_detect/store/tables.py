"""The tables of a store, the same on SQLite and PostgreSQL; `migrations` makes them.

Times of day are texts in UTC as every line writes them (2026-11-22T13:00:00.123Z), so that their order is that of time.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSION_TABLE = "stream_detect_version"  # which migration a database has come to; also what tells one of ours
HEAD = "0001"  # the newest migration

metadata = MetaData()
number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up its INTEGER keys alone
document = JSON(none_as_null=True)

runs = Table(
    "runs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("began_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("version", Text, nullable=False),  # of stream-detect
)

alerts = Table(
    "alerts",
    metadata,
    Column("position", number, primary_key=True),  # in the order in which they came, whatever the clock said
    Column("id", Text, nullable=False, unique=True),
    Column("run", Text, ForeignKey("runs.run"), nullable=False),
    Column("feed", Text, nullable=False),
    Column("track", number),
    Column("rule", Text, nullable=False),
    Column("state", Text, nullable=False),  # raised or cleared
    Column("raised_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("cleared_at", Text),
    Column("started_s", Double),  # of the stream
    Column("ended_s", Double),
    Column("fake_probability", Double),
    Column("highest", Double),  # fake_probability of any of its lines
    Column("experts", document, nullable=False),
    Column("time_to_alert_s", Double),
    Column("evidence", Text),
    Column("clip", Text),
    Column("sequence", BigInteger, nullable=False),  # of the newest line in it
    Index("alerts_by_feed", "feed", "raised_at"),
    Index("alerts_by_time", "raised_at"),
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("position", number, primary_key=True),
    Column("alert", Text, ForeignKey("alerts.id"), nullable=False),
    Column("event", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # grows within a run, also when the clock is set back
    Column("taken_at", Text, nullable=False),
    Column("line", document, nullable=False),
    UniqueConstraint("alert", "event", "sequence", name="alert_events_once"),
)

scores = Table(
    "scores",
    metadata,
    Column("feed", Text, primary_key=True),
    Column("second", BigInteger, primary_key=True, autoincrement=False),  # since 1970, UTC
    Column("faces", Integer, nullable=False),
    Column("judged", Integer, nullable=False),
    Column("mean_probability", Double),
    Column("max_probability", Double),
    Column("max_track_probability", Double),
    sqlite_with_rowid=False,
)

feed_states = Table(
    "feed_states",
    metadata,
    Column("position", number, primary_key=True),
    Column("run", Text, ForeignKey("runs.run"), nullable=False),
    Column("feed", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("frames", number, nullable=False),
    Column("analysed", number, nullable=False),
    Column("dropped", document, nullable=False),
    Column("reconnects", document, nullable=False),
    Index("feed_states_by_feed", "feed", "position"),
    Index("feed_states_by_time", "at"),
)

marks = Table(
    "marks",
    metadata,
    Column("position", number, primary_key=True),
    Column("alert", Text, ForeignKey("alerts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("who", Text),
    Column("at", Text, nullable=False),
    Index("marks_by_alert", "alert", "position"),
)

evidence_entries = Table(
    "evidence_entries",
    metadata,
    Column("position", number, primary_key=True, autoincrement=False),
    Column("folder", Text, nullable=False, unique=True),
    Column("manifest_sha256", Text, nullable=False),
    Column("previous", Text),
    Column("sealed_at", Text, nullable=False),
    Column("removed_at", Text),
    Column("removed_why", Text),
)

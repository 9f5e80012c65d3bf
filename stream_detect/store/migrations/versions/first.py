"""The first store: runs, alerts with all their lines and marks, scores, states of feeds, and the chain of evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("alert_events", "marks")
SEALED = ("position", "folder", "manifest_sha256", "previous", "sealed_at")  # of an entry of evidence, for ever


def upgrade() -> None:
    create_tables_of_alerts()
    create_tables_of_feeds()
    create_table_of_evidence()
    if op.get_context().dialect.name == "sqlite":
        forbid_changes_on_sqlite()
    else:
        forbid_changes_on_postgresql()


def number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create_tables_of_alerts() -> None:
    op.create_table(
        "runs",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("began_at", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("position", number(), primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("run", sa.Text, sa.ForeignKey("runs.run"), nullable=False),
        sa.Column("feed", sa.Text, nullable=False),
        sa.Column("track", number()),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("raised_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.Column("cleared_at", sa.Text),
        sa.Column("started_s", sa.Double),
        sa.Column("ended_s", sa.Double),
        sa.Column("fake_probability", sa.Double),
        sa.Column("highest", sa.Double),
        sa.Column("experts", sa.JSON, nullable=False),
        sa.Column("time_to_alert_s", sa.Double),
        sa.Column("evidence", sa.Text),
        sa.Column("clip", sa.Text),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("alerts_by_feed", "alerts", ["feed", "raised_at"])
    op.create_index("alerts_by_time", "alerts", ["raised_at"])
    op.create_table(
        "alert_events",
        sa.Column("position", number(), primary_key=True),
        sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("taken_at", sa.Text, nullable=False),
        sa.Column("line", sa.JSON, nullable=False),
        sa.UniqueConstraint("alert", "event", "sequence", name="alert_events_once"),
    )
    op.create_table(
        "marks",
        sa.Column("position", number(), primary_key=True),
        sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("who", sa.Text),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_index("marks_by_alert", "marks", ["alert", "position"])


def create_tables_of_feeds() -> None:
    op.create_table(
        "scores",
        sa.Column("feed", sa.Text, primary_key=True),
        sa.Column("second", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("faces", sa.Integer, nullable=False),
        sa.Column("judged", sa.Integer, nullable=False),
        sa.Column("mean_probability", sa.Double),
        sa.Column("max_probability", sa.Double),
        sa.Column("max_track_probability", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feed_states",
        sa.Column("position", number(), primary_key=True),
        sa.Column("run", sa.Text, sa.ForeignKey("runs.run"), nullable=False),
        sa.Column("feed", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("frames", number(), nullable=False),
        sa.Column("analysed", number(), nullable=False),
        sa.Column("dropped", sa.JSON, nullable=False),
        sa.Column("reconnects", sa.JSON, nullable=False),
    )
    op.create_index("feed_states_by_feed", "feed_states", ["feed", "position"])
    op.create_index("feed_states_by_time", "feed_states", ["at"])


def create_table_of_evidence() -> None:
    op.create_table(
        "evidence_entries",
        sa.Column("position", number(), primary_key=True, autoincrement=False),
        sa.Column("folder", sa.Text, nullable=False, unique=True),
        sa.Column("manifest_sha256", sa.Text, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("sealed_at", sa.Text, nullable=False),
        sa.Column("removed_at", sa.Text),
        sa.Column("removed_why", sa.Text),
    )


def forbid_changes_on_sqlite() -> None:
    """What was said stays said: nobody changes or removes it, not even by mistake."""
    for table in APPEND_ONLY:
        forbid_on_sqlite(table, "update", "UPDATE")
        forbid_on_sqlite(table, "delete", "DELETE")
    forbid_on_sqlite("evidence_entries", "update", f"UPDATE OF {', '.join(SEALED)}")
    forbid_on_sqlite("evidence_entries", "delete", "DELETE")


def forbid_on_sqlite(table: str, name: str, what: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_{name} BEFORE {what} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table}: append-only'); END"
    )


def forbid_changes_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION stream_detect_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%: append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; "
        "END $$"
    )
    for table in APPEND_ONLY:
        forbid_on_postgresql(table, "UPDATE OR DELETE OR TRUNCATE")
    forbid_on_postgresql("evidence_entries", f"UPDATE OF {', '.join(SEALED)} OR DELETE OR TRUNCATE")


def forbid_on_postgresql(table: str, what: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE {what} ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION stream_detect_append_only()"
    )

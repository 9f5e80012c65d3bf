"""The tables as they are made, and as PostgreSQL would get them."""

import io

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from stream_detect.store import open_store, reading, writing
from stream_detect.store.database import MIGRATIONS
from stream_detect.store.tables import HEAD, VERSION_TABLE, metadata


def script():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config)


def test_the_newest_migration_is_the_one_that_the_program_knows():
    assert script().get_current_head() == HEAD


def test_the_migrations_make_the_tables_that_the_program_uses(tmp_path):
    with open_store(tmp_path / "store.db") as store, store._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_opening_again_migrates_nothing(tmp_path, monkeypatch):
    open_store(tmp_path / "store.db").close()
    monkeypatch.setattr("stream_detect.store.database.migrate", None)
    open_store(tmp_path / "store.db").close()


def test_postgresql_gets_numbers_that_are_large_enough():
    made = [str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in metadata.sorted_tables]
    whole = "\n".join(made)
    assert "position BIGSERIAL NOT NULL" in whole
    assert "sequence BIGINT NOT NULL" in whole
    assert "second BIGINT NOT NULL" in whole
    assert "fake_probability DOUBLE PRECISION" in whole


def test_the_migrations_speak_postgresql():
    written = io.StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect=postgresql.dialect(), opts=options)
    with Operations.context(context):
        for step in reversed(list(script().walk_revisions())):
            step.module.upgrade()
    assert written.getvalue().count("CREATE TABLE") == len(metadata.tables)
    assert "CREATE TRIGGER marks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON marks" in written.getvalue()


def test_the_statements_speak_postgresql():
    def spoken(statement) -> str:
        return " ".join(str(statement.compile(dialect=postgresql.dialect())).split())

    adding = spoken(writing.adding("postgresql"))
    assert "ON CONFLICT (feed, second) DO UPDATE SET" in adding
    assert "greatest(coalesce(scores.max_probability, excluded.max_probability)" in adding
    assert "nullif(" in adding
    query = spoken(reading.alerts_query("cam1", None, None, "spike", "raised", "open", 5))
    assert "ORDER BY alerts.position DESC LIMIT" in query
    assert "coalesce((SELECT marks.kind" in query
    assert "LIKE" in spoken(reading.alerts_beginning("a", 3))

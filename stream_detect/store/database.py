"""The database of a store: its connections and transactions, its migrations, and its errors in one line."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.sql import column, table

from stream_detect.errors import ConfigError, OutputError
from stream_detect.redact import redact
from stream_detect.store.place import Place, check_file, damaged
from stream_detect.store.tables import HEAD, VERSION_TABLE, metadata

BUSY_S = 2.0  # how long a transaction waits for those of other processes, in seconds
CONNECT_S = 3  # and a connection for a server
OPEN_S = 10.0  # how long an opening waits for another one that makes the tables
MIGRATIONS = Path(__file__).with_name("migrations")
CHECKED = ("alerts", "alert_events", "marks", "evidence_entries")  # small ones, looked over at the start
DAMAGE = ("malformed", "not a database", "corrupt")
LOCK_KEY = 0x5744_4554  # of PostgreSQL's lock while tables are made
migrating = threading.Lock()  # Alembic's `op` and `context` belong to the whole process


class Database:
    """Transactions on one database, from any thread. Close it, or use it in a `with`.

    Raises:
        OutputError: if it can't be had, is damaged, or isn't a store of ours.
        ConfigError: if the driver that a URL asks for is not installed.
    """

    def __init__(self, place: Place, *, create: bool = True) -> None:
        self.place = place
        if place.path is not None:
            check_file(place.path, create)
        self._engine = engine_of(place)
        self._file: tuple[int, int] | None = None
        self._turn = threading.Lock() if place.is_sqlite else nullcontext()  # SQLite would look again now and then
        try:
            with self.translated():
                self._open(create)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of every connection; may be called twice."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database.

        Raises:
            OutputError: if it does not answer.
        """
        with self.translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on the disk when it ends, or has changed nothing.

        Raises:
            OutputError: if the database does not answer, is locked, full or gone.
            IntegrityError, DataError: if what was to be written can't be.
        """
        with self._turn, self.translated():
            self.check_place()
            with self._engine.execution_options(begin="IMMEDIATE").begin() as connection:
                if not self.place.is_sqlite:
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(BUSY_S * 1000)}")
                yield connection

    def check_place(self) -> None:
        """Notice that an SQLite file was taken away or replaced: what is written into it would be lost.

        Raises:
            OutputError: if it is gone. If there is another store in its place, that one is used from now on.
        """
        found = file_of(self.place)
        if self._file is None or found == self._file:
            return
        if found is None:
            raise OutputError(f"{self.place}: the file is gone")
        self._engine.dispose()
        with self.translated():
            self._open(create=False)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of the database in one line of ours, without secrets."""
        try:
            yield
        except (IntegrityError, DataError):
            raise
        except (OverflowError, UnicodeEncodeError) as error:  # the driver's own, of what no column holds
            raise DataError(None, None, error) from error
        except SQLAlchemyError as error:
            raise said_of(error, self.place) from error

    def _open(self, create: bool) -> None:
        with self._engine.connect() as connection:
            version = version_of(connection, self.place)
        if version is None and not create:
            raise OutputError(f"{self.place}: there is no store; stream-detect watch --store makes one")
        if version != HEAD:
            self._make_tables()
        if self.place.is_sqlite:
            with self._engine.connect() as connection:
                check_pages(connection, self.place)
            self._file = file_of(self.place)

    def _make_tables(self) -> None:
        """Bring the tables to the newest version, which another process may be doing, too."""
        if self.place.is_sqlite:
            begin_write_ahead_log(self._engine)
        with self._engine.execution_options(begin="IMMEDIATE").begin() as connection:
            if not self.place.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
            if version_of(connection, self.place) != HEAD:
                migrate(connection)


def engine_of(place: Place) -> Engine:
    """Connections as a store needs them; none is opened yet.

    Raises:
        ConfigError: if the driver is not installed.
    """
    try:
        if place.is_sqlite:
            engine = create_engine(place.url, connect_args={"timeout": BUSY_S})
            event.listen(engine, "connect", prepare_sqlite)
            event.listen(engine, "begin", begin_sqlite)
            return engine
        return create_engine(place.url, pool_pre_ping=True, pool_timeout=CONNECT_S, connect_args=options_of(place.url))
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        name = getattr(error, "name", None) or place.url.drivername
        way = "pip install 'psycopg[binary]'" if name == "psycopg" else "install its driver"
        raise ConfigError(f"{place}: {name} is not installed; {way}") from error


def options_of(url: URL) -> dict[str, Any]:
    """No wait without an end, as far as the driver lets one say so."""
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        milliseconds = int(BUSY_S * 1000)
        options = {"options": f"-c lock_timeout={milliseconds}", "tcp_user_timeout": milliseconds}
        return {"connect_timeout": CONNECT_S, **options}
    return {}


def prepare_sqlite(connection: Any, record: object) -> None:
    """Transactions begin where we say so; every commit is on the disk."""
    connection.isolation_level = None
    for pragma in ("foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', '')}")


def begin_write_ahead_log(engine: Engine) -> None:
    """Readers and a writer don't wait for each other. Two that open a new file at once get in each other's way here."""
    until_s = time.monotonic() + OPEN_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except engine.dialect.loaded_dbapi.OperationalError as error:
                if time.monotonic() > until_s or "locked" not in str(error):
                    raise OperationalError("PRAGMA journal_mode", None, error) from error
                time.sleep(0.02)
    finally:
        connection.close()


def version_of(connection: Connection, place: Place) -> str | None:
    """Which migration the database has come to; None for an empty one.

    Raises:
        OutputError: if it is of a newer version, or something else's.
    """
    names = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in names:
        foreign = names if place.is_sqlite else names & set(metadata.tables)
        if foreign:
            raise OutputError(
                f"{place}: it holds tables of something else ({', '.join(sorted(foreign)[:3])}); choose another place"
            )
        return None
    version: str | None = connection.scalar(select(table(VERSION_TABLE, column("version_num")).c.version_num))
    if version is not None and version > HEAD:
        raise OutputError(
            f"{place}: the store is of version {version}, which is newer than this program's {HEAD}; "
            "update stream-detect, or choose another place"
        )
    return version


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest version, within the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with migrating:
        command.upgrade(config, "head")


def check_pages(connection: Connection, place: Place) -> None:
    """Look over the pages of the tables that must not be lost.

    Raises:
        OutputError: if one is damaged.
    """
    for name in CHECKED:
        found = connection.exec_driver_sql(f"PRAGMA quick_check({name})").scalar()
        if found != "ok":
            raise damaged(place, f"{name}: {' '.join(str(found).split())}")


def file_of(place: Place) -> tuple[int, int] | None:
    """Which file it is that lies at the path now; None if there is none, or it is no file at all."""
    if place.path is None:
        return None
    try:
        about = place.path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def said_of(error: SQLAlchemyError, place: Place) -> OutputError:
    """An error of the database as one line of ours."""
    cause = getattr(error, "orig", None) or error
    why = redact(" ".join(str(cause).split())[:300], place.url.render_as_string(hide_password=False))
    if place.is_sqlite and isinstance(error, DatabaseError) and any(word in why for word in DAMAGE):
        return damaged(place, why)
    if isinstance(error, (OperationalError, InterfaceError)) and "unable to open" in why:
        return OutputError(f"{place}: it can't be opened or written (no permission?); choose another path")
    return OutputError(f"{place}: the database can't be used ({why})")

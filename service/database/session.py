"""Open the database, bring it up to date, and give out transactions."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    Select,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from augrank.errors import DataError, reason
from service.database.looks import LookIndex
from service.database.tables import Base
from service.errors import ChangedMeanwhile

log = logging.getLogger("augrank.service")
MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_TIMEOUT_S = 15
POOL_SIZE = 40  # connections: as many as the server has threads for requests
POSTGRES_FOREIGN_KEY, POSTGRES_UNIQUE = "23503", "23505"
MIGRATING = 7_202_510  # number of the lock of those who migrate
P = ParamSpec("P")
T = TypeVar("T")
WRITES = "augrank_writes"  # execution option of connections that will write


class Database:
    """The engine and its transactions. Thread-safe.

    Args:
        url: such as ``sqlite:///service.db`` or ``postgresql+psycopg://...``.

    Attributes:
        looks: the hashes of its pictures.
    """

    def __init__(self, url: str) -> None:
        self.url, self.looks = url, LookIndex()
        self._sqlite = url.startswith("sqlite")
        arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if self._sqlite else {}
        try:
            if self._sqlite:
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self.engine: Engine = create_engine(
                url,
                connect_args=arguments,
                pool_pre_ping=not self._sqlite,  # its server may have gone
                hide_parameters=True,  # errors are logged
                pool_size=POOL_SIZE,
                max_overflow=10,
            )
        except (OSError, ImportError, SQLAlchemyError) as error:
            raise DataError(
                "the database cannot be opened",
                expected="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
                got=f"{reason(error)} ({url.partition(':')[0]})",
            ) from error
        if self._sqlite:
            self.engine.dialect.colspecs = {**self.engine.dialect.colspecs, DateTime: _UtcTime}
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(**{WRITES: True})

    def migrate(self) -> None:
        """Bring the tables up to date.

        Raises:
            DataError: the database cannot be opened.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self._writer.connect() as connection, connection.begin():
                if not self._sqlite:  # another process may start at the same time
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise DataError(
                "the database cannot be opened",
                expected="a server that runs, or a file that can be written",
                got=str(getattr(error, "orig", error)),
            ) from error

    @contextmanager
    def reads(self) -> Iterator[Session]:
        """Give a session that only reads."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writes(self) -> Iterator[Session]:
        """Give a session whose changes are kept together, if the block succeeds, or not at all."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            OperationalError: there is none.
        """
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def again_if_forgotten(call: Callable[P, T]) -> Callable[P, T]:
    """Let a function begin anew if what it has read was removed before it wrote.

    Args:
        call: reads in one transaction, and writes in another one.
    """

    @wraps(call)
    def twice(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except (IntegrityError, ChangedMeanwhile) as error:
            if isinstance(error, IntegrityError) and not met_a_change(error):
                raise
            log.warning("a request begins anew: %s", type(error).__name__)
            return call(*args, **kwargs)

    return twice


def met_a_change(error: IntegrityError) -> bool:
    """Return whether a row that was read is gone, or one that was missing is there."""
    if state := getattr(error.orig, "sqlstate", None):
        return state in (POSTGRES_FOREIGN_KEY, POSTGRES_UNIQUE)
    return "FOREIGN KEY" in str(error.orig) or "UNIQUE" in str(error.orig)


def lock_for_adding(session: Session, number: int, *, shared: bool = False) -> None:
    """Let one transaction at a time pass, until it ends.

    In SQLite all that write do so anyway.

    Args:
        session: that writes.
        number: of the lock.
        shared: whether all pass that share it, as long as nobody has it alone.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        session.execute(select(lock(number)))


def insert_missing(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose key is there already is left as it is.

    Args:
        session: that writes.
        table: of them.
        rows: by column.
    """
    session.execute(_insert(session, table).on_conflict_do_nothing(), list(rows))


def insert_or_update(
    session: Session,
    table: type[Base],
    row: Mapping[str, Any],
    *,
    key: str,
    new: Sequence[str],
    told: str,
) -> Any:
    """Insert a row, or change the one whose key is there already.

    Args:
        session: that writes.
        table: of the row.
        row: by column.
        key: a column whose values are unique.
        new: the columns that change, where the key is there.
        told: a column.

    Returns:
        What that column holds now.
    """
    changed = {name: row[name] for name in new}
    command = _insert(session, table).on_conflict_do_update(index_elements=[key], set_=changed)
    return session.execute(command.returning(table.__table__.c[told]), dict(row)).scalar_one()


def insert_selected(
    session: Session,
    table: type[Base],
    columns: Sequence[str],
    query: Select[Any],
    given: Mapping[str, object],
) -> None:
    """Insert the rows of a query; one whose key is there already is left as it is.

    Args:
        session: that writes.
        table: of the rows.
        columns: of the table, in the query's order.
        query: with a condition, since SQLite reads "ON CONFLICT" as one of a join without it.
        given: the values of its parameters.
    """
    command = _insert(session, table).from_select(list(columns), query)
    session.execute(command.on_conflict_do_nothing(), dict(given))


def _insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    rows = cast(Table, table.__table__)  # a mapped class takes longer
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(rows)
    return sqlite.insert(rows)


class _UtcTime(sqlite.DATETIME):
    """A time with its zone, which SQLite does not keep: all are kept in UTC."""

    def bind_processor(self, dialect: Any) -> Callable[[datetime | None], Any]:
        write = super().bind_processor(dialect)
        assert write is not None
        return lambda time: write(time.astimezone(UTC) if time and time.tzinfo else time)

    def result_processor(self, dialect: Any, coltype: object) -> Callable[[Any], datetime | None]:
        read = super().result_processor(dialect, coltype)
        assert read is not None

        def with_zone(kept: Any) -> datetime | None:
            time = read(kept)
            return None if time is None else time.replace(tzinfo=UTC)

        return with_zone


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Let readers go on beside a writer, and lose nothing that was committed."""
    connection.isolation_level = None  # transactions are begun below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail if another one wrote in between.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

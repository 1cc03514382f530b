"""Migrations make the tables that the code knows, and a write is kept whole or not at all."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from augrank.errors import DataError
from service.database.session import Database
from service.database.tables import Base, Picture


def test_migrations_make_the_tables_that_the_code_knows(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
    database.migrate()  # twice is once
    assert {"fixes", "answers", "images"} <= set(inspect(database.engine).get_table_names())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_keeps_what_was_committed_and_lets_readers_go_on(database: Database):
    with database.engine.connect() as connection:
        values = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]
    with database.writes() as session:
        session.add(Picture(look_hash="0" * 16, thumbnail=b""))
        session.flush()
        with database.reads() as other:
            assert other.query(Picture).count() == 0


def test_a_write_that_fails_leaves_nothing(database: Database):
    def fail() -> None:
        with database.writes() as session:
            session.add(Picture(look_hash="0" * 16, thumbnail=b""))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reads() as session:
        assert session.query(Picture).count() == 0


def test_a_database_that_cannot_be_opened_is_a_message(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="the database cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'folder'}").migrate()

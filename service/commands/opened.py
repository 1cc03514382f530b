"""The database that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.settings import ServiceSettings

if TYPE_CHECKING:
    from service.database.session import Database


@contextmanager
def opened_database(settings: ServiceSettings) -> "Iterator[Database]":
    """Open the database of the service, bring it up to date, and close it at the end.

    Raises:
        DataError: it cannot be opened.
    """
    from service.database.session import Database

    opened = Database(settings.database_url)
    try:
        opened.migrate()
        yield opened
    finally:
        opened.close()

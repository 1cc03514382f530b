"""A service on a new SQLite file, with the classifier of coloured shapes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.backends import BundleBackend
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.pages import Caller


@pytest.fixture(scope="session")
def backend(classify_export) -> BundleBackend:
    return BundleBackend(classify_export.bundle)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'service.db'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def caller(database: Database, backend: BundleBackend, tmp_path: Path) -> Iterator[Caller]:
    settings = ServiceSettings(folder=tmp_path, max_upload_mb=1)
    with TestClient(create_app(settings, database, backend), raise_server_exceptions=False) as http:
        yield Caller(http)

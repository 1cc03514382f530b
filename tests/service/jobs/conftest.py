"""A service that may download from loopback."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import ServiceSettings
from tests.service.support.pages import Caller


@pytest.fixture
def caller(database, backend, tmp_path):
    settings = ServiceSettings(folder=tmp_path, max_upload_mb=1, per_host=500, allow_loopback=True)
    with TestClient(create_app(settings, database, backend), raise_server_exceptions=False) as http:
        yield Caller(http)

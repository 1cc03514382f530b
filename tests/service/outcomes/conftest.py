"""A service whose recommender is drawn, and who asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.outcomes.support import Campaign
from tests.service.support.recommender_stub import DrawnRecommender


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(folder=tmp_path / "service")


@pytest.fixture
def campaign(database: Database, settings: ServiceSettings) -> Iterator[Campaign]:
    app = create_app(settings, database, None, DrawnRecommender())
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Campaign(http)

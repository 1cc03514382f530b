"""A service that retrains, with commands that train nothing."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.database.session import Database
from service.database.tables import Job
from service.images.store import ImageStore
from service.jobs.queue import REVIEW
from service.models.registry import Registry
from service.retraining import training, work
from service.retraining.work import Retraining
from service.settings import ServiceSettings
from tests.service.retraining.support import CLASSES, Commands, begin
from tests.service.support.pages import Caller, photo


@pytest.fixture
def parts(database: Database, classify_export, tmp_path) -> Retraining:
    registry = Registry(database, tmp_path)
    registry.start_with(classify_export.bundle)
    return Retraining(database, ImageStore(tmp_path, 2**30), registry, tmp_path, threads=1)


@pytest.fixture
def caller(parts: Retraining, backend) -> Caller:
    """A service whose workers do not run."""
    configured = ServiceSettings(folder=parts.folder, max_upload_mb=1)
    app = create_app(configured, parts.database, backend)
    return Caller(TestClient(app, raise_server_exceptions=False))


@pytest.fixture
def commands(classify_export, classify_run, monkeypatch) -> Commands:
    stand_in = Commands(classify_export.bundle, classify_run.run)
    monkeypatch.setattr(work, "run_command", stand_in)
    monkeypatch.setattr(training, "run_command", stand_in)
    return stand_in


@pytest.fixture
def queue(parts, caller) -> int:
    """A retraining in review, with two fixes of each of two advertisers about one picture each."""
    for advertiser, value in (("ada", "red"), ("bob", "blue")):
        caller.classify(photo(1), photo(2), advertiser=advertiser)
        for n, image in enumerate((photo(1), photo(2))):
            value = value if n == 0 else "green"
            caller.fix(image, "colour", value, advertiser=advertiser)
    number = begin(parts)
    with parts.database.writes() as session:
        from service.retraining.collect import collect

        assert collect(session, number, CLASSES, parts.images) == (4, 0)
        job = session.get(Job, number)
        assert job is not None
        job.state = REVIEW
    return number

"""A service on a new database, with the classifier of coloured shapes."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from augrank.download import fetch, public_addresses, request_images
from augrank.download.request_images import RequestImages
from benchmarks.durability.postgres import open_postgres
from service import app as application
from service.app import create_app
from service.backends.classify import BundleBackend
from service.backends.recommend import RecommendBundle
from service.batches.downloads import DownloadSettings
from service.database import session as database_session
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.support.marketing import Marketer
from tests.service.support.pages import Caller
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads
from tests.training.download.site import Site


@pytest.fixture(scope="session", autouse=True)
def name_of_test_client() -> Iterator[None]:
    """Starlette's test client calls the service "testserver"; without keys it would be refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGRANK_SERVICE_ALLOWED_HOSTS", '["testserver"]')
        yield


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Let no limit of time end what a slow machine does; tests about limits set their own."""
    # Not the fixture of pytest: a test may undo what it has changed by that one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_session, "BUSY_TIMEOUT_S", PATIENCE_S)
        patch.setattr(public_addresses, "_KEEPALIVE_S", PATIENCE_S)
        patch.setattr(request_images, "TIMEOUT_S", PATIENCE_S)
        for name in ("CONNECT_S", "READ_S"):
            patch.setattr(fetch, name, PATIENCE_S)
        asked = partial(RequestImages, total_s=PATIENCE_S)
        patch.setattr(application, "RequestImages", asked)
        in_batches = partial(DownloadSettings, timeout_s=PATIENCE_S)
        patch.setattr(application, "DownloadSettings", in_batches)
        yield


@pytest.fixture(scope="session")
def backend(classify_export) -> Iterator[BundleBackend]:
    loaded = BundleBackend(classify_export.bundle)
    with own_threads(loaded._classifier.embedder):
        yield loaded


@pytest.fixture(scope="session")
def recommend_backend(tiny_export, tiny_run) -> Iterator[RecommendBundle]:
    """The recommender of the tiny run, with the folder of its catalogue's images."""
    loaded = RecommendBundle(tiny_export.bundle, tiny_run.images)
    with own_threads(loaded._recommender.stages):
        yield loaded


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site on loopback to download from."""
    running = Site()
    yield running
    running.server.end()


@pytest.fixture
def marketer(
    database: Database, recommend_backend: RecommendBundle, tmp_path: Path
) -> Iterator[Marketer]:
    settings = ServiceSettings(folder=tmp_path, max_upload_mb=1, allow_loopback=True)
    app = create_app(settings, database, recommender=recommend_backend)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Marketer(http)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of its own; gives the URL of its first database."""
    server = open_postgres(tmp_path_factory.mktemp("postgres"), PATIENCE_S)
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database without rows: tests copy it, which is quicker than migrating."""
    file = tmp_path_factory.mktemp("sqlite") / "service.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """URL of a PostgreSQL database without rows, as a template."""
    url = new_database(postgres)
    _migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(_new_urls(request, tmp_path)())
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes one database without rows after the other; gives the URL of each."""
    return _new_urls(request, tmp_path)


def _new_urls(request: pytest.FixtureRequest, folder: Path) -> Callable[[], str]:
    if request.param == "postgresql":
        template = request.getfixturevalue("migrated_postgres")
        server = request.getfixturevalue("postgres")
        return lambda: new_database(server, template)
    migrated = request.getfixturevalue("migrated_file")

    def copied() -> str:
        file = folder / "service.db"  # where commands look for it
        if file.exists():
            file = folder / f"{secrets.token_hex(6)}.db"
        shutil.copyfile(migrated, file)
        return f"sqlite:///{file}"

    return copied


def _migrate(url: str) -> None:
    opened = Database(url)
    opened.migrate()
    opened.close()


def new_database(server: str, template: str | None = None) -> str:
    """Create a database on a PostgreSQL server, empty or as another one; return its URL."""
    name = f"test_{secrets.token_hex(6)}"
    copied = f" TEMPLATE {make_url(template).database}" if template else ""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}{copied}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def caller(database: Database, backend: BundleBackend, tmp_path: Path) -> Iterator[Caller]:
    settings = ServiceSettings(folder=tmp_path, max_upload_mb=1)
    with TestClient(create_app(settings, database, backend), raise_server_exceptions=False) as http:
        yield Caller(http)

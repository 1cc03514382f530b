"""The application: its parts and routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from augrank.download.public_addresses import Guard
from augrank.images.decode import DecodeLimits
from service import api, pages
from service.answers.classify import ClassifyService
from service.backends.classify import ClassifyBackend
from service.batches.downloads import DownloadSettings
from service.batches.items import BATCH
from service.batches.work import BatchWork
from service.database.session import Database
from service.images.store import ImageStore
from service.jobs.worker import JobWorker
from service.parts import Parts
from service.settings import ServiceSettings
from service.web.body_limit import BodyLimit
from service.web.errors import handle_errors
from service.web.observability import observe


def create_app(
    settings: ServiceSettings, database: Database, classifier: ClassifyBackend | None = None
) -> FastAPI:
    """Create the application.

    Args:
        settings: of the service.
        database: up to date.
        classifier: tells labels; None: this service does not.
    """
    parts = _parts(settings, database, classifier)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for worker in parts.workers.values():
            worker.start()
        yield
        for worker in parts.workers.values():
            worker.stop()

    app = FastAPI(
        lifespan=lifespan,
        title="augrank",
        version=version("augrank"),
        summary="Tell labels of images, and let people correct them.",
        openapi_url="/v1/openapi.json",
    )
    app.state.parts = parts
    observe(app)
    app.add_middleware(BodyLimit, limit_bytes=int(settings.max_request_mb * 2**20))
    for router in (*api.ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    handle_errors(app)
    return app


def _parts(
    settings: ServiceSettings, database: Database, classifier: ClassifyBackend | None
) -> Parts:
    limits = DecodeLimits(size_bytes=int(settings.max_upload_mb * 2**20))
    images = ImageStore(settings.folder, int(settings.max_images_gb * 2**30))
    parts = Parts(settings, database, images, limits)
    if classifier is not None:
        parts.classify = ClassifyService(database, classifier, images, limits, settings.max_answers)
        downloads = DownloadSettings(
            per_host=settings.per_host, guard=Guard(allow_loopback=settings.allow_loopback)
        )
        work = BatchWork(parts.classify, downloads, limits)
        parts.workers[BATCH] = JobWorker(database, BATCH, work)
    return parts

"""The application: its parts and routes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from augrank.download.public_addresses import Guard
from augrank.download.request_images import RequestImages
from service import api, pages
from service.answers.classify import ClassifyService
from service.answers.recommend import RecommendService
from service.backends.bundles import CLASSIFY, RECOMMEND
from service.backends.classify import ClassifyBackend
from service.backends.deployment import Deployment
from service.backends.recommend import RecommendBackend
from service.batches.downloads import DownloadSettings
from service.batches.items import BATCH
from service.batches.work import BatchWork
from service.database.session import Database
from service.images.downloads import BoundedDownloads
from service.images.forget import ForgottenPictures
from service.images.pictures import senders_of
from service.images.store import ImageStore, Senders
from service.images.versions import Previews
from service.jobs.worker import JobWorker
from service.models.loading import LocalDeployment, load_classifier, load_recommender
from service.pages.render import STATIC
from service.parts import Parts
from service.retraining.jobs import RETRAIN, RetrainWorker
from service.retraining.work import Retraining, RetrainWork
from service.settings import ServiceSettings
from service.web.errors import handle_errors
from service.web.middleware import surround

FORGET_S = 10.0  # between looks at some of the pictures


def create_app(
    settings: ServiceSettings,
    database: Database,
    classifier: ClassifyBackend | None = None,
    recommender: RecommendBackend | None = None,
    deployments: Mapping[str, Deployment[Any]] = MappingProxyType({}),
) -> FastAPI:
    """Create the application.

    Args:
        settings: of the service.
        database: up to date.
        classifier: tells labels; None: this service does not.
        recommender: ranks versions of images; None: this service does not.
        deployments: where they are, by task, unless in this process.
    """
    parts = _parts(settings, database, classifier, recommender, deployments)
    forgotten = ForgottenPictures(database, timedelta(days=settings.forget_after_days))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts.models.start([(forgotten.step, FORGET_S)])
        for worker in parts.workers.values():
            worker.start()
        yield
        for worker in parts.workers.values():
            worker.stop()
        parts.models.stop()

    app = FastAPI(
        lifespan=lifespan,
        title="augrank",
        version=version("augrank"),
        summary="Recommend images and tell their labels, and let people correct them.",
        openapi_url=None,  # api/openapi.py and pages/docs.py, which need a key and no CDN
    )
    app.state.parts = parts
    surround(app, settings, parts.authenticator)
    app.state.metrics.register(parts.models)
    app.mount("/static", StaticFiles(directory=STATIC))
    for router in (*api.ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    handle_errors(app)
    return app


def _senders(database: Database) -> Senders:
    def senders(digests: Sequence[str]) -> dict[str, str]:
        with database.reads() as session:
            return senders_of(session, digests)

    return senders


def _parts(
    settings: ServiceSettings,
    database: Database,
    classifier: ClassifyBackend | None,
    recommender: RecommendBackend | None,
    deployments: Mapping[str, Deployment[Any]],
) -> Parts:
    limits = settings.image_limits
    images = ImageStore(settings.folder, int(settings.max_images_gb * 2**30), _senders(database))
    guard = Guard(allow_loopback=settings.allow_loopback)
    asked = BoundedDownloads(RequestImages(limits, guard), settings.downloads_at_once)
    parts = Parts(settings, database, images, limits, Previews(limits), asked)
    if recommender is not None:
        parts.recommend = RecommendService(
            database, recommender, images, limits, settings.max_answers, settings.max_questions
        )
        live = parts.recommend.live
        loads = LocalDeployment(live, load_recommender(settings.catalogue, settings.image_limits))
        parts.models.add(RECOMMEND, live, deployments.get(RECOMMEND) or loads)
    if classifier is not None:
        parts.classify = ClassifyService(database, classifier, images, limits, settings.max_answers)
        parts.classify.on_answers = parts.models.exposures.note
        labels = parts.classify.live
        local = LocalDeployment(labels, load_classifier)
        parts.models.add(CLASSIFY, labels, deployments.get(CLASSIFY) or local)
        downloads = DownloadSettings(per_host=settings.per_host, guard=guard)
        work = BatchWork(parts.classify, downloads, limits, settings.max_urls)
        parts.workers[BATCH] = JobWorker(database, BATCH, work)
        retraining = Retraining(
            database,
            images,
            parts.models.registry,
            settings.folder,
            threads=settings.retrain_threads,
            priority=settings.retrain_priority,
            promote=lambda model, who, expected: parts.models.promoter(CLASSIFY).promote(
                model, who, expected=expected
            ),
        )
        parts.workers[RETRAIN] = RetrainWorker(
            database, RetrainWork(retraining), settings.retrain_every_days
        )
    return parts

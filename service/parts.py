"""What routes, pages and workers share: one object for each application."""

from dataclasses import dataclass, field

from fastapi import Request

from augrank.images.decode import DecodeLimits
from service.answers.classify import ClassifyService
from service.database.session import Database
from service.errors import NotFound
from service.images.store import ImageStore
from service.jobs.worker import JobWorker
from service.settings import ServiceSettings


@dataclass
class Parts:
    """The parts of an application."""

    settings: ServiceSettings
    database: Database
    images: ImageStore
    limits: DecodeLimits
    classify: ClassifyService | None = None  # None: no classifier was given
    workers: dict[str, JobWorker] = field(default_factory=dict)  # by kind of job

    @property
    def classifier(self) -> ClassifyService:
        """What classifies.

        Raises:
            NotFound: no classifier was given.
        """
        if self.classify is None:
            raise NotFound(
                "this service has no classifier",
                expected="a bundle of the task classify",
                got="none",
                remedy="Start it with one: python -m service BUNDLE.",
            )
        return self.classify


def parts_of(request: Request) -> Parts:
    """Return the parts of the application that a request came to."""
    found: Parts = request.app.state.parts
    return found

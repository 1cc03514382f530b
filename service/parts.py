"""What routes, pages and workers share: one object for each application."""

from dataclasses import dataclass, field

from fastapi import Request

from augrank.images.decode import DecodeLimits
from service.access.authenticator import Authenticator
from service.access.origin import is_loopback
from service.access.token_buckets import TokenBuckets
from service.answers.classify import ClassifyService
from service.answers.recommend import RecommendService
from service.database.session import Database
from service.errors import NotFound
from service.images.downloads import BoundedDownloads
from service.images.store import ImageStore
from service.images.versions import Previews
from service.jobs.worker import JobWorker
from service.models.registry import Registry
from service.models.service import Models
from service.outcomes.open_assignments import OpenAssignments
from service.settings import ServiceSettings


def _login_attempts() -> TokenBuckets:
    return TokenBuckets(per_s=1 / 6, burst=10)


@dataclass
class Parts:
    """The parts of an application."""

    settings: ServiceSettings
    database: Database
    images: ImageStore
    limits: DecodeLimits
    previews: Previews
    downloads: BoundedDownloads  # of the URLs in a request
    classify: ClassifyService | None = None  # None: no classifier was given
    recommend: RecommendService | None = None  # None: no recommender was given
    workers: dict[str, JobWorker] = field(default_factory=dict)  # by kind of job
    authenticator: Authenticator = field(init=False)
    models: Models = field(init=False)
    open_assignments: OpenAssignments = field(init=False)
    login_attempts: TokenBuckets = field(default_factory=_login_attempts)  # by address

    def __post_init__(self) -> None:
        """Let nobody in without a key from elsewhere."""
        self.authenticator = Authenticator(self.database, is_loopback(self.settings.host))
        registry = Registry(self.database, self.settings.folder, self.settings.max_models)
        self.models = Models(registry)
        self.open_assignments = OpenAssignments(self.settings.max_open_assignments)

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
                remedy="Start it with one, too: python -m service BUNDLE BUNDLE.",
            )
        return self.classify

    @property
    def recommender(self) -> RecommendService:
        """What recommends.

        Raises:
            NotFound: no recommender was given.
        """
        if self.recommend is None:
            raise NotFound(
                "this service has no recommender",
                expected="a bundle of the task recommend",
                got="none",
                remedy="Start it with one, too: python -m service BUNDLE BUNDLE.",
            )
        return self.recommend


def parts_of(request: Request) -> Parts:
    """Return the parts of the application that a request came to."""
    found: Parts = request.app.state.parts
    return found

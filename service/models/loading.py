"""Load bundles into this process, one beside the one that answers: a ``Deployment``.

At most two bundles are in memory: the one that answers, and either the one before it, which is kept
for some minutes so that a rollback loads nothing, or the one that is being loaded.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from augrank.bundle.spec import Bundle
from augrank.images.decode import DecodeLimits
from service.backends.classify import BundleBackend, ClassifyBackend
from service.backends.live import Live
from service.backends.recommend import RecommendBackend, RecommendBundle

log = logging.getLogger("augrank.service")
KEEP_S = 600.0  # for which the model before is kept in memory


class Answers(Protocol):
    """What a backend of any task has."""

    @property
    def model(self) -> str:
        """Digest of its bundle."""


BackendT = TypeVar("BackendT", bound=Answers)
# Of a bundle's directory and what answers meanwhile: a backend that is warmed up and has answered
# its smoke request as at export.
Load = Callable[[Path, BackendT], BackendT]


class LocalDeployment(Generic[BackendT]):
    """Bundles in this process. Promotions come one at a time.

    Args:
        live: what answers now.
        load: makes a backend of a bundle.
        keep_s: for which the bundle before stays loaded.
    """

    def __init__(self, live: Live[BackendT], load: Load[BackendT], keep_s: float = KEEP_S) -> None:
        self._live, self._load, self._keep_s = live, load, keep_s
        self._lock = threading.Lock()
        self._kept: BackendT | None = None
        self._kept_until = 0.0

    def deployed(self, bundle: Bundle[Any]) -> BackendT:
        """Return the backend of a bundle; see ``Deployment``."""
        now = self._live.current
        return now if now.model == bundle.digest else self._load(bundle.directory, now)

    def promote(self, bundle: Bundle[Any], switch: Callable[[BackendT], object]) -> None:
        """Load a bundle, unless it is kept, and let it answer; see ``Deployment``."""
        before, backend = self._live.current, self._take(bundle.digest)
        if backend is None:
            started = time.monotonic()
            backend = self._load(bundle.directory, before)
            log.info("%s was loaded in %.1f s", bundle.digest[:12], time.monotonic() - started)
        left = backend
        try:
            switch(backend)
            left = before
        finally:
            with self._lock:
                self._kept, self._kept_until = left, time.monotonic() + self._keep_s

    def expire(self) -> None:
        """Let the bundle before go, after some minutes; what it has begun, it answers."""
        with self._lock:
            if self._kept is not None and time.monotonic() >= self._kept_until:
                self._kept = None

    def _take(self, digest: str) -> BackendT | None:
        """Return the kept bundle if it is this one; another one goes before this one is loaded."""
        with self._lock:
            kept, self._kept = self._kept, None
        return kept if kept is not None and kept.model == digest else None


def load_classifier(directory: Path, live: ClassifyBackend) -> ClassifyBackend:
    """Load a classifier with the engine of the live one, if it has passed the gate there.

    Timing all engines would take every core from requests for seconds. What remains is one thread
    that checks files and builds the graph, and seven images. Its priority is not lowered: the
    engine's own threads would inherit that for good.
    """
    return BundleBackend(directory, like=live if isinstance(live, BundleBackend) else None)


def load_recommender(images: Path | None, limits: DecodeLimits) -> Load[RecommendBackend]:
    """Return what loads recommenders.

    Args:
        images: folder of the catalogue's images; None: they are not at hand.
        limits: larger images are rejected.
    """
    return lambda directory, live: RecommendBundle(directory, images, limits)

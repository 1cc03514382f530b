"""What answers when a service starts: bundles in this process, or on a server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from service.backends.bundles import CLASSIFY, RECOMMEND
from service.backends.classify import BundleBackend, ClassifyBackend
from service.backends.deployment import Deployment
from service.backends.recommend import RecommendBackend, RecommendBundle
from service.backends.remote.connect import connect_classifier, connect_recommender
from service.settings import ServiceSettings


@dataclass
class Backends:
    """What answers, by task.

    Attributes:
        classifier: tells labels.
        recommender: ranks versions of images.
        deployments: where they are, by task, if on a server.
    """

    classifier: ClassifyBackend | None = None
    recommender: RecommendBackend | None = None
    deployments: dict[str, Deployment[Any]] = field(default_factory=dict)


def start_backends(settings: ServiceSettings, directories: Mapping[str, Path]) -> Backends:
    """Load bundles, or connect to the server that has them.

    Args:
        settings: say where they are.
        directories: of the bundles, by task.

    Raises:
        BundleError: one does not load.
        BackendUnavailable: the server does not answer, or not with these bundles.
    """
    found = Backends()
    if directory := directories.get(CLASSIFY):
        if settings.backend:
            labels = connect_classifier(load_bundle(directory, ClassifySpec), settings)
            found.classifier, found.deployments[CLASSIFY] = labels.backend, labels.deployment
        else:
            found.classifier = BundleBackend(directory, limits=settings.image_limits)
    if directory := directories.get(RECOMMEND):
        if settings.backend:
            ranks = connect_recommender(load_bundle(directory, RecommendSpec), settings)
            found.recommender, found.deployments[RECOMMEND] = ranks.backend, ranks.deployment
        else:
            found.recommender = RecommendBundle(
                directory, settings.catalogue, settings.image_limits
            )
    return found

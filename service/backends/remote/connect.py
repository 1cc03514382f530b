"""Connect to the server that holds a bundle: --backend http://... or sagemaker:ENDPOINT."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Bundle
from augrank.errors import BadRequest
from service.backends.deployment import Deployment
from service.backends.remote.classify import RemoteClassify
from service.backends.remote.recommend import RemoteRecommend
from service.backends.remote.torchserve import TorchServeTransport
from service.backends.remote.torchserve_keys import TorchServeKeys
from service.backends.remote.torchserve_management import TorchServeManagement
from service.backends.remote.torchserve_promotion import RemoteT, TorchServeDeployment
from service.backends.remote.transport import Transport
from service.settings import ServiceSettings

SAGEMAKER = "sagemaker:"


@dataclass(frozen=True)
class Connected(Generic[RemoteT]):
    """A model on a server.

    Attributes:
        backend: has answered with the bundle.
        deployment: lets another one take its place.
    """

    backend: RemoteT
    deployment: Deployment[RemoteT]


def connect_classifier(bundle: ClassifyBundle, settings: ServiceSettings) -> Connected[Any]:
    """Connect to the server of a classifier.

    Args:
        bundle: that is deployed there.
        settings: name the server.

    Raises:
        BackendUnavailable: it does not answer, or not with this bundle.
        BadRequest: a setting does not fit.
    """

    def make(bundle: Bundle[Any], transport: Transport) -> RemoteClassify:
        return RemoteClassify(bundle, transport)

    return _connect(bundle, settings, make)


def connect_recommender(bundle: RecommendBundle, settings: ServiceSettings) -> Connected[Any]:
    """Connect to the server of a recommender; see ``connect_classifier``."""

    def make(bundle: Bundle[Any], transport: Transport) -> RemoteRecommend:
        return RemoteRecommend(bundle, transport, settings.catalogue)

    return _connect(bundle, settings, make)


def _connect(
    bundle: Bundle[Any],
    settings: ServiceSettings,
    make: Callable[[Bundle[Any], Transport], RemoteT],
) -> Connected[RemoteT]:
    if settings.backend.startswith(SAGEMAKER):
        deployment = _on_sagemaker(settings, make)
    else:
        deployment = _on_torchserve(bundle.spec.name, settings, make)
    return Connected(deployment.deployed(bundle), deployment)


def _on_torchserve(
    model: str, settings: ServiceSettings, make: Callable[[Bundle[Any], Transport], RemoteT]
) -> Deployment[RemoteT]:
    management_url = settings.backend_management or None
    keys = None
    if settings.backend_keys is not None:
        keys = TorchServeKeys(settings.backend_keys, management_url)
    management = None
    if management_url is not None:
        management = TorchServeManagement(management_url, model, keys)

    def backend(bundle: Bundle[Any], version: str | None) -> RemoteT:
        transport = TorchServeTransport(
            settings.backend,
            model,
            version=version,
            keys=keys,
            connections=settings.backend_connections,
        )
        return make(bundle, transport)

    return TorchServeDeployment(model, management, backend, settings.backend_folder)


def _on_sagemaker(
    settings: ServiceSettings, make: Callable[[Bundle[Any], Transport], RemoteT]
) -> Deployment[RemoteT]:
    try:
        from augrank.aws.client import Aws
        from export.sagemaker.endpoint import Endpoint
        from service.backends.remote.sagemaker import SageMakerTransport
        from service.backends.remote.sagemaker_promotion import SageMakerDeployment
    except ImportError as error:
        raise BadRequest(
            f"cannot ask SageMaker: {error}", remedy="pip install 'augrank[aws]'"
        ) from error
    name, aws = settings.backend.removeprefix(SAGEMAKER), Aws()

    def backend(bundle: Bundle[Any], variant: str | None) -> RemoteT:
        transport = SageMakerTransport(
            aws, name, variant=variant, connections=settings.backend_connections
        )
        return make(bundle, transport)

    return SageMakerDeployment(Endpoint(aws, name), backend)

"""Models on a SageMaker endpoint: the region on loopback, whose containers are real handlers.

What the stand-in does not show is said in tests/support/sagemaker/region.py: it switches an
endpoint at once, never throttles, and drains nothing.
"""

import threading
import time
from collections.abc import Callable

import boto3
import pytest
from botocore.exceptions import ClientError

from augrank.aws.client import Aws, AwsError
from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import AugrankError
from export.archive import pack_model_tar
from export.sagemaker import endpoint as endpoints
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import Release, Settings
from export.sagemaker.rollout import deploy
from handlers.classify_handler import ClassifyHandler
from handlers.recommend_handler import RecommendHandler
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendOptions
from service.backends.remote import sagemaker
from service.backends.remote.connect import connect_classifier, connect_recommender
from service.backends.remote.sagemaker import SageMakerTransport
from service.errors import BackendFailed, BackendUnavailable
from service.settings import ServiceSettings
from tests.service.support.model_server import Model, another_version, loaded
from tests.service.support.pages import photo
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads
from tests.support.sagemaker.region import BUCKET, IMAGE, ROLE, everything, local_aws

SETTINGS = ServiceSettings(backend="sagemaker:shop", backend_connections=2)


class Containers:
    """What the containers of a region answer with: a model for each archive."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}  # by name of SageMaker's model, the default one as ""
        self.faults: list[tuple[int, bytes]] = []
        self.newest: Model | None = None

    def __call__(self, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self.faults:
            return self.faults.pop(0)
        if name not in self.models:
            assert self.newest is not None
            self.models[name] = self.newest  # its archive was uploaded last
        return self.models[name].answer(body, headers)


@pytest.fixture
def containers(monkeypatch):
    monkeypatch.setattr(endpoints, "POLL_S", 0.05)
    monkeypatch.setattr(sagemaker, "BUSY_S", PATIENCE_S)
    found = Containers()
    with local_aws(found, monkeypatch):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield found


@pytest.fixture(scope="module")
def second(classify_export, tmp_path_factory):
    """A second bundle, and its model."""
    folder = tmp_path_factory.mktemp("second")
    bundle = another_version(classify_export.bundle, folder / "copy", "2.0")
    (folder / "model").mkdir()
    with loaded(ClassifyHandler, bundle, folder / "model") as model:
        yield load_bundle(bundle, ClassifySpec), model


@pytest.fixture
def deployed(containers, tmp_path) -> Callable[..., None]:
    """Deploy a bundle to the endpoint ``shop``."""

    def deploy_bundle(bundle, model: Model) -> None:
        dist = tmp_path / "dist"
        dist.mkdir()
        (dist / "bundle").symlink_to(bundle)
        pack_model_tar(bundle, "model", dist / "model.tar.gz")
        containers.newest = model
        settings = Settings("shop", IMAGE, ROLE, BUCKET, instance_type="ml.c5.large")
        deploy(Endpoint(Aws(), "shop"), Release(settings, dist))

    return deploy_bundle


def test_an_endpoint_classifies_as_the_bundle_does(deployed, labels, classify_export, classifier):
    deployed(classify_export.bundle, labels)
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    backend = connect_classifier(bundle, SETTINGS).backend
    with own_threads(backend):
        images = [photo(1), b"no image", photo(2)]
        told = backend.classify(images, ClassifyOptions("Box Review")).images
    assert told[0] == classifier.classify(images[0], review_kind="Box Review")
    assert told[1].error["code"] == "unsupported_image"
    assert told[1].error["status"] == 415
    assert told[2] == classifier.classify(images[2], review_kind="Box Review")
    backend.close()


def test_an_endpoint_recommends_as_the_bundle_does(
    deployed, tiny_export, recommender, image, tmp_path
):
    (tmp_path / "ranks").mkdir()
    with loaded(RecommendHandler, tiny_export.bundle, tmp_path / "ranks") as ranks:
        deployed(tiny_export.bundle, ranks)
        bundle = load_bundle(tiny_export.bundle, RecommendSpec)
        backend = connect_recommender(bundle, SETTINGS).backend
        context = {"campaign_type": "Newsletter", "industry": "Retail"}
        got = backend.recommend(image, RecommendOptions("open_rate", context))
        want = recommender.recommend(image, "open_rate", context)
        assert got.model_copy(update={"timings_ms": want.timings_ms, "cached": False}) == want
        backend.close()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ((500, b"Traceback"), BackendFailed, r"failed at a request.*got 500: "),
        ((507, b"out of memory"), BackendFailed, "got 507: "),
    ],
)
def test_faults_of_the_container(
    deployed, containers, labels, classify_export, monkeypatch, fault, error, message
):
    deployed(classify_export.bundle, labels)
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    backend = connect_classifier(bundle, SETTINGS).backend
    containers.faults = [fault] * 2  # the second one at the smoke request
    with pytest.raises(error, match=message):
        backend.classify([photo(1)], ClassifyOptions())
    containers.faults = [(503, b"busy")]
    assert backend.classify([photo(1)], ClassifyOptions()).images[0].error is None
    containers.faults = [(503, b"busy")] * 1000
    monkeypatch.setattr(sagemaker, "BUSY_S", 0.3)
    with pytest.raises(BackendUnavailable, match="too busy"):
        backend.classify([photo(1)], ClassifyOptions())


def test_throttling_is_waited_out_and_a_missing_endpoint_is_said(
    deployed, labels, classify_export, monkeypatch
):
    deployed(classify_export.bundle, labels)
    transport = SageMakerTransport(Aws(), "shop")
    refusals, invoke = ["ThrottlingException", "ValidationError"], transport._client.invoke_endpoint

    def throttled(**parameters):
        if refusals:
            details = {"Error": {"Code": refusals.pop(0), "Message": "Endpoint shop not found"}}
            raise ClientError(details, "InvokeEndpoint")
        return invoke(**parameters)

    monkeypatch.setattr(transport._client, "invoke_endpoint", throttled)
    with pytest.raises(BackendUnavailable, match=r"cannot be asked.*not found.*export status"):
        transport.ask(photo(1), {})
    assert refusals == []
    assert b'"labels"' in transport.ask(photo(1), {})


def test_an_endpoint_with_another_bundle_is_refused(deployed, labels, classify_export, second):
    deployed(classify_export.bundle, labels)
    with pytest.raises(BackendUnavailable, match=r"another bundle: expected shapes 2.0\+"):
        connect_classifier(second[0], SETTINGS)


def wait_until_asked(asked: list[tuple[str, str]], digest: str, since: int = 0) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while digest[:12] not in {model for model, _ in asked[since:]}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_bundle_takes_the_place_of_another_without_a_failed_request(
    deployed, containers, labels, classify_export, second
):
    deployed(classify_export.bundle, labels)
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    connected = connect_classifier(bundle, SETTINGS)
    current, stop, failures, models = [connected.backend], threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            backend = current[-1]
            try:
                answer = backend.classify([photo(1)], ClassifyOptions())
                models.append((backend.model[:12], answer.bundle_version[-12:]))
            except AugrankError as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        other, model = second
        containers.newest = model
        connected.deployment.promote(other, current.append)
        assert current[-1].model == other.digest
        wait_until_asked(models, other.digest)
        containers.newest = labels
        connected.deployment.promote(bundle, current.append)
        wait_until_asked(models, bundle.digest, len(models))
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert {asked for asked, _ in models} == {bundle.digest[:12], other.digest[:12]}
    assert all(asked == answered for asked, answered in models)
    left = everything()
    assert (len(left["configs"]), len(left["models"])) == (1, 1)


def test_a_bundle_that_answers_wrongly_is_removed_and_the_one_before_stays(
    deployed, containers, labels, classify_export, second
):
    deployed(classify_export.bundle, labels)
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    connected = connect_classifier(bundle, SETTINGS)
    containers.newest = labels  # the new container serves the old archive
    switched: list[object] = []
    with pytest.raises(BackendFailed, match=r"expected shapes 2.0\+.*one before still answers"):
        connected.deployment.promote(second[0], switched.append)
    assert switched == []
    assert len(everything()["models"]) == 1
    assert connected.backend.classify([photo(1)], ClassifyOptions()).images[0].error is None


def test_a_process_that_could_not_look_at_the_endpoint_promotes_from_what_answers(
    deployed, containers, labels, classify_export, second, monkeypatch
):
    deployed(classify_export.bundle, labels)
    bundle, (other, model) = load_bundle(classify_export.bundle, ClassifySpec), second
    first, follows = (connect_classifier(bundle, SETTINGS).deployment for _ in range(2))
    first._grace_s = follows._grace_s = 0.0
    containers.newest = model
    first.promote(other, lambda backend: None)
    with monkeypatch.context() as patch:  # it may invoke the endpoint, and no more
        patch.setattr(follows._endpoint, "existing_config", _refused)
        assert follows.deployed(other).model == other.digest
    containers.newest = labels
    asked: list[str] = []
    follows.promote(bundle, lambda backend: asked.append(backend.model))
    assert asked == [bundle.digest]
    left = everything()
    assert (len(left["configs"]), len(left["models"])) == (1, 1)
    found = follows.deployed(bundle).classify([photo(1)], ClassifyOptions())
    assert found.images[0].error is None


def _refused():
    raise AwsError("AccessDeniedException")

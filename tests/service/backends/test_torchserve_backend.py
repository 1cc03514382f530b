"""The real TorchServe behind the service: answers, a killed server, promotion under load."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import AugrankError
from augrank.serving.capacity import CapacityRequest, plan_serving
from augrank.serving.server import Server, ServerOptions, serve
from augrank.serving.torchserve import loopback_client, stop
from service.app import create_app
from service.backends.bundles import CLASSIFY
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendOptions
from service.backends.remote import torchserve_management
from service.backends.remote.connect import connect_classifier, connect_recommender
from service.backends.remote.torchserve import ANSWER_S
from service.backends.remote.torchserve_management import TorchServeManagement
from service.backends.start import start_backends
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.support.model_server import another_version
from tests.service.support.pages import Caller, photo
from tests.service.support.processes import free_port
from tests.service.support.serving import served
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads

pytestmark = pytest.mark.slow
REQUESTS, ASKING = 800, 3  # at the least; threads that ask


@contextmanager
def torchserve(source, *, auth: bool = False, port: int = 0, management: int = 0):
    """Serve a bundle with a worker of one thread, as ``augrank serve`` does."""
    plan = plan_serving(CapacityRequest(workers=1, threads=1))
    options = ServerOptions(
        port=port,
        auth=auth,
        plan=plan,
        precision="fp32",
        device="cpu",
        management_port=management or free_port(),
    )
    with serve(source, options) as server:
        yield server


@pytest.fixture(autouse=True)
def patient_management(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the management API take its time: it answers beside workers that start."""
    monkeypatch.setattr(TorchServeManagement._ask, "__defaults__", (None, PATIENCE_S))
    monkeypatch.setattr(torchserve_management, "READY_TIMEOUT_S", PATIENCE_S)


@pytest.fixture(scope="module")
def server(classify_export) -> Iterator[Server]:
    with torchserve(classify_export.archive) as running:
        yield running


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'service.db'}")
    opened.migrate()
    yield opened
    opened.close()


def settings_of(server: Server, **more) -> ServiceSettings:
    return ServiceSettings(
        backend=server.url, backend_management=server.torchserve.management_url, **more
    )


def versions(server: Server) -> dict[str, bool]:
    """Return the registered versions, and whether each is the default one."""
    url = f"{server.torchserve.management_url}/models/{server.torchserve.name}"
    with loopback_client(timeout=PATIENCE_S) as client:
        (default,) = client.get(url).json()
        found = client.get(f"{url}/all").json()
    name = default["modelVersion"]
    return {each["modelVersion"]: each["modelVersion"] == name for each in found}


def test_torchserve_classifies_as_the_bundle_does(server, classify_export, classifier):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    backend = connect_classifier(bundle, settings_of(server, backend_connections=3)).backend
    images = [photo(number) for number in range(12)]
    with own_threads(backend):
        told = backend.classify([*images, b"no image"], ClassifyOptions("Box Review", top=2))
    for image, answer in zip(images, told.images[:-1], strict=True):
        assert answer == classifier.classify(image, review_kind="Box Review", top=2)
    assert told.images[-1].error["code"] == "unsupported_image"
    large = np.random.default_rng(0).integers(0, 256, (26 * 2**20,), np.uint8).tobytes()
    (answer,) = backend.classify([large], ClassifyOptions()).images
    assert answer.error["code"] == "image_too_large"
    backend.close()


def test_torchserve_recommends_as_the_bundle_does(tiny_export, recommender, image):
    bundle = load_bundle(tiny_export.bundle, RecommendSpec)
    context = {"campaign_type": "Newsletter", "industry": "Retail"}
    with torchserve(tiny_export.archive) as server:
        backend = connect_recommender(bundle, settings_of(server)).backend
        options = backend.canonical(RecommendOptions("open_rate", context, min_lift=0.1))
        got = backend.recommend(image, options)
        backend.close()
    want = recommender.recommend(image, "open_rate", context, min_lift=0.1)
    assert got.model_copy(update={"timings_ms": want.timings_ms, "cached": False}) == want


def test_keys_are_read_from_the_servers_file_and_renewed(classify_export):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    with torchserve(classify_export.archive, auth=True) as server:
        with pytest.raises(AugrankError, match=r"--backend-keys"):
            connect_classifier(bundle, settings_of(server))
        file = server.torchserve.folder / "key_file.json"
        backend = connect_classifier(bundle, settings_of(server, backend_keys=file)).backend
        before = json.loads(file.read_text())
        for kind in ("inference", "management"):  # what happens after an hour
            httpx.get(
                f"{server.torchserve.management_url}/token",
                params={"type": kind},
                headers={"Authorization": f"Bearer {before['API']['key']}"},
                timeout=PATIENCE_S,
            ).raise_for_status()
        assert json.loads(file.read_text())["inference"]["key"] != before["inference"]["key"]
        assert backend.classify([photo(1)], ClassifyOptions()).images[0].error is None
        backend._transport._keys.renew(
            "inference",
            backend._transport._keys.header("inference"),
            backend._transport._client,
        )
        assert backend.classify([photo(2)], ClassifyOptions()).images[0].error is None
        backend.close()


def test_a_server_that_was_killed_is_said_and_works_again(classify_export, database, tmp_path):
    port = free_port()
    with torchserve(classify_export.archive, port=port) as server:
        settings = settings_of(server, folder=tmp_path)
        found = start_backends(settings, {CLASSIFY: classify_export.bundle})
        app = create_app(settings, database, found.classifier, deployments=found.deployments)
        with TestClient(app) as http:
            caller = Caller(http)
            (known,) = caller.classify(photo(1))
            stop(server.torchserve.process)
            started = time.monotonic()
            refused = http.post(
                "/v1/classify", files=[("images", ("2", photo(2)))], data={"advertiser": "ada"}
            )
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "backend_unavailable"
            assert time.monotonic() - started < ANSWER_S  # it did not wait for an answer
            assert caller.classify(photo(1))[0]["labels"] == known["labels"]
            with torchserve(classify_export.archive, port=port):
                (answer,) = caller.classify(photo(2))
            assert answer["error"] is None
        found.classifier.close()


def test_a_server_with_another_bundle_gets_this_one_only_with_the_management_api(
    server, classify_export, tmp_path
):
    other = load_bundle(
        another_version(classify_export.bundle, tmp_path / "b", "3.0"), ClassifySpec
    )
    with pytest.raises(AugrankError, match=r"another bundle: expected shapes 3.0\+"):
        connect_classifier(other, ServiceSettings(backend=server.url))
    before = versions(server)
    backend = connect_classifier(other, settings_of(server)).backend
    assert backend.classify([photo(1)], ClassifyOptions()).bundle_version == other.version
    assert set(versions(server)) - set(before) == {other.digest[:12]}
    backend.close()


@dataclass
class Load:
    """What came of requests."""

    answers: list[tuple[float, float, str]] = field(default_factory=list)  # began, ended, model
    failures: list[str] = field(default_factory=list)

    @property
    def models(self) -> set[str]:
        return {model for _, _, model in self.answers}

    def between(self, since: float, until: float) -> list[tuple[float, str]]:
        """Return how long requests took that began and ended meanwhile, and their models."""
        return [
            (ended - began, model)
            for began, ended, model in self.answers
            if since <= began and ended <= until
        ]


def p99_ms(found: list[tuple[float, str]]) -> float:
    return round(1e3 * float(np.percentile([took for took, _ in found], 99)), 1)


def pictures() -> Iterator[bytes]:
    """Yield pictures that no cache knows, for ever: photos of shapes on their own patterns."""
    for number in range(10**6):
        yield pattern(number)


def pattern(number: int) -> bytes:
    import cv2

    rng = np.random.default_rng(number)
    blocks = rng.integers(0, 256, (8, 8, 3), np.uint8)
    large = cv2.resize(blocks, (64, 64), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", large)[1].tobytes()


@contextmanager
def under_load(url: str) -> Iterator[Load]:
    """Ask about new pictures, one in each request, until the block ends."""
    load, ended, source, lock = Load(), threading.Event(), pictures(), threading.Lock()

    def ask() -> None:
        with loopback_client(timeout=PATIENCE_S) as client:
            while not ended.is_set():
                with lock:
                    data = next(source)
                began = time.monotonic()
                answer = client.post(
                    f"{url}/v1/classify",
                    files=[("images", ("1", data))],
                    data={"advertiser": "ada"},
                )
                ended_at, said = time.monotonic(), answer.json()
                if answer.status_code == 200 and said["images"][0]["error"] is None:
                    load.answers.append((began, ended_at, said["images"][0]["model_digest"]))
                else:
                    load.failures.append(answer.text)

    with ThreadPoolExecutor(ASKING) as pool:
        asking = [pool.submit(ask) for _ in range(ASKING)]
        try:
            yield load
        finally:
            ended.set()
        for each in asking:
            each.result()


def wait_for(load: Load, count: int) -> None:
    """Wait until so many requests more were answered."""
    goal, deadline = len(load.answers) + count, time.monotonic() + PATIENCE_S
    while len(load.answers) < goal and not load.failures and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(load.answers) >= goal, load.failures


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were registered: a worker was started for each."""
    archives, register = list[str](), TorchServeManagement.register

    def noted(management: TorchServeManagement, archive: str, workers: int) -> None:
        archives.append(archive)
        register(management, archive, workers)

    monkeypatch.setattr(TorchServeManagement, "register", noted)
    return archives


def test_promotion_and_rollback_under_load_fail_no_request(
    classify_export, database, tmp_path, registered, record_property: Callable[[str, object], None]
):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    second, third = (
        another_version(bundle.directory, tmp_path / name, name) for name in ("2.0", "3.0")
    )
    with torchserve(classify_export.archive) as server:
        settings = settings_of(server, folder=tmp_path / "service")
        found = start_backends(settings, {CLASSIFY: bundle.directory})
        app = create_app(settings, database, found.classifier, deployments=found.deployments)
        models = app.state.parts.models
        first = models.registry.start_with(bundle.directory)
        promoter = models.promoter(CLASSIFY)
        added = [models.registry.add(each) for each in (second, third)]
        with served(app) as url, under_load(url) as load:
            wait_for(load, REQUESTS // 4)
            promoted = time.monotonic()
            promoter.promote(added[0].id, "ana")
            done = time.monotonic()
            wait_for(load, REQUESTS // 4)
            before_rollback = time.monotonic()
            promoter.rollback("ana")
            rolled_back_s = time.monotonic() - before_rollback
            assert len(registered) == 1  # by the promotion: a rollback starts no worker
            wait_for(load, REQUESTS // 4)
            promoter.promote(added[1].id, "ana")
            wait_for(load, REQUESTS // 4)
        assert load.failures == []
        assert len(load.answers) >= REQUESTS
        assert load.models == {first.digest, added[0].digest, added[1].digest}
        assert promoter.digest == added[1].digest
        # The one before stays for a rollback; older ones are gone.
        assert versions(server) == {"1.0": False, added[1].digest[:12]: True}
    during = load.between(promoted, done)
    assert first.digest in {model for _, model in during}  # while the new worker started
    figures = {
        "requests": len(load.answers),
        "promotion_s": round(done - promoted, 2),
        "rollback_s": round(rolled_back_s, 3),
        "p99_before_ms": p99_ms(load.between(0, promoted)),
        "p99_during_ms": p99_ms(during),
    }
    record_property("promotion", figures)
    print(json.dumps(figures))


def test_a_bundle_that_does_not_start_leaves_the_one_before(server, classify_export, tmp_path):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    connected = connect_classifier(bundle, settings_of(server))
    broken = load_bundle(another_version(bundle.directory, tmp_path / "b", "4.0"), ClassifySpec)
    graph = next(iter(broken.spec.graphs.values())).file
    (broken.directory / graph).write_bytes(b"no graph")
    switched: list[object] = []
    with pytest.raises(AugrankError, match="management API failed at POST /models"):
        connected.deployment.promote(broken, switched.append)
    assert switched == []
    assert broken.digest[:12] not in versions(server)
    assert connected.backend.classify([photo(1)], ClassifyOptions()).images[0].error is None
    connected.backend.close()


def test_without_the_management_api_models_stay_as_they_are(server, classify_export, tmp_path):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    connected = connect_classifier(bundle, ServiceSettings(backend=server.url))
    with pytest.raises(AugrankError, match="--backend-management"):
        connected.deployment.promote(bundle, lambda _: None)
    connected.backend.close()

"""Models on a server: requests, faults, and the check that the right bundle answers."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi.testclient import TestClient

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import BadRequest, RequestError
from handlers.recommend_handler import RecommendHandler
from service.app import create_app
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendOptions
from service.backends.remote import torchserve
from service.backends.remote.classify import RemoteClassify
from service.backends.remote.recommend import RemoteRecommend
from service.backends.remote.torchserve import TorchServeTransport, request_of, server_url
from service.errors import BackendFailed, BackendUnavailable
from service.settings import ServiceSettings
from tests.service.jobs.support import finished, serve
from tests.service.support.model_server import another_version, loaded, model_server
from tests.service.support.pages import Caller, photo
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads


@pytest.fixture(scope="module")
def ranks(tiny_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with loaded(RecommendHandler, tiny_export.bundle, folder) as model:
        yield model


@pytest.fixture
def server(labels):
    with model_server(default=labels) as running:
        yield running


@pytest.fixture
def remote(server, classify_export):
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    backend = RemoteClassify(bundle, TorchServeTransport(server.url, "shapes", connections=2))
    with own_threads(backend):
        yield backend
    backend.close()


@contextmanager
def waiting(limit_s: float) -> Iterator[None]:
    """Let requests be tried again for so long, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchserve, "BUSY_S", limit_s)
        patch.setattr(torchserve, "UNREACHABLE_S", limit_s)
        yield


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    with waiting(PATIENCE_S):
        yield


def test_a_remote_classifier_answers_as_the_bundle_does(remote, classifier):
    images = [photo(number) for number in range(5)]
    options = ClassifyOptions(review_kind="box review", coverage=0.8, top=2)
    remote.check(options)
    told = remote.classify(images, options)
    assert told.bundle_version == classifier.bundle.version
    assert told.engine.startswith("fp32")
    assert told.coverage == 0.8
    for image, answer in zip(images, told.images, strict=True):
        want = classifier.classify(image, review_kind="Box Review", coverage=0.8, top=2)
        assert answer == want
    assert remote.labels == classifier.heads.classes
    assert (remote.name, remote.model) == ("shapes", classifier.bundle.digest)
    assert remote.tags == classifier.bundle.spec.tags
    remote.verify()


def test_what_is_wrong_with_an_image_is_said_of_it_alone(remote):
    good, other = photo(1), photo(2)
    told = remote.classify([good, b"no image", other, good[:300]], ClassifyOptions())
    assert [each.error and each.error["code"] for each in told.images] == [
        None,
        "unsupported_image",
        None,
        "broken_image",
    ]
    assert told.images[1].error["status"] == 415
    assert told.images[1].error["remedy"]
    (alone,) = remote.classify([b"no image"], ClassifyOptions()).images
    assert alone.error["code"] == "unsupported_image"


def test_options_are_checked_before_anything_is_sent(remote, server):
    with pytest.raises(BadRequest, match="review kind is not known"):
        remote.classify([photo(1)], ClassifyOptions(review_kind="Shoe Review"))
    with pytest.raises(BadRequest, match="coverage"):
        remote.check(ClassifyOptions(coverage=0.2))
    assert server.seen == []


def test_a_busy_server_and_a_cut_connection_are_asked_again(remote, server):
    server.faults, server.cut = [503, 503], 1
    (answer,) = remote.classify([photo(3)], ClassifyOptions()).images
    assert answer.error is None
    assert len(server.seen) == 4


def test_a_server_that_stays_busy_is_unavailable(remote, server):
    server.faults = [503] * 1000
    with waiting(0.2), pytest.raises(BackendUnavailable, match=r"too busy.*got fault 503"):
        remote.classify([photo(3)], ClassifyOptions())


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (500, BackendFailed, "failed at a request.*500: fault 500"),
        (507, BackendFailed, "507: out of memory"),
        (404, BackendUnavailable, "is not served there.*augrank serve NAME.mar"),
        (400, BackendUnavailable, "asks for a key.*--no-auth"),
    ],
)
def test_faults_of_the_server_are_not_the_images(remote, server, status, error, message):
    server.faults = [status] * 2  # the second one at the smoke request
    with pytest.raises(error, match=message):
        remote.classify([photo(3)], ClassifyOptions())


def test_one_image_at_which_the_server_fails_does_not_hide_the_others(remote, server):
    server.faults = [500]
    told = remote.classify([photo(1), photo(2)], ClassifyOptions()).images
    assert sorted(each.error["code"] if each.error else "" for each in told) == [
        "",
        "backend_failed",
    ]


def test_an_image_at_which_a_server_fails_that_answers_others_has_that_as_its_error(remote, server):
    server.poison = photo(1)
    (alone,) = remote.classify([server.poison], ClassifyOptions()).images
    assert (alone.error["code"], alone.error["status"]) == ("backend_failed", 502)
    assert "500: fault 500" in alone.error["message"]
    assert len(server.seen) == 3  # the smoke request, and a second try
    server.poison, server.faults = None, [500]  # that was by chance
    assert remote.classify([photo(1)], ClassifyOptions()).images[0].error is None


def test_a_server_that_ends_at_an_image_has_failed_at_it(remote, server):
    server.faults = [500, *[503] * 1000]
    with waiting(0.2), pytest.raises(BackendFailed, match="500: fault 500"):
        remote.classify([photo(1)], ClassifyOptions())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_batch_skips_an_image_at_which_the_server_fails_and_stops_where_it_fails_at_all(
    server, remote, database, tmp_path, site
):
    settings = ServiceSettings(folder=tmp_path, allow_loopback=True)
    with TestClient(create_app(settings, database, remote)) as http:
        caller, bad = Caller(http), serve(site, "/bad.png", photo(2))
        server.poison = photo(2)
        state = finished(caller, [serve(site, "/good.png", photo(1)), bad])
        assert (state["state"], state["answered"], state["skipped"]) == ("done", 1, 1)
        state = finished(caller, [bad])  # alone
        assert (state["state"], state["answered"], state["skipped"]) == ("done", 0, 1)
        path = f"/v1/batches/{state['id']}/results"
        (item,) = http.get(path, params={"advertiser": "ada"}).json()["items"]
        assert item["answer"]["error"]["code"] == "backend_failed"
        server.faults = [500] * 1000
        state = finished(caller, [serve(site, "/new.png", photo(3))])
        assert (state["state"], state["answered"], state["skipped"]) == ("failed", 0, 0)


def test_an_image_above_the_servers_limit_has_that_as_its_error(remote, server):
    server.faults = [413]
    (answer,) = remote.classify([photo(3)], ClassifyOptions()).images
    assert answer.error["code"] == "image_too_large"
    assert "at most 25 MB" in answer.error["message"]


def test_a_server_with_another_bundle_is_refused(server, classify_export, tmp_path):
    other = another_version(classify_export.bundle, tmp_path / "other", "9.9")
    bundle = load_bundle(other, ClassifySpec)
    backend = RemoteClassify(bundle, TorchServeTransport(server.url, "shapes"))
    with pytest.raises(BackendUnavailable, match=r"another bundle: expected shapes 9.9\+"):
        backend.verify()
    with pytest.raises(BackendUnavailable, match="another bundle"):
        backend.classify([photo(1)], ClassifyOptions())


def test_a_version_that_went_is_looked_for_as_the_default(server, labels, classify_export):
    """TorchServe was started again, with the promoted bundle as its only version."""
    server.models["2"] = labels
    bundle = load_bundle(classify_export.bundle, ClassifySpec)
    backend = RemoteClassify(bundle, TorchServeTransport(server.url, "shapes", version="2"))
    assert backend.classify([photo(1)], ClassifyOptions()).images[0].error is None
    del server.models["2"]
    assert backend.classify([photo(1)], ClassifyOptions()).images[0].error is None
    shapes = "/predictions/shapes"
    assert server.seen == [f"{shapes}/2", f"{shapes}/2", shapes]
    backend.close()


def test_a_remote_recommender_answers_as_the_bundle_does(ranks, tiny_export, recommender, image):
    bundle = load_bundle(tiny_export.bundle, RecommendSpec)
    with model_server(default=ranks) as server:
        remote = RemoteRecommend(bundle, TorchServeTransport(server.url, "tiny"))
        remote.verify()
        context = {"campaign_type": "newsletter", "industry": "Retail"}
        options = remote.canonical(RecommendOptions("open_rate", context, ("sketch",)))
        assert options.context == {"campaign_type": "Newsletter", "industry": "Retail"}
        assert options.candidates == ("original", "sketch")
        got = remote.recommend(image, options)
        want = recommender.recommend(
            image, "open_rate", dict(options.context), candidates=["sketch"]
        )
        assert {each.name for each in got.candidates} == {"original", "sketch"}
        for mine, theirs in zip(got.candidates, want.candidates, strict=True):
            assert mine.name == theirs.name
            assert np.isclose(mine.probability, theirs.probability, atol=1e-6)
        assert [each.path for each in got.alternates] == [each.path for each in want.alternates]
        with pytest.raises(RequestError, match="one of open_rate"):
            remote.canonical(RecommendOptions("opens", context))
        with pytest.raises(RequestError, match="not an image") as refused:
            remote.recommend(b"text", options)
        assert (refused.value.status, refused.value.code) == (415, "unsupported_image")
        assert len(remote.catalogue.images) == bundle.spec.alternates.count
        assert [target.name for target in remote.targets] == list(bundle.spec.targets)
        remote.close()


def test_the_service_answers_what_it_has_kept_while_the_server_is_down(
    server, remote, database, tmp_path
):
    known, new = photo(1), photo(2)
    app = create_app(ServiceSettings(folder=tmp_path), database, remote)
    with TestClient(app) as http:
        caller = Caller(http)
        (first,) = caller.classify(known)
        server.cut = 1000
        (again,) = caller.classify(known)
        assert again["labels"] == first["labels"]
        with waiting(0.2):
            refused = http.post(
                "/v1/classify", files=[("images", ("1", new))], data={"advertiser": "ada"}
            )
        assert refused.status_code == 503
        error = refused.json()["error"]
        assert error["code"] == "backend_unavailable"
        assert "augrank serve" in error["remedy"]
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["backend"]) == (200, "unavailable")
        server.cut = 0
        assert caller.classify(new)[0]["error"] is None
        assert http.get("/readyz").json() == {"status": "ready", "backend": "available"}


def test_long_fields_go_into_the_body_and_short_ones_beside_the_image():
    body, headers = request_of(b"abc", {"top": 3}, 100)
    assert (body, headers["X-Augrank-Fields"]) == (b"abc", '{"top": 3}')
    body, headers = request_of(b"abc", {"candidates": ["x" * 200]}, 100)
    assert body == b'{"image": "YWJj", "candidates": ["' + b"x" * 200 + b'"]}'
    assert headers == {"Content-Type": "application/json"}


def test_addresses_of_servers():
    assert server_url("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    assert server_url("http://[::1]:8080/predictions/shapes") == "http://[::1]:8080"
    assert server_url("https://models.example.com/ts") == "https://models.example.com/ts"
    for wrong in ("127.0.0.1:8080", "ftp://x", "", "http://"):
        with pytest.raises(BadRequest, match=r"expected http://127.0.0.1:8080"):
            server_url(wrong)

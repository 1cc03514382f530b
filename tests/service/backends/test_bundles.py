"""Bundles in the service's own process: how many requests they compute at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from augrank.errors import RequestError
from service.backends.bundles import AT_ONCE, EMBEDDED_AT_ONCE
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendOptions
from tests.support.image_files import noise_jpeg
from tests.support.patience import PATIENCE_S

REQUESTS = 3 * AT_ONCE


class Computing:
    """Takes the place of a model; counts who is inside, and lets none go before all can be."""

    def __init__(self) -> None:
        self.inside, self.most = 0, 0
        self._lock, self._all = threading.Lock(), threading.Barrier(AT_ONCE)

    def __call__(self, requests: list[object]) -> list[RequestError]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._all.wait(PATIENCE_S)
        with self._lock:
            self.inside -= 1
        return [RequestError("computed")]


def ask_all(ask) -> list[str]:
    with ThreadPoolExecutor(REQUESTS) as pool:
        asked = [pool.submit(ask, noise_jpeg(24, 40 + number)) for number in range(REQUESTS)]
        return [str(each.exception(PATIENCE_S)) for each in asked]


def test_some_requests_for_labels_compute_at_once(backend, monkeypatch):
    computing = Computing()
    monkeypatch.setattr(backend._classifier, "classify_batch", computing)
    assert ask_all(lambda image: backend.classify([image], ClassifyOptions())) == (
        ["computed"] * REQUESTS
    )
    assert computing.most == AT_ONCE


def test_some_recommendations_compute_at_once(recommend_backend, monkeypatch):
    computing = Computing()
    monkeypatch.setattr(recommend_backend._recommender, "recommend_batch", computing)
    told = ask_all(lambda image: recommend_backend.recommend(image, RecommendOptions()))
    assert told == ["computed"] * REQUESTS
    assert computing.most == AT_ONCE


def test_some_of_them_share_the_network(backend, recommend_backend):
    assert 1 < EMBEDDED_AT_ONCE < AT_ONCE
    for engine in (backend._classifier, recommend_backend._recommender):
        turn = engine.backbone._turn
        assert [turn.acquire(blocking=False) for _ in range(EMBEDDED_AT_ONCE + 1)] == (
            [True] * EMBEDDED_AT_ONCE + [False]
        )
        for _ in range(EMBEDDED_AT_ONCE):
            turn.release()

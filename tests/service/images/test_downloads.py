"""Slow hosts keep those waiting who ask for them, and nobody else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from augrank.download.request_images import TOTAL_S
from augrank.errors import ImageNotFetched
from service.access.identity import Role
from service.app import create_app
from service.database.session import Database
from service.errors import TooManyRequests
from service.images.downloads import BoundedDownloads
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.keyed import make_key
from tests.service.support.pages import photo
from tests.service.support.recommender_stub import DrawnRecommender
from tests.service.support.serving import served
from tests.support.patience import PATIENCE_S
from tests.training.download.site import Site, reply

AT_ONCE = 2


class SlowSite:
    """A site whose image comes when it is released."""

    def __init__(self) -> None:
        self.site, self.released, self.asked = Site(), threading.Event(), threading.Semaphore(0)
        self.url = self.site.answer("/slow.png", self._answer)

    def _answer(self, handler, _) -> None:
        self.asked.release()
        self.released.wait(PATIENCE_S)
        reply(handler, 200, photo(80))

    def close(self) -> None:
        self.released.set()
        self.site.server.end()


@pytest.fixture
def slow() -> Iterator[SlowSite]:
    running = SlowSite()
    yield running
    running.close()


def post(site: str, key: str, path: str = "classify", **data: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{site}/v1/{path}", headers=headers, data=data, timeout=PATIENCE_S)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_key_that_asks_for_slow_hosts_is_refused_and_others_are_answered(
    database: Database, tmp_path, slow: SlowSite
):
    settings = ServiceSettings(folder=tmp_path, allow_loopback=True, downloads_at_once=AT_ONCE)
    app = create_app(settings, database, FixedModel(0), DrawnRecommender())
    ada, bob = (make_key(database, who, who, Role.READ) for who in ("ada", "bob"))
    quick = slow.site.answer("/quick.png", photo(81))
    with served(app) as url, ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [
            pool.submit(post, url, ada, advertiser="ada", urls=slow.url) for _ in range(AT_ONCE)
        ]
        for _ in waiting:
            assert slow.asked.acquire(timeout=PATIENCE_S)
        for path, given in (("classify", {"urls": slow.url}), ("recommend", {"url": slow.url})):
            refused = post(url, ada, path, advertiser="ada", **given)
            assert refused.status_code == 429, refused.text
            assert refused.headers["Retry-After"] == f"{TOTAL_S:.0f}"
            error = refused.json()["error"]
            assert f"at most {AT_ONCE} requests of ada at once" in error["expected"]
            assert "/v1/batches" in error["remedy"]
        other = post(url, bob, advertiser="bob", urls=quick)
        assert other.status_code == 200, other.text
        assert other.json()["images"][0]["error"] is None
        assert not any(each.done() for each in waiting)
        slow.released.set()
        assert [each.result().status_code for each in waiting] == [200] * AT_ONCE
        again = post(url, ada, advertiser="ada", urls=slow.url)
        assert again.status_code == 200, again.text


def test_all_together_leave_threads_for_others():
    entered, released = threading.Semaphore(0), threading.Event()

    def wait(urls):
        entered.release()
        assert released.wait(PATIENCE_S)
        return tuple(ImageNotFetched(url) for url in urls)

    downloads = BoundedDownloads(wait, of_one=2, most=3)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(downloads, who, ["x"]) for who in ("ada", "ada", "bob")]
        for _ in running:
            assert entered.acquire(timeout=PATIENCE_S)
        with pytest.raises(TooManyRequests, match="2 requests of ada"):
            downloads("ada", ["x"])
        with pytest.raises(TooManyRequests, match="3 requests of all advertisers"):
            downloads("eva", ["x"])
        released.set()
        assert all(len(each.result()) == 1 for each in running)
    assert len(downloads("eva", ["x", "y"])) == 2


def test_a_download_that_fails_gives_its_turn_back():
    def fail(_):
        raise ZeroDivisionError

    downloads = BoundedDownloads(fail, of_one=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            downloads("ada", ["x"])

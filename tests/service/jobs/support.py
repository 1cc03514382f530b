"""Batches of URLs of a web site on loopback."""

import time

from tests.service.support.pages import Caller
from tests.support.patience import PATIENCE_S
from tests.training.download.site import Site, reply


def serve(site: Site, path: str, data: bytes, etag: str = '"1"') -> str:
    """Serve an image that says when it has not changed."""

    def answer(handler, _):
        if handler.headers.get("If-None-Match") == etag:
            reply(handler, 304)
        else:
            reply(handler, 200, data, ETag=etag, Content_Type="image/png")

    return site.answer(path, answer)


def finished(caller: Caller, urls: list[str], advertiser: str = "ada", **more) -> dict:
    body = {"advertiser": advertiser, "urls": urls, **more}
    added = caller.http.post("/v1/batches", json=body)
    assert added.status_code == 202, added.text
    number, deadline = added.json()["id"], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        path = f"/v1/batches/{number}"
        state = caller.http.get(path, params={"advertiser": advertiser}).json()
        if state["state"] in ("done", "failed"):
            return state
        time.sleep(0.05)
    raise AssertionError(state)

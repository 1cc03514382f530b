"""A client of the service, in one file that needs httpx alone: copy it into your project.

with ServiceClient("http://127.0.0.1:8090", advertiser="dealer_007", who="ana") as service:
    (answer,) = service.classify(Path("car.jpg").read_bytes())
    service.fix(answer, "colour", "burgundy", why="red wine, not red")
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypedDict

import httpx

POLL_S = 0.5  # between looks at a batch


class ServiceError(Exception):
    """The service refused a request.

    Attributes:
        status: of the HTTP answer.
        code: such as ``conflict``.
    """

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(error.get("message", f"HTTP {status}"))
        self.status, self.code = status, str(error.get("code", "http"))


class FixNote(TypedDict):
    """The fix that holds for a label."""

    id: int
    who: str
    why: str
    at: str


class Label(TypedDict):
    """A label of an image, and where it comes from."""

    value: str | None
    source: Literal["fixed", "configured", "classified", "default"]
    model_value: str
    probability: float
    top: list[dict[str, Any]]
    set: list[str]
    fix: FixNote | None


class ImageAnswer(TypedDict):
    """One image: its labels, or why it was skipped."""

    sha256: str | None
    width: int | None
    height: int | None
    format: str | None
    labels: dict[str, Label]
    ranks: dict[str, dict[str, float]]
    decision: dict[str, Any] | None
    cached: bool
    model_digest: str | None
    error: dict[str, Any] | None


class FixRow(TypedDict):
    """A row of the history of fixes."""

    id: int
    advertiser: str
    sha256: str
    label: str
    before: str | None
    after: str | None
    who: str
    why: str
    at: str
    undoes: int | None


class BatchState(TypedDict):
    """How far a batch is."""

    id: int
    advertiser: str
    state: Literal["waiting", "running", "done", "failed"]
    total: int
    answered: int
    skipped: int
    created_at: str
    finished_at: str | None
    error: str


class BatchItem(TypedDict):
    """What came of a URL of a batch."""

    number: int
    url: str
    answer: ImageAnswer


class ServiceClient:
    """Asks the service for one advertiser.

    Args:
        url: of the service.
        advertiser: whose images and fixes they are.
        who: the person that corrects.
        timeout_s: of a request.
    """

    def __init__(self, url: str, advertiser: str, who: str, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s)
        self._advertiser, self._who = advertiser, who

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self,
        *images: bytes,
        review_kind: str | None = None,
        configured: Mapping[str, str] | None = None,
    ) -> list[ImageAnswer]:
        """Classify 1 to 100 image files.

        Raises:
            ServiceError: the request was refused; images that cannot be read have an ``error``.
        """
        fields = {"advertiser": self._advertiser}
        if review_kind is not None:
            fields["review_kind"] = review_kind
        if configured:
            fields["configured"] = json.dumps(configured)
        files = [("images", (str(number), data)) for number, data in enumerate(images)]
        answers: list[ImageAnswer] = self._asked(
            self._http.post("/v1/classify", data=fields, files=files)
        )["images"]
        return answers

    def fix(self, answer: ImageAnswer, label: str, value: str, why: str = "") -> FixRow:
        """Correct a label of an image that was answered.

        Raises:
            ServiceError: such as ``conflict``: somebody else has corrected it in the meantime.
        """
        told = answer["labels"][label]
        body = {
            "advertiser": self._advertiser,
            "sha256": answer["sha256"],
            "label": label,
            "value": value,
            "before": told["value"] if told["fix"] else None,
            "who": self._who,
            "why": why,
        }
        row: FixRow = self._asked(self._http.post("/v1/fixes", json=body))
        return row

    def undo(self, fix_id: int, why: str = "") -> FixRow:
        """Take a fix back.

        Raises:
            ServiceError: there is no such fix, or it does not hold any more.
        """
        body = {"advertiser": self._advertiser, "who": self._who, "why": why}
        row: FixRow = self._asked(self._http.post(f"/v1/fixes/{fix_id}/undo", json=body))
        return row

    def history(self, sha256: str | None = None) -> Iterator[FixRow]:
        """Yield the fixes of the advertiser, or of one image, the last ones first."""
        query: dict[str, Any] = {"advertiser": self._advertiser}
        if sha256 is not None:
            query["sha256"] = sha256
        while True:
            page = self._asked(self._http.get("/v1/fixes", params=query))
            yield from page["fixes"]
            if page["next_before_id"] is None:
                return
            query["before_id"] = page["next_before_id"]

    def batch(self, urls: Sequence[str], configured: Mapping[str, str] | None = None) -> BatchState:
        """Have many URLs classified; ``wait`` and ``results`` take it from there."""
        body = {
            "advertiser": self._advertiser,
            "urls": list(urls),
            "configured": dict(configured or {}),
        }
        state: BatchState = self._asked(self._http.post("/v1/batches", json=body))
        return state

    def wait(self, batch_id: int, timeout_s: float = 3600.0) -> BatchState:
        """Wait until a batch is done.

        Raises:
            ServiceError: it failed; ``code`` is ``failed``.
            TimeoutError: it is not done in time.
        """
        query, deadline = {"advertiser": self._advertiser}, time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state: BatchState = self._asked(self._http.get(f"/v1/batches/{batch_id}", params=query))
            if state["state"] == "failed":
                raise ServiceError(500, {"code": "failed", "message": state["error"]})
            if state["state"] == "done":
                return state
            time.sleep(POLL_S)
        raise TimeoutError(f"batch {batch_id} is not done after {timeout_s:g} s")

    def results(self, batch_id: int) -> Iterator[BatchItem]:
        """Yield what came of the URLs of a batch, in their order."""
        query: dict[str, Any] = {"advertiser": self._advertiser}
        while True:
            page = self._asked(self._http.get(f"/v1/batches/{batch_id}/results", params=query))
            yield from page["items"]
            if page["next_after"] is None:
                return
            query["after"] = page["next_after"]

    def _asked(self, answer: httpx.Response) -> Any:
        """Return the content of an answer.

        Raises:
            ServiceError: it is an error.
        """
        try:
            content = answer.json()
        except ValueError:
            content = {}
        if answer.is_error:
            raise ServiceError(answer.status_code, content.get("error", {}))
        return content

"""A client of the service, in one file that needs httpx alone: copy it into your project.

with ServiceClient("http://127.0.0.1:8090", advertiser="dealer_007", key=KEY) as service:
    (answer,) = service.classify(Path("car.jpg").read_bytes())
    service.fix(answer, "colour", "burgundy", why="red wine, not red")
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NotRequired, Self, TypedDict

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


class JobRow(TypedDict):
    """How far a job is."""

    id: int
    kind: str
    advertiser: str
    state: str
    total: int
    answered: int | None
    skipped: int | None
    tries: int
    created_at: str
    finished_at: str | None
    error: str


class ImportAnswer(TypedDict):
    """What came of a file of fixes."""

    rows: int
    taken: int
    unchanged: int
    bad: int
    conflicts: int
    bad_rows: list[dict[str, Any]]  # row, reason
    conflict_rows: list[dict[str, Any]]
    dry_run: bool


class AssignedCandidate(TypedDict):
    """A candidate of an assignment, and how likely it was drawn."""

    name: str
    parameters: list[dict[str, Any]]
    probability: float
    interval: list[float]
    difference: float
    difference_interval: list[float]
    propensity: float


class Assignment(TypedDict):
    """A candidate to show, and how it was drawn."""

    id: str
    advertiser: str
    sha256: str
    model_digest: str
    target: str
    direction: Literal["maximize", "minimize"]
    context: dict[str, Any]
    policy: Literal["best", "uniform", "thompson"]
    floor: float
    version: int
    seed: int
    candidates: list[AssignedCandidate]
    recommended: str
    choice: str
    propensity: float
    unit: str | None
    who: str
    at: str


class Report(TypedDict):
    """What came of an assignment."""

    assignment: str
    successes: int
    trials: int
    target: NotRequired[str | None]  # by default the assignment's
    report: NotRequired[str]  # your id of it; by default 1
    replaces: NotRequired[str | None]  # the report whose numbers were wrong


class Outcome(TypedDict):
    """A report that is kept."""

    assignment: str
    target: str
    report: str
    successes: int
    trials: int
    replaces: str | None
    who: str
    at: str


class ReportResult(TypedDict):
    """What came of a report."""

    state: Literal["added", "known", "refused"]
    outcome: Outcome | None
    error: dict[str, Any] | None


class Recommendation(TypedDict):
    """Versions of an image, and other images, best first."""

    schema_version: int
    model: str
    bundle_version: str
    engine: str
    image: dict[str, Any]
    target: str
    direction: Literal["maximize", "minimize"]
    context: dict[str, Any]
    augmentation: str
    min_lift: float
    probability: float
    interval: tuple[float, float]
    candidates: list[dict[str, Any]]
    best_candidate: dict[str, Any]
    verdict: dict[str, Any]
    alternates: list[dict[str, Any]]
    best_alternate: dict[str, Any] | None
    alternate_verdict: dict[str, Any] | None
    cached: bool
    timings_ms: dict[str, float]
    advertiser: str
    sha256: str
    model_digest: str
    question: str


class QuestionRow(TypedDict):
    """A recommendation that was asked for."""

    token: str
    advertiser: str
    sha256: str
    target: str
    context: dict[str, Any]
    candidates: list[str]
    alternates: int
    min_lift: float
    who: str
    at: str


class ServiceClient:
    """Asks the service for one advertiser.

    Args:
        url: of the service.
        advertiser: whose images and fixes they are.
        who: the person that corrects; a key says who that is.
        timeout_s: of a request.
        key: of the service; None: it has none.
    """

    def __init__(
        self,
        url: str,
        advertiser: str,
        who: str | None = None,
        timeout_s: float = 60.0,
        key: str | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)
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

    def recommend(
        self,
        image: bytes | None = None,
        *,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Recommendation:
        """Rank the versions of an image, and other images.

        Args:
            image: the file; or name the image by ``sha256``, ``url`` or ``catalogue`` in ``more``.
            target: to predict; optional if the model has one.
            context: such as ``{"campaign_type": "Newsletter"}``.
            more: further fields of the request: candidates, alternates, thumbnails, min_lift.

        Raises:
            ServiceError: the request was refused.
        """
        fields: dict[str, Any] = {"advertiser": self._advertiser, **more}
        if isinstance(more.get("candidates"), list | tuple):
            fields["candidates"] = ",".join(more["candidates"])
        if target is not None:
            fields["target"] = target
        if context:
            fields["context"] = json.dumps(dict(context))
        files = {"image": ("image", image)} if image is not None else None
        answer: Recommendation = self._asked(
            self._http.post("/v1/recommend", data=fields, files=files)
        )
        return answer

    def questions(self) -> Iterator[QuestionRow]:
        """Yield the recommendations that were asked for, the last ones first."""
        query: dict[str, Any] = {"advertiser": self._advertiser}
        while True:
            page = self._asked(self._http.get("/v1/questions", params=query))
            yield from page["questions"]
            if page["next_before"] is None:
                return
            query["before"] = page["next_before"]

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

    def jobs(self, state: str | None = None) -> Iterator[JobRow]:
        """Yield the jobs of the advertiser, the last ones first.

        Args:
            state: they are in, such as ``failed``; None: any.
        """
        query: dict[str, Any] = {"advertiser": self._advertiser}
        if state is not None:
            query["state"] = state
        while True:
            page = self._asked(self._http.get("/v1/jobs", params=query))
            yield from page["jobs"]
            if page["next_before_id"] is None:
                return
            query["before_id"] = page["next_before_id"]

    def export_fixes(self, format: str = "csv", *, history: bool = False) -> str:
        """Return the fixes of the advertiser as a file: csv, jsonl or ground_truth.

        Args:
            format: of the file.
            history: all rows, instead of what holds now.
        """
        query: dict[str, Any] = {
            "advertiser": self._advertiser,
            "format": format,
            "history": history,
        }
        answer = self._http.get("/v1/fixes/export", params=query)
        if answer.is_error:
            self._asked(answer)
        return answer.content.decode()

    def import_fixes(self, file: bytes, *, dry_run: bool = False) -> ImportAnswer:
        """Take fixes from a file: CSV, a JSON array, or JSON lines.

        Args:
            file: with advertiser, sha256 or image_url, label, value, who, why.
            dry_run: only tell what would come of it.

        Raises:
            ServiceError: it is no such file; rows that do not fit are listed in the answer.
        """
        fields = {"dry_run": str(dry_run).lower()} | ({"who": self._who} if self._who else {})
        answer = self._http.post("/v1/fixes/import", data=fields, files={"file": ("fixes", file)})
        report: ImportAnswer = self._asked(answer)
        return report

    def assign(
        self,
        sha256: str,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        policy: Literal["best", "uniform", "thompson"] = "thompson",
        unit: str | None = None,
    ) -> Assignment:
        """Get the candidate of an image to show; ``report`` says what came of it.

        Args:
            sha256: of an image that was sent before.
            target: optional with a single one.
            context: of the campaign.
            policy: how it is drawn.
            unit: recipient or campaign that gets the same candidate again.
        """
        query = {
            "advertiser": self._advertiser,
            "sha256": sha256,
            "target": target,
            "context": json.dumps(dict(context or {})),
            "policy": policy,
            "unit": unit,
        }
        given = {name: value for name, value in query.items() if value is not None}
        row: Assignment = self._asked(self._http.get("/v1/assignments", params=given))
        return row

    def report(self, *reports: Report) -> list[ReportResult]:
        """Report what came of 1 to 10,000 assignments; sent again, it changes nothing.

        Raises:
            ServiceError: a single report was refused; of several, those have an ``error``.
        """
        body = {"advertiser": self._advertiser, "who": self._who, "reports": reports}
        results: list[ReportResult] = self._asked(self._http.post("/v1/outcomes", json=body))[
            "results"
        ]
        return results

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

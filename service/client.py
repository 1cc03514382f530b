"""A client of the service, in one file that needs httpx alone: copy it into your project.

with ServiceClient("http://127.0.0.1:8090", advertiser="dealer_007", key=KEY) as service:
    (answer,) = service.classify(Path("car.jpg").read_bytes())
    service.fix(answer, "colour", "burgundy", why="red wine, not red")
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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


class ConfiguredValue(TypedDict):
    """A value that wins over the model's for all images."""

    label: str
    value: str
    who: str
    at: str


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
    model_value: str | None
    who: str
    why: str
    at: str
    undoes: int | None


class HeldFix(FixNote):
    """The fix that holds for a label, and its value."""

    value: str


class QueuePicture(TypedDict):
    """A picture that a person should look at."""

    advertiser: str
    sha256: str
    value: str | None  # what the advertiser gets
    model_value: str
    probability: float
    top: list[dict[str, Any]]  # name, probability
    set: list[str]
    model_digest: str
    live: bool
    fix: HeldFix | None
    confirmed_by: str | None
    confirmed_at: str | None


class QueueProgress(TypedDict):
    """How far the inspection is."""

    left: int
    more: bool
    done: int


class Confirmed(TypedDict):
    """What came of a confirmation."""

    sha256: str
    id: int | None
    error: dict[str, Any] | None


class ReviewRow(TypedDict):
    """A confirmation."""

    id: int
    advertiser: str
    sha256: str
    label: str
    value: str | None
    who: str
    at: str
    undone_by: str | None
    undone_at: str | None


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
    stage: str | None  # of a retraining
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


class OutcomesImport(TypedDict):
    """What came of a file of reports."""

    added: int
    known: int
    refused: int
    errors: list[dict[str, Any]]  # line, error


class AssignmentHistory(TypedDict):
    """An assignment, its draw made again, and what came of it."""

    assignment: Assignment
    replay: dict[str, Any]  # same, choice, propensities
    outcomes: list[Outcome]


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


class CatalogueRow(TypedDict):
    """An image of the catalogue."""

    path: str
    sha256: str
    attributes: dict[str, Any]


class ModelRow(TypedDict):
    """A model."""

    id: int
    task: str
    name: str
    digest: str
    state: Literal["candidate", "live", "retired", "rejected"]
    answering: bool
    kept: bool
    created_at: str
    parent: str | None
    dataset: str | None
    metrics: dict[str, Any]
    gate: dict[str, Any] | None
    alarm_at: str | None


class PromotionRow(TypedDict):
    """A row of the history of live models."""

    id: int
    task: str
    kind: Literal["promote", "rollback"]
    before: int | None
    after: int
    who: str
    why: str
    at: str
    gate: dict[str, Any] | None


class RetrainState(TypedDict):
    """How far a retraining is."""

    id: int
    state: Literal["waiting", "running", "waiting_for_review", "done", "failed"]
    stage: str
    created_at: str
    finished_at: str | None
    error: str
    fixes: int
    undecided: int
    result: dict[str, Any] | None


class Retraining(TypedDict):
    """The last retraining, and whether there is something to learn from since."""

    last: RetrainState | None
    new_fixes: int


class ServiceClient:
    """Asks the service for one advertiser; models and retraining are those of all.

    What is left out, or None, is the service's default.

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

    # --- labels ---

    def classify(
        self,
        *images: bytes,
        urls: Sequence[str] = (),
        review_kind: str | None = None,
        coverage: float | None = None,
        top: int | None = None,
        configured: Mapping[str, str] | None = None,
    ) -> list[ImageAnswer]:
        """Classify 1 to 100 images: files, and what is at public addresses.

        Args:
            images: the files, whose answers come first.
            urls: of images.
            review_kind: whose rule decides on credit.
            coverage: of the sets of classes.
            top: classes of each label in the answer.
            configured: values that win, by label.

        Raises:
            ServiceError: the request was refused; images that cannot be read have an ``error``.
        """
        fields = _given(
            advertiser=self._advertiser,
            review_kind=review_kind,
            coverage=coverage,
            top=top,
            configured=json.dumps(dict(configured)) if configured else None,
        )
        files: list[Any] = [("images", (str(n), data)) for n, data in enumerate(images)]
        files += [("urls", (None, url)) for url in urls]
        answer = self._http.post("/v1/classify", data=fields, files=files)
        answers: list[ImageAnswer] = self._asked(answer)["images"]
        return answers

    def batch(
        self,
        urls: Sequence[str],
        configured: Mapping[str, str] | None = None,
        *,
        review_kind: str | None = None,
        coverage: float | None = None,
        top: int | None = None,
    ) -> BatchState:
        """Have up to 50,000 URLs classified; ``wait`` and ``results`` take it from there."""
        body = _given(
            advertiser=self._advertiser,
            urls=list(urls),
            configured=dict(configured or {}),
            review_kind=review_kind,
            coverage=coverage,
            top=top,
        )
        state: BatchState = self._asked(self._http.post("/v1/batches", json=body))
        return state

    def configured(self) -> list[ConfiguredValue]:
        """Return the values that are configured for all images, by label."""
        answer = self._http.get("/v1/configured", params={"advertiser": self._advertiser})
        values: list[ConfiguredValue] = self._asked(answer)["values"]
        return values

    def configure(self, values: Mapping[str, str]) -> list[ConfiguredValue]:
        """Replace the values that win over the model's for all images; return them.

        Args:
            values: by label; without any, the model decides again.
        """
        body = _given(advertiser=self._advertiser, values=dict(values), who=self._who)
        answer = self._http.put("/v1/configured", json=body)
        kept: list[ConfiguredValue] = self._asked(answer)["values"]
        return kept

    def wait(self, batch_id: int, timeout_s: float = 3600.0) -> BatchState:
        """Wait until a batch is done.

        Raises:
            ServiceError: it failed; ``code`` is ``failed``.
            TimeoutError: it is not done in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state: BatchState = self._get(f"/v1/batches/{batch_id}", advertiser=self._advertiser)
            if state["state"] == "failed":
                raise ServiceError(500, {"code": "failed", "message": state["error"]})
            if state["state"] == "done":
                return state
            time.sleep(POLL_S)
        raise TimeoutError(f"batch {batch_id} is not done after {timeout_s:g} s")

    def results(self, batch_id: int) -> Iterator[BatchItem]:
        """Yield what came of the URLs of a batch, in their order."""
        path = f"/v1/batches/{batch_id}/results"
        return self._pages(path, "items", "next_after", advertiser=self._advertiser)

    def jobs(self, state: str | None = None) -> Iterator[JobRow]:
        """Yield the jobs of the advertiser, the last ones first.

        Args:
            state: they are in, such as ``failed``; None: any.
        """
        query = {"advertiser": self._advertiser, "state": state}
        return self._pages("/v1/jobs", "jobs", "next_before_id", **query)

    # --- corrections ---

    def fix(self, answer: ImageAnswer, label: str, value: str, why: str = "") -> FixRow:
        """Correct a label of an image that was answered.

        Raises:
            ServiceError: such as ``conflict``: somebody else has corrected it in the meantime.
        """
        told = answer["labels"][label]
        before = told["value"] if told["fix"] else None
        return self.correct(str(answer["sha256"]), label, value, before=before, why=why)

    def correct(
        self, sha256: str, label: str, value: str, *, before: str | None = None, why: str = ""
    ) -> FixRow:
        """Correct a label of an image, such as one of the queue.

        Args:
            sha256: of the image.
            label: of the image.
            value: the right class.
            before: the value of the fix that held when somebody looked; None: there was none.
            why: for the history.

        Raises:
            ServiceError: such as ``conflict``: another fix holds by now.
        """
        body = {
            "advertiser": self._advertiser,
            "sha256": sha256,
            "label": label,
            "value": value,
            "before": before,
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
        query = {"advertiser": self._advertiser, "sha256": sha256}
        return self._pages("/v1/fixes", "fixes", "next_before_id", **query)

    def export_fixes(self, format: str = "csv", *, history: bool = False) -> str:
        """Return the fixes of the advertiser as a file: csv, jsonl or ground_truth.

        Args:
            format: of the file.
            history: all rows, instead of what holds now.
        """
        query = {"advertiser": self._advertiser, "format": format, "history": history}
        return self._file("/v1/fixes/export", **query).decode()

    def import_fixes(self, file: bytes, *, dry_run: bool = False) -> ImportAnswer:
        """Take fixes from a file: CSV, a JSON array, or JSON lines.

        Args:
            file: with advertiser, sha256 or image_url, label, value, who, why.
            dry_run: only tell what would come of it.

        Raises:
            ServiceError: it is no such file; rows that do not fit are listed in the answer.
        """
        fields = _given(dry_run=dry_run, who=self._who)
        answer = self._http.post("/v1/fixes/import", data=fields, files={"file": ("fixes", file)})
        report: ImportAnswer = self._asked(answer)
        return report

    # --- the inspector's queue ---

    def queue(  # noqa: PLR0913 - the fields of a query
        self,
        label: str,
        *,
        value: str | None = None,
        model: str | None = None,
        least: float | None = None,
        most: float | None = None,
        unsure: bool | None = None,
        state: Literal["open", "corrected", "confirmed", "all"] | None = None,
    ) -> Iterator[QueuePicture]:
        """Yield the pictures that no person has seen, those first that the model is least sure of.

        Args:
            label: that is looked at.
            value: only those that the model takes for it.
            model: digest of the model that has answered.
            least: probability of the answer.
            most: probability of the answer.
            unsure: only those with several classes in their set.
            state: others than those that are open.
        """
        query = {
            "advertiser": self._advertiser,
            "label": label,
            "value": value,
            "model": model,
            "least": least,
            "most": most,
            "unsure": unsure,
            "state": state,
        }
        return self._pages("/v1/queue", "pictures", "next_after", **query)

    def progress(self, label: str) -> QueueProgress:
        """Count the pictures that are left for a label, and those that a person has seen."""
        found: QueueProgress = self._get(
            "/v1/queue/progress", advertiser=self._advertiser, label=label
        )
        return found

    def confirm(self, label: str, seen: Mapping[str, str | None]) -> list[Confirmed]:
        """Say that up to 200 answers are right.

        Args:
            label: that was looked at.
            seen: what the advertiser gets for an image, by its sha256: ``value`` of the queue.

        Returns:
            What came of each image, in their order: others may have corrected one meanwhile.
        """
        images = [{"sha256": sha256, "value": value} for sha256, value in seen.items()]
        body = {"advertiser": self._advertiser, "label": label, "images": images, "who": self._who}
        answer = self._asked(self._http.post("/v1/confirmations", json=body))
        done: list[Confirmed] = answer["images"]
        return done

    def undo_confirmation(self, confirmation_id: int) -> ReviewRow:
        """Let a picture be looked at again."""
        body = {"advertiser": self._advertiser, "who": self._who}
        path = f"/v1/confirmations/{confirmation_id}/undo"
        row: ReviewRow = self._asked(self._http.post(path, json=body))
        return row

    # --- recommendations ---

    def recommend(  # noqa: PLR0913 - the fields of a form
        self,
        image: bytes | None = None,
        *,
        sha256: str | None = None,
        url: str | None = None,
        catalogue: str | None = None,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        candidates: Collection[str] | None = None,
        alternates: int | None = None,
        min_lift: float | None = None,
        thumbnails: bool | None = None,
    ) -> Recommendation:
        """Rank the versions of an image, and other images.

        Args:
            image: the file; or one of the three that follow.
            sha256: of an image that was sent before.
            url: of an image at a public address.
            catalogue: path of an image of it.
            target: to predict; optional if the model has one.
            context: such as ``{"campaign_type": "Newsletter"}``.
            candidates: names of versions; None: all.
            alternates: other images of the catalogue that are listed.
            min_lift: that a change must have.
            thumbnails: add small JPEGs in base64.

        Raises:
            ServiceError: the request was refused.
        """
        fields = _given(
            advertiser=self._advertiser,
            sha256=sha256,
            url=url,
            catalogue=catalogue,
            target=target,
            context=json.dumps(dict(context)) if context else None,
            candidates=",".join(candidates) if candidates is not None else None,
            alternates=alternates,
            min_lift=min_lift,
            thumbnails=thumbnails,
        )
        files = {"image": ("image", image)} if image is not None else None
        answer: Recommendation = self._asked(
            self._http.post("/v1/recommend", data=fields, files=files)
        )
        return answer

    def questions(self) -> Iterator[QuestionRow]:
        """Yield the recommendations that were asked for, the last ones first."""
        path = "/v1/questions"
        return self._pages(path, "questions", "next_before", advertiser=self._advertiser)

    def version(self, sha256: str, name: str, *, full: bool = False) -> bytes:
        """Return a version of an image that was sent: small, as JPEG, or in full size."""
        query = {"advertiser": self._advertiser, "full": full}
        return self._file(f"/v1/versions/{sha256}/{name}", **query)

    def catalogue(self, search: str = "", product_type: str = "") -> Iterator[CatalogueRow]:
        """Yield the images of the catalogue whose path or attributes have all words."""
        query = {"search": search, "product_type": product_type}
        return self._pages("/v1/catalogue", "images", "next_after", **query)

    # --- assignments and outcomes ---

    def assign(  # noqa: PLR0913 - the fields of a query
        self,
        sha256: str | None = None,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        policy: Literal["best", "uniform", "thompson"] = "thompson",
        unit: str | None = None,
        *,
        catalogue: str | None = None,
        floor: float | None = None,
        seed: int | None = None,
    ) -> Assignment:
        """Get the candidate of an image to show; ``report`` says what came of it.

        Args:
            sha256: of an image that was sent before; or ``catalogue``.
            target: optional with a single one.
            context: of the campaign.
            policy: how it is drawn.
            unit: recipient or campaign that gets the same candidate again.
            catalogue: path of an image of it.
            floor: least propensity of ``thompson``.
            seed: of the draw; None: a random one.
        """
        query = {
            "advertiser": self._advertiser,
            "sha256": sha256,
            "catalogue": catalogue,
            "target": target,
            "context": json.dumps(dict(context or {})),
            "policy": policy,
            "floor": floor,
            "seed": seed,
            "unit": unit,
        }
        row: Assignment = self._get("/v1/assignments", **query)
        return row

    def assignment(self, assignment_id: str) -> AssignmentHistory:
        """Return what was handed out, its draw made again, and what came of it."""
        path = f"/v1/assignments/{assignment_id}"
        found: AssignmentHistory = self._get(path, advertiser=self._advertiser)
        return found

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

    def report_csv(self, file: bytes) -> OutcomesImport:
        """Report what came of assignments, as a CSV file; sent again, it changes nothing.

        Args:
            file: with assignment, successes, trials, and if need be target, report, replaces.

        Raises:
            ServiceError: it is no such file; rows that do not fit are listed in the answer.
        """
        answer = self._http.post(
            "/v1/outcomes/csv",
            params=_given(advertiser=self._advertiser, who=self._who),
            content=file,
            headers={"Content-Type": "text/csv"},
        )
        done: OutcomesImport = self._asked(answer)
        return done

    def outcomes(self) -> str:
        """Return what came of assignments as CSV, a manifest for training."""
        return self._file("/v1/outcomes/manifest", advertiser=self._advertiser).decode()

    # --- models, for keys of all advertisers ---

    def models(self, task: str | None = None) -> list[ModelRow]:
        """Return the models, the last ones first."""
        rows: list[ModelRow] = self._get("/v1/models", task=task)["models"]
        return rows

    def promote(
        self, model_id: int, why: str = "", *, force: bool = False, expected: str | None = None
    ) -> PromotionRow:
        """Make a model the live one.

        Args:
            model_id: of the model.
            why: for the history.
            force: also one that the gate has rejected.
            expected: digest of the model that must be live; None: whichever is.

        Raises:
            ServiceError: such as ``conflict``: another model is live than was expected.
        """
        body = {"who": self._who, "why": why, "force": force, "expected": expected}
        row: PromotionRow = self._asked(
            self._http.post(f"/v1/models/{model_id}/promote", json=body)
        )
        return row

    def rollback(
        self, task: str = "classify", why: str = "", *, expected: str | None = None
    ) -> PromotionRow:
        """Make the model that was live before the live one answer again; see ``promote``."""
        body = {"task": task, "who": self._who, "why": why, "expected": expected}
        row: PromotionRow = self._asked(self._http.post("/v1/models/rollback", json=body))
        return row

    def retrain(
        self,
        *,
        candidates: int | None = None,
        review: bool = True,
        promote: bool = False,
        min_side: int | None = None,
    ) -> RetrainState:
        """Learn from what people corrected, in the background; ``retraining`` says how far it is.

        Args:
            candidates: models that are trained.
            review: whether people look at the fixes first.
            promote: whether what passes the gate answers at once.
            min_side: pixels; images with a shorter side are left out.
        """
        body = _given(
            candidates=candidates,
            review=review,
            promote=promote,
            min_side=min_side,
            who=self._who,
        )
        state: RetrainState = self._asked(self._http.post("/v1/retraining", json=body))
        return state

    def retraining(self) -> Retraining:
        """Return how far the last retraining is, and how many fixes have come since."""
        found: Retraining = self._get("/v1/retraining")
        return found

    # --- what they share ---

    def _get(self, path: str, **query: Any) -> Any:
        return self._asked(self._http.get(path, params=_given(**query)))

    def _pages(self, path: str, rows: str, cursor: str, **query: Any) -> Iterator[Any]:
        """Yield the rows of all pages.

        Args:
            path: of the list.
            rows: their name in a page.
            cursor: the name of what the next page is asked with, such as ``next_after``.
            query: of every page.
        """
        while True:
            page = self._get(path, **query)
            yield from page[rows]
            if page[cursor] is None:
                return
            query[cursor.removeprefix("next_")] = page[cursor]

    def _file(self, path: str, **query: Any) -> bytes:
        answer = self._http.get(path, params=_given(**query))
        if answer.is_error:
            self._asked(answer)
        return answer.content

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


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are given."""
    return {name: value for name, value in fields.items() if value is not None}

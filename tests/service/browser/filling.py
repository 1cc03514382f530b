"""Fill a running service with what its pages show: by its API, and in its database."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy.orm import Session

from service.database.session import Database
from service.database.tables import Job, ReviewItem
from service.jobs.queue import EVERYBODY, FAILED, REVIEW, add_job, note
from service.models.evaluation import EvaluatedImage, evaluation_path, write_evaluation
from service.retraining.jobs import RETRAIN, RetrainOptions
from tests.service.support.serving import Site
from tests.support.patience import PATIENCE_S


def call(site: Site, method: str, path: str, **given: Any) -> Any:
    """Ask the API of a service."""
    answer = httpx.request(method, f"{site.url}/v1{path}", timeout=PATIENCE_S, **given)
    assert answer.is_success, answer.text
    return answer.json()


def classify(site: Site, advertiser: str, images: Sequence[bytes]) -> list[dict[str, Any]]:
    """Send images; return the answers."""
    files = [("images", (f"{n}.png", data)) for n, data in enumerate(images)]
    given = {"files": files, "data": {"advertiser": advertiser}}
    found: list[dict[str, Any]] = call(site, "POST", "/classify", **given)["images"]
    return found


def recommend(site: Site, advertiser: str, image: bytes, **fields: str) -> str:
    """Ask about an image; return the token of the question."""
    given = {"files": {"image": ("photo.jpg", image)}, "data": {"advertiser": advertiser, **fields}}
    return str(call(site, "POST", "/recommend", **given)["question"])


def fix(site: Site, advertiser: str, sha256: str, label: str, value: str, who: str = "eva") -> int:
    """Correct a label; return the number of the fix."""
    body = {"advertiser": advertiser, "sha256": sha256, "label": label, "value": value, "who": who}
    return int(call(site, "POST", "/fixes", json=body)["id"])


def as_json(context: Mapping[str, Any]) -> str:
    """Return a context as a field of a form."""
    return json.dumps(dict(context))


@contextmanager
def writing(site: Site) -> Iterator[Session]:
    """Give a session of the service's database."""
    database = Database(f"sqlite:///{site.folder / 'service.db'}")
    try:
        with database.writes() as session:
            yield session
    finally:
        database.close()


def failed_batch(session: Session, advertiser: str, reason: str, total: int = 0) -> int:
    """Add a batch that has failed; tried again, it is done at once, for it has no URLs."""
    options = {"review_kind": None, "coverage": 0.9, "top": 3, "configured": {}}
    job = add_job(session, "batch", advertiser, options, total)
    job.state, job.error, job.finished_at = FAILED, reason, datetime.now(UTC)
    note(session, job.id, "started")
    note(session, job.id, reason)
    return job.id


def open_review(session: Session, fixes: Sequence[Mapping[str, Any]]) -> int:
    """Add a retraining that waits for a review of fixes; return its number."""
    options = {"given": RetrainOptions().model_dump(), "stage": "review"}
    job = add_job(session, RETRAIN, EVERYBODY, options, 8)
    job.state = REVIEW
    for number, each in enumerate(fixes):
        small = {"kind": "small", "width": 40, "height": 40, "least": 64}
        given = {
            "label": "colour",
            "reasons": [small] if number % 2 else [],
            "proposal": "drop" if number % 2 else "keep",
            "told": {"value": "blue", "probability": 0.71},
            **each,
        }
        session.add(ReviewItem(job_id=job.id, who="", taken=False, **given))
    return job.id


def end_review(session: Session, job_id: int) -> None:
    """End a retraining, so that there may be another one."""
    job = session.get_one(Job, job_id)
    job.state, job.finished_at = "done", datetime.now(UTC)


def evaluate(site: Site, digest: str, images: Sequence[EvaluatedImage]) -> None:
    """Write what a model said of test images, as retraining does."""
    write_evaluation(evaluation_path(site.folder, digest), images)

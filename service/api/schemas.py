"""Bodies of requests and answers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP, MAX_CONFIGURED
from service.database.tables import DIGEST, NAME, Fix
from service.effective import EffectiveAnswer

MAX_WHY, MAX_URL = 2000, 2000  # characters
MAX_URLS = 50_000
MAX_ID = 2**31 - 1
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # no control characters
Name = Annotated[str, Field(min_length=1, max_length=NAME, pattern=PRINTABLE)]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=PRINTABLE)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]


class ErrorDetail(BaseModel):
    """What is wrong, and how to mend it."""

    code: str
    status: int
    message: str
    expected: str | None = None
    got: str | None = None
    remedy: str | None = None


class ErrorBody(BaseModel):
    """Every error has this body."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 404, 409, 410, 413, 422, 500, 503)
}


class ClassifyAnswer(BaseModel):
    """The labels of one or several images."""

    advertiser: str
    model: str = Field(description="Name of the model.")
    model_digest: str = Field(description="sha256 of its bundle.json.")
    images: list[EffectiveAnswer]


class BatchRequest(BaseModel):
    """The images of an advertiser, by URL."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "advertiser": "dealer_007",
                    "urls": ["https://cdn.example.com/cars/1.jpg"],
                    "configured": {"colour": "red"},
                }
            ]
        },
    )

    advertiser: Name
    urls: list[Url] = Field(min_length=1, max_length=MAX_URLS)
    review_kind: str | None = Field(None, max_length=NAME)
    coverage: float = Field(DEFAULT_COVERAGE, ge=0.5, lt=1)
    top: int = Field(DEFAULT_TOP, ge=1, le=1000)
    configured: dict[str, str] = Field(default_factory=dict, max_length=MAX_CONFIGURED)


class BatchState(BaseModel):
    """How far a batch is."""

    id: int
    advertiser: str
    state: Literal["waiting", "running", "done", "failed"]
    total: int = Field(description="Different URLs.")
    answered: int
    skipped: int = Field(description="URLs without an answer; the results say why.")
    created_at: datetime
    finished_at: datetime | None
    error: str = Field(description="Why it failed.")


class BatchItem(BaseModel):
    """What came of a URL."""

    number: int
    url: str
    answer: EffectiveAnswer


class BatchResults(BaseModel):
    """Results of a batch, in the order of its URLs; fixes of a moment ago are in them."""

    items: list[BatchItem]
    next_after: int | None = Field(description="Ask with after for the next page.")


class FixRequest(BaseModel):
    """What a person corrects."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "advertiser": "dealer_007",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "label": "colour",
                    "value": "burgundy",
                    "before": None,
                    "who": "ana",
                    "why": "red wine, not red",
                }
            ]
        },
    )

    advertiser: Name
    sha256: str = Field(pattern=f"^[0-9a-f]{{{DIGEST}}}$", description="Of the image.")
    label: Name
    value: Name = Field(description="The right class.")
    before: Name | None = Field(
        None, description="The fix that held when you looked; null if none."
    )
    who: Name
    why: str = Field("", max_length=MAX_WHY, pattern=r"^[^\x00]*$")


class UndoRequest(BaseModel):
    """Who takes a fix back, and why."""

    model_config = ConfigDict(extra="forbid")

    advertiser: Name
    who: Name
    why: str = Field("", max_length=MAX_WHY, pattern=r"^[^\x00]*$")


class FixRow(BaseModel):
    """A row of the history."""

    id: int
    advertiser: str
    sha256: str
    label: str
    before: str | None = Field(description="The fix until then; null if the model decided.")
    after: str | None = Field(description="The fix from then; null if the model decides again.")
    who: str
    why: str
    at: datetime
    undoes: int | None = Field(description="The fix that this row takes back.")

    @classmethod
    def of(cls, fix: Fix) -> "FixRow":
        """Return a row of the database."""
        return cls(**{name: getattr(fix, name) for name in cls.model_fields})


class FixHistory(BaseModel):
    """Fixes of an advertiser, the last ones first."""

    fixes: list[FixRow]
    next_before_id: int | None = Field(description="Ask with before_id for the next page.")

"""Routes of fixes."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.access.advertisers import check_known
from service.api import examples
from service.api.common import (
    ERRORS,
    SHA256,
    AdvertiserQuery,
    Corrector,
    Id,
    JsonRoute,
    Name,
    Reader,
    Sha256,
    Why,
)
from service.database.tables import Fix
from service.fixes import history as fixes
from service.fixes.classes import check_class
from service.parts import parts_of

MAX_PAGE = 500
router = APIRouter(prefix="/v1/fixes", responses=ERRORS, route_class=JsonRoute)


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
    sha256: Sha256 = Field(description="Of the image.")
    label: Name
    value: Name = Field(description="The right class.")
    before: Name | None = Field(
        None, description="The fix that held when you looked; null if none."
    )
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")
    why: Why = ""


class UndoRequest(BaseModel):
    """Who takes a fix back, and why."""

    model_config = ConfigDict(extra="forbid")

    advertiser: Name
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")
    why: Why = ""


class FixRow(BaseModel):
    """A row of the history."""

    id: int
    advertiser: str
    sha256: str
    label: str
    before: str | None = Field(description="The fix until then; null if the model decided.")
    after: str | None = Field(description="The fix from then; null if the model decides again.")
    model_value: str | None = Field(
        description="The model's class when a person corrected it; null if that is not known."
    )
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


@router.post("", status_code=201, summary="Correct a label")
def correct(request: Request, identity: Corrector, body: FixRequest) -> FixRow:
    """Correct a label of an image for an advertiser.

    It holds at once, for this advertiser only, and for every encoding of the picture. If another
    fix holds than `before` says, nothing is changed: 409.
    """
    identity.check(body.advertiser)
    parts = parts_of(request)
    backend = parts.classifier.backend
    check_class(backend.labels, body.label, body.value)
    who = identity.named(body.who)
    correction = fixes.Correction(**{**body.model_dump(), "who": who, "model": backend.model})
    with parts.database.writes() as session:
        row = FixRow.of(fixes.correct(session, correction))
        parts.images.keep(body.sha256)  # before the fix is: the next model learns from it
    return row


@router.post("/{fix_id}/undo", status_code=201, summary="Take a fix back")
def undo(request: Request, identity: Corrector, fix_id: Id, body: UndoRequest) -> FixRow:
    """Restore what held before a fix. The history keeps both."""
    identity.check(body.advertiser)
    who = identity.named(body.who)
    with parts_of(request).database.writes() as session:
        return FixRow.of(fixes.undo(session, body.advertiser, fix_id, who, body.why))


@router.get("", summary="The history of fixes")
def history(
    request: Request,
    identity: Reader,
    advertiser: AdvertiserQuery,
    sha256: Annotated[
        str | None,
        Query(pattern=SHA256, description="Of an image.", examples=[examples.SHA256]),
    ] = None,
    before_id: Annotated[Id | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> FixHistory:
    """List the fixes of an advertiser, the last ones first."""
    database = parts_of(request).database
    check_known(database, identity, advertiser)
    with database.reads() as session:
        rows = fixes.history(session, advertiser, sha256, before_id, limit)
        found = [FixRow.of(row) for row in rows]
    return FixHistory(fixes=found, next_before_id=found[-1].id if len(found) == limit else None)

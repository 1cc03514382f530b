"""Report what came of assignments, and take it out as a manifest."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, FailFast, Field
from starlette.datastructures import UploadFile

from augrank.errors import BadRequest, RequestError
from service.access.advertisers import check_known
from service.api import examples
from service.api.common import (
    ERRORS,
    AdvertiserQuery,
    Corrector,
    ErrorDetail,
    JsonRoute,
    Name,
    Reader,
)
from service.database.tables import Outcome
from service.outcomes.export import manifest_lines
from service.outcomes.reports import Kept, Report, keep_reports
from service.outcomes.reports_file import Imported, import_reports
from service.parts import parts_of

MAX_REPORTS = 10_000
CSV = "text/csv"
# SQLite does not keep the zone.
router = APIRouter(prefix="/v1/outcomes", responses=ERRORS, route_class=JsonRoute)


class OutcomeRow(BaseModel):
    """A report that is kept."""

    assignment: str
    target: str
    report: str
    successes: int
    trials: int
    replaces: str | None = Field(description="The report whose numbers were wrong.")
    who: str
    at: datetime

    @classmethod
    def of(cls, row: Outcome, key: str) -> "OutcomeRow":
        """Return a row of the database, about the assignment of this id."""
        same = set(cls.model_fields) - {"assignment"}
        return cls(assignment=key, **{name: getattr(row, name) for name in same})


class OutcomesRequest(BaseModel):
    """What came of assignments."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "advertiser": "dealer_007",
                    "who": "mailer",
                    "reports": [
                        {
                            "assignment": "0f8a6a3cbd0e4f6f9a7d5c1e2b3a4958",
                            "successes": 212,
                            "trials": 1000,
                        }
                    ],
                }
            ]
        },
    )

    advertiser: Name
    who: Name | None = Field(None, description="Who reports; a key's holder is known without.")
    reports: Annotated[list[Report], FailFast()] = Field(min_length=1, max_length=MAX_REPORTS)


class ReportResult(BaseModel):
    """What came of a report."""

    state: Literal["added", "known", "refused"]
    outcome: OutcomeRow | None = None
    error: ErrorDetail | None = Field(None, description="Why it was refused.")


class OutcomesResult(BaseModel):
    """What came of reports, in their order."""

    added: int
    known: int = Field(description="Reports that were there already.")
    refused: int
    results: list[ReportResult]


class RefusedRow(BaseModel):
    """A row of a file that was refused."""

    line: int
    error: ErrorDetail


class ImportResult(BaseModel):
    """What came of a file's rows."""

    added: int
    known: int = Field(description="Reports that were there already.")
    refused: int
    errors: list[RefusedRow] = Field(description="The first thousand, by line.")

    @classmethod
    def of(cls, done: Imported) -> "ImportResult":
        """Return what came of an import."""
        errors = [RefusedRow(line=line, error=_detail(error)) for line, error in done.errors]
        return cls(added=done.added, known=done.known, refused=done.refused, errors=errors)


@router.post(
    "",
    summary="Report what came of assignments",
    responses={201: {"model": OutcomesResult, "description": "Something was added."}},
)
def report(
    request: Request, response: Response, identity: Corrector, body: OutcomesRequest
) -> OutcomesResult:
    """Keep what came of shown candidates.

    A report that is there already with the same numbers changes nothing, so that it can be sent
    again; with other numbers it is refused: name it in `replaces` of a further report. The answer
    is 201 if something was added. A single report that is refused has its error as the answer (404,
    409); of several, each has its own result.
    """
    identity.check(body.advertiser)
    who = identity.named(body.who)
    with parts_of(request).database.writes() as session:
        kept = keep_reports(session, body.advertiser, body.reports, who)
        if len(kept) == 1 and isinstance(kept[0], RequestError):
            raise kept[0]
        pairs = zip(body.reports, kept, strict=True)
        results = [_result(each.assignment, result) for each, result in pairs]
    states = [result.state for result in results]
    response.status_code = 201 if "added" in states else 200
    return OutcomesResult(
        added=states.count("added"),
        known=states.count("known"),
        refused=states.count("refused"),
        results=results,
    )


@router.post(
    "/csv",
    summary="Report what came of assignments, as a CSV file",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                CSV: {"schema": {"type": "string"}, "example": examples.OUTCOMES_CSV},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                },
            },
        }
    },
)
async def report_csv(
    request: Request,
    identity: Corrector,
    advertiser: AdvertiserQuery,
    who: Annotated[
        Name | None,
        Query(description="Who reports; a key's holder is known without.", examples=["mailer"]),
    ] = None,
) -> ImportResult:
    """Keep the reports of a CSV file: assignment, successes, trials; target, report, replaces.

    The file is the body (text/csv) or the part `file` of a form. Rows that do not fit are listed
    by line; the others are kept.
    """
    identity.check(advertiser)
    name = identity.named(who)
    data = await _file(request)
    database = parts_of(request).database
    return ImportResult.of(
        await run_in_threadpool(import_reports, database, advertiser, data, name)
    )


@router.get(
    "/manifest",
    summary="Outcomes as a manifest for training",
    response_class=StreamingResponse,
    responses={
        200: {"content": {CSV: {"schema": {"type": "string"}, "example": examples.MANIFEST_CSV}}}
    },
)
def manifest(request: Request, identity: Reader, advertiser: AdvertiserQuery) -> StreamingResponse:
    """Return an advertiser's outcomes as CSV, a row for each assignment that has any.

    The files that it names are written by `python -m service outcomes export`.
    """
    database = parts_of(request).database
    check_known(database, identity, advertiser)
    headers = {"Content-Disposition": 'attachment; filename="manifest.csv"'}
    lines = manifest_lines(database, advertiser)
    return StreamingResponse(lines, 200, headers, f"{CSV}; charset=utf-8")


async def _file(request: Request) -> bytes:
    """Return the file of a request.

    Raises:
        BadRequest: there is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == CSV:
        return await request.body()
    if kind == "multipart/form-data":
        async with request.form() as form:
            file = form.get("file")
            if isinstance(file, UploadFile):
                return await file.read()
    raise BadRequest(
        "there is no file", expected=f"a body of {CSV}, or a form's part named file", got=kind
    )


def _result(key: str, kept: Kept | RequestError) -> ReportResult:
    if isinstance(kept, RequestError):
        return ReportResult(state="refused", error=_detail(kept))
    state: Literal["added", "known"] = "added" if kept.added else "known"
    return ReportResult(state=state, outcome=OutcomeRow.of(kept.outcome, key))


def _detail(error: RequestError) -> ErrorDetail:
    body: dict[str, Any] = error.to_dict()["error"]
    return ErrorDetail(**body)

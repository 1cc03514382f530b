"""Routes of fixes as files: out of the service, and into it."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from service.access.advertisers import check_known
from service.api import examples
from service.api.common import ERRORS, PRINTABLE, Corrector, Name, Reader
from service.fixes import intake
from service.fixes.exchange import Export, Format, export_lines
from service.fixes.rows import read_rows
from service.parts import parts_of

MAX_PREFIX = 1000  # characters
TYPES: dict[Format, tuple[str, str]] = {  # media type, file name
    "csv": ("text/csv; charset=utf-8", "fixes.csv"),
    "jsonl": ("application/jsonl", "fixes.jsonl"),
    "ground_truth": ("application/jsonl", "output.manifest"),
}
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/csv": {"example": examples.FIXES_CSV}, "application/jsonl": {}},
        "description": "The file.",
    }
}
router = APIRouter(prefix="/v1/fixes", responses=ERRORS)


class ImportProblem(BaseModel):
    """A row that was not taken."""

    row: int = Field(description="As a spreadsheet shows it: the header is row 1; of JSON, from 1.")
    reason: str


class ImportAnswer(BaseModel):
    """What came of a file of fixes."""

    rows: int
    taken: int = Field(description="Fixes that were added; with dry_run, that would be.")
    unchanged: int = Field(description="Rows that were said already.")
    bad: int
    conflicts: int = Field(description="Rows that contradict a fix that holds.")
    bad_rows: list[ImportProblem] = Field(description=f"At most {intake.MAX_LISTED:,}.")
    conflict_rows: list[ImportProblem] = Field(description=f"At most {intake.MAX_LISTED:,}.")
    dry_run: bool


@router.get("/export", summary="Fixes as a file", response_class=StreamingResponse, responses=FILES)
def export(
    request: Request,
    identity: Reader,
    format: Annotated[Format, Query(description="ground_truth: SageMaker's manifest.")] = "csv",
    history: Annotated[bool, Query(description="All rows, not what holds now.")] = False,
    advertiser: Annotated[
        Name | None,
        Query(description="By default all of the key.", examples=[examples.ADVERTISER]),
    ] = None,
    source_prefix: Annotated[
        str,
        Query(
            max_length=MAX_PREFIX,
            pattern=PRINTABLE,
            description="Of a manifest's images: where the folder images/kept is, with its slash.",
            examples=["s3://bucket/kept/"],
        ),
    ] = "images/kept/",
) -> StreamingResponse:
    """Download the fixes that hold now, or their history.

    A CSV file is meant for spreadsheets: a cell that begins like a formula has an apostrophe before
    it, which the import removes. JSON lines are exact.
    """
    parts = parts_of(request)
    if advertiser is not None:
        check_known(parts.database, identity, advertiser)
    backend = parts.classify.backend if parts.classify else None
    asked = Export(
        format,
        history,
        advertiser or identity.advertiser,
        source_prefix,
        backend.labels if backend else {},
        backend.model if backend else None,
    )
    kind, name = TYPES[format]
    day = datetime.now(UTC).date().isoformat()
    stem, _, suffix = name.rpartition(".")
    headers = {"Content-Disposition": f'attachment; filename="{stem}-{day}.{suffix}"'}
    return StreamingResponse(export_lines(parts.database, asked), headers=headers, media_type=kind)


@router.post("/import", summary="Fixes from a file")
def take(
    request: Request,
    identity: Corrector,
    file: Annotated[UploadFile, File(description="CSV, a JSON array, or JSON lines.")],
    who: Annotated[
        Name | None,
        Form(description="Who says so, where a row names nobody.", examples=[examples.WHO]),
    ] = None,
    dry_run: Annotated[bool, Form(description="Only tell what would come of it.")] = False,
) -> ImportAnswer:
    """Take fixes from a file: advertiser, sha256 or image_url, label, value, who, why.

    Each row stands on its own. A bad one is listed with its number and the reason; one that
    contradicts a fix that holds is listed as a conflict, and nothing is overruled. The same file
    may be sent again: what is there already is unchanged. A JSON array has at most 300,000 strings,
    commas and brackets; of CSV and JSON lines, `max_request_mb` is the limit.
    """
    parts = parts_of(request)
    classes = parts.classifier.backend.labels
    rows = read_rows(file.file.read())
    how = intake.Intake(identity, classes, who, dry_run)
    report = intake.take_fixes(parts.database, rows, how, parts.images.keep)
    return ImportAnswer(**asdict(report), dry_run=dry_run)

"""The routes of version 1."""

import json
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile

from augrank.errors import BadRequest, ImageTooLarge, RequestError
from augrank.models.tags import check_configured
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP
from service import fixes
from service.api.schemas import (
    ERRORS,
    ClassifyAnswer,
    FixHistory,
    FixRequest,
    FixRow,
    Id,
    Name,
    UndoRequest,
)
from service.backends import ClassifyOptions
from service.classify import ClassifyRequest, ClassifyService
from service.database.tables import DIGEST

MAX_IMAGES, MAX_PAGE = 100, 500
router = APIRouter(prefix="/v1", responses=ERRORS)
AdvertiserField = Annotated[Name, Form()]
AdvertiserQuery = Annotated[Name, Query()]


def service_of(request: Request) -> ClassifyService:
    """Return the service of an app."""
    found: ClassifyService = request.app.state.classify
    return found


@router.post("/classify", summary="Tell the labels of images")
def classify(  # noqa: PLR0913 - the fields of a form
    request: Request,
    images: Annotated[list[UploadFile], File(description=f"1 to {MAX_IMAGES} image files.")],
    advertiser: AdvertiserField,
    review_kind: Annotated[Name | None, Form()] = None,
    coverage: Annotated[float, Form(ge=0.5, lt=1)] = DEFAULT_COVERAGE,
    top: Annotated[int, Form(ge=1, le=1000)] = DEFAULT_TOP,
    configured: Annotated[
        str | None, Form(description='JSON of values that win: {"colour": "red"}.')
    ] = None,
) -> ClassifyAnswer:
    """Classify images of an advertiser.

    Pictures that were seen before are answered from what was kept. What people corrected for this
    advertiser is in the answer; `source` says where a value comes from.
    """
    if len(images) > MAX_IMAGES:
        raise BadRequest(
            "the number of images does not fit",
            expected=f"1 to {MAX_IMAGES}",
            got=str(len(images)),
            remedy="Send several requests.",
        )
    service = service_of(request)
    limit = int(request.app.state.settings.max_upload_mb * 2**20)
    answers = service(
        ClassifyRequest(
            advertiser,
            tuple(_read(file, limit) for file in images),
            ClassifyOptions(review_kind, coverage, top),
            _configured(configured, service),
        )
    )
    backend = service.backend
    return ClassifyAnswer(
        advertiser=advertiser, model=backend.name, model_digest=backend.model, images=answers
    )


@router.post("/fixes", status_code=201, summary="Correct a label")
def correct(request: Request, body: FixRequest) -> FixRow:
    """Correct a label of an image for an advertiser.

    It holds at once, for this advertiser only, and for every encoding of the picture. If another
    fix holds than `before` says, nothing is changed: 409.
    """
    service = service_of(request)
    classes = service.backend.labels
    if body.label not in classes:
        raise BadRequest(
            f"the model has no label {body.label!r}", expected=", ".join(classes), got=body.label
        )
    if body.value not in classes[body.label]:
        raise BadRequest(
            f"{body.label} has no class {body.value!r}",
            expected=", ".join(classes[body.label]),
            got=body.value,
        )
    with service.database.writes() as session:
        return FixRow.of(fixes.correct(session, fixes.Correction(**body.model_dump())))


@router.post("/fixes/{fix_id}/undo", status_code=201, summary="Take a fix back")
def undo(request: Request, fix_id: Id, body: UndoRequest) -> FixRow:
    """Restore what held before a fix. The history keeps both."""
    with service_of(request).database.writes() as session:
        return FixRow.of(fixes.undo(session, body.advertiser, fix_id, body.who, body.why))


@router.get("/fixes", summary="The history of fixes")
def history(
    request: Request,
    advertiser: AdvertiserQuery,
    sha256: Annotated[str | None, Query(pattern=f"^[0-9a-f]{{{DIGEST}}}$")] = None,
    before_id: Annotated[Id | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> FixHistory:
    """List the fixes of an advertiser, the last ones first."""
    with service_of(request).database.reads() as session:
        rows = fixes.history(session, advertiser, sha256, before_id, limit)
        found = [FixRow.of(row) for row in rows]
    return FixHistory(fixes=found, next_before_id=found[-1].id if len(found) == limit else None)


def _read(file: UploadFile, limit: int) -> bytes | RequestError:
    data = file.file.read(limit + 1)
    if len(data) > limit:
        return ImageTooLarge(
            "the image is too large", expected=f"at most {limit:,} bytes", got="more"
        )
    return data


def _configured(text: str | None, service: ClassifyService) -> dict[str, str]:
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("configured is no JSON", got=text) from error
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise BadRequest("configured does not fit", expected='{"colour": "red"}', got=text)
    backend = service.backend
    return check_configured(backend.tags, backend.labels, values)

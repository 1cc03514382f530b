"""Recommend versions of an image, and other images of the catalogue."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from pydantic import BaseModel, Field

from augrank.errors import BadRequest, RequestError
from augrank.models.context import BLANK, CategoricalColumn, ContextColumn
from augrank.models.targets import Direction
from augrank.tasks.base import RequestBody
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES, parse_request
from service.access.advertisers import check_known
from service.answers.questions import history
from service.answers.recommend import (
    OfCatalogue,
    RecommendAnswer,
    RecommendRequest,
    SentBefore,
)
from service.api import examples
from service.api.common import (
    ERRORS,
    SHA256,
    AdvertiserQuery,
    Name,
    Reader,
    Url,
    json_response,
    read_object,
    read_upload,
)
from service.api.thumbnails import with_thumbnails
from service.backends.recommend import NO_IMAGE, RecommendBackend, RecommendOptions
from service.database.tables import Question
from service.parts import Parts, parts_of

MAX_PAGE, MAX_JSON = 500, 20_000
EXAMPLE_CONTEXT = examples.CONTEXT
TOKEN = r"^[A-Za-z0-9_-]{1,32}$"
router = APIRouter(prefix="/v1", responses=ERRORS)


class TargetInfo(BaseModel):
    """What can be predicted."""

    name: str
    direction: Direction


class ColumnInfo(BaseModel):
    """A column of the context."""

    name: str
    kind: Literal["categorical", "numeric"]
    values: list[str] = Field(description="That are known; empty for a number.")
    required: bool
    low: float | None = Field(None, description="The least number that training saw.")
    high: float | None = Field(None, description="The greatest number that training saw.")

    @classmethod
    def of(cls, column: ContextColumn) -> "ColumnInfo":
        """Return what a form needs of a column."""
        if isinstance(column, CategoricalColumn):
            values = [value for value in column.values if value != BLANK]
            required = BLANK not in column.values
            return cls(name=column.name, kind="categorical", values=values, required=required)
        return cls(
            name=column.name,
            kind="numeric",
            values=[],
            required=True,
            low=column.low,
            high=column.high,
        )


class RecommendChoices(BaseModel):
    """What may be asked."""

    model: str = Field(description="Name of the model.")
    model_digest: str = Field(description="sha256 of its bundle.json.")
    targets: list[TargetInfo]
    context: list[ColumnInfo]
    product_types: list[str] = Field(description="Of the catalogue: they select alternates.")
    candidates: list[str] = Field(description="Versions of an image.")
    catalogue: int = Field(description="Images of the catalogue.")

    @classmethod
    def of(cls, backend: RecommendBackend) -> "RecommendChoices":
        """Return what may be asked of a model."""
        return cls(
            model=backend.name,
            model_digest=backend.model,
            targets=[
                TargetInfo(name=target.name, direction=target.direction)
                for target in backend.targets
            ],
            context=[ColumnInfo.of(column) for column in backend.context],
            product_types=list(backend.catalogue.product_types),
            candidates=list(backend.augmentations.names),
            catalogue=len(backend.catalogue.images),
        )


class QuestionRow(BaseModel):
    """A recommendation that was asked for."""

    token: str = Field(description="/q/TOKEN shows it.")
    advertiser: str
    sha256: str = Field(description="Of the image.")
    target: str
    context: dict[str, Any]
    candidates: list[str]
    alternates: int
    min_lift: float
    who: str = Field(description="Who asked last; empty without keys.")
    at: datetime = Field(description="When it was asked last.")

    @classmethod
    def of(cls, question: Question) -> "QuestionRow":
        """Return a row of the database."""
        return cls(
            token=question.token,
            advertiser=question.advertiser,
            sha256=question.sha256,
            who=question.who,
            at=question.at,
            **question.options,
        )


class QuestionHistory(BaseModel):
    """Questions of an advertiser, those asked last first."""

    questions: list[QuestionRow]
    next_before: str | None = Field(description="Ask with before for the next page.")


@router.post("/recommend", summary="Recommend versions of an image", response_model=RecommendAnswer)
def recommend(  # noqa: PLR0913 - the fields of a form
    request: Request,
    identity: Reader,
    advertiser: Annotated[Name, Form(examples=[examples.ADVERTISER])],
    image: Annotated[UploadFile | None, File(description="An image file.")] = None,
    url: Annotated[
        Url | None,
        Form(description="Of an image, at a public address.", examples=[examples.URL]),
    ] = None,
    sha256: Annotated[
        str | None,
        Form(
            pattern=SHA256,
            description="Of an image that you have sent before.",
            examples=[examples.SHA256],
        ),
    ] = None,
    catalogue: Annotated[
        Name | None,
        Form(description="Path of an image of it.", examples=[examples.CATALOGUE_PATH]),
    ] = None,
    target: Annotated[
        Name | None,
        Form(description="Optional with a single target.", examples=[examples.TARGET]),
    ] = None,
    context: Annotated[
        str | None,
        Form(
            max_length=MAX_JSON,
            description=f"JSON: {EXAMPLE_CONTEXT}.",
            examples=[EXAMPLE_CONTEXT],
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        Form(
            max_length=MAX_JSON,
            description="Names, with commas; by default all.",
            examples=["brighter,sketch"],
        ),
    ] = None,
    alternates: Annotated[int, Form()] = DEFAULT_ALTERNATES,
    thumbnails: Annotated[bool, Form(description="Add small JPEGs in base64.")] = False,
    min_lift: Annotated[float, Form()] = 0.0,
) -> Response:
    """Rank the versions of an advertiser's image, and images of the catalogue.

    Give one of `image`, `url`, `sha256` or `catalogue`. What was asked before is answered from what
    was kept; another question about the same image needs its `sha256` only.
    """
    identity.check(advertiser)
    parts = parts_of(request)
    service = parts.recommender
    options = read_options(
        {
            "target": target,
            "context": read_context(context),
            "candidates": _names(candidates),
            "alternates": alternates,
            "min_lift": min_lift,
        }
    )
    service.backend.canonical(options)  # before anything is downloaded
    given = _image(parts, advertiser, image, url, sha256, catalogue)
    answer = service(RecommendRequest(advertiser, given, options, identity.who))
    return json_response(with_thumbnails(parts, answer) if thumbnails else answer)


@router.get("/recommend/options", summary="What may be asked")
def choices(request: Request, identity: Reader) -> RecommendChoices:
    """List targets, columns of the context with their values, product types and versions."""
    return RecommendChoices.of(parts_of(request).recommender.backend)


@router.get("/questions", summary="The history of recommendations")
def questions(
    request: Request,
    identity: Reader,
    advertiser: AdvertiserQuery,
    before: Annotated[
        str | None, Query(pattern=TOKEN, description="A token: those before it.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> QuestionHistory:
    """List what an advertiser asked, last first; the same question again is the same row."""
    database = parts_of(request).database
    check_known(database, identity, advertiser)
    with database.reads() as session:
        rows = [QuestionRow.of(row) for row in history(session, advertiser, before, limit)]
    return QuestionHistory(
        questions=rows, next_before=rows[-1].token if len(rows) == limit else None
    )


def read_options(content: dict[str, Any]) -> RecommendOptions:
    """Read the options of a question; None counts as left out.

    Raises:
        BadRequest: one is invalid.
    """
    given = {name: value for name, value in content.items() if value is not None}
    read = parse_request(RequestBody(NO_IMAGE, {}, given))
    return RecommendOptions(
        read.target, read.context, read.candidates, read.alternates, read.min_lift
    )


def read_context(text: str | None) -> dict[str, Any] | None:
    """Read the context of a question, as JSON; None if there is none.

    Raises:
        BadRequest: it is no JSON, or no object; ``read_options`` looks at its values.
    """
    return read_object(text, "context", EXAMPLE_CONTEXT)


def _image(
    parts: Parts,
    advertiser: str,
    image: UploadFile | None,
    url: str | None,
    sha256: str | None,
    catalogue: str | None,
) -> bytes | SentBefore | OfCatalogue:
    """Return the image that is asked about.

    Raises:
        RequestError: none or several are given, or it cannot be had.
    """
    named = {"image": image, "url": url, "sha256": sha256, "catalogue": catalogue}
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        raise BadRequest(
            "a recommendation is for one image",
            expected="one of image, url, sha256, catalogue",
            got=", ".join(given) or "none",
        )
    if sha256 is not None:
        return SentBefore(sha256)
    if catalogue is not None:
        return OfCatalogue(catalogue)
    if image is not None:
        read = read_upload(image, parts.limits.size_bytes)
    else:
        (read,) = parts.downloads(advertiser, [str(url)])
    if isinstance(read, RequestError):
        raise read
    return read


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]

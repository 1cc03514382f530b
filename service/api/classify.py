"""Classify images that are sent."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import BaseModel, Field

from augrank.errors import BadRequest
from augrank.models.tags import check_configured
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP
from service.answers.classify import ClassifyRequest, ClassifyService
from service.answers.effective import EffectiveAnswer
from service.api import examples
from service.api.common import ERRORS, Name, Reader, Url, json_response, read_object, read_upload
from service.backends.classify import ClassifyOptions
from service.parts import parts_of

MAX_IMAGES = 100
EXAMPLE_CONFIGURED = '{"colour": "red"}'
router = APIRouter(prefix="/v1", responses=ERRORS)
AdvertiserField = Annotated[Name, Form(examples=[examples.ADVERTISER])]


class ClassifyAnswer(BaseModel):
    """The labels of one or several images."""

    advertiser: str
    model: str = Field(description="Name of the model.")
    model_digest: str = Field(description="sha256 of its bundle.json.")
    images: list[EffectiveAnswer]


@router.post("/classify", summary="Tell the labels of images", response_model=ClassifyAnswer)
def classify(  # noqa: PLR0913 - the fields of a form
    request: Request,
    identity: Reader,
    advertiser: AdvertiserField,
    images: Annotated[list[UploadFile] | None, File(description="Image files.")] = None,
    urls: Annotated[
        list[Url] | None,
        Form(description="Of images, at public addresses.", examples=[[examples.URL]]),
    ] = None,
    review_kind: Annotated[
        Name | None, Form(description="Whose rule decides on credit.", examples=["Box Review"])
    ] = None,
    coverage: Annotated[float, Form(ge=0.5, lt=1)] = DEFAULT_COVERAGE,
    top: Annotated[int, Form(ge=1, le=1000)] = DEFAULT_TOP,
    configured: Annotated[
        str | None,
        Form(
            description=f"JSON of values that win: {EXAMPLE_CONFIGURED}.",
            examples=[EXAMPLE_CONFIGURED],
        ),
    ] = None,
) -> Response:
    """Classify 1 to 100 images of an advertiser: files, URLs, or both.

    Answers are in the order of the files, then of the URLs. An image that cannot be read or
    downloaded is skipped, with its reason. Few requests of an advertiser may download at once (429
    beyond that); for thousands of URLs there are batches.

    Pictures that were seen before are answered from what was kept. What people corrected for this
    advertiser is in the answer; `source` says where a value comes from.
    """
    files, addresses = images or [], urls or []
    if not 1 <= len(files) + len(addresses) <= MAX_IMAGES:
        raise BadRequest(
            "the number of images does not fit",
            expected=f"1 to {MAX_IMAGES}",
            got=str(len(files) + len(addresses)),
            remedy="Send several requests.",
        )
    identity.check(advertiser)
    parts = parts_of(request)
    service, limit = parts.classifier, parts.limits.size_bytes
    backend = service.backend
    options = ClassifyOptions(review_kind, coverage, top)
    backend.check(options)  # before anything is downloaded
    given = _configured(configured, service)
    read = [read_upload(file, limit) for file in files]
    downloaded = parts.downloads(advertiser, addresses) if addresses else ()
    answers = service(ClassifyRequest(advertiser, (*read, *downloaded), options, given))
    return json_response(
        ClassifyAnswer(
            advertiser=advertiser, model=backend.name, model_digest=backend.model, images=answers
        )
    )


def _configured(text: str | None, service: ClassifyService) -> dict[str, str]:
    values = read_object(text, "configured", EXAMPLE_CONFIGURED) or {}
    if not all(isinstance(each, str) for each in values.values()):
        raise BadRequest("configured does not fit", expected=EXAMPLE_CONFIGURED, got=str(text))
    backend = service.backend
    return check_configured(backend.tags, backend.labels, values)

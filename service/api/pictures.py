"""Pictures to look at and to download: versions of images, and the catalogue."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from augrank.images.augmentations import ORIGINAL, Augmentation
from augrank.images.formats import format_of
from service.answers.recommend import RecommendService
from service.api import examples
from service.api.common import ERRORS, SHA256, AdvertiserQuery, Name, Reader
from service.api.thumbnails import preview_of
from service.errors import AnswerExpired, ImageExpired, NotFound
from service.images.arrivals import sent_image
from service.images.versions import ImageFile, full_size
from service.parts import Parts, parts_of

KEPT = {"Cache-Control": "private, max-age=3600, immutable"}  # an hour: a key may be revoked
MAX_PAGE = 200
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
router = APIRouter(prefix="/v1", responses=ERRORS)
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}, "image/png": {}, "application/octet-stream": {}}}
}
PathQuery = Annotated[
    Name, Query(description="As in an answer's alternates.", examples=[examples.CATALOGUE_PATH])
]


class CatalogueRow(BaseModel):
    """An image of the catalogue."""

    path: str
    sha256: str
    attributes: dict[str, Any]


class CataloguePage(BaseModel):
    """Some images of the catalogue."""

    images: list[CatalogueRow]
    found: int = Field(description="All that match.")
    next_after: int | None = Field(description="Ask with after for the next page.")


@router.get(
    "/versions/{sha256}/{name}",
    summary="A version of an image",
    response_class=Response,
    responses=FILE,
)
def version(  # noqa: PLR0913 - the fields of a query
    request: Request,
    identity: Reader,
    sha256: Annotated[str, Path(pattern=SHA256, examples=[examples.SHA256])],
    name: Annotated[Name, Path(examples=["brighter"])],
    advertiser: AdvertiserQuery,
    hash: Annotated[
        str,
        Query(
            max_length=64, description="Beginning of the augmentation's hash.", examples=["3f2a"]
        ),
    ] = "",
    full: Annotated[bool, Query(description="In full size, to download.")] = False,
) -> Response:
    """Return a version of an image that the advertiser has sent: small, or in full size.

    The version is made of the file, with the parameters that the model scored. The original in full
    size is the file itself.
    """
    identity.check(advertiser)
    parts = parts_of(request)
    augmentation = _augmentation(parts.recommender, name, hash)
    with parts.database.reads() as session:
        image = sent_image(session, advertiser, sha256)
        sides = (image.width, image.height)
    headers = KEPT if hash else {"Cache-Control": "private, no-cache"}
    if not full:
        return Response(preview_of(parts, sha256, augmentation), 200, headers, "image/jpeg")
    file = _full(parts, sha256, augmentation, sides)
    attachment = f'attachment; filename="{name}-{sha256[:8]}{file.suffix}"'
    return Response(file.data, 200, {**headers, "Content-Disposition": attachment}, file.media_type)


@router.get("/catalogue", summary="Search the catalogue")
def search(
    request: Request,
    identity: Reader,
    search: Annotated[str, Query(max_length=200, examples=["red shoe"])] = "",
    product_type: Annotated[str, Query(max_length=200, examples=["shoes"])] = "",
    after: Annotated[int, Query(ge=-1, le=10**9)] = -1,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 60,
) -> CataloguePage:
    """List images of the catalogue whose path or attributes have all words."""
    catalogue = parts_of(request).recommender.backend.catalogue
    page = catalogue.search(search, product_type, after, limit)
    rows = [
        CatalogueRow(path=image.path, sha256=image.sha256, attributes=image.attributes)
        for image in page.images
    ]
    return CataloguePage(images=rows, found=page.found, next_after=page.next_after)


@router.get(
    "/catalogue/thumbnail",
    summary="A small JPEG of a catalogue image",
    response_class=Response,
    responses=JPEG,
)
def thumbnail(
    request: Request,
    identity: Reader,
    path: PathQuery,
    model: Annotated[
        str,
        Query(max_length=64, description="Beginning of its digest.", examples=[examples.MODEL[:8]]),
    ] = "",
) -> Response:
    """Return a small JPEG of an image of the catalogue."""
    backend = parts_of(request).recommender.backend
    data = backend.catalogue.preview(path)
    same = bool(model) and backend.model.startswith(model)
    headers = KEPT if same else {"Cache-Control": "private, no-cache"}
    return Response(data, 200, headers, _media_type(data))


@router.get(
    "/catalogue/image",
    summary="The file of a catalogue image",
    response_class=Response,
    responses=FILE,
)
def catalogue_image(request: Request, identity: Reader, path: PathQuery) -> Response:
    """Return the file of an image of the catalogue, if the service was given their folder."""
    data = parts_of(request).recommender.backend.catalogue.file(path)
    stem = "".join(
        c for c in path.rsplit("/", 1)[-1] if c.isascii() and (c.isalnum() or c in "._-")
    )
    headers = {"Content-Disposition": f'attachment; filename="{stem or "image"}"'}
    return Response(data, 200, headers, _media_type(data))


def _augmentation(service: RecommendService, name: str, digest: str) -> Augmentation:
    """Return an augmentation of the model that answers now.

    Raises:
        NotFound: it has none of this name.
        AnswerExpired: it has another of this name.
    """
    augmentations = service.backend.augmentations
    if name not in augmentations.names:
        raise NotFound(
            "the model makes no such version",
            expected=", ".join(augmentations.names),
            got=name,
        )
    augmentation = augmentations[name]
    if not augmentation.hash.startswith(digest):
        raise AnswerExpired(
            "another model answers now, with other parameters of this version",
            remedy="Ask again, and take the version of the new answer.",
        )
    return augmentation


def _full(
    parts: Parts, sha256: str, augmentation: Augmentation, sides: tuple[int, int]
) -> ImageFile:
    data = parts.images.read(sha256)
    if data is None:
        raise ImageExpired.of(sha256)
    if augmentation.name == ORIGINAL:
        name = format_of(data) or ""
        return ImageFile(data, _media_type(data), SUFFIXES.get(name, f".{name.lower()}"))
    return full_size(data, augmentation, sides, parts.limits)


def _media_type(data: bytes) -> str:
    """Return the media type of an image file."""
    name = format_of(data)
    return f"image/{name.lower()}" if name else "application/octet-stream"

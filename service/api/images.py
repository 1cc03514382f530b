"""The image files that an advertiser has sent, as they were sent or small."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from augrank.images.decode import decode, encode
from service.api import examples
from service.api.common import ERRORS, SHA256, AdvertiserQuery, Reader
from service.database.tables import Sighting, StoredImage
from service.errors import ImageExpired, NotFound
from service.parts import parts_of

DEFAULT_SIDE, LEAST_SIDE, MOST_SIDE = 256, 32, 1024  # pixels of a thumbnail
CACHED_S = 3600  # a browser asks again after an hour: the key may be withdrawn
# By the format that was decoded; all others are offered as a download.
TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIC": "image/heic",
}
Sha256Path = Annotated[str, Path(pattern=SHA256, examples=[examples.SHA256])]
router = APIRouter(prefix="/v1/images", responses=ERRORS)
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/*": {}}}}


@router.get("/{sha256}", summary="An image file", response_class=Response, responses=FILE)
def image(
    request: Request, identity: Reader, sha256: Sha256Path, advertiser: AdvertiserQuery
) -> Response:
    """Return an image file that the advertiser has sent, as long as it is kept."""
    identity.check(advertiser)
    parts = parts_of(request)
    with parts.database.reads() as session:
        file_format = _sent(session, advertiser, sha256).format
    if _is_known(request, sha256):
        return Response(status_code=304, headers=_headers(sha256))
    kind = TYPES.get(file_format)
    headers = _headers(sha256) | {
        "Content-Disposition": "inline" if kind else "attachment",
    }
    data = _stored(parts.images.read(sha256), sha256)
    return Response(data, headers=headers, media_type=kind or "application/octet-stream")


@router.get(
    "/{sha256}/thumbnail",
    summary="A small JPEG of an image",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def thumbnail(
    request: Request,
    identity: Reader,
    sha256: Sha256Path,
    advertiser: AdvertiserQuery,
    side: Annotated[int, Query(ge=LEAST_SIDE, le=MOST_SIDE)] = DEFAULT_SIDE,
) -> Response:
    """Return an image on a white square of `side` pixels, as a JPEG."""
    identity.check(advertiser)
    parts = parts_of(request)
    with parts.database.reads() as session:
        _sent(session, advertiser, sha256)
    tag = f"{sha256}-{side}"
    if _is_known(request, tag):
        return Response(status_code=304, headers=_headers(tag))
    data = _stored(parts.images.read(sha256), sha256)
    small = encode(decode(data, side, parts.limits).pixels)
    return Response(small, headers=_headers(tag), media_type="image/jpeg")


def _sent(session: Session, advertiser: str, sha256: str) -> StoredImage:
    """Return an image that the advertiser has sent.

    Raises:
        NotFound: he has not; whether others have is not told.
    """
    row = session.get(StoredImage, sha256)
    if row is None or session.get(Sighting, (advertiser, sha256)) is None:
        raise NotFound(
            "there is no such image",
            expected=f"the sha256 of an image that {advertiser} has sent",
            got=sha256,
        )
    return row


def _stored(data: bytes | None, sha256: str) -> bytes:
    if data is None:
        raise ImageExpired.of(sha256)
    return data


def _headers(tag: str) -> dict[str, str]:
    return {
        "Cache-Control": f"private, max-age={CACHED_S}",
        "ETag": f'"{tag}"',
        "X-Content-Type-Options": "nosniff",
    }


def _is_known(request: Request, tag: str) -> bool:
    return f'"{tag}"' in request.headers.get("If-None-Match", "")

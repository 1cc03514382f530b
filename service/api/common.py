"""What all routes share: names, errors, who asks, and how a body of JSON is read."""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile as AnyUpload
from starlette.exceptions import HTTPException

from augrank.errors import BadRequest, ImageTooLarge, RequestError
from service.access.identity import Identity, admin, corrector, reader
from service.api import examples
from service.bounded_json import read_json
from service.database.tables import DIGEST, NAME

MAX_WHY, MAX_URL = 2000, 2000  # characters
MAX_ID = 2**31 - 1
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # no control characters
PRINTABLE_OR_NONE = PRINTABLE.replace("+", "*")
SHA256 = f"^[0-9a-f]{{{DIGEST}}}$"
Name = Annotated[str, Field(min_length=1, max_length=NAME, pattern=PRINTABLE)]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=PRINTABLE)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Why = Annotated[str, Field(max_length=MAX_WHY, pattern=r"^[^\x00]*$")]
AdvertiserQuery = Annotated[Name, Query(examples=[examples.ADVERTISER])]
Reader = Annotated[Identity, Depends(reader)]
Corrector = Annotated[Identity, Depends(corrector)]
Admin = Annotated[Identity, Depends(admin)]


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
    status: {"model": ErrorBody}
    for status in (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 502, 503, 507)
}


def json_response(answer: BaseModel) -> Response:
    """Return the response of a route on the path of every answer.

    What a route returns otherwise FastAPI checks against its ``response_model`` and copies, on
    another thread.
    """
    return Response(answer.model_dump_json(), media_type="application/json")


def read_upload(file: AnyUpload, limit: int) -> bytes | RequestError:
    """Return the bytes of an upload, or that they are too many."""
    data = file.file.read(limit + 1)
    if len(data) > limit:
        return ImageTooLarge(
            "the image is too large",
            expected=f"at most {limit:,} bytes",
            got="more",
            remedy="Send a smaller or more compressed image.",
        )
    return data


def read_object(text: str | None, name: str, example: str) -> dict[str, Any] | None:
    """Read a form's field that is an object in JSON; None if it is blank.

    Args:
        text: of the field.
        name: of the field.
        example: of its text.

    Raises:
        BadRequest: it is no JSON, or no object.
    """
    if text is None or not text.strip():
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{name} is no JSON", expected=example, got=text) from error
    if not isinstance(values, dict):
        raise BadRequest(f"{name} does not fit", expected=example, got=text)
    return values


class JsonRoute(APIRoute):
    """A route whose body of JSON is read beside the event loop, and refused if it has many parts.

    The routers of all routes that take JSON have it as their ``route_class``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(_JsonRequest(request.scope, request.receive))
            except HTTPException as error:
                if isinstance(error.__cause__, RequestError):  # FastAPI's "error parsing the body"
                    raise error.__cause__ from None
                raise

        return answer


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Return the value of the body."""
        return await run_in_threadpool(read_json, await self.body())

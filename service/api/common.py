"""What all routes share: names, errors, who asks."""

from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from service.access.identity import Identity, admin, corrector, reader
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
AdvertiserQuery = Annotated[Name, Query()]
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

"""Every error that augrank raises on purpose, each with its HTTP status.

AugrankError 500                internal error: logged; the caller gets no traceback
├─ BundleError 500              a bundle or archive that is incompatible or was modified
├─ ServerError 500              the model server did not start
├─ DataError 400                training and export input: manifests, settings, run folders
└─ RequestError 400             invalid request: gives expected, got, remedy
   ├─ BadRequest 400            body, JSON or options that cannot be read
   ├─ UnknownTarget 422         a target for which the bundle has no head
   ├─ BadContext 422            a context value that did not occur in training
   ├─ BrokenImage 422           truncated or damaged image
   ├─ UnsupportedImage 415      not an image, or a format that is not accepted
   └─ ImageTooLarge 413         above the limit in bytes or pixels
"""

import difflib
from collections.abc import Iterable
from typing import Any, Self

# Errors echo only a part of the caller's input, so that they are never larger than an answer.
MAX_GOT, MAX_PROBLEM = 160, 4000


class AugrankError(Exception):
    """Root of the tree. ``problem`` describes the fault, the other fields how to correct it."""

    status: int = 500
    code: str = "internal"

    def __init__(
        self, problem: str, *, expected: str = "", got: str = "", remedy: str = ""
    ) -> None:
        problem, got = shortened(problem, MAX_PROBLEM), shortened(got, MAX_GOT)
        self.problem, self.expected, self.got, self.remedy = problem, expected, got, remedy
        parts = [problem]
        if expected:
            parts.append(f"expected {expected}")
        if got:
            parts.append(f"got {got}")
        message = ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else problem
        super().__init__(f"{message}. {remedy}" if remedy else message)

    def at(self, where: str) -> Self:
        """Return the same error, with the place of the fault before its description."""
        return type(self)(
            f"{where}: {self.problem}", expected=self.expected, got=self.got, remedy=self.remedy
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON body of the answer: ``{"error": {...}}``."""
        body = {"code": self.code, "status": self.status, "message": str(self)}
        for key in ("expected", "got", "remedy"):
            if value := getattr(self, key):
                body[key] = value
        return {"error": body}


class BundleError(AugrankError):
    """A bundle, archive or graph that is not what the runtime expects."""

    code = "bundle"


class ServerError(AugrankError):
    """The model server could not be started or did not become ready."""

    code = "server"


class DataError(AugrankError):
    """Input of training or export that cannot be used."""

    status = 400
    code = "data"


class RequestError(AugrankError):
    """An invalid request; the message is meant for the caller."""

    status = 400
    code = "request"


class BadRequest(RequestError):
    """The body or its options cannot be read."""

    code = "bad_request"


class UnknownTarget(RequestError):
    """The bundle has no head for this target."""

    status = 422
    code = "unknown_target"


class BadContext(RequestError):
    """A context column or value that the heads were not trained on."""

    status = 422
    code = "bad_context"


class BrokenImage(RequestError):
    """The image's bytes are truncated or cannot be decoded."""

    status = 422
    code = "broken_image"


class UnsupportedImage(RequestError):
    """The bytes are not an image of an accepted format."""

    status = 415
    code = "unsupported_image"


class ImageNotFetched(RequestError):
    """The image at a URL could not be downloaded."""

    status = 422
    code = "image_not_fetched"


class ImageTooLarge(RequestError):
    """The image is above the limit in bytes or in pixels."""

    status = 413
    code = "image_too_large"


def shortened(text: str, limit: int) -> str:
    """Return the text, or its beginning and an ellipsis; what is no Unicode is escaped."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.encode("utf-8", "backslashreplace").decode()


def reason(error: BaseException) -> str:
    """Return why a library failed, for ``got``: the system's words, or its message's first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if callable(faults := getattr(error, "errors", None)):  # pydantic's first line only counts them
        first = faults()[0]
        where = ".".join(map(str, first["loc"]))
        what = str(first["msg"]).removeprefix("Value error, ")
        return f"{where}: {what}" if where else what
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def one_of(names: Iterable[str], got: str | None = None) -> str:
    """Return ``one of a, b, c``, with "did you mean" if a name is close to ``got``."""
    allowed = list(names)
    listed = "one of " + ", ".join(allowed)
    close = (
        difflib.get_close_matches(got.lower(), [name.lower() for name in allowed], 1) if got else []
    )
    if not close:
        return listed
    match = next(name for name in allowed if name.lower() == close[0])
    return f"{listed} (did you mean {match}?)"

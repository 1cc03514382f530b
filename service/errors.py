"""Errors of the service beside those of augrank."""

from collections.abc import Mapping
from types import MappingProxyType

from augrank.errors import AugrankError, RequestError


class NotFound(RequestError):
    """There is no such thing, or it belongs to another advertiser."""

    status = 404
    code = "not_found"


class AnswerExpired(RequestError):
    """What a model said of an image is not kept any more, or another model answers by now."""

    status = 410
    code = "answer_expired"


class Conflict(RequestError):
    """Somebody else has changed it in the meantime."""

    status = 409
    code = "conflict"


class ChangedMeanwhile(Conflict):
    """What a request has read is not there any more, such as a picture that was forgotten."""

    @classmethod
    def made(cls) -> "ChangedMeanwhile":
        """Return the error that callers get."""
        return cls(
            "what this is about was changed or removed a moment ago",
            remedy="Send the request again.",
        )


class Forbidden(RequestError):
    """Who asks may not do that."""

    status = 403
    code = "forbidden"


class Unauthorized(RequestError):
    """Who asks is not known."""

    status = 401
    code = "unauthorized"
    headers: Mapping[str, str] = MappingProxyType({"WWW-Authenticate": "Bearer"})


class TooManyRequests(RequestError):
    """Who asks does so too often.

    Args:
        problem: the fault.
        expected: how often is not too often.
        remedy: what to do.
        retry_after_s: seconds after which to ask again.
    """

    status = 429
    code = "too_many_requests"

    def __init__(self, problem: str, *, expected: str, remedy: str, retry_after_s: int) -> None:
        super().__init__(problem, expected=expected, remedy=remedy)
        self.headers: Mapping[str, str] = {"Retry-After": str(retry_after_s)}


class BackendUnavailable(AugrankError):
    """The server that holds the model does not answer; the message is meant for the caller."""

    status = 503
    code = "backend_unavailable"


class BackendFailed(AugrankError):
    """The server that holds the model failed at a request; the message is for the caller."""

    status = 502
    code = "backend_failed"


class ImageExpired(RequestError):
    """An image file was removed to make room for others."""

    status = 410
    code = "image_expired"

    @classmethod
    def of(cls, sha256: str, remedy: str = "Send the file itself again.") -> "ImageExpired":
        """Return the error about a file.

        Args:
            sha256: of the file.
            remedy: what to do, where sending it again is not it.
        """
        return cls(
            "the image is not kept any more",
            expected="one of those that were sent or used last: max_images_gb of them",
            got=sha256,
            remedy=remedy,
        )


class BundleExpired(RequestError):
    """A model's bundle was removed to make room for others."""

    status = 410
    code = "bundle_expired"


class DiskFull(RequestError):
    """There is no space for what a request would add."""

    status = 507
    code = "disk_full"


class RequestTooLarge(RequestError):
    """The body of a request is larger than allowed."""

    status = 413
    code = "request_too_large"


class UnsupportedText(RequestError):
    """The text of a body is not in UTF-8."""

    status = 415
    code = "unsupported_text"

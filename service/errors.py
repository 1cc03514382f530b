"""Errors of the service beside those of augrank."""

from augrank.errors import RequestError


class NotFound(RequestError):
    """There is no such thing, or it belongs to another advertiser."""

    status = 404
    code = "not_found"


class AnswerExpired(RequestError):
    """What a model said of an image is not kept any more, and the image is not at hand."""

    status = 410
    code = "answer_expired"


class Conflict(RequestError):
    """Somebody else has changed it in the meantime."""

    status = 409
    code = "conflict"


class Forbidden(RequestError):
    """Who asks may not do that."""

    status = 403
    code = "forbidden"


class Unauthorized(RequestError):
    """Who asks is not known."""

    status = 401
    code = "unauthorized"

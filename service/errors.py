"""Errors of the service beside those of augrank."""

from augrank.errors import RequestError


class NotFound(RequestError):
    """There is no such thing, or it belongs to another advertiser."""

    status = 404
    code = "not_found"


class Conflict(RequestError):
    """Somebody else has changed it in the meantime."""

    status = 409
    code = "conflict"

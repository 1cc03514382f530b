"""What people see of an error."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from service.pages.render import render

TITLES = {
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    409: "Somebody was faster",
    429: "Too many requests",
}


def error_page(request: Request, error: Mapping[str, Any]) -> HTMLResponse:
    """Render an error.

    Args:
        request: that failed.
        error: with ``status`` and ``message``, as in the JSON of an error.
    """
    status = int(error["status"])
    title = TITLES.get(status, "That did not fit" if status < 500 else "The service failed")
    number = getattr(request.state, "request_id", "")
    return render(
        request, "error.html", status=status, heading=title, error=error, request_id=number
    )

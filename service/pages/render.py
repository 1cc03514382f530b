"""Render a page: templates, static files, and what every page is given."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.access.identity import Role, authentication_of
from service.parts import parts_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(request: Request, template: str, *, status: int = 200, **given: Any) -> HTMLResponse:
    """Render a template.

    Args:
        request: that is answered.
        template: file name.
        status: of the response.
        given: by name, beside ``identity``, ``roles``, ``parts``, ``path`` and ``csrf_token``.
    """
    text = _templates.get_template(template).render(
        identity=authentication_of(request).identity,  # None before the login
        roles=Role,
        parts=parts_of(request),
        path=request.scope["path"],
        csrf_token=getattr(request.state, "csrf_token", ""),
        **given,
    )
    return HTMLResponse(text, status)

"""The interface's description, for programs (OpenAPI)."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request

from service.access.identity import authentication_of
from service.api.common import Reader
from service.api.examples import ANSWERS

SCHEME, JSON = "key", "application/json"
PUBLIC = ("/healthz", "/readyz")
router = APIRouter(prefix="/v1", include_in_schema=False)


@router.get("/openapi.json")
def openapi(request: Request, identity: Reader) -> dict[str, Any]:
    """Return the description, which says whether a key is needed now."""
    return describe(request.app, needs_key=not authentication_of(request).is_open)


def describe(app: FastAPI, needs_key: bool) -> dict[str, Any]:
    """Return the OpenAPI description of an app.

    Args:
        app: with its routes.
        needs_key: whether the service has keys.
    """
    described = app.openapi()
    schemes = described.get("components", {}) | {
        "securitySchemes": {
            SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of `python -m service keys add`, in the header "
                "`Authorization: Bearer KEY`. A service without keys needs none.",
            }
        }
    }
    paths = {
        path: {
            method: _shown(operation, ANSWERS.get(f"{method.upper()} {path}"))
            | ({"security": []} if path in PUBLIC else {})
            for method, operation in operations.items()
        }
        for path, operations in described["paths"].items()
    }
    needed: dict[str, Any] = {"security": [{SCHEME: []}]} if needs_key else {}
    return described | {"components": schemes, "paths": paths} | needed


def _shown(operation: dict[str, Any], answer: Any) -> dict[str, Any]:
    """Return an operation with an example of its answer; FastAPI would leave out what is null."""
    if answer is None:
        return operation
    responses = dict(operation["responses"])
    for status, response in responses.items():
        if status < "300" and JSON in response.get("content", {}):
            content = response["content"] | {JSON: response["content"][JSON] | {"example": answer}}
            responses[status] = response | {"content": content}
    return operation | {"responses": responses}

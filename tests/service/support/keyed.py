"""A service with keys, and who asks it."""

import copy
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from service.access import keys
from service.access.identity import Role, admin, corrector, reader
from service.app import create_app
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel

HOST = "http://127.0.0.1:8090"
ROLES = {reader: Role.READ, corrector: Role.CORRECT, admin: Role.ADMIN}
PUBLIC = {"/healthz", "/readyz", "/login"}  # and /static, which is no route
SAMPLES = ("x", "0" * 64, "0" * 32, "1", "2026-01-01T00:00:00Z", "0.5")


def keyed_app(database: Database, folder: Path, **settings: Any) -> FastAPI:
    return create_app(ServiceSettings(folder=folder, **settings), database, FixedModel(0))


def make_key(
    database: Database,
    who: str = "ana",
    advertiser: str | None = None,
    role: Role = Role.ADMIN,
    expires_at: datetime | None = None,
) -> str:
    with database.writes() as session:
        return keys.create_key(session, keys.NewKey(who, advertiser, role, expires_at))[1]


def revoke(database: Database, key: str) -> None:
    with database.writes() as session:
        keys.revoke_key(session, keys.find_key(session, key).id)


def client_of(app: FastAPI, key: str | None = None, url: str = HOST) -> TestClient:
    """Return a client that follows no redirect; the workers of the app are not started."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(
        app, base_url=url, headers=headers, follow_redirects=False, raise_server_exceptions=False
    )


def routes_of(app: FastAPI) -> Iterator[APIRoute]:
    """Yield the routes of an app; whatever is no route of FastAPI's has no dependencies."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            assert route.path == "/static", f"{route.path} can be had without a key"


def role_of(dependant: Dependant) -> Role | None:
    """Return the role that a route asks for."""
    found = [ROLES[each.call] for each in dependant.dependencies if each.call in ROLES]
    found += [role for each in dependant.dependencies if (role := role_of(each)) is not None]
    return max(found, default=None)


def filled(path: str) -> str:
    """Return a path with values for its parameters."""
    return re.sub(r"\{[^}]+\}", "1", path)


class Requests:
    """Makes a request that fits to each route of an app, by its description.

    Pages are described like all others.
    """

    def __init__(self, app: FastAPI) -> None:
        routes = [copy.copy(route) for route in routes_of(app)]
        for route in routes:
            route.include_in_schema = True
        described = get_openapi(title="all", version="1", routes=routes)
        self.paths = described["paths"]
        self._schemas = described.get("components", {}).get("schemas", {})

    def of_advertisers(self) -> list[tuple[str, str]]:
        """Return method and path of what takes an advertiser."""
        return [
            (method, path)
            for path, methods in self.paths.items()
            for method in methods
            if "advertiser" in self.fields(method, path)
        ]

    def fields(self, method: str, path: str) -> set[str]:
        """Return the names that a request takes."""
        operation = self.paths[path][method]
        _, schema = self._body(operation)
        return {each["name"] for each in operation.get("parameters", ())} | set(
            schema.get("properties", ())
        )

    def make(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """Return the arguments of a request: what is given, and samples of what is required."""
        operation = self.paths[path][method]
        query, url = {}, path
        for parameter in operation.get("parameters", ()):
            name, schema = parameter["name"], parameter["schema"]
            value = given.get(name) if parameter["in"] == "query" else None
            if value is None and parameter["required"]:
                value = self.sample(schema)
            if parameter["in"] == "path":
                url = re.sub(r"\{" + name + r"(:\w+)?\}", str(value), url)
            elif parameter["in"] == "query" and value is not None:
                query[name] = value
        media_type, schema = self._body(operation)
        body = self.sample(schema) if media_type else {}
        made: dict[str, Any] = {"method": method.upper(), "url": url, "params": query}
        if isinstance(body, str | bytes):
            return made | {"content": body, "headers": {"Content-Type": media_type}}
        body |= {name: each for name, each in given.items() if name in schema.get("properties", ())}
        body |= {
            name: [b"no image"]
            for name, each in schema.get("properties", {}).items()
            if name not in body and "binary" in str(each)
        }
        if media_type == "application/json":
            return made | {"json": body}
        files = {
            name: each[0] if isinstance(each, list) else each
            for name, each in body.items()
            if isinstance(each, bytes) or (isinstance(each, list) and isinstance(each[0], bytes))
        }
        data = {name: each for name, each in body.items() if name not in files}
        return made | ({"data": data} if data else {}) | ({"files": files} if files else {})

    def sample(self, schema: dict[str, Any]) -> Any:
        """Return a value that fits."""
        schema = self._resolved(schema)
        if examples := schema.get("examples"):
            return copy.deepcopy(examples[0])
        if "enum" in schema:
            return schema["enum"][0]
        if "const" in schema:
            return schema["const"]
        if "anyOf" in schema:
            return self.sample(schema["anyOf"][0])
        if schema.get("type") == "object":
            required = schema.get("required", ())
            return {name: self.sample(schema["properties"][name]) for name in required}
        if schema.get("type") == "array":
            return [self.sample(schema["items"])]
        return _scalar(schema)

    def _body(self, operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            return media_type, self._resolved(content.get("schema", {}))
        return "", {}

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema


def _scalar(schema: dict[str, Any]) -> Any:
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return b"no image"
    if schema.get("type") in ("integer", "number"):
        return schema.get("minimum", 1)
    if schema.get("type") == "boolean":
        return True
    pattern, least = schema.get("pattern", ""), schema.get("minLength", 0)
    fits = [each for each in SAMPLES if re.search(pattern, each) and len(each) >= least]
    assert fits, f"add a text to SAMPLES that fits to {schema}"
    return fits[0]

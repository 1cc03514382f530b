"""The interface's description, for people: /docs, with nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.access.identity import authentication_of
from service.api.openapi import describe
from service.pages.access import PageReader
from service.pages.render import render

Schema = Mapping[str, Any]
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Field:
    """A value that a request takes, or an answer has."""

    name: str
    place: str  # path, query, form, JSON
    kind: str
    is_required: bool
    description: str
    example: str = ""


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    name: str  # for links
    method: str
    path: str
    summary: str
    description: str
    takes: tuple[Field, ...]
    example: str  # of a body
    status: str
    gives: tuple[Field, ...]
    answer: str  # an example
    errors: tuple[str, ...]
    is_public: bool


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request, identity: PageReader) -> HTMLResponse:
    """Show all operations of the interface."""
    described = describe(request.app, needs_key=not authentication_of(request).is_open)
    operations = list(operations_of(described))
    url = str(request.base_url).rstrip("/")
    return render(request, "docs.html", operations=operations, url=url)


def operations_of(described: Schema) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI description."""
    schemas = described["components"].get("schemas", {})
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            place, body = _body_of(operation)
            status = min((code for code in operation["responses"] if code < "400"), default="")
            content = operation["responses"].get(status, {}).get("content", {})
            answer = content.get("application/json", {})
            yield Operation(
                name=operation["operationId"],
                method=method.upper(),
                path=path,
                summary=operation.get("summary", ""),
                description=operation.get("description", ""),
                takes=(*_parameters(operation, schemas), *_fields(body, place, schemas)),
                example=_example(_resolved(body, schemas)),
                status=status,
                gives=tuple(_fields(answer.get("schema", {}), "JSON", schemas)),
                answer=_as_json(answer["example"]) if "example" in answer else "",
                errors=tuple(sorted(code for code in operation["responses"] if code >= "400")),
                is_public=operation.get("security") == [],
            )


def _body_of(operation: Schema) -> tuple[str, Schema]:
    """Return where the fields of a body are, and its schema."""
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, given in content.items():
        return ("JSON" if media_type == "application/json" else "form"), given.get("schema", {})
    return "", {}


def _parameters(operation: Schema, schemas: Schema) -> Iterator[Field]:
    for parameter in operation.get("parameters", ()):
        yield Field(
            parameter["name"],
            parameter["in"],
            kind_of(parameter.get("schema", {}), schemas),
            parameter.get("required", False),
            parameter.get("description", ""),
            _value(parameter.get("schema", {})),
        )


def _fields(schema: Schema, place: str, schemas: Schema) -> Iterator[Field]:
    schema = _resolved(schema, schemas)
    for name, each in schema.get("properties", {}).items():
        required, told = name in schema.get("required", ()), each.get("description", "")
        yield Field(name, place, kind_of(each, schemas), required, told, _value(each))


def _value(schema: Schema) -> str:
    """Return an example of a value; of a list, as of fields that may be repeated, of one of it."""
    for each in (schema, *schema.get("anyOf", ())):
        for example in each.get("examples", ()):
            value = example[0] if isinstance(example, list) and example else example
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""


def kind_of(schema: Schema, schemas: Schema) -> str:
    """Return the type of a value in words, such as ``list of text (1 to 100)``."""
    if "$ref" in schema:
        return kind_of(_resolved(schema, schemas), schemas)
    if "anyOf" in schema:
        return " or ".join(kind_of(each, schemas) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}), schemas)}"
    if kind == "object":
        return str(schema.get("title", "object"))
    names = {"string": "text", "integer": "whole number", "null": "null", "boolean": "yes or no"}
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "file"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    limits = f" ({low:,} to {high:,})" if low is not None and high is not None else ""
    return names.get(kind, str(kind)) + limits


def _example(schema: Schema) -> str:
    examples = schema.get("examples", ())
    return _as_json(examples[0]) if examples else ""


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    """Return a schema itself, if it is a reference to one."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema

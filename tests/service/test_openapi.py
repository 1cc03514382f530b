"""What the OpenAPI description says is what happens: schemathesis asks every operation.

The whole interface runs in this process, with models that are none: it is about requests and
answers. ``schemathesis`` is run as people run it.
"""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI

from service.api.examples import ANSWERS
from service.api.openapi import describe
from service.app import create_app
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.keyed import make_key
from tests.service.support.pages import photo, sha256
from tests.service.support.recommender_stub import DrawnRecommender
from tests.service.support.serving import served
from tests.support.patience import PATIENCE_S

CONFIG = Path(__file__).with_name("schemathesis.toml")
PATH = "/v1/openapi.json"
CURSORS = {"after", "before"}  # what an answer has
OF_ADMINISTRATORS = (
    "/v1/models", "/v1/retraining", "/v1/jobs", "/v1/catalogue", "/healthz", "/readyz",
)  # fmt: skip


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    database = Database(f"sqlite:///{tmp_path / 'service.db'}")
    database.migrate()
    settings = ServiceSettings(folder=tmp_path, max_upload_mb=1, requests_per_s=0)
    yield create_app(settings, database, FixedModel(0), DrawnRecommender())
    database.close()


def run(url: str, folder: Path, *options: str) -> str:
    """Run schemathesis on all operations; fail with what it says."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG),
               "run", f"{url}{PATH}", "--no-color",
               "--request-timeout", str(PATIENCE_S), *options]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_every_operation_does_what_its_description_says(app, tmp_path):
    with served(app) as url:
        said = run(url, tmp_path)
        count = len(httpx.get(f"{url}{PATH}", timeout=PATIENCE_S).json()["paths"])
    assert count > 20
    assert "No issues found" in said


@pytest.mark.slow
def test_no_operation_works_without_its_key(app, tmp_path):
    key = make_key(app.state.parts.database, "root")
    with served(app) as url:
        bearer = f"Authorization: Bearer {key}"
        said = run(url, tmp_path, "-H", bearer, "--checks", "ignored_auth", "--phases", "fuzzing")
    assert "No issues found" in said


def test_answers_about_what_there_is_fit_their_schemas(app):
    """Schemathesis does not know what was sent: these are the answers that it does not see."""
    image = photo(800)
    with served(app) as url, httpx.Client(base_url=f"{url}/v1", timeout=PATIENCE_S) as http:
        sent = {"advertiser": "ada"}
        steps = [
            http.post("/classify", files={"images": image}, data=sent),
            http.post("/recommend", files={"image": image}, data=sent),
            http.post("/fixes", json={**sent, "sha256": sha256(image), "label": "colour",
                                      "value": "red", "who": "ana"}),
            http.get("/fixes", params=sent),
            http.post("/fixes/1/undo", json={**sent, "who": "ana"}),
            http.post("/confirmations", json={**sent, "label": "colour", "who": "ana", "images": [
                {"sha256": sha256(image), "value": "blue"}]}),
            http.get("/queue", params={**sent, "label": "colour", "state": "all"}),
            http.get("/queue/progress", params={**sent, "label": "colour"}),
            http.get("/questions", params=sent),
            http.put("/configured", json={**sent, "values": {}, "who": "ana"}),
            http.get("/configured", params=sent),
            http.post("/batches", json={**sent, "urls": ["http://127.0.0.1:9/1.jpg"]}),
            http.get("/batches/1", params=sent),
            http.get("/batches/1/results", params=sent),
            http.get("/jobs"),
            http.get("/jobs/1"),
            http.get("/models"),
            http.get("/retraining"),
            http.get(f"/images/{sha256(image)}", params=sent),
            http.get(f"/images/{sha256(image)}/thumbnail", params=sent),
        ]  # fmt: skip
        described = schemathesis.openapi.from_url(f"{url}{PATH}", timeout=PATIENCE_S)
    for answer in steps:
        path = answer.request.url.path.removesuffix("/")
        assert answer.is_success, f"{path}: {answer.text}"
        operation = described.find_operation_by_path(answer.request.method, path)
        assert operation is not None, path
        answer.request.read()  # of a form; schemathesis looks at it
        operation.validate_response(answer)


def test_examples_are_valid(app):
    described = describe(app, needs_key=False)
    examples = list(_examples(described))
    assert len(examples) >= 60
    for schema, example in examples:
        jsonschema_rs.validator_for({**schema, "components": described["components"]}).validate(
            example
        )


def test_every_operation_with_a_json_body_has_an_example(app):
    described = app.openapi()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                found = _resolved(schema, described)
                assert found.get("examples") or found.get("properties", {}).keys() <= {
                    "advertiser", "who", "why", "accept",
                }, f"{method} {path}"  # fmt: skip


def test_every_text_that_a_caller_makes_up_has_an_example(app):
    described = app.openapi()
    found = set()
    for where, name, schema in _inputs(described):
        kinds = schema.get("anyOf", [schema])
        is_text = any(_is_made_up(each.get("items", each)) for each in kinds)
        if is_text and name not in CURSORS and not where.startswith(OF_ADMINISTRATORS):
            assert schema.get("examples"), f"{where}: {name}"
            found.add(where)
    assert {"/v1/classify", "/v1/recommend", "/v1/queue", "/v1/assignments"} <= found


def test_every_answer_that_programs_read_has_an_example_with_all_that_it_has(app):
    described, count = describe(app, needs_key=False), 0
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if status >= "400" or content is None or path.startswith(OF_ADMINISTRATORS):
                    continue
                names = _resolved(content["schema"], described)["properties"].keys()
                assert content["example"].keys() == names, f"{method} {path}"
                count += 1
    assert count > len(ANSWERS)  # each is of an operation; one of them has two answers


def test_files_of_text_have_examples(app):
    paths = app.openapi()["paths"]
    sent = paths["/v1/outcomes/csv"]["post"]["requestBody"]["content"]["text/csv"]
    assert sent["example"].startswith("assignment,successes,trials")
    for path in ("/v1/fixes/export", "/v1/outcomes/manifest"):
        answer = paths[path]["get"]["responses"]["200"]["content"]["text/csv"]
        header, row = csv.reader(answer["example"].splitlines())
        assert len(header) == len(row)


def test_every_operation_says_what_it_does(app):
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path}"
            assert operation["description"], f"{method} {path}"


def _examples(described: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    for schema in described["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            yield schema, example
    for _, _, schema in _inputs(described):
        for example in schema.get("examples", ()):
            yield schema, example
    for methods in described["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    if "example" in content and "schema" in content:
                        yield content["schema"], content["example"]


def _inputs(described: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, name and schema of every parameter, and of every field of a form."""
    for path, methods in described["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                yield path, parameter["name"], parameter["schema"]
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                if media_type != "application/json" and "schema" in content:
                    fields = _resolved(content["schema"], described).get("properties", {})
                    yield from ((path, name, schema) for name, schema in fields.items())


def _is_made_up(schema: dict[str, Any]) -> bool:
    """Return whether a schema is of a text that is none of a few."""
    return schema.get("type") == "string" and not {"enum", "const", "format"} & schema.keys()


def _resolved(schema: dict[str, Any], described: Any) -> dict[str, Any]:
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema

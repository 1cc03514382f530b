"""One model.tar.gz under the project's entry point and AWS's toolkit, compared with the .mar."""

import base64
import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sklearn.metrics import f1_score

from augrank.serving.server import ServerOptions, serve
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.classify import build as build_classifier
from export.tasks.recommend import build
from tests.support.export_options import plain_options
from tests.support.image_files import noise_jpeg
from tests.support.patience import PATIENCE_S
from tests.support.sagemaker.stacks import (
    aws_toolkit,
    held_java,
    own_entry,
    requests_seen,
    toolkit_python,
    unpack,
)

pytestmark = pytest.mark.slow
FIELDS = {"target": "open_rate", "campaign_type": "Newsletter", "industry": "Retail"}
CONTEXT = {name: value for name, value in FIELDS.items() if name != "target"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
RAW = {"Content-Type": "image/png", ATTRIBUTES: json.dumps(FIELDS)}


@pytest.fixture(scope="module")
def expected(tiny_export, image) -> dict:
    """The answer of the .mar under TorchServe."""
    with serve(tiny_export.archive, ServerOptions(port=0, auth=False)) as server:
        headers = {"Content-Type": "image/png", "X-Augrank-Fields": json.dumps(FIELDS)}
        response = httpx.post(server.url, content=image, headers=headers, timeout=PATIENCE_S)
    assert response.status_code == 200
    return without_time(response)


def without_time(response: httpx.Response) -> dict:
    answer = response.json()
    answer.pop("timings_ms")
    return answer


def test_both_archives_hold_the_same_and_the_same_bytes_again(tiny_export, tiny_run, tmp_path):
    import tarfile
    import zipfile

    with tarfile.open(tiny_export.model_tar) as tar, zipfile.ZipFile(tiny_export.archive) as mar:
        in_tar = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
        in_mar = {name: mar.read(name) for name in mar.namelist()}
    requirements = in_tar.pop("code/requirements.txt").decode().splitlines()
    assert in_tar == in_mar
    assert "albumentations==2.0.8" in requirements
    assert all("==" in line for line in requirements)
    assert not any(line.startswith("xgboost") for line in requirements)
    options = plain_options("tiny", sagemaker=True)
    again = build(load_run(tiny_run.run), tmp_path / "dist", options)
    assert again.model_tar.read_bytes() == tiny_export.model_tar.read_bytes()
    without = build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))
    assert without.model_tar is None
    assert not again.model_tar.exists()  # it would be another export's


def check_answers(stack, image, expected) -> None:
    """Check every request format and every request error on a ready stack."""
    form = httpx.Request(
        "POST", stack.url, files={"image": ("p.png", image, "image/png")}, data=FIELDS
    )
    body = {"image": base64.b64encode(image).decode(), "target": "open_rate", "context": CONTEXT}
    ways = {
        "raw": (image, RAW),
        "multipart": (form.read(), {"Content-Type": form.headers["content-type"]}),
        "json": (json.dumps(body).encode(), {"Content-Type": "application/json"}),
    }
    for name, (content, headers) in ways.items():
        response = stack.invoke(content, headers)
        assert response.status_code == 200, (name, response.text)
        assert response.headers["content-type"] == "application/json"
        assert without_time(response) == expected, name
    bad = {
        415: (b"no image at all", {**RAW, "Content-Type": "text/plain"}),
        422: (image, {**RAW, ATTRIBUTES: json.dumps({**FIELDS, "target": "opens"})}),
        400: (b"", RAW),
    }
    for status, (content, headers) in bad.items():
        response = stack.invoke(content, headers)
        assert response.status_code == status, response.text
        assert "Traceback" not in response.text
        assert response.json()["error"]["status"] == status


def check_draining(stack, image) -> None:
    """Ask a worker that is held, and stop the stack: it answers first, and takes no more."""
    children = psutil.Process(stack.process.pid).children(recursive=True)
    (worker,) = (each for each in children if "model_service_worker" in " ".join(each.cmdline()))
    asked = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=PATIENCE_S)
    before = requests_seen(stack)
    worker.suspend()
    try:
        asked.request("POST", "/invocations", image, RAW)
        stack.wait(lambda _: requests_seen(stack) > before)
        os.kill(stack.process.pid, signal.SIGTERM)
        stack.wait(lambda it: it.ping() == 503)
    finally:
        worker.resume()
    assert asked.getresponse().status == 200
    asked.close()


def test_the_projects_entry_point_answers_as_the_mar_and_drains(
    tiny_export, expected, image, tmp_path
):
    unpack(tiny_export.model_tar, tmp_path)
    (tmp_path / "model" / "model-config.yaml").chmod(0o444)
    settings = {
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_TS_BATCH_SIZE": "4",
        "SAGEMAKER_TS_MAX_BATCH_DELAY": "1500",
        "SAGEMAKER_TS_RESPONSE_TIMEOUT": str(PATIENCE_S),
    }
    java, start = held_java(tmp_path)
    with own_entry(tmp_path, JAVA_HOME=str(java), **settings) as stack:
        stack.wait(lambda it: it.ping() == 503)  # listens before the model is there, and says so
        assert stack.invoke(image, RAW).status_code == 503
        start.touch()
        stack.wait(lambda it: it.ping() == 200)
        check_answers(stack, image, expected)
        large = noise_jpeg(2900, quality=98)  # below the platform's 25 MB
        assert 8e6 < len(large) < 25e6
        assert stack.invoke(large, {**RAW, "Content-Type": "image/jpeg"}).status_code == 200

        def ask(content: bytes) -> tuple[int, dict]:
            response = stack.invoke(content, RAW)
            return response.status_code, response.json()

        with ThreadPoolExecutor(4) as pool:  # one batch of four
            outcomes = list(pool.map(ask, [image, b"broken", image, image[:200]]))
        assert [status for status, _ in outcomes] == [200, 415, 200, 422]
        check_draining(stack, image)
        assert stack.process.wait(PATIENCE_S) == 0
        assert stack.ping() == 0


def test_awss_toolkit_answers_as_the_mar(tiny_export, expected, image, tmp_path):
    """Also beside another TorchServe, which the toolkit must neither find nor stop."""
    unpack(tiny_export.model_tar, tmp_path)
    with serve(tiny_export.archive, ServerOptions(port=0, auth=False)) as other:
        with aws_toolkit(toolkit_python(), tmp_path) as stack:
            stack.wait(lambda it: it.ping() == 200 and it.invoke(image, RAW).status_code == 200)
            check_answers(stack, image, expected)
        headers = {"Content-Type": "image/png", "X-Augrank-Fields": json.dumps(FIELDS)}
        assert (
            httpx.post(other.url, content=image, headers=headers, timeout=PATIENCE_S).status_code
            == 200
        )


def test_what_cannot_be_served_ends_with_a_message(tmp_path):
    (tmp_path / "model").mkdir()
    with own_entry(tmp_path) as stack:
        assert stack.process.wait(PATIENCE_S) == 1
        text = stack.log.read_text()
        assert "is not a bundle" in text
        assert "Traceback" not in text


def test_awss_toolkit_classifies_as_was_reported(classify_run, tmp_path):
    """Every test image, sent as SageMaker's batch transform sends it."""
    options = ExportOptions("shapes", devices=("cpu",), int8=False, sagemaker=True)
    run = load_run(classify_run.run)
    export = build_classifier(run, tmp_path / "dist", options)
    unpack(export.model_tar, tmp_path / "stack")
    rows, heads = run.rows("test"), run.record.graphs["fp32"].heads
    told: dict[str, list[str]] = {head.label: [] for head in heads}
    headers = {"Content-Type": "application/x-image"}
    with aws_toolkit(toolkit_python(), tmp_path / "stack") as stack:
        photo = run.image_bytes(rows[0])
        stack.wait(lambda it: it.ping() == 200 and it.invoke(photo, headers).status_code == 200)
        for row in rows:
            response = stack.invoke(run.image_bytes(row), headers)
            assert response.status_code == 200
            for label, answer in response.json()["images"][0]["labels"].items():
                told[label].append(answer["value"])
    for head in heads:
        right = [row.attributes[head.label] for row in rows]
        served = f1_score(right, told[head.label], average="macro")
        assert served == pytest.approx(head.metrics["macro_f1"], abs=0.001)

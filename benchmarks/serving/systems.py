"""The servers that are compared: each started on loopback, asked the same, stopped again."""

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

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Precision
from augrank.errors import ServerError
from augrank.models.engines import Device
from augrank.runtime import settings
from augrank.serving.capacity import ServingPlan
from augrank.serving.model_folder import ModelConfig, write_config
from augrank.serving.server import ServerOptions, serve
from augrank.serving.torchserve import TorchServeOptions, free_ports, run_torchserve, stop
from benchmarks.common.load import OK, Body, Client, Endpoint
from benchmarks.serving.eager import eager_weights
from benchmarks.serving.peers import runtime

REPOSITORY = Path(__file__).parents[2]
JSON_HEADERS = {"Content-Type": "application/json"}
READY_TIMEOUT_S = 180.0
QUEUE = 100  # TorchServe's own default
DOCUMENTED, TUNED = "documented eager", "documented eager, threads tuned"
Start = Callable[[], AbstractContextManager[Endpoint]]
MakeBody = Callable[[Mapping[str, Any]], Body]


@dataclass(frozen=True)
class Contestant:
    """A server that can be started, and how it wants to be asked."""

    name: str
    precision: Precision
    start: Start
    body: MakeBody
    device: Device = "cpu"

    def bodies(self, asked: Sequence[Mapping[str, Any]]) -> list[Body]:
        """The questions as this server wants them."""
        return [self.body(question) for question in asked]


def plain_json(question: Mapping[str, Any]) -> Body:
    """A question as augrank's JSON object."""
    return Body(json.dumps(question).encode(), JSON_HEADERS)


def raw_image(question: Mapping[str, Any]) -> Body:
    """A question as an image file with its fields in a header: nothing to decode from text."""
    fields = {"target": question["target"], **question["context"]}
    headers = {"Content-Type": "image/jpeg", "X-Augrank-Fields": json.dumps(fields)}
    return Body(base64.b64decode(question["image"]), headers)


# --- augrank on TorchServe ------------------------------------------------------------------------


def ours(
    bundle: RecommendBundle,
    precision: Precision,
    plan: ServingPlan,
    *,
    device: Device = "cpu",
    cache_mb: int = 0,
) -> Contestant:
    """augrank on TorchServe, as ``augrank serve`` starts it."""

    @contextmanager
    def start() -> Iterator[Endpoint]:
        options = ServerOptions(
            port=0, auth=False, plan=plan, precision=precision, device=device, cache_mb=cache_mb
        )
        with serve(bundle.directory, options) as server:
            yield Endpoint(server.url, server.headers)

    body = raw_image if cache_mb else plain_json
    parts = [f"augrank {precision}", *(["openvino"] if device == "openvino" else [])]
    parts += ["cache"] if cache_mb else []
    return Contestant(", ".join(parts), precision, start, body, device)


# --- what TorchServe's documentation leads to -----------------------------------------------------


def documented(bundle: RecommendBundle, workers: int, threads: int | None = None) -> Contestant:
    """The documented eager handler on TorchServe.

    Args:
        bundle: whose backbone and heads it serves.
        workers: TorchServe's default is one for each core.
        threads: of each worker's torch; by default torch's own choice, which is every core.
    """

    @contextmanager
    def start() -> Iterator[Endpoint]:
        with tempfile.TemporaryDirectory(prefix="augrank-documented-") as scratch:
            folder = Path(scratch)
            _documented_model(bundle, folder / "models" / "documented", workers)
            options = TorchServeOptions(0, "127.0.0.1", False, workers, QUEUE)
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            if threads is not None:
                environment["OMP_NUM_THREADS"] = str(threads)
            with run_torchserve(folder, "documented", options, environment) as server:
                yield Endpoint(server.url, server.headers)

    name = DOCUMENTED if threads is None else TUNED
    return Contestant(name, "fp32", start, plain_json)


def _documented_model(bundle: RecommendBundle, folder: Path, workers: int) -> None:
    """A model folder as torch-model-archiver packs it: handler, weights, extra files."""
    import torch

    shutil.copytree(bundle.directory, folder / "bundle")
    torch.save(eager_weights(bundle), folder / "model.pt")
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


# --- the same runtime behind other servers --------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """How another server is started and asked."""

    module: str  # that must be installed
    command: Callable[[Path, int, int], list[str]]  # folder of its own, port, workers
    path: str
    body: MakeBody = plain_json
    unwrap: Callable[[bytes], dict[str, Any]] = json.loads


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.serving.peers.{name}"]


def _mosec(folder: Path, port: int, workers: int) -> list[str]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", "60000"]
    return [*_module("mosec_server"), *options, "--path", str(folder / "ipc")]


def _bentoml(folder: Path, port: int, workers: int) -> list[str]:
    service = "benchmarks.serving.peers.bentoml_service:Recommend"
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1",
            "--port", str(port), "--working-dir", str(REPOSITORY)]  # fmt: skip


def _mlserver(folder: Path, port: int, workers: int) -> list[str]:
    ports = free_ports(2)
    server = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": ports[0], "metrics_port": ports[1],
        "parallel_workers": workers, "debug": False,
    }  # fmt: skip
    model = {
        "name": "recommend",
        "implementation": "benchmarks.serving.peers.mlserver_runtime.RecommendRuntime",
    }
    (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)]


def _to_v2(question: Mapping[str, Any]) -> Body:
    """A question as the Open Inference Protocol has it."""
    tensor = {
        "name": "request", "shape": [1], "datatype": "BYTES",
        "parameters": {"content_type": "str"}, "data": [json.dumps(question)],
    }  # fmt: skip
    return Body(json.dumps({"inputs": [tensor]}).encode(), JSON_HEADERS)


def _from_v2(content: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(json.loads(content)["outputs"][0]["data"][0])
    return answer


PEERS: dict[str, Peer] = {
    "litserve": Peer("litserve", lambda _f, _p, _w: _module("litserve_server"), "/predict"),
    "mosec": Peer("mosec", _mosec, "/inference"),
    "bentoml": Peer("bentoml", _bentoml, "/recommend"),
    "mlserver": Peer("mlserver", _mlserver, "/v2/models/recommend/infer", _to_v2, _from_v2),
}


def peer(
    name: str,
    bundle: RecommendBundle,
    precision: Precision,
    plan: ServingPlan,
    device: Device = "cpu",
) -> Contestant:
    """augrank's pipeline behind another server, with the same workers and threads as ours."""
    start = partial(_run_peer, PEERS[name], bundle, precision, plan, device)
    return Contestant(name, precision, start, PEERS[name].body, device)


@contextmanager
def _run_peer(
    peer: Peer, bundle: RecommendBundle, precision: Precision, plan: ServingPlan, device: Device
) -> Iterator[Endpoint]:
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
            settings.PRECISION: precision,
            settings.DEVICE: device,
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
            endpoint = Endpoint(f"http://127.0.0.1:{port}{peer.path}", unwrap=peer.unwrap)
            _wait_listening(process, port, folder / "log")
            yield endpoint
        finally:
            stop(process)


def wait_answering(endpoint: Endpoint, body: Body) -> bytes:
    """Ask until there is an answer; that answer's content.

    Raises:
        ServerError: none came in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    client = Client(endpoint)
    try:
        while time.monotonic() < deadline:
            status, content = client.post(body)
            if status == OK:
                return content
            time.sleep(0.2)
    finally:
        client.close()
    raise ServerError(f"{endpoint.url} does not answer", got=f"{status}: {content[:300]!r}")


def _wait_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ServerError(f"the server did not come up. Its log ends:\n{tail}")
